"""Report of a machine for a suite: no framework is imported here, and nothing is fetched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.doctor.backends import BackendStatus, backend_checks, check_backend
from benchharness.doctor.check import Check, DoctorReport, Section, machine_checks
from benchharness.doctor.data import datasets, resource_checks, weights
from benchharness.doctor.suite import check_suite
from benchharness.download.caches import cache_folder
from benchharness.errors import SuiteError
from benchharness.measure.machine import Machine, read_machine
from benchharness.plugins import installed, installed_version
from benchharness.run.device import choose_device
from benchharness.run.inputs import open_fetcher
from benchharness.run.options import RunOptions
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import backend_plugin
from benchharness.run.session import Session, open_session

# A framework that takes longer to import does not work; TensorFlow has taken a minute on a machine
# that others use.
LONGEST_S = 300.0
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "report": ("altair", "vl-convert-python"),
    "gpu": ("nvidia-ml-py",),
    "pytest": ("pytest-benchmark",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """Options of ``benchharness doctor``, as in ``RunOptions``; no suite for the machine alone.

    Attributes:
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

        def check(backend: str, **facts: Any) -> BackendStatus:
            announce(f"checking {backend}")
            return check_backend(
                backend,
                executor=executor,
                folder=folder,
                device=device.kind,
                threads=machine.cores,
                **facts,
            )

        statuses = list(_statuses(session, options.backends, check))
    resources = [
        *datasets(environment=environment, cache=cache),
        *weights(environment=environment, cache=cache),
    ]
    needed = {cell.backend for cell in session.plan.cells} if session else options.backends
    # Those for a GPU only where there is one.
    extras = {
        extra: {name: installed_version(name) for name in names}
        for extra, names in EXTRAS.items()
        if extra != "gpu" or device.kind == "gpu"
    }
    checks: dict[str, Iterable[Check]] = {
        "machine": machine_checks(machine),
        "backends": backend_checks(statuses, needed=tuple(needed)),
        "data and weights": resource_checks(resources),
        "extras": extra_checks(extras),
    }
    sections = [Section(title=title, findings=tuple(found)) for title, found in checks.items()]
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
    # Whatever the profile depends on, nothing is downloaded to decide it.
    request = RunOptions(**asdict(options), offline=True)
    session = open_session(request, environment=environment, cache=cache)
    fetcher = open_fetcher(cache, environment=environment, is_offline=False)
    # The survey fetches nothing, and names what a run would fetch.
    return replace(session, places=replace(session.places, fetcher=fetcher))


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder for requests and logs: a temporary one where that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        # Why it cannot be written is among the checks.
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
    else:
        yield folder


def _statuses(
    session: Session | None, wanted: tuple[str, ...], check: Callable[..., BackendStatus]
) -> Iterator[BackendStatus]:
    """Yield the state of each backend, one after the other so that none disturbs another."""
    if session is None:
        for name in wanted or installed():
            yield check(name, plugin=name, options={})
        return
    # Importing backends that the suite does not need may take minutes.
    backends = {
        cell.backend: backend_plugin(session.plan, cell.backend) for cell in session.plan.cells
    }
    isolated = session.resolver.isolated_backends(backends)
    for backend, (plugin, options) in backends.items():
        try:
            interpreter = session.resolver.of(backend) if backend in isolated else None
        except SuiteError as error:
            problem = error.problems[0]
            yield BackendStatus(
                backend=backend,
                plugin=plugin,
                options=options,
                reason=f"expected {problem.expected}, found {problem.found}",
                remedy=problem.hint.removeprefix("run: ").removeprefix("install it with: "),
            )
        else:
            yield check(backend, plugin=plugin, options=options, interpreter=interpreter)


def extra_checks(packages: Mapping[str, Mapping[str, str | None]]) -> Iterator[Check]:
    """Yield which optional packages, by extra and distribution, are here: those with a version."""
    for extra, versions in packages.items():
        if missing := [name for name, version in versions.items() if version is None]:
            names = f"without {', '.join(missing)}"
            yield Check("warn", extra, names, f"pip install {' '.join(missing)}")
        else:
            present = ", ".join(f"{name} {version}" for name, version in versions.items())
            yield Check("ok", extra, present)
