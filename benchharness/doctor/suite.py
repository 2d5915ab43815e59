"""Whether a suite finds on this machine what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchharness.data.sources import info
from benchharness.doctor.backends import BackendStatus
from benchharness.doctor.check import Finding, Section
from benchharness.doctor.data import Resource
from benchharness.doctor.data_checks import weights_findings
from benchharness.doctor.disk import folder_findings, folders
from benchharness.errors import BenchError, WeightsError
from benchharness.measure.machine import Machine
from benchharness.run.device import Device
from benchharness.run.dry_run import check_weights
from benchharness.run.estimate.duration import time_findings
from benchharness.run.estimate.memory import Memory, memory_findings
from benchharness.run.estimate.outlook import ResourceEstimate
from benchharness.run.estimate.sharing import sharing_findings
from benchharness.run.session import Session
from benchharness.suite.resolve import OFFLINE


def suit(
    session: Session,
    machine: Machine,
    *,
    healths: Sequence[BackendStatus],
    supplies: Sequence[Resource],
    obstacle: str,
) -> tuple[Section, dict[str, Any]]:
    """Return what a suite finds here, as findings and in numbers.

    Args:
        obstacle: Why its backends were not measured, for where they were not.
    """
    plan = session.plan
    try:
        outlook = _outlook(session, healths)
        cells = outlook.cells()
    except BenchError as error:
        found = (Finding(mark="missing", subject="suite", text=line) for line in error.lines())
        return Section(title="the suite", findings=tuple(found)), {"name": plan.suite.name}
    expected = outlook.estimate()
    findings = [
        *_profile(session),
        _data(outlook),
        *(Finding(mark="warn", subject="data", text=note) for note in outlook.facts.notes),
        *_weights(session, supplies),
        *folder_findings(folders(outlook, results=session.request.results, supplies=supplies)),
        *memory_findings(cells, _memory(machine, session.device)),
        *sharing_findings(outlook.forecasts(), cores=machine.cores),
        *time_findings(
            expected,
            is_busy=machine.is_busy,
            obstacle=_unmeasurable(outlook, healths) or obstacle,
        ),
    ]
    return Section(title="the suite", findings=tuple(findings)), {
        "name": plan.suite.name,
        "profile": plan.profile,
        "trials": len(plan.trials()),
        "max_trials": plan.most,
        "data": outlook.facts.description,
        "notes": list(outlook.facts.notes),
        "cache": str(session.places.cache),
        "memory": [one.as_dict() for one in cells],
        "estimate": expected.as_dict() if expected else None,
    }


def _outlook(session: Session, healths: Sequence[BackendStatus]) -> ResourceEstimate:
    return ResourceEstimate(
        plan=session.plan,
        places=session.places,
        device=session.device,
        facts=session.survey(),
        framework_bytes={
            health.backend: health.framework_bytes
            for health in healths
            if health.framework_bytes is not None
        },
        codes=session.codes(),
    )


def _data(outlook: ResourceEstimate) -> Finding:
    """Return which pictures there are; drawn ones are worth a word where others were meant."""
    is_makeshift = outlook.is_drawn and outlook.plan.dataset.source != "drawn"
    return Finding(
        mark="warn" if is_makeshift else "ok",
        subject="data",
        text=outlook.facts.description,
        remedy=info(outlook.plan.dataset.source).remedy if is_makeshift else "",
    )


def _weights(session: Session, supplies: Sequence[Resource]) -> list[Finding]:
    """Return whether the pretrained weights are here, and whole as a run needs them."""
    findings = list(weights_findings(session.plan, supplies))
    try:
        check_weights(session.plan, places=session.places)
    except WeightsError as error:
        if all(finding.mark != "missing" for finding in findings):
            findings.append(Finding(mark="missing", subject="weights", text=str(error)))
    return findings


def _memory(machine: Machine, device: Device) -> Memory:
    gpu = next((s for s in machine.gpus if s.accelerator.index == device.index), None)
    return Memory(
        host_bytes=machine.memory_bytes,
        free_bytes=machine.free_bytes,
        gpu_bytes=gpu.accelerator.memory_bytes if gpu else None,
        gpu_free_bytes=gpu.free_bytes if gpu else None,
    )


def _profile(session: Session) -> Iterator[Finding]:
    """Yield the profile; one for want of weights is worth a word, for a run may fetch them."""
    profile = session.plan.profile
    if profile is None:
        return
    is_makeshift = profile == OFFLINE and session.request.profile is None
    yield Finding(
        mark="warn" if is_makeshift else "ok",
        subject="profile",
        text=f"{profile}, "
        + ("as asked" if session.request.profile else "chosen for this machine"),
        remedy="pretrained weights are not here; with a network, a run downloads them and takes "
        "another profile"
        if is_makeshift
        else "",
    )


def _unmeasurable(outlook: ResourceEstimate, healths: Sequence[BackendStatus]) -> str:
    """Return which backends cannot be measured; empty where all can."""
    unwell = {health.backend for health in healths if not health.is_well}
    lacking = [name for name in outlook.unmeasured() if name in unwell]
    return f"{', '.join(lacking)} cannot be measured" if lacking else ""
