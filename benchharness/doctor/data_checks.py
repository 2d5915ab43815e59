"""What there is to run on, as findings: backends, data, weights, optional packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from benchharness.doctor.backends import BackendStatus
from benchharness.doctor.check import Finding
from benchharness.doctor.data import Resource
from benchharness.plugins import install_command
from benchharness.suite.plan import Plan
from benchharness.suite.settings import TransferSettings

_DAY_S = 86_400


def backend_findings(
    healths: Sequence[BackendStatus], *, needed: Sequence[str], now: datetime
) -> Iterator[Finding]:
    """Yield how each backend is.

    Args:
        needed: Those of the suite; without one of them it cannot run.
        now: To tell the age of what was measured.
    """
    if not healths:
        yield Finding(
            mark="missing",
            subject="backends",
            text="none is installed",
            remedy=f"{install_command('torch')}, or {install_command('keras')}",
        )
    for health in healths:
        if health.is_well:
            yield Finding(mark="ok", subject=health.backend, text=_well(health, now=now))
        else:
            yield Finding(
                mark="missing" if health.backend in needed else "warn",
                subject=health.backend,
                text=health.reason,
                remedy=health.remedy,
            )


def supply_findings(supplies: Sequence[Resource]) -> Iterator[Finding]:
    """Yield which data and weights are here; none of them is missed as long as no suite asks."""
    for supply in supplies:
        yield Finding(
            mark="ok" if supply.is_here else "warn",
            subject=supply.name,
            text=supply.damage or supply.place or "not on this machine",
            remedy=supply.remedy,
        )


def weights_findings(plan: Plan, supplies: Sequence[Resource]) -> Iterator[Finding]:
    """Yield for each backbone of the plan whether its pretrained weights can be had."""
    here = {supply.name: supply for supply in supplies}
    wanted: dict[str, TransferSettings] = {}
    for cell in plan.cells:
        if isinstance(cell.settings, TransferSettings) and cell.settings.weights != "random":
            wanted.setdefault(cell.settings.backbone, cell.settings)
    for backbone, settings in wanted.items():
        if backbone in plan.suite.weights:
            continue
        known = [here[f"{backbone} {name}"] for name in settings.releases]
        yield _weights_finding(
            backbone, known, has_fallback=plan.suite.weights_fallback is not None
        )


def extra_findings(packages: Mapping[str, Mapping[str, str | None]]) -> Iterator[Finding]:
    """Yield which optional packages are here.

    Args:
        packages: By extra of benchharness; versions by distribution, None for what is missing.
    """
    for extra, found in packages.items():
        missing = [name for name, version in found.items() if version is None]
        here = ", ".join(f"{name} {version}" for name, version in found.items() if version)
        yield Finding(
            mark="warn" if missing else "ok",
            subject=extra,
            text=f"without {', '.join(missing)}" if missing else here,
            remedy=f"pip install {' '.join(missing)}" if missing else "",
        )


def _well(health: BackendStatus, *, now: datetime) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in health.versions.items())
    words = [health.distribution, versions]
    if health.device:
        words.append(f"on {health.device}")
    if health.threads:
        words.append(f"{health.threads} thread{'s' if health.threads > 1 else ''}")
    if health.import_s is not None:
        words.append(f"imported in {health.import_s:.1f} s")
    if health.tempo is not None:
        words.append(f"speed measured {_ago(health.tempo.age_s(now))}")
    return "; ".join(word for word in words if word)


def _weights_finding(backbone: str, known: Sequence[Resource], *, has_fallback: bool) -> Finding:
    found = next((supply for supply in known if supply.is_here), None)
    if found is not None:
        return Finding(mark="ok", subject="weights", text=f"{found.name}: {found.place}")
    if damaged := next((supply for supply in known if supply.damage), None):
        return Finding(mark="missing", subject="weights", text=damaged.damage)
    fetchable = next((supply for supply in known if supply.download_bytes), None)
    names = " or ".join(supply.name for supply in known)
    remedy = fetchable.remedy if fetchable else next((s.remedy for s in known), "")
    if fetchable is None and not has_fallback:
        return Finding(mark="missing", subject="weights", text=f"{names}: not here", remedy=remedy)
    text = f"{names}: not here" + ("; else random ones" if has_fallback else "")
    return Finding(mark="warn", subject="weights", text=text, remedy=remedy)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return "just now"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} minutes ago"
    if seconds < 2 * _DAY_S:
        return f"{seconds / 3600:.0f} hours ago"
    return f"{seconds / _DAY_S:.0f} days ago"
