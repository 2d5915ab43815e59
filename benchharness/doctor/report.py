"""Report of a machine for a suite: no framework is imported here, and nothing is fetched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchharness.doctor.backends import BackendStatus, backend_checks, check_backend
from benchharness.doctor.check import Check, DoctorReport, Section
from benchharness.doctor.data import datasets, resource_checks, weights
from benchharness.doctor.machine import machine_checks
from benchharness.doctor.suite import check_suite
from benchharness.download.caches import cache_folder
from benchharness.errors import Problem, SuiteError
from benchharness.measure.machine import Machine, read_machine
from benchharness.plugins import installed
from benchharness.run.device import Device, choose_device
from benchharness.run.inputs import open_fetcher
from benchharness.run.options import RunOptions
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import backend_plugin
from benchharness.run.session import Session, open_session

# A framework that takes longer to import does not work.
LONGEST_S = 60.0
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "report": ("altair", "vl-convert-python"),
    "gpu": ("nvidia-ml-py",),
    "pytest": ("pytest-benchmark",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """Options of ``benchharness doctor``.

    Attributes:
        suite: None for the machine alone.
        backends: Empty for those of the suite, or all that are installed.
    """

    suite: Path | None
    backends: tuple[str, ...] = ()
    profile: str | None = None
    data: Path | None = None
    device: str = "auto"
    results: Path = Path("results")


def examine(
    options: DoctorOptions,
    *,
    environment: Mapping[str, str] = os.environ,
    cache: Path | None = None,
    announce: Callable[[str], None] = lambda line: None,
    machine: Machine | None = None,
    longest_s: float = LONGEST_S,
) -> DoctorReport:
    """Return what works on this machine, what is missing, and how to get it.

    Args:
        environment: Variables of the process.
        cache: None for $BENCHHARNESS_CACHE or the user's cache folder.
        announce: Told before each backend.
        machine: Its facts; None to read them.
        longest_s: Time limit of a backend.

    Raises:
        SuiteError: The options or the suite are wrong; every problem is named.
    """
    cache = cache or cache_folder(environment)
    machine = machine or read_machine(environment)
    session = _session(options, environment=environment, cache=cache)
    gpus = [state.accelerator for state in machine.gpus]
    device = session.device if session else choose_device(options.device, gpus)
    executor = LocalExecutor(
        environment=device.environment(environment), silence_s=longest_s, gpu=device.selector
    )
    with _scratch(cache / "doctor") as folder:
        statuses = list(
            _statuses(
                session,
                options.backends,
                executor=executor,
                folder=folder,
                device=device,
                threads=machine.cores,
                announce=announce,
            )
        )
    resources = [
        *datasets(environment=environment, cache=cache),
        *weights(environment=environment, cache=cache),
    ]
    needed = {cell.backend for cell in session.plan.cells} if session else options.backends
    sections = [
        _section("machine", machine_checks(machine)),
        _section("backends", backend_checks(statuses, needed=tuple(needed))),
        _section("data and weights", resource_checks(resources)),
        _section("extras", extra_checks(_extras(device))),
    ]
    facts: dict[str, Any] = {
        "machine": asdict(machine),
        "backends": [asdict(status) for status in statuses],
        "supplies": [asdict(resource) for resource in resources],
        "suite": None,
    }
    title = f"{device.name}; no suite"
    if session is not None:
        section, facts["suite"] = check_suite(
            session, machine, statuses=statuses, resources=resources
        )
        sections.append(section)
        profile = f", profile {session.plan.profile}" if session.plan.profile else ""
        title = f"suite {session.plan.suite.name}{profile} on {device.name}"
    return DoctorReport(title=title, sections=tuple(sections), facts=facts)


def _session(
    options: DoctorOptions, *, environment: Mapping[str, str], cache: Path
) -> Session | None:
    if options.suite is None:
        return None
    request = RunOptions(
        suite=options.suite,
        backends=options.backends,
        profile=options.profile,
        data=options.data,
        device=options.device,
        results=options.results,
        # Whatever the profile depends on, nothing is downloaded to decide it.
        offline=True,
    )
    session = open_session(request, environment=environment, cache=cache)
    fetcher = open_fetcher(cache, environment=environment, is_offline=False)
    # The survey fetches nothing, and names what a run would fetch.
    return replace(session, places=replace(session.places, fetcher=fetcher))


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder for requests and logs: a temporary one where that cannot be written."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            # Why it cannot be written is among the checks.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield folder


def _statuses(
    session: Session | None,
    wanted: tuple[str, ...],
    *,
    executor: LocalExecutor,
    folder: Path,
    device: Device,
    threads: int,
    announce: Callable[[str], None],
) -> Iterator[BackendStatus]:
    """Yield the state of each backend, one after the other so that none disturbs another."""
    backends: dict[str, tuple[str, Mapping[str, Any]]]
    if session is None:
        backends = {name: (name, {}) for name in wanted or installed()}
    else:
        # Importing backends that the suite does not need may take minutes.
        backends = {
            cell.backend: backend_plugin(session.plan, cell.backend) for cell in session.plan.cells
        }
    isolated = session.resolver.isolated_backends(backends) if session else []
    for backend, (plugin, options) in backends.items():
        interpreter = None
        if session and backend in isolated:
            try:
                interpreter = session.resolver.of(backend)
            except SuiteError as error:
                yield _unusable(backend, plugin, options, error.problems[0])
                continue
        announce(f"checking {backend}")
        yield check_backend(
            backend,
            plugin=plugin,
            options=options,
            executor=executor,
            folder=folder,
            device=device.kind,
            threads=threads,
            interpreter=interpreter,
        )


def _unusable(
    backend: str, plugin: str, options: Mapping[str, Any], problem: Problem
) -> BackendStatus:
    """Return the state of a backend whose interpreter cannot be used."""
    return BackendStatus(
        backend=backend,
        plugin=plugin,
        options=options,
        reason=f"expected {problem.expected}, found {problem.found}",
        remedy=problem.hint.removeprefix("run: ").removeprefix("install it with: "),
    )


def _section(title: str, checks: Iterable[Check]) -> Section:
    return Section(title=title, findings=tuple(checks))


def extra_checks(packages: Mapping[str, Mapping[str, str | None]]) -> Iterator[Check]:
    """Yield which optional packages are here.

    Args:
        packages: By extra of benchharness; versions by distribution, None for what is missing.
    """
    for extra, found in packages.items():
        missing = [name for name, version in found.items() if version is None]
        here = ", ".join(f"{name} {version}" for name, version in found.items() if version)
        yield Check(
            mark="warn" if missing else "ok",
            subject=extra,
            text=f"without {', '.join(missing)}" if missing else here,
            remedy=f"pip install {' '.join(missing)}" if missing else "",
        )


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
