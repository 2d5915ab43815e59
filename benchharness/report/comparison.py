"""Comparison of two sides: a headline, then a row for each cell and column, and notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from benchharness.compare.comparison import Comparison
from benchharness.compare.sampling import ERROR, Scatter
from benchharness.compare.verdict import Verdict
from benchharness.model.quantities import QUANTITIES
from benchharness.report.rows import UNKNOWN
from benchharness.report.table import as_text, escaped

HEADINGS = ("cell", "column", "verdict", "change", "interval", "pairs", "limit")
_STYLES = {
    "same": "green",
    "faster": "cyan",
    "less": "cyan",
    "better": "cyan",
    "reached": "cyan",
    "undecidable": "yellow",
    "failed": "bold red",
    "skipped": "dim",
}
# Verdicts that a comment need not show.
_UNREMARKABLE = ("same", "undecidable *", "skipped")
_MAX_NAMED = 3
# Below so many columns of text the gaps of the table make room for names.
ROOMY = 100


LEGEND = (
    "change: B / A of seconds or bytes, above 1 where B is worse; of top-1 A - B, above 0 where B "
    "is worse"
)
INFORMATIONAL = "*: informational; use --column NAME to require a decision"
_LEGENDS = ("change: ", "*: ", "level: ")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonTable:
    """A comparison for a terminal of any width; rich asks it to fit itself."""

    comparison: Comparison

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield headline, table and notes."""
        comparison = self.comparison
        is_bad = comparison.exit_code in (1, 3)
        yield Text(headline(comparison), style="bold red" if is_bad else "bold")
        yield Text(setting(comparison))
        yield Text()
        table = figures_table(HEADINGS, is_text=lambda place: place < 3, width=options.max_width)
        for row in rows(comparison):
            texts = [Text(text) for text in row]
            texts[2].stylize(_STYLES.get(row[2], "bold red"))
            table.add_row(*texts)
        yield table
        yield Text()
        for note in notes_of(comparison):
            yield Text(note, style="dim" if note.startswith(_LEGENDS) else "yellow")


