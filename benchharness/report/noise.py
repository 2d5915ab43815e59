"""Noise of a machine, for a terminal: the smallest differences that it can show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from benchharness.compare.noise import DIFFERENCES, Noise, NoiseReport
from benchharness.model.quantities import QUANTITIES
from benchharness.report.comparison import figures_table, scatter_words
from benchharness.report.rows import UNKNOWN

MEANING = (
    "detectable: smallest change found with 90 % power; then the pairs needed for other "
    "thresholds, and the minutes that a pair takes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseTable:
    """The noise of all cells."""

    report: NoiseReport

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield headline, table and notes."""
        yield Text(noise_line(self.report), style="bold")
        yield Text()
        needs = (f"{difference:.0%}" for difference in DIFFERENCES)
        headings = ("cell", "column", "A : A", "pairs", "detectable", *needs, "min/pair")
        table = figures_table(headings, is_text=lambda place: place < 2, width=options.max_width)
        for noise in self.report.found:
            table.add_row(*(Text(text) for text in _row(noise)))
        yield table
        yield Text()
        for label, scatter in self.report.scatters.items():
            yield Text(scatter_words(label, scatter))
        for label, reason in self.report.failures.items():
            yield Text(f"{label}: {reason}", style="bold red")
        yield Text(MEANING, style="dim")


def noise_line(report: NoiseReport) -> str:
    """Return the line that says it all: what this machine shows of speed in its worst cell."""
    speeds = [measured for measured in report.found if QUANTITIES[measured.column].kind == "speed"]
    shown = speeds or list(report.found)
    if not shown:
        return "nothing could be measured"
    worst = max(shown, key=lambda noise: noise.reach)
    return (
        f"{worst.pairs} pairs show {_share(worst.reach)} of {_words(worst)} in every cell "
        f"({report.machine}, {report.minutes:.1f} minutes)"
    )


def _row(noise: Noise) -> list[str]:
    return [
        noise.cell,
        _words(noise),
        noise.word,
        str(noise.pairs),
        _share(noise.reach),
        *(UNKNOWN if need.pairs is None else str(need.pairs) for need in noise.needs),
        f"{noise.pair_s / 60:.2f}",
    ]


def _share(reach: float) -> str:
    return f"{reach:.1%}" if reach < 1 else "> 100%"


def _words(noise: Noise) -> str:
    return QUANTITIES[noise.column].words or noise.column
