"""Checks of the backends, each in a separate process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchharness.doctor.check import Check
from benchharness.environments.install import origin_of
from benchharness.errors import PluginError
from benchharness.plugins import distribution, find, install_command, obstacle
from benchharness.run.interpreters import BackendInterpreter
from benchharness.run.process.executor import LocalExecutor
from benchharness.worker.request import WorkerRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """State of one backend, as far as it is known.

    Attributes:
        distribution: Of the plugin; empty where it is not installed.
        versions: Of the framework.
        framework_bytes: Host memory of a worker that is idle.
        reason: Why it does not work; empty where it does.
    """

    backend: str
    plugin: str
    options: Mapping[str, Any] = field(default_factory=dict)
    distribution: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    threads: int | None = None
    import_s: float | None = None
    framework_bytes: int | None = None
    reason: str = ""
    remedy: str = ""


def check_backend(
    backend: str,
    *,
    plugin: str,
    options: Mapping[str, Any],
    executor: LocalExecutor,
    folder: Path,
    device: Literal["cpu", "gpu"],
    threads: int,
    interpreter: BackendInterpreter | None = None,
) -> BackendStatus:
    """Return the state of a backend; never raises for what a backend does.

    Args:
        executor: With the time limit of a backend.
        folder: For requests and logs.
        interpreter: Of the backend's workers; None for this one.
    """

    def status(reason: str, remedy: str = "", **facts: Any) -> BackendStatus:
        # Messages end with the command that helps, where there is one.
        reason = reason.removeprefix(f"backend {backend}").removeprefix(": ")
        reason, _, command = reason.partition("; install it with: ")
        return BackendStatus(
            backend=backend,
            plugin=plugin,
            options=options,
            reason=reason,
            remedy=command or (remedy if reason else ""),
            **facts,
        )

    if interpreter is None:
        try:
            entry = find(plugin)
        except PluginError as error:
            return status(str(error))
        installed_by = distribution(entry)
        if missing := obstacle(entry):
            return status(str(missing), missing.remedy, distribution=installed_by)
        name = entry.dist.name if entry.dist else ""
        reinstall = f"pip install --force-reinstall {origin_of(name)}" if name else ""
    else:
        installed_by, reinstall = interpreter.distribution, interpreter.remedy
        executor = interpreter.with_interpreter(executor)
    folder.mkdir(parents=True, exist_ok=True)
    events: dict[str, Any] = {}
    outcome = executor.run(
        WorkerRequest(
            job="inspect", plugin=plugin, options=options, device=device, threads=threads
        ),
        request_file=folder / f"{backend}.json",
        log=folder / f"{backend}.log",
        on_event=lambda event: events.update({event["event"]: event}),
    )
    threads_used = outcome.effective.get("threads")
    return status(
        outcome.reason,
        # What is slow is not broken.
        "" if outcome.status == "timeout" else reinstall,
        distribution=installed_by,
        versions=outcome.versions,
        device=str(outcome.effective.get("device", "")),
        threads=threads_used if type(threads_used) is int else None,
        import_s=outcome.metrics.get("import_s"),
        framework_bytes=events.get("base", {}).get("bytes"),
    )


def backend_checks(statuses: Sequence[BackendStatus], *, needed: Sequence[str]) -> Iterator[Check]:
    """Yield the check of each backend; without those ``needed`` the suite cannot run."""
    if not statuses:
        remedy = f"{install_command('torch')}, or {install_command('keras')}"
        yield Check("missing", "backends", "none is installed", remedy)
    for status in statuses:
        name, threads = status.backend, status.threads
        if status.reason:
            yield Check("missing" if name in needed else "warn", name, status.reason, status.remedy)
            continue
        parts = [
            status.distribution,
            ", ".join(f"{name} {version}" for name, version in status.versions.items()),
            f"on {status.device}" if status.device else "",
            f"{threads} thread{'s' if threads != 1 else ''}" if threads else "",
            "" if status.import_s is None else f"imported in {status.import_s:.1f} s",
        ]
        yield Check("ok", name, "; ".join(filter(None, parts)))
