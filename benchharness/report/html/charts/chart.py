"""Charts of the page: the data frame behind them, and what their drawings have in common."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from benchharness.report.html.theme import Series, css, series_of
from benchharness.report.metric_columns import speed_metric
from benchharness.report.rows import Row, printable

Datum = dict[str, Any]
Drawing = alt.LayerChart | alt.FacetChart
# Of axes: as many digits as tell ticks apart, never an exponent.
DIGITS = ",.4~r"
# With two trials an interval may reach a million times as far as the bar; it is cut then.
LONGEST_INTERVAL = 1.6
# Beside the outermost marks.
MARGIN = 1.15
# Beyond this factor between the least and the most, a linear axis would crowd all but a few.
LINEAR_UP_TO = 8

# Pixels of a chart with a row per cell: of a row, from its middle up to its text, and down to its
# marks. Names stand above the marks, so that a telephone shows as much as a desk.
ROW_HEIGHT, TEXT_UP, MARKS_DOWN, BAR = 40, -10, 7, 11
INDENT, FIGURE_WIDTH = 14, 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart.

    Attributes:
        name: Its identifier in the page.
        title: Over it; empty where the section's heading says it all.
        caption: A line below the title; may be empty.
        alt: What it shows, for those who do not see it.
        data: Rows by the name under which the drawing refers to them.
        drawing: In Altair.
    """

    name: str
    title: str = ""
    caption: str = ""
    alt: str
    data: Mapping[str, Sequence[Datum]]
    drawing: Drawing

    def as_dict(self) -> dict[str, Any]:
        """Return the specification with its data, as Vega-Lite takes it."""
        # Altair checked every part when it was made; checking the whole again takes a second.
        spec: dict[str, Any] = self.drawing.to_dict(validate=False)
        spec.pop("config", None)
        return spec | {"datasets": {name: list(rows) for name, rows in self.data.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The data of all charts.

    Attributes:
        rows: Of the table.
        backends: In the order of the page; ratios are to the first.
        trials: A row per trial: ``line``, ``backend`` and ``name`` of its cell for people,
            ``trial``, ``seed``, ``is_ok``, ``is_disturbed``, ``unit`` and ``speed`` (None where
            unknown), ``target``, and ``metrics`` and ``epochs`` as recorded.
    """

    rows: Sequence[Row]
    backends: Sequence[str]
    trials: Sequence[Datum]

    @classmethod
    def of(cls, rows: Sequence[Row], backends: Sequence[str]) -> Frame:
        """Return the data of some lines of the table."""
        trials = [
            {
                "line": row.name,
                "backend": printable(cell.backend),
                "name": f"{printable(cell.backend)}, {row.name}",
                "trial": trial["trial"],
                "seed": trial["seed"],
                "is_ok": trial["status"] == "ok",
                "is_disturbed": bool(trial.get("is_disturbed")),
                "unit": cell.speed_unit,
                "speed": trial["metrics"].get(speed_metric(cell)),
                "target": cell.target_top1,
                "metrics": trial["metrics"],
                "epochs": trial["epochs"],
            }
            for row in rows
            for cell in row.recorded
            for trial in cell.trials
        ]
        return cls(rows=rows, backends=backends, trials=trials)

    @property
    def series(self) -> list[Series]:
        """The look of each backend."""
        return series_of(self.backends)

    def by_line(self) -> Iterator[tuple[str, list[Datum]]]:
        """Yield the trials of each line with its name."""
        return _grouped(self.trials, "line")

    def cells(self) -> list[list[Datum]]:
        """Return the trials of each cell."""
        return cells_of(self.trials)

    def colour(self) -> alt.Color:
        """Return the encoding that gives every backend its colour."""
        looks = [series.colour for series in self.series]
        return alt.Color("backend:N", scale=self._scale(looks), legend=None)

    def shape(self) -> alt.Shape:
        """Return the encoding that gives every backend its mark."""
        looks = [series.shape for series in self.series]
        return alt.Shape("backend:N", scale=self._scale(looks), legend=None)

    def _scale(self, looks: Sequence[str]) -> alt.Scale:
        return alt.Scale(domain=list(map(printable, self.backends)), range=list(looks))


def cells_of(trials: Iterable[Datum]) -> list[list[Datum]]:
    """Return the trials of each cell."""
    return [list(rows) for _, rows in _grouped(trials, "name")]


def _grouped(rows: Iterable[Datum], key: str) -> Iterator[tuple[str, list[Datum]]]:
    for value, group in itertools.groupby(rows, key=lambda row: row[key]):
        yield value, list(group)


def values_of(trials: Iterable[Datum], metric: str) -> list[float]:
    """Return what is known of a metric over the ok trials."""
    known = (row["metrics"].get(metric) for row in trials if row["is_ok"])
    return [value for value in known if value is not None]


def base(data: str) -> alt.Chart:
    """Return a drawing of one of a chart's data sets, as yet without marks."""
    return alt.Chart(alt.NamedData(name=data))


def at(x: float | str) -> alt.XValue:
    """Return the encoding of a fixed place, in pixels or by the name of a signal."""
    return alt.XValue(x)  # type: ignore[no-untyped-call]


def axis(title: str | None = None, **more: Any) -> alt.Axis:
    """Return an axis of numbers with few ticks."""
    return alt.Axis(**{"title": title, "tickCount": 5, "format": DIGITS} | more)


def in_row() -> alt.Y:
    """Return the encoding that puts a mark into its row; rows carry their number in ``row``."""
    return alt.Y("row:O", axis=None, scale=alt.Scale(type="band", padding=0))


def row_texts(data: str, *, indent: int = INDENT, room: int = FIGURE_WIDTH) -> list[alt.Chart]:
    """Return the fields ``name`` and ``figure`` of each row, on the left and on the right.

    Args:
        data: Name of the data set.
        indent: Pixels left free for a mark before each name.
        room: Pixels left free for the figure behind each name, which is cut short for it.
    """
    limit = alt.ExprRef(f"max({FIGURE_WIDTH}, width - {indent + room})")
    names = base(data).mark_text(align="left", baseline="middle", yOffset=TEXT_UP, limit=limit)
    figures = base(data).mark_text(
        align="right", baseline="middle", yOffset=TEXT_UP, color=css("muted")
    )
    return [
        names.encode(y=in_row(), x=at(indent), text=alt.Text("name:N")),
        figures.encode(y=in_row(), x=at("width"), text=alt.Text("figure:N")),
    ]


def row_labels(data: str, frame: Frame, *, room: int = FIGURE_WIDTH) -> list[alt.Chart]:
    """Return the texts of each row, the mark of its backend before them."""
    mark = base(data).mark_point(filled=True, opacity=1, size=42, yOffset=TEXT_UP)
    encoded = mark.encode(y=in_row(), x=at(5), color=frame.colour(), shape=frame.shape())
    return [encoded, *row_texts(data, room=room)]


def sized(drawing: Drawing, *, height: int) -> Drawing:
    """Return a drawing as wide as its place in the page."""
    drawn: Drawing = drawing.properties(width="container", height=height)
    return drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisRange:
    """An axis of positive values: linear from 0, or logarithmic where they lie far apart."""

    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> AxisRange:
        """Return the axis that shows all values; at least one."""
        least, most = min(values), max(values)
        if 0 < LINEAR_UP_TO * least < most:
            return cls(low=least / MARGIN, high=most * MARGIN, is_log=True)
        return cls(low=0.0, high=most * MARGIN or 1.0, is_log=False)

    def position(self, value: float) -> float:
        """Return where a value lies, from 0 at the lower end to 1 at the upper."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def upper_end(values: Iterable[float], ends: Iterable[float | None]) -> float:
    """Return the end of an axis from 0: all values, and intervals as far as they help.

    Args:
        values: Must be seen.
        ends: Upper ends of intervals, None where there is none.
    """
    largest = max(values)
    farthest = max((end for end in ends if end is not None), default=largest)
    return min(max(largest, farthest), LONGEST_INTERVAL * largest)


def spread_out(values: Sequence[float], *, gap: float) -> list[float]:
    """Return values in their places, moved so that ``gap`` is left between any two."""

    def start(group: list[int]) -> float:
        # Where the lowest of a group goes when the group is centred on its values.
        centre = sum(values[index] for index in group) / len(group)
        return centre - gap * (len(group) - 1) / 2

    groups: list[list[int]] = []
    for index in sorted(range(len(values)), key=values.__getitem__):
        groups.append([index])
        while len(groups) > 1 and start(groups[-2]) + len(groups[-2]) * gap > start(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    moved = list(values)
    for group in groups:
        for position, index in enumerate(group):
            moved[index] = start(group) + position * gap
    return moved
