"""Charts of the page: the data frame behind them, and what their drawings have in common."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from benchharness.report.html.theme import BackendStyle, css, series_of
from benchharness.report.rows import Row, printable, speed_metric
from benchharness.results.comparisons import host_of

Datum = dict[str, Any]
Drawing = alt.LayerChart | alt.FacetChart
# Of axes: as many digits as tell ticks apart, never an exponent.
DIGITS = ",.4~r"

# Pixels of a chart with a row per cell: of a row, from its middle up to its text, and down to its
# marks. Names stand above the marks, so that a telephone shows as much as a desk.
ROW_HEIGHT, TEXT_UP, MARKS_DOWN, BAR = 40, -10, 7, 11
INDENT, FIGURE_WIDTH = 14, 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart by its identifier in the page, as wide as its place there; ``height`` is in pixels.

    Title and caption stand above it, ``alt`` is for those who do not see it, and the drawing refers
    to its data by name.
    """

    name: str
    title: str = ""
    caption: str = ""
    alt: str
    data: Mapping[str, Sequence[Datum]]
    drawing: Drawing
    height: int

    def as_dict(self) -> dict[str, Any]:
        """Return the specification with its data, as Vega-Lite takes it."""
        drawing = self.drawing.properties(width="container", height=self.height)
        # Altair checked every part when it was made; checking the whole again takes a second.
        spec: dict[str, Any] = drawing.to_dict(validate=False)
        spec.pop("config", None)
        return spec | {"datasets": {name: list(rows) for name, rows in self.data.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The data of all charts; ratios are to the first backend.

    Trials are rows with ``line``, ``backend`` and ``name`` of their cell for people, ``trial``,
    ``seed``, ``is_ok``, ``is_disturbed``, ``unit`` and ``speed`` (None where unknown or not ok),
    ``target``, ``host``, ``machine``, and ``metrics`` and ``epochs`` as recorded.
    """

    rows: Sequence[Row]
    backends: Sequence[str]
    trials: Sequence[Datum]

    @classmethod
    def of(cls, rows: Sequence[Row], backends: Sequence[str]) -> Frame:
        """Return the data of some rows of the table."""
        trials = []
        for row in rows:
            for cell, trial in ((c, trial) for c in row.recorded for trial in c.trials):
                is_ok = trial["status"] == "ok"
                speed = trial["metrics"].get(speed_metric(cell))
                trials.append(
                    {
                        "line": row.name,
                        "backend": printable(cell.backend),
                        "name": f"{printable(cell.backend)}, {row.name}",
                        "is_ok": is_ok,
                        "is_disturbed": is_ok and bool(trial.get("is_disturbed")),
                        "unit": cell.speed_unit,
                        "speed": speed if is_ok else None,
                        "target": cell.target_top1,
                        "host": host_of(trial),
                        "machine": cell.machine,
                    }
                    | picked(trial, "trial", "seed", "metrics", "epochs")
                )
        return cls(rows=rows, backends=backends, trials=trials)

    @property
    def series(self) -> list[BackendStyle]:
        """The look of each backend."""
        return series_of(self.backends)

    @property
    def cells(self) -> list[list[Datum]]:
        """The trials of each cell."""
        return grouped(self.trials, "name")

    def look(self, *, has_shape: bool = True) -> dict[str, Any]:
        """Return the encodings that give every backend its colour, and points their shape."""
        names = list(map(printable, self.backends))
        colours = alt.Scale(domain=names, range=[series.colour for series in self.series])
        shapes = alt.Scale(domain=names, range=[series.shape for series in self.series])
        colour = {"color": alt.Color("backend:N", scale=colours, legend=None)}
        shape = {"shape": alt.Shape("backend:N", scale=shapes, legend=None)}
        return colour | shape if has_shape else colour


def grouped(rows: Iterable[Datum], key: str) -> list[list[Datum]]:
    """Return neighbours that agree in a value."""
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row[key])]


def picked(row: Mapping[str, Any], *names: str) -> Datum:
    """Return some values of a row."""
    return {name: row[name] for name in names}


def base(data: str) -> alt.Chart:
    """Return a drawing of one of a chart's data sets, as yet without marks."""
    return alt.Chart(alt.NamedData(name=data))


def at(x: float | str) -> alt.XValue:
    """Return the encoding of a fixed place, in pixels or by the name of a signal."""
    return alt.XValue(x)  # type: ignore[no-untyped-call]


def axis(title: str | None = None, **more: Any) -> alt.Axis:
    """Return an axis of numbers with few ticks."""
    return alt.Axis(**{"title": title, "tickCount": 5, "format": DIGITS} | more)


def tips(**titles: str) -> list[alt.Tooltip]:
    """Return the tooltips of fields: ``name="N"``, ``value="Q the title"``."""
    found = []
    for field, words in titles.items():
        kind, _, title = words.partition(" ")
        more: dict[str, Any] = {"title": title} if title else {}
        more |= {"format": DIGITS} if kind == "Q" else {}
        found.append(alt.Tooltip(f"{field}:{kind}", **more))
    return found


def row_mark(data: str, kind: str, *, up: bool = False, **look: Any) -> alt.Chart:
    """Return marks of one kind in the ``row`` of each datum: beside its text (``up``) or below."""
    offset = TEXT_UP if up else MARKS_DOWN
    marked: alt.Chart = getattr(base(data), f"mark_{kind}")(yOffset=offset, **look)
    return marked.encode(y=alt.Y("row:O", axis=None, scale=alt.Scale(type="band", padding=0)))


def row_texts(data: str, frame: Frame | None, *, room: int = FIGURE_WIDTH) -> list[alt.Chart]:
    """Return ``name``, cut short to leave ``room`` pixels, and ``figure`` of each row.

    With a frame, the mark of the row's backend stands before its name.
    """
    indent = INDENT if frame else 0
    limit = alt.ExprRef(f"max({FIGURE_WIDTH}, width - {indent + room})")
    names = row_mark(data, "text", up=True, align="left", baseline="middle", limit=limit)
    figures = row_mark(data, "text", up=True, align="right", baseline="middle", color=css("muted"))
    mark = row_mark(data, "point", up=True, filled=True, opacity=1, size=42)
    return [
        *([mark.encode(x=at(5), **frame.look())] if frame else []),
        names.encode(x=at(indent), text="name:N"),
        figures.encode(x=at("width"), text="figure:N"),
    ]


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
