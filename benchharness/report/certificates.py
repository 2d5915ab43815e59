"""Certificates as tables: every stage with its distances and its tolerance."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchharness.fairness.certificate import Certificate, StageDistance
from benchharness.fairness.tolerances import STAGES
from benchharness.report.rows import printable


def certificates_table(certificates: Sequence[Certificate]) -> RenderableType:
    """Return the verdict of each pair with its figures below, for ``rich`` to print."""
    if not certificates:
        return Text("nothing to compare: no benchmark of the equal track runs on two backends")
    parts: list[RenderableType] = []
    for certificate in certificates:
        colour = "green" if certificate.is_proven else "red"
        title = f"{printable(certificate.name)}: "
        parts.append(Text(title, "bold").append(printable(certificate.verdict), colour))
        if certificate.findings:
            parts.append(_figures(certificate))
        parts.append(Text())
    return Group(*parts, _legend())


def _figures(certificate: Certificate) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    backend, other = certificate.backends
    for heading in (
        "stage",
        f"{backend} - {other}",
        f"{backend} - float64",
        f"{other} - float64",
        "at most",
    ):
        table.add_column(printable(heading), justify="left" if heading == "stage" else "right")
    for stage in STAGES:
        found = {
            finding.between: finding
            for finding in certificate.findings
            if finding.stage == stage.name
        }
        if not found:
            continue
        pairs = [(backend, other), (backend, "reference"), (other, "reference")]
        limit = next(iter(found.values())).tolerance
        table.add_row(
            stage.name,
            *(_distance(found.get(pair)) for pair in pairs),
            f"{limit:g}",
        )
    return table


def _legend() -> Table:
    grid = Table.grid(padding=(0, 2))
    for stage in STAGES:
        grid.add_row(Text(stage.name, "dim"), Text(stage.meaning, "dim"))
    return grid


def _distance(finding: StageDistance | None) -> Text:
    if finding is None:
        return Text("-")
    return Text(f"{finding.off:.1e}" if finding.off else "0", "" if finding.is_within else "red")
