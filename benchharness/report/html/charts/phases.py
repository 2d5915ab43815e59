"""Where a trial's wall time went: phases stacked, adding up to the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import altair as alt

from benchharness.report.html.charts import rows
from benchharness.report.html.charts.chart import (
    DIGITS,
    Chart,
    Drawing,
    Row,
    Section,
    colours,
    shapes,
    source,
)
from benchharness.report.html.theme import Series, css
from benchharness.report.numbers import alike
from benchharness.report.rows import Line, printable
from benchharness.results.cells import Cell
from benchharness.results.columns import PHASES
from benchharness.results.derived import CHECKS
from benchharness.results.record import Record

PARTS, CELLS = "parts", "cells"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Phases that are shown as one.

    Attributes:
        phases: Their columns.
    """

    title: str
    colour: str
    phases: tuple[str, ...]


_NAMED = (
    Kind(title="starting", colour="phase-1", phases=("startup_s", "import_s")),
    Kind(
        title="preparing",
        colour="phase-2",
        phases=("data_s", "build_s", "compile_s"),
    ),
    Kind(title="extracting", colour="phase-3", phases=("extract_s", "store_s")),
    Kind(title="training or feeding", colour="phase-4", phases=("train_s", "feed_s")),
    Kind(title="evaluating", colour="phase-5", phases=("evaluate_s", "test_s")),
    Kind(title="checking", colour="phase-6", phases=CHECKS),
    Kind(title="ending", colour="phase-7", phases=("save_s", "teardown_s")),
)
_REST = tuple(phase for phase in PHASES if not any(phase in kind.phases for kind in _NAMED))
KINDS = (*_NAMED, Kind(title="other", colour="phase-8", phases=_REST))


def section(lines: Sequence[Line], series: Sequence[Series]) -> Section | None:
    """Return the chart; None where no trial tells its wall time."""
    cells = cells_of(lines)
    if not cells:
        return None
    chart = Chart(
        name="phases",
        title="",
        alt="Seconds of a whole trial: "
        + "; ".join(f"{row['name']} {row['figure']}" for row in cells)
        + ".",
        data={PARTS: parts_of(lines), CELLS: cells},
        drawing=_drawing(len(cells), series),
    )
    return Section(
        name="phases",
        title="Where the time goes",
        short="Phases",
        text="One trial per cell, the one of median wall time; its phases add up to it. "
        "Starting includes the import of the framework; preparing, the first steps, which compile; "
        "checking, the tests of clock and batches, and the training step that is repeated on the "
        "device for compute_ms.",
        charts=[chart],
    )


def cells_of(lines: Sequence[Line]) -> list[Row]:
    """Return a row per cell: the wall time of its middle trial."""
    trials = list(_trials(lines))
    texts = alike([trial["metrics"]["wall_s"] for _, _, trial in trials])
    return [
        {
            "row": row,
            "name": f"{printable(cell.backend)}, {line.name}",
            "backend": printable(cell.backend),
            "trial": trial["trial"],
            "wall_s": trial["metrics"]["wall_s"],
            "figure": f"{text} s",
        }
        for row, ((line, cell, trial), text) in enumerate(zip(trials, texts, strict=True))
    ]


def parts_of(lines: Sequence[Line]) -> list[Row]:
    """Return a row per cell and kind of phase, in order, those of no length left out."""
    return [
        {
            "row": row,
            "name": f"{printable(cell.backend)}, {line.name}",
            "kind": kind.title,
            "order": order,
            "seconds": seconds,
            "phases": ", ".join(
                f"{phase.removesuffix('_s')} {s:.3g} s" for phase, s in own.items()
            ),
        }
        for row, (line, cell, trial) in enumerate(_trials(lines))
        for order, kind in enumerate(KINDS)
        if (seconds := sum((own := _phases(trial, kind)).values())) > 0
    ]


def legend() -> list[tuple[str, str]]:
    """Return the kinds and their colours, as CSS."""
    return [(kind.title, css(kind.colour)) for kind in KINDS]


def middle_trial(cell: Cell) -> Record | None:
    """Return the ok trial of median wall time, the quicker of two; None where none tells it."""
    timed = [trial for trial in cell.ok if trial["metrics"].get("wall_s") is not None]
    timed.sort(key=lambda trial: trial["metrics"]["wall_s"])
    return timed[(len(timed) - 1) // 2] if timed else None


def _phases(trial: Record, kind: Kind) -> Mapping[str, float]:
    metrics = trial["metrics"]
    # Stored features carry the seconds of the trial that extracted them.
    spent_before = {"extract_s"} if metrics.get("extract_reused") else set()
    return {
        phase: metrics[phase]
        for phase in kind.phases
        if metrics.get(phase) and phase not in spent_before
    }


def _trials(lines: Sequence[Line]) -> Iterator[tuple[Line, Cell, Record]]:
    for line in lines:
        for cell in line.recorded:
            if trial := middle_trial(cell):
                yield line, cell, trial


def _drawing(count: int, series: Sequence[Series]) -> Drawing:
    kinds = alt.Scale(
        domain=[kind.title for kind in KINDS], range=[css(kind.colour) for kind in KINDS]
    )
    bars = alt.Chart(source(PARTS)).mark_bar(
        height=rows.THICK, yOffset=rows.MARKS_DOWN, stroke=css("paper"), strokeWidth=0.6
    )
    tip = [
        alt.Tooltip("name:N", title="cell"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("seconds:Q", format=DIGITS),
        alt.Tooltip("phases:N"),
    ]
    drawn: Drawing = (
        alt.layer(
            bars.encode(
                y=rows.place(),
                x=alt.X(
                    "seconds:Q",
                    stack="zero",
                    scale=alt.Scale(nice=False),
                    axis=alt.Axis(title="seconds", tickCount=5, format=DIGITS),
                ),
                color=alt.Color("kind:N", scale=kinds, legend=None),
                order=alt.Order("order:O"),
                tooltip=tip,
            ),
            rows.marks(CELLS, colours(series), shapes(series)),
            rows.names(CELLS),
            rows.figures(CELLS),
        )
        .resolve_scale(color="independent")
        .properties(width="container", height=rows.height(count))
    )
    return drawn
