"""Looking at a machine for a suite: every fact gathered once, nothing imported, nothing fetched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from benchharness.doctor.backends import BackendStatus, Checker
from benchharness.doctor.check import DoctorReport, Finding, Section
from benchharness.doctor.data import Resource, datasets, weights
from benchharness.doctor.data_checks import backend_findings, extra_findings, supply_findings
from benchharness.doctor.imaging import measure_images
from benchharness.doctor.machine import machine_findings
from benchharness.doctor.suite import suit
from benchharness.download.caches import cache_folder
from benchharness.errors import Problem, SuiteError
from benchharness.measure.machine import Machine, read_machine
from benchharness.plugins import installed
from benchharness.run.device import Device, choose_device
from benchharness.run.downloads import open_fetcher
from benchharness.run.estimate.calibration import CalibrationStore, now
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import backend_plugin
from benchharness.run.session import Request, Session, open_session

Calibration = Literal["kept", "anew", "no"]
# A framework that takes longer to import and to be measured is not well.
LONGEST_S = 60.0
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "report": ("altair", "vl-convert-python"),
    "gpu": ("nvidia-ml-py",),
    "pytest": ("pytest-benchmark",),
}
_OBSTACLES: Mapping[Calibration, str] = {
    "kept": "measuring failed; see the log in the cache folder, doctor",
    "anew": "measuring failed; see the log in the cache folder, doctor",
    "no": "measuring was left out; benchharness doctor does it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the user wants looked at; fields as the options of ``benchharness doctor``.

    Attributes:
        suite: None to look at the machine alone.
        backends: None but these; empty for those of the suite, or all that are installed.
        calibration: ``kept``: measure what was not measured before. ``anew``: measure again.
            ``no``: estimate only from what was measured before.
    """

    suite: Path | None
    backends: tuple[str, ...] = ()
    profile: str | None = None
    data: Path | None = None
    device: str = "auto"
    results: Path = Path("results")
    calibration: Calibration = "kept"


def examine(
    wanted: Examination,
    *,
    environment: Mapping[str, str] = os.environ,
    cache: Path | None = None,
    announce: Callable[[str], None] = lambda line: None,
    machine: Machine | None = None,
    longest_s: float = LONGEST_S,
) -> DoctorReport:
    """Return what this machine can do, what is missing, and how to get it.

    Args:
        environment: Variables of the process.
        cache: None for $BENCHHARNESS_CACHE or the user's cache folder.
        announce: Told before anything that takes seconds.
        machine: Its facts; None to read them.
        longest_s: That a backend may take.

    Raises:
        SuiteError: The request cannot be understood; every problem is named.
    """
    cache = cache or cache_folder(environment)
    machine = machine or read_machine(environment)
    session = _session(wanted, environment=environment, cache=cache)
    device = session.device if session else _device(wanted.device, machine)
    store = CalibrationStore(cache, machine=device.name)
    backends = _backends(session, wanted.backends)
    with _scratch(cache / "doctor") as scratch:
        checker = Checker(
            executor=LocalExecutor(
                environment=device.environment(environment),
                silence_s=longest_s,
                gpu=device.selector,
            ),
            folder=scratch,
            device=device.kind,
            threads=machine.cores,
            load=machine.load,
        )
        healths = _healths(
            session, checker, store, wanted.calibration, backends=backends, announce=announce
        )
    _measure_images(store, wanted.calibration)
    supplies = _supplies(environment=environment, cache=cache)
    sections = [
        _section("machine", machine_findings(machine)),
        _section(
            "backends",
            backend_findings(healths, needed=_needed(session) or wanted.backends, now=now()),
        ),
        _section("data and weights", supply_findings(supplies)),
        _section("extras", extra_findings(_extras(device))),
    ]
    facts: dict[str, Any] = {
        "machine": asdict(machine),
        "backends": [asdict(health) for health in healths],
        "supplies": [asdict(supply) for supply in supplies],
        "suite": None,
    }
    if session is None:
        return DoctorReport(title=f"{device.name}; no suite", sections=tuple(sections), facts=facts)
    section, facts["suite"] = suit(
        session,
        machine,
        healths=healths,
        supplies=supplies,
        obstacle=_OBSTACLES[wanted.calibration],
    )
    profile = f", profile {session.plan.profile}" if session.plan.profile else ""
    return DoctorReport(
        title=f"suite {session.plan.suite.name}{profile} on {device.name}",
        sections=(*sections, section),
        facts=facts,
    )


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder for requests and logs: a temporary one where that cannot be written."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            # What stands in the way is among the findings.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield folder


