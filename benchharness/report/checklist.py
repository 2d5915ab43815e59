"""The contract of a plugin on the terminal: a line for each clause, faults below it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.text import Text

from benchharness.report.rows import printable
from benchharness.testing.check import ClauseResult, PluginCheck

_MARKS = {"kept": ("ok", "green"), "broken": ("broken", "bold red"), "refused": ("-", "dim")}
_WIDTH = max(len(mark) for mark, _ in _MARKS.values())
# More of the same kind says no more.
_FAULTS = 3


def lines(result: ClauseResult, *, width: int, printed: set[str] | None = None) -> Iterator[Text]:
    """Yield the lines of a clause.

    Args:
        width: Of the terminal, in characters.
        printed: Reasons of other clauses, which are not printed again; those of this one are added.
    """
    printed = set() if printed is None else printed
    mark, style = _MARKS[result.outcome]
    line = Text(f"{mark:<{_WIDTH}}", style=style)
    line.append(f"  {result.title}", style="bold" if result.faults else "default")
    aside = _aside(result)
    has_room = len(line) + 2 + len(aside) <= width
    if aside and has_room:
        line.append(f"  {aside}", style="dim")
    yield line
    if not has_room:
        yield from _indented(aside, width=width, style="dim")
    shown = 0
    for fault in result.faults:
        if fault.reason not in printed and shown < _FAULTS:
            printed.add(fault.reason)
            yield from _indented(f"{fault.check}: {fault.reason}", width=width, style="red")
            shown += 1
    if more := len(result.faults) - shown:
        words = f"and {more} more like these" if shown else f"{more} as above"
        yield from _indented(words, width=width, style="red")
    for refusal in result.refusals:
        yield from _indented(f"passed over: {refusal}", width=width, style="dim")


def outcome(check: PluginCheck) -> Text:
    """Return in a sentence whether the contract is kept, and which strategies are carried out."""
    name = f"{check.name} ({check.distribution})"
    broken = sum(result.outcome == "broken" for result in check.results)
    if broken:
        count = f"{broken} of {len(check.results)} clauses"
        return Text(f"{name} breaks the contract: {count}", style="bold red")
    text = Text(f"{name} keeps the contract", style="bold green")
    if check.refusals:
        names = ", ".join(check.strategies)
        text.append(f" for {names}; refused: {', '.join(check.refusals)}")
    return text


def _aside(result: ClauseResult) -> str:
    """Return how many checks there were, and what else is worth knowing."""
    count = len(result.checks)
    parts = [f"{count} checks"] if count > 1 else []
    return ", ".join([*parts, result.remark] if result.remark else parts)


def _indented(text: str, *, width: int, style: str) -> Iterator[Text]:
    margin = " " * (_WIDTH + 2)
    for part in textwrap.wrap(printable(text), max(width - len(margin), 40)):
        yield Text(f"{margin}{part}", style=style)
