"""Report of the doctor for a terminal: a check a line, its remedy below it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchharness.doctor.check import Check, DoctorReport, Section, Severity

# Words beside the colours: not everybody sees green, and not every terminal shows it.
_STYLES: dict[Severity, str] = {"ok": "green", "warn": "yellow", "missing": "bold red"}


def doctor_view(report: DoctorReport) -> Group:
    """Return the whole report, its outcome last."""
    return Group(*_parts(report))


def outcome(report: DoctorReport) -> str:
    """Return in a sentence whether the suite can run."""
    missing = [check.subject for check in report.marked("missing")]
    warned = len(report.marked("warn"))
    warnings = f"{warned} warning{'s' if warned != 1 else ''}" if warned else "no warnings"
    if missing:
        return f"missing: {', '.join(dict.fromkeys(missing))}; {warnings}"
    return f"ready; {warnings}"


def _parts(report: DoctorReport) -> Iterator[RenderableType]:
    yield Text(report.title, style="bold")
    for section in report.sections:
        yield Text()
        yield Text(section.title, style="bold")
        yield _table(section)
    yield Text()
    yield Text(outcome(report), style=_STYLES["ok" if report.is_able else "missing"])


def _table(section: Section) -> Table:
    table = Table.grid(padding=(0, 1), expand=False)
    table.add_column(width=max(map(len, _STYLES)), no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in section.findings:
        table.add_row(
            Text(check.mark, style=_STYLES[check.mark]), Text(check.subject), _words(check)
        )
    return table


def _words(check: Check) -> Text:
    text = Text(check.text)
    if check.remedy:
        text.append(f"\n-> {check.remedy}", style="bold" if check.mark == "missing" else "dim")
    return text