def figures_table(headings: Sequence[str], *, is_text: Callable[[int], bool], width: int) -> Table:
    """Return a table whose first column, a name, is folded where the terminal is narrow.

    Args:
        headings: Of its columns.
        is_text: Whether a column, by its place, holds text and not numbers.
        width: Of the terminal.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="dim",
        padding=(0, 1 if width >= ROOMY else 0),
    )
    for place, heading in enumerate(headings):
        justify: JustifyMethod = "left" if is_text(place) else "right"
        if place == 0:
            table.add_column(heading, overflow="fold", min_width=10, justify=justify)
        else:
            table.add_column(heading, overflow="fold", no_wrap=True, justify=justify)
    return table


def plain_text(comparison: Comparison, *, width: int = 100) -> str:
    """Return the comparison as text without colours."""
    return as_text(ComparisonTable(comparison=comparison), width=width)


def markdown(comparison: Comparison, *, command: str = "") -> str:
    """Return the comparison in Markdown, short enough for a comment on a pull request.

    Cells that changed, failed or are undecided are in sight, with the notes; the rest is folded.

    Args:
        comparison: To write.
        command: That repeats it; empty for none.
    """
    mark = {0: "✅", 4: "❔"}.get(comparison.exit_code, "❌")
    every = rows(comparison)
    notable = [row for row in every if row[2] not in _UNREMARKABLE]
    parts = [f"### {mark} {escaped(headline(comparison))}", escaped(setting(comparison))]
    if notable:
        parts.append(_markdown_table(notable))
    notes: list[str] = []
    legend: list[str] = []
    for note in notes_of(comparison):
        (legend if note.startswith(_LEGENDS) else notes).append(f"- {escaped(note)}")
    if notes:
        parts.append("\n".join(notes))
    if noise := noise_words(comparison):
        parts.append(escaped(noise))
    if command:
        parts.append(f"Repeat it: `{command}`")
    folded = [_markdown_table(every)] if len(notable) < len(every) else []
    summary = "<details><summary>All figures</summary>"
    return "\n\n".join([*parts, summary, *folded, "\n".join(legend), "</details>"]) + "\n"


def noise_words(comparison: Comparison) -> str:
    """Return how precisely speeds were measured; empty if no interval is known."""
    widths = sorted(
        math.sqrt(v.high / v.low) - 1
        for _, v in comparison.verdicts()
        if v.kind == "speed" and v.low and v.high
    )
    if not widths:
        return ""
    span = f"± {widths[0]:.1%}" if len(widths) == 1 else f"± {widths[0]:.1%} to {widths[-1]:.1%}"
    return f"Noise of this machine: intervals of speeds are {span}."


def _markdown_table(table: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|---|---:|---:|---:|---:|"]
    for row in table:
        cells = [escaped(text) for text in row]
        if row[2] not in _STYLES:
            cells[2] = f"**{cells[2]}**"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def headline(comparison: Comparison) -> str:
    """Return the line that says it all, a busy machine too."""
    busy = busy_words(comparison)
    return _outcome(comparison) + (f" ({busy})" if busy else "")


def busy_words(comparison: Comparison) -> str:
    """Return that other processes disturbed trials; empty where they did not."""
    if not comparison.disturbed:
        return ""
    trials = _count(comparison.disturbed, "trial")
    return f"machine busy during {trials}: small changes are unreliable"


def _outcome(comparison: Comparison) -> str:
    verdicts = list(comparison.verdicts())
    worse = [f"{cell.label} {_said(verdict)}" for cell, verdict in verdicts if verdict.is_worse]
    failed = [cell.label for cell in comparison.cells if cell.failure and not cell.is_skipped]
    undecided = [
        f"{cell.label} {_words(verdict)}" for cell, verdict in verdicts if verdict.is_undecided
    ]
    cells = f"{_count(len(verdicts), 'figure')} of {_count(len(comparison.cells), 'cell')}"
    match comparison.exit_code:
        case 3:
            more = f"; failed: {_some(failed)}" if failed else ""
            return f"REGRESSION: {_some(worse)}{more}"
        case 1:
            return f"FAILED: {_some(failed)} cannot be compared"
        case 4:
            return f"UNDECIDABLE: {_some(undecided)}; no regression in the rest"
    if not verdicts:
        return "nothing to compare: neither side can do the work"
    better = [
        f"{cell.label} {_said(verdict)}" for cell, verdict in verdicts if verdict.word in _BETTER
    ]
    return f"no regression in {cells}" + (f"; {_some(better)}" if better else "")


_BETTER = ("faster", "less", "better", "reached")


def setting(comparison: Comparison) -> str:
    """Return what was compared, and how."""
    how = {
        "interleaved": "run in turn",
        "same run": "from one run",
        "recorded": "from two recorded runs",
    }[comparison.how]
    parts = [f"A {comparison.a}, B {comparison.b}, {how}"]
    parts += [f"{comparison.minutes:.1f} minutes"] if comparison.minutes is not None else []
    parts += [f"on {comparison.machine}"] if comparison.machine else []
    proofs = {cell.proof for cell in comparison.cells if not cell.failure}
    if proofs == {"proven"}:
        parts.append("equal work proven")
    return ", ".join(parts)


def notes_of(comparison: Comparison) -> list[str]:
    """Return what a reader must know besides the table, the legend last."""
    verdicts = [verdict for _, verdict in comparison.verdicts()]
    is_informational = any(
        v.word == "undecidable" and not v.is_undecided for v in verdicts if not v.misses
    )
    return [
        *(f"{cell.label}: {cell.failure}" for cell in comparison.cells if cell.failure),
        *(f"{cell.label}: {missed_words(v)}" for cell, v in comparison.verdicts() if v.misses),
        *(
            scatter_words(cell.label, cell.scatter)
            for cell in comparison.cells
            if cell.scatter and any(v.is_undecided and v.kind == "speed" for v in cell.verdicts)
        ),
        *comparison.notes,
        *([INFORMATIONAL] if is_informational else []),
        LEGEND,
        *([level_line(verdicts)] if verdicts else []),
    ]


def scatter_words(label: str, scatter: Scatter) -> str:
    """Return what a cell's training scatters by, and what helps against it."""
    if not scatter.are_longer_trials_better:
        advice = "more pairs help, longer trials hardly"
    elif scatter.best_epochs is None:
        advice = "longer trials help as much as more pairs, and save starting processes"
    else:
        advice = f"longer trials help most, of about {scatter.best_epochs} epochs"
    return (
        f"{label}: B / A of training scatters by {scatter.between:.1%} between trials, and by "
        f"{scatter.of_means:.1%} for the {scatter.epochs} epochs within: {advice}"
    )


