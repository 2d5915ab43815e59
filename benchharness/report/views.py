"""Views for a terminal: the doctor, certificates, and a plugin's contract."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchharness.fairness.tolerances import STAGES
from benchharness.report.rows import UNKNOWN, counted, printable

if TYPE_CHECKING:
    from benchharness.doctor.check import DoctorReport, Severity
    from benchharness.fairness.certificate import Certificate, StageDistance
    from benchharness.testing.check import ClauseResult, PluginCheck

# Words beside the colours: not everybody sees green, and not every terminal shows it.
_SEVERITIES: dict[Severity, str] = {"ok": "green", "warn": "yellow", "missing": "bold red"}
_CLAUSES = {"kept": ("ok", "green"), "broken": ("broken", "bold red"), "refused": ("-", "dim")}
_CLAUSE_WIDTH = max(len(mark) for mark, _ in _CLAUSES.values())
# More of the same kind says no more.
_FAULTS = 3


def doctor_view(report: DoctorReport) -> Group:
    """Return a check a line, its remedy below it, and the outcome last."""
    parts: list[RenderableType] = [Text(report.title, style="bold")]
    for section in report.sections:
        table = Table.grid(padding=(0, 1), expand=False)
        table.add_column(width=max(map(len, _SEVERITIES)), no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for check in section.findings:
            text = Text(check.text)
            if check.remedy:
                style = "bold" if check.mark == "missing" else "dim"
                text.append(f"\n-> {check.remedy}", style=style)
            mark = Text(check.mark, style=_SEVERITIES[check.mark])
            table.add_row(mark, Text(check.subject), text)
        parts += [Text(), Text(section.title, style="bold"), table]
    style = _SEVERITIES["ok" if report.is_able else "missing"]
    return Group(*parts, Text(), Text(doctor_outcome(report), style=style))


def doctor_outcome(report: DoctorReport) -> str:
    """Return in a sentence whether the suite can run."""
    missing = dict.fromkeys(check.subject for check in report.marked("missing"))
    warned = len(report.marked("warn"))
    warnings = counted(warned, "warning") if warned else "no warnings"
    ready = f"missing: {', '.join(missing)}" if missing else "ready"
    return f"{ready}; {warnings}"


def certificates_table(certificates: Sequence[Certificate]) -> RenderableType:
    """Return the verdict of each pair, its distances at each stage below, for ``rich`` to print."""
    if not certificates:
        return Text("nothing to compare: no benchmark of the equal track runs on two backends")
    parts: list[RenderableType] = []
    for certificate in certificates:
        colour = "green" if certificate.is_proven else "red"
        title = Text(f"{printable(certificate.name)}: ", "bold")
        parts.append(title.append(printable(certificate.verdict), colour))
        if certificate.findings:
            parts.append(_distances(certificate))
        parts.append(Text())
    legend = Table.grid(padding=(0, 2))
    for stage in STAGES:
        legend.add_row(Text(stage.name, "dim"), Text(stage.meaning, "dim"))
    return Group(*parts, legend)


def _distance(finding: StageDistance | None) -> Text:
    if finding is None:
        return Text(UNKNOWN)
    far = "of another kind" if math.isinf(finding.off) else f"{finding.off:.1e}"
    return Text(far if finding.off else "0", "" if finding.is_within else "red")


def _distances(certificate: Certificate) -> Table:
    backend, other = certificate.backends
    pairs = [(backend, other), (backend, "reference"), (other, "reference")]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("stage")
    for a, b in pairs:
        name = "float64" if b == "reference" else b
        table.add_column(printable(f"{a} - {name}"), justify="right")
    table.add_column("at most", justify="right")
    for stage in STAGES:
        found = {f.between: f for f in certificate.findings if f.stage == stage.name}
        texts = [_distance(found.get(pair)) for pair in pairs]
        if found:
            limit = next(iter(found.values())).tolerance
            table.add_row(stage.name, *texts, f"{limit:g}")
    return table


def clause_lines(result: ClauseResult, *, width: int, printed: set[str]) -> Iterator[Text]:
    """Yield the lines of a clause of the contract, its faults below it.

    Reasons already printed are left out, and those of this clause are added to them.
    """
    mark, style = _CLAUSES[result.outcome]
    line = Text(f"{mark:<{_CLAUSE_WIDTH}}", style=style)
    line.append(f"  {result.title}", style="bold" if result.faults else "default")
    count = len(result.checks)
    aside = ", ".join(filter(None, [f"{count} checks" if count > 1 else "", result.remark]))
    has_room = len(line) + 2 + len(aside) <= width
    if aside and has_room:
        line.append(f"  {aside}", style="dim")
    yield line
    below = [] if has_room else [(aside, "dim")]
    shown = 0
    for fault in result.faults:
        if fault.reason not in printed and shown < _FAULTS:
            printed.add(fault.reason)
            below.append((f"{fault.check}: {fault.reason}", "red"))
            shown += 1
    if more := len(result.faults) - shown:
        below.append((f"and {more} more like these" if shown else f"{more} as above", "red"))
    below += [(f"passed over: {refusal}", "dim") for refusal in result.refusals]
    margin = " " * (_CLAUSE_WIDTH + 2)
    for text, colour in below:
        for part in textwrap.wrap(printable(text), max(width - len(margin), 40)):
            yield Text(f"{margin}{part}", style=colour)


def contract_outcome(check: PluginCheck) -> Text:
    """Return in a sentence whether the contract is kept, and which strategies are carried out."""
    name = f"{check.name} ({check.distribution})"
    if broken := sum(result.outcome == "broken" for result in check.results):
        count = f"{broken} of {len(check.results)} clauses"
        return Text(f"{name} breaks the contract: {count}", style="bold red")
    text = Text(f"{name} keeps the contract", style="bold green")
    if check.refusals:
        names = ", ".join(check.strategies)
        text.append(f" for {names}; refused: {', '.join(check.refusals)}")
    return text
