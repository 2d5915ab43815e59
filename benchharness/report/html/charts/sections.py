"""Sections of charts on the page, from top to bottom: what each is called and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchharness.report.html.charts import cells, curves
from benchharness.report.html.charts.chart import Chart, Frame
from benchharness.report.rows import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Charts that belong together.

    Attributes:
        name: Its identifier in the page.
        title: ``{first}`` stands for the first backend, here and in the text.
        short: Title in the page's navigation.
        text: How to read them.
        columns: How many stand side by side where there is room.
        make: Returns the charts of a run; none where there is nothing to show.
        charts: What ``make`` returned.
    """

    name: str
    title: str
    short: str
    text: str
    columns: int = 1
    make: Callable[[Frame], Sequence[Chart]]
    charts: Sequence[Chart] = ()


SECTIONS = (
    Section(
        name="throughput",
        title="Throughput",
        short="Throughput",
        text="Bars are medians, dots single trials, whiskers 95 % intervals of the geometric mean. "
        "Each benchmark has a scale of its own, from 0; an arrow marks an interval that goes on "
        "beyond it.",
        columns=2,
        make=cells.throughput,
    ),
    Section(
        name="ratios",
        title="Speed against {first}",
        short="Ratios",
        text="How many times as fast as {first}, to the target where one is stated and reached, "
        "on a logarithmic scale; whiskers are 95 % intervals over paired trials. In colour where a "
        "winner can be named; grey where chance, a busy machine or a missing proof forbids it.",
        make=cells.ratios,
    ),
    Section(
        name="learning",
        title="Learning curves",
        short="Learning",
        text="Thin lines are single trials, thick ones their median. Seconds are those of "
        "training: evaluation, compiling and extraction before it are left out.",
        columns=3,
        make=curves.learning,
    ),
    Section(
        name="accuracy",
        title="Time against accuracy",
        short="Accuracy",
        text="Up is better, left is sooner. Large marks are medians, small ones trials; the line "
        "is the Pareto front: no other cell is both sooner and more accurate. Extracting features "
        "counts for all trials that use them; the training of a head started from does not.",
        make=curves.accuracy,
    ),
    Section(
        name="phases",
        title="Where the time goes",
        short="Phases",
        text="One trial per cell, the one of median wall time; its phases add up to it. "
        "Starting includes the import of the framework; preparing, the first steps, which compile; "
        "checking, the tests of clock and batches, and the training step that is repeated on the "
        "device for compute_ms.",
        make=cells.phases,
    ),
    Section(
        name="memory",
        title="Memory",
        short="Memory",
        text="Medians over the trials of a cell, in 10⁹ bytes. Host memory is that of the worker "
        "and all of its children.",
        columns=2,
        make=cells.memory,
    ),
    Section(
        name="trials",
        title="Trial by trial",
        short="Trials",
        text="Images per second over the cell's median, on a logarithmic scale. On a steady "
        f"machine 19 of 20 trials stay in the band of {cells.STEADY_BAND:.0%} either way; more "
        "outside of it are noise of the machine, and more trials help.",
        make=cells.trials,
    ),
)


def sections_of(frame: Frame) -> list[Section]:
    """Return the sections that have something to show, with their charts."""
    first = printable(frame.backends[0]) if frame.backends else ""
    return [
        replace(
            section,
            title=section.title.replace("{first}", first),
            text=section.text.replace("{first}", first),
            charts=charts,
        )
        for section in SECTIONS
        if (charts := section.make(frame))
    ]