def _session(wanted: Examination, *, environment: Mapping[str, str], cache: Path) -> Session | None:
    if wanted.suite is None:
        return None
    request = Request(
        suite=wanted.suite,
        backends=wanted.backends,
        profile=wanted.profile,
        data=wanted.data,
        device=wanted.device,
        results=wanted.results,
        # Whatever the profile depends on, nothing is downloaded to decide it.
        offline=True,
    )
    session = open_session(request, environment=environment, cache=cache)
    fetcher = open_fetcher(cache, environment=environment, is_offline=False)
    # Surveying fetches nothing, and is to see what a run would fetch.
    return replace(session, places=replace(session.places, fetcher=fetcher))


def _device(wanted: str, machine: Machine) -> Device:
    return choose_device(wanted, [state.accelerator for state in machine.gpus])


def _healths(
    session: Session | None,
    checker: Checker,
    store: CalibrationStore,
    calibration: Calibration,
    *,
    backends: Mapping[str, tuple[str, Mapping[str, Any]]],
    announce: Callable[[str], None],
) -> list[BackendStatus]:
    """Return how each backend is; those of a suite are measured."""
    own = session.ward.apart(backends) if session else []
    # Without a suite nothing is estimated, so nothing is measured.
    wanted = _needed(session)
    healths = []
    for backend, (plugin, options) in backends.items():
        quarters = None
        if session and backend in own:
            try:
                quarters = session.ward.of(backend)
            except SuiteError as error:
                healths.append(_unusable(backend, plugin, options, error.problems[0]))
                continue
            session.quarters = {**session.quarters, backend: quarters}
        code = quarters.code if quarters else None
        kept = store.load(plugin, options, code=code) if calibration != "anew" else None
        if kept is not None and calibration == "kept" and checker.is_outdated(kept):
            kept = None
        is_measured = backend in wanted and calibration != "no" and kept is None
        announce(f"{'measuring' if is_measured else 'looking at'} {backend}")
        health = checker.look(
            backend, plugin=plugin, options=options, is_measured=is_measured, quarters=quarters
        )
        if health.tempo is not None:
            store.save(plugin, options, health.tempo, code=code)
        elif health.is_well:
            health = replace(health, tempo=kept)
        healths.append(health)
    return healths


def _unusable(
    backend: str, plugin: str, options: Mapping[str, Any], problem: Problem
) -> BackendStatus:
    """Return the health of a backend whose interpreter cannot be used."""
    return BackendStatus(
        backend=backend,
        plugin=plugin,
        options=options,
        reason=f"expected {problem.expected}, found {problem.found}",
        remedy=problem.hint.removeprefix("run: ").removeprefix("install it with: "),
    )


def _needed(session: Session | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cell.backend for cell in session.plan.cells)) if session else ()


def _measure_images(store: CalibrationStore, calibration: Calibration) -> None:
    if calibration == "anew" or (calibration == "kept" and store.load_images() is None):
        store.save_images(measure_images())


def _section(title: str, findings: Iterator[Finding]) -> Section:
    return Section(title=title, findings=tuple(findings))


def _backends(
    session: Session | None, wanted: tuple[str, ...]
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return plugin and options of each backend to look at: importing more may take minutes."""
    if session is None:
        return {name: (name, {}) for name in wanted or installed()}
    return {cell.backend: backend_plugin(session.plan, cell.backend) for cell in session.plan.cells}


def _supplies(*, environment: Mapping[str, str], cache: Path) -> list[Resource]:
    return [
        *datasets(environment=environment, cache=cache),
        *weights(environment=environment, cache=cache),
    ]


def _extras(device: Device) -> dict[str, dict[str, str | None]]:
    """Return the versions of optional packages; those for a GPU only where there is one."""
    return {
        extra: {name: _version(name) for name in names}
        for extra, names in EXTRAS.items()
        if extra != "gpu" or device.kind == "gpu"
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
