"""What was found on a machine, in sections: one mark a line, the remedy below it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchharness.doctor.check import DoctorReport, Finding, Mark, Section

# Words beside the colours: not everybody sees green, and not every terminal shows it.
_STYLES: dict[Mark, str] = {"ok": "green", "warn": "yellow", "missing": "bold red"}


def checkup_view(checkup: DoctorReport) -> Group:
    """Return the whole checkup, its outcome last."""
    return Group(*_parts(checkup))


def outcome(checkup: DoctorReport) -> str:
    """Return in a sentence whether the suite can run."""
    missing = [finding.subject for finding in checkup.count("missing")]
    warned = len(list(checkup.count("warn")))
    warnings = f"{warned} warning{'s' if warned != 1 else ''}" if warned else "no warnings"
    if missing:
        return f"missing: {', '.join(dict.fromkeys(missing))}; {warnings}"
    return f"ready; {warnings}"


def _parts(checkup: DoctorReport) -> Iterator[RenderableType]:
    yield Text(checkup.title, style="bold")
    for section in checkup.sections:
        yield Text()
        yield Text(section.title, style="bold")
        yield _table(section)
    yield Text()
    yield Text(outcome(checkup), style=_STYLES["ok" if checkup.is_able else "missing"])


def _table(section: Section) -> Table:
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_column(width=max(map(len, _STYLES)), no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in section.findings:
        table.add_row(
            Text(finding.mark, style=_STYLES[finding.mark]), Text(finding.subject), _words(finding)
        )
    return table


def _words(finding: Finding) -> Text:
    text = Text(finding.text)
    if finding.remedy:
        text.append(f"\n-> {finding.remedy}", style="bold" if finding.mark == "missing" else "dim")
    return text
