"""A comparison on a terminal, in Markdown and as JUnit XML; the noise of a machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from rich import box
from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from benchharness.compare.comparison import CellComparison, Comparison
from benchharness.compare.noise import DIFFERENCES, Noise, NoiseReport
from benchharness.compare.sampling import ERROR, Scatter
from benchharness.compare.verdict import Verdict
from benchharness.model.quantities import QUANTITIES
from benchharness.report.markdown import escaped, markdown_list, markdown_table
from benchharness.report.rows import UNKNOWN, counted
from benchharness.report.table import as_text

HEADINGS = ("cell", "column", "verdict", "change", "interval", "pairs", "limit")
_BETTER = ("faster", "less", "better", "reached")
_STYLES = {
    "same": "green",
    **dict.fromkeys(_BETTER, "cyan"),
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
DETECTABLE = (
    "detectable: smallest change found with 90 % power; then the pairs needed for other "
    "thresholds, and the minutes that a pair takes"
)
# What XML 1.0 cannot hold at all.
_FORBIDDEN = {code: None for code in range(32) if code not in (9, 10, 13)}


def comparison_table(comparison: Comparison, *, width: int) -> Group:
    """Return headline, table and notes for a terminal of some width."""
    style = "bold red" if comparison.exit_code in (1, 3) else "bold"
    table = _figures_table(HEADINGS, texts=3, width=width)
    for row in rows(comparison):
        texts = list(map(Text, row))
        texts[2].stylize(_STYLES.get(row[2], "bold red"))
        table.add_row(*texts)
    return Group(
        Text(headline(comparison), style=style),
        Text(setting(comparison)),
        Text(),
        table,
        Text(),
        *(Text(note, style="yellow") for note in notes_of(comparison)),
        *(Text(note, style="dim") for note in legend_of(comparison)),
    )


def noise_table(report: NoiseReport, *, width: int) -> Group:
    """Return the noise of all cells: the smallest differences that a machine can show."""
    needs = (f"{difference:.0%}" for difference in DIFFERENCES)
    headings = ("cell", "column", "A : A", "pairs", "detectable", *needs, "min/pair")
    table = _figures_table(headings, texts=2, width=width)
    for noise in report.found:
        table.add_row(
            Text(noise.cell),
            _words(noise.column),
            noise.word,
            str(noise.pairs),
            _reach(noise),
            *(UNKNOWN if pairs is None else str(pairs) for pairs in noise.needs.values()),
            f"{noise.pair_s / 60:.2f}",
        )
    return Group(
        Text(noise_line(report), style="bold"),
        Text(),
        table,
        Text(),
        *(Text(_scatter_text(label, scatter)) for label, scatter in report.scatters.items()),
        *(Text(f"{label}: {why}", style="bold red") for label, why in report.failures.items()),
        Text(DETECTABLE, style="dim"),
    )


def noise_line(report: NoiseReport) -> str:
    """Return the line that says it all: what this machine shows of speed in its worst cell."""
    speeds = [noise for noise in report.found if QUANTITIES[noise.column].kind == "speed"]
    worst = max(speeds or report.found, key=lambda noise: noise.reach, default=None)
    if worst is None:
        return "nothing could be measured"
    return (
        f"{worst.pairs} pairs show {_reach(worst)} of {_words(worst.column)} in every cell "
        f"({report.machine}, {report.minutes:.1f} minutes)"
    )


def plain_text(comparison: Comparison, *, width: int = 100) -> str:
    """Return the comparison as text without colours."""
    return as_text(comparison_table(comparison, width=width), width=width)


def markdown(comparison: Comparison, *, command: str = "") -> str:
    """Return the comparison in Markdown, short enough for a comment on a pull request.

    Cells that changed, failed or are undecided are in sight, with the notes and the command that
    repeats it; the rest is folded.
    """
    mark = {0: "✅", 4: "❔"}.get(comparison.exit_code, "❌")
    every = rows(comparison)
    notable = [row for row in every if row[2] not in _UNREMARKABLE]
    # How precisely speeds were measured, as far as intervals are known.
    widths = sorted(
        math.sqrt(v.high / v.low) - 1
        for _, v in comparison.verdicts()
        if v.kind == "speed" and v.low and v.high
    )
    span = " to ".join(f"{width:.1%}" for width in (*widths[:1], *widths[1:][-1:]))
    parts = [
        f"### {mark} {escaped(headline(comparison))}",
        escaped(setting(comparison)),
        _markdown_table(notable) if notable else "",
        markdown_list(notes_of(comparison)),
        f"Noise of this machine: intervals of speeds are ± {span}." if span else "",
        f"Repeat it: `{command}`" if command else "",
        "<details><summary>All figures</summary>",
        _markdown_table(every) if len(notable) < len(every) else "",
        markdown_list(legend_of(comparison)),
        "</details>",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def junit(comparison: Comparison) -> str:
    """Return an XML document: a test suite, and in it a test for each cell and column.

    What is worse is a failure, what is undecided and matters too; a cell whose trials failed is an
    error, one that neither side can do is skipped.
    """
    root = ElementTree.Element("testsuites")
    name = _xml_text(f"benchharness compare {comparison.suite}")
    suite = ElementTree.SubElement(root, "testsuite", name=name)
    for cell in comparison.cells:
        classname = _xml_text(cell.label)
        if not cell.verdicts:
            case = ElementTree.SubElement(suite, "testcase", classname=classname, name="trials")
            kind = "skipped" if cell.is_skipped else "error"
            ElementTree.SubElement(case, kind, message=_xml_text(cell.failure))
        for verdict in cell.verdicts:
            case = ElementTree.SubElement(
                suite, "testcase", classname=classname, name=verdict.column
            )
            figures = (
                f"{verdict.word}: change {verdict.change}, interval {verdict.low} to "
                f"{verdict.high}, threshold {verdict.threshold}, {verdict.pairs} pairs"
            )
            said = figures if verdict.misses is None else missed_text(verdict)
            message = _xml_text("; ".join(filter(None, (said, busy_text(comparison)))))
            if verdict.is_worse or verdict.is_undecided:
                ElementTree.SubElement(case, "failure", type=verdict.word, message=message)
            elif verdict.word == "undecidable":
                ElementTree.SubElement(case, "skipped", message=message)
            else:
                ElementTree.SubElement(case, "system-out").text = message
    kinds = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counts = {name: str(len(suite.findall(f"*/{kind}"))) for name, kind in kinds.items()}
    suite.attrib |= {"tests": str(len(suite)), **counts}
    suite.set("time", f"{60 * (comparison.minutes or 0):.1f}")
    output = _xml_text("\n".join([headline(comparison), *comparison.notes]))
    ElementTree.SubElement(suite, "system-out").text = output
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def headline(comparison: Comparison) -> str:
    """Return the line that says it all, a busy machine too."""
    busy = busy_text(comparison)
    return _outcome(comparison) + (f" ({busy})" if busy else "")


def busy_text(comparison: Comparison) -> str:
    """Return that other processes disturbed trials; empty where they did not."""
    if not comparison.disturbed:
        return ""
    trials = counted(comparison.disturbed, "trial")
    return f"machine busy during {trials}: small changes are unreliable"


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
    if {cell.proof for cell in comparison.cells if not cell.failure} == {"proven"}:
        parts.append("equal work proven")
    return ", ".join(parts)


def rows(comparison: Comparison) -> list[list[str]]:
    """Return a row of texts for each cell and column, as ``HEADINGS`` names them."""
    texts = []
    for cell in comparison.cells:
        if not cell.verdicts:
            texts.append([cell.label, "", "skipped" if cell.is_skipped else "failed", *[""] * 4])
        for v in cell.verdicts:
            pairs = str(v.pairs) if v.is_paired else f"{v.pairs} each"
            if v.misses is not None:
                change, limit = "", ""
                interval = " : ".join(f"{missed} of {trials}" for missed, trials in v.misses)
            else:
                sign, equal = ("+", 0) if v.kind == "accuracy" else ("", 1)
                change, low, high = (
                    UNKNOWN if value is None else f"{value:{sign}.3f}"
                    for value in (v.change, v.low, v.high)
                )
                interval = UNKNOWN if low == high == UNKNOWN else f"{low} to {high}"
                limit = f"{equal + v.threshold:.3f}"
            is_informational = v.word == "undecidable" and not (v.is_required or v.misses)
            word = f"{v.word} *" if is_informational else v.word
            texts.append([cell.label, _words(v.column), word, change, interval, pairs, limit])
    return texts


def notes_of(comparison: Comparison) -> list[str]:
    """Return what a reader must know besides the table."""
    return [
        *(f"{cell.label}: {cell.failure}" for cell in comparison.cells if cell.failure),
        *(f"{cell.label}: {missed_text(v)}" for cell, v in comparison.verdicts() if v.misses),
        *(
            _scatter_text(cell.label, cell.scatter)
            for cell in comparison.cells
            if cell.scatter and any(v.is_undecided and v.kind == "speed" for v in cell.verdicts)
        ),
        *comparison.notes,
    ]


def legend_of(comparison: Comparison) -> list[str]:
    """Return what the marks and figures of the table mean, and how sure they are."""
    verdicts = [verdict for _, verdict in comparison.verdicts()]
    is_informational = any(
        v.word == "undecidable" and not v.is_undecided for v in verdicts if not v.misses
    )
    legend = [INFORMATIONAL, LEGEND] if is_informational else [LEGEND]
    if not verdicts:
        return legend
    of_intervals, of_misses = (
        " or ".join(f"{level:.2%}" for level in sorted(levels))
        for levels in (
            {v.level for v in verdicts if v.misses is None},
            {v.level for v in verdicts if v.misses is not None},
        )
    )
    parts = []
    if of_intervals:
        parts.append(
            f"each end of an interval errs in {of_intervals} of looks, and all looks planned "
            f"together in {ERROR:.0%} of comparisons at most"
        )
    if of_misses:
        parts.append(f"a word on missed targets errs in {of_misses} of looks")
    return [*legend, f"level: {'; '.join(parts)}"]


def missed_text(verdict: Verdict) -> str:
    """Return a sentence on how often each side misses its target."""
    counts = f"B {_misses(verdict)}"
    return {
        "missed": f"{counts}, which is more than chance",
        "reached": f"{counts}, which is less than chance",
        "same": f"{counts}, far fewer than half",
    }.get(verdict.word, f"{counts}, which may be chance")


def _figures_table(headings: Sequence[str], *, texts: int, width: int) -> Table:
    """Return a table of a name, which folds where the terminal is narrow, texts and numbers."""
    padding = (0, 1 if width >= ROOMY else 0)
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim", padding=padding
    )
    name, *others = headings
    table.add_column(name, overflow="fold", min_width=10)
    for place, heading in enumerate(others, start=1):
        justify: JustifyMethod = "left" if place < texts else "right"
        table.add_column(heading, overflow="fold", no_wrap=True, justify=justify)
    return table


def _markdown_table(table: Sequence[Sequence[str]]) -> str:
    """Return rows in Markdown, verdicts that are bad news in bold."""
    texts = [list(map(escaped, row)) for row in table]
    for row in texts:
        if row[2] not in _STYLES:
            row[2] = f"**{row[2]}**"
    return markdown_table(HEADINGS, texts, texts=3)


def _outcome(comparison: Comparison) -> str:
    verdicts = list(comparison.verdicts())

    def some(chosen: Iterable[tuple[CellComparison, Verdict]]) -> str:
        return _some([f"{cell.label} {_sized(verdict)}" for cell, verdict in chosen])

    failed = [cell.label for cell in comparison.cells if cell.failure and not cell.is_skipped]
    match comparison.exit_code:
        case 3:
            more = f"; failed: {_some(failed)}" if failed else ""
            return f"REGRESSION: {some(pair for pair in verdicts if pair[1].is_worse)}{more}"
        case 1:
            return f"FAILED: {_some(failed)} cannot be compared"
        case 4 if not verdicts:
            return "UNDECIDABLE: nothing that is compared was measured on both sides"
        case 4:
            undecided = _some(
                [f"{cell.label} {_words(v.column)}" for cell, v in verdicts if v.is_undecided]
            )
            return f"UNDECIDABLE: {undecided}; no regression in the rest"
    if not verdicts:
        return "nothing to compare: neither side can do the work"
    figures, cells = counted(len(verdicts), "figure"), counted(len(comparison.cells), "cell")
    better = some(pair for pair in verdicts if pair[1].word in _BETTER)
    return f"no regression in {figures} of {cells}{'; ' if better else ''}{better}"


def _misses(verdict: Verdict) -> str:
    assert verdict.misses is not None
    (missed_a, of_a), (missed_b, of_b) = verdict.misses
    return f"misses its target in {missed_b} of {of_b} trials, A in {missed_a} of {of_a}"


def _sized(verdict: Verdict) -> str:
    """Return a verdict with its size: ``training 12.1 % slower``."""
    if verdict.misses is not None:
        return _misses(verdict)
    words = _words(verdict.column)
    if verdict.change is None:
        return f"{words} {verdict.word}"
    if verdict.kind == "accuracy":
        return f"{words} {abs(verdict.change):.3f} {verdict.word}"
    return f"{words} {max(verdict.change, 1 / verdict.change) - 1:.1%} {verdict.word}"


def _words(column: str) -> str:
    quantity = QUANTITIES.get(column)
    return (quantity.words if quantity else "target misses") or column


def _reach(noise: Noise) -> str:
    return f"{noise.reach:.1%}" if noise.reach < 1 else "> 100%"


def _scatter_text(label: str, scatter: Scatter) -> str:
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


def _xml_text(text: str) -> str:
    return text.translate(_FORBIDDEN)


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _MAX_NAMED
    named = ", ".join(texts[:_MAX_NAMED])
    return f"{named} and {more} more" if more > 0 else named