def missed_words(verdict: Verdict) -> str:
    """Return a sentence on how often each side misses its target."""
    assert verdict.misses is not None
    (ours, of_ours), (theirs, of_theirs) = verdict.misses
    counts = f"B misses its target in {theirs} of {of_theirs} trials, A in {ours} of {of_ours}"
    return {
        "missed": f"{counts}, which is more than chance",
        "reached": f"{counts}, which is less than chance",
        "same": f"{counts}, far fewer than half",
    }.get(verdict.word, f"{counts}, which may be chance")


def rows(comparison: Comparison) -> list[list[str]]:
    """Return a row of texts for each cell and column, as ``HEADINGS`` names them."""
    texts = []
    for cell in comparison.cells:
        if not cell.verdicts:
            word = "skipped" if cell.is_skipped else "failed"
            texts.append([cell.label, "", word, *[""] * 4])
        texts += [[cell.label, *_row(verdict)] for verdict in cell.verdicts]
    return texts


def _row(verdict: Verdict) -> list[str]:
    if verdict.misses is not None:
        counts = " : ".join(f"{missed} of {trials}" for missed, trials in verdict.misses)
        return [_words(verdict), verdict.word, "", counts, _pairs(verdict), ""]
    limit = verdict.threshold if verdict.kind == "accuracy" else 1 + verdict.threshold
    mark = "" if verdict.is_required or verdict.word != "undecidable" else " *"
    interval = f"{_number(verdict, verdict.low)} to {_number(verdict, verdict.high)}"
    return [
        _words(verdict),
        f"{verdict.word}{mark}",
        _number(verdict, verdict.change),
        interval if verdict.low is not None or verdict.high is not None else UNKNOWN,
        _pairs(verdict),
        f"{limit:.3f}",
    ]


def _pairs(verdict: Verdict) -> str:
    return str(verdict.pairs) if verdict.is_paired else f"{verdict.pairs} each"


def _number(verdict: Verdict, value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:+.3f}" if verdict.kind == "accuracy" else f"{value:.3f}"


def _said(verdict: Verdict) -> str:
    """Return a verdict with its size: ``training 12.1 % slower``."""
    if verdict.misses is not None:
        (ours, of_ours), (theirs, of_theirs) = verdict.misses
        return f"misses its target in {theirs} of {of_theirs} trials, A in {ours} of {of_ours}"
    if verdict.change is None:
        return f"{_words(verdict)} {verdict.word}"
    if verdict.kind == "accuracy":
        return f"{_words(verdict)} {abs(verdict.change):.3f} {verdict.word}"
    change = verdict.change if verdict.change >= 1 else 1 / verdict.change
    return f"{_words(verdict)} {change - 1:.1%} {verdict.word}"


def _words(verdict: Verdict) -> str:
    if verdict.misses is not None:
        return "target misses"
    return QUANTITIES[verdict.column].words or verdict.column


def level_line(verdicts: Iterable[Verdict]) -> str:
    """Return how sure each interval is, and all looks together."""
    said = list(verdicts)
    of_misses = _levels(verdict for verdict in said if verdict.misses)
    of_intervals = _levels(verdict for verdict in said if not verdict.misses)
    parts = []
    if of_intervals:
        parts.append(
            f"each end of an interval errs in {of_intervals} of looks, and all looks planned "
            f"together in {ERROR:.0%} of comparisons at most"
        )
    if of_misses:
        parts.append(f"a word on missed targets errs in {of_misses} of looks")
    return f"level: {'; '.join(parts)}"


def _levels(verdicts: Iterable[Verdict]) -> str:
    levels = sorted({verdict.level for verdict in verdicts})
    return " or ".join(f"{level:.2%}" for level in levels)


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _MAX_NAMED
    named = ", ".join(texts[:_MAX_NAMED])
    return f"{named} and {more} more" if more > 0 else named


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
