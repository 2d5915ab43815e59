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

_INSTALL = "; install it with: "


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """State of one backend.

    Attributes:
        backend: As a suite calls it.
        plugin: Its entry point.
        options: As the suite states them.
        distribution: Of the plugin; empty where it is not installed.
        versions: Of the framework.
        device: As the framework calls it.
        threads: Of its arithmetic; None if it does not tell.
        import_s: Importing the framework.
        framework_bytes: Host memory of a worker that is idle.
        reason: Why it does not work; empty where it does.
        remedy: What to do about that.
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

    @property
    def ok(self) -> bool:
        """Whether it works."""
        return not self.reason


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

    def status(reason: str, remedy: str, **facts: Any) -> BackendStatus:
        return BackendStatus(
            backend=backend, plugin=plugin, options=options, reason=reason, remedy=remedy, **facts
        )

    try:
        installed_by = interpreter.distribution if interpreter else distribution(find(plugin))
    except PluginError as error:
        return status(*_split(str(error), backend))
    if interpreter is None and (found := obstacle(find(plugin))):
        return status(str(found), found.remedy, distribution=installed_by)
    folder.mkdir(parents=True, exist_ok=True)
    events: dict[str, Any] = {}
    outcome = (interpreter.with_interpreter(executor) if interpreter else executor).run(
        WorkerRequest(
            job="inspect", plugin=plugin, options=options, device=device, threads=threads
        ),
        request_file=folder / f"{backend}.json",
        log=folder / f"{backend}.log",
        on_event=lambda event: events.update({event["event"]: event}),
    )
    reason, remedy = _split(outcome.reason, backend)
    threads_used = outcome.effective.get("threads")
    return status(
        reason,
        remedy or (_reinstall(plugin, interpreter) if reason else ""),
        distribution=installed_by,
        versions=outcome.versions,
        device=str(outcome.effective.get("device", "")),
        threads=threads_used if type(threads_used) is int else None,
        import_s=outcome.metrics.get("import_s"),
        framework_bytes=events.get("base", {}).get("bytes"),
    )


def backend_checks(statuses: Sequence[BackendStatus], *, needed: Sequence[str]) -> Iterator[Check]:
    """Yield the check of each backend.

    Args:
        needed: Backends without which the suite cannot run.
    """
    if not statuses:
        yield Check(
            mark="missing",
            subject="backends",
            text="none is installed",
            remedy=f"{install_command('torch')}, or {install_command('keras')}",
        )
    for status in statuses:
        if status.ok:
            yield Check(mark="ok", subject=status.backend, text=_description(status))
        else:
            yield Check(
                mark="missing" if status.backend in needed else "warn",
                subject=status.backend,
                text=status.reason,
                remedy=status.remedy,
            )


def _description(status: BackendStatus) -> str:
    threads = f"{status.threads} thread{'s' if status.threads != 1 else ''}"
    parts = [
        status.distribution,
        ", ".join(f"{name} {version}" for name, version in status.versions.items()),
        f"on {status.device}" if status.device else "",
        threads if status.threads else "",
        "" if status.import_s is None else f"imported in {status.import_s:.1f} s",
    ]
    return "; ".join(filter(None, parts))


def _split(message: str, backend: str) -> tuple[str, str]:
    """Return the reason, and the command that helps where the message names one."""
    message = message.removeprefix(f"backend {backend}").removeprefix(": ")
    reason, _, remedy = message.partition(_INSTALL)
    return reason, remedy


def _reinstall(plugin: str, interpreter: BackendInterpreter | None) -> str:
    if interpreter is not None:
        return interpreter.remedy
    entry = find(plugin)
    return f"pip install --force-reinstall {origin_of(entry.dist.name)}" if entry.dist else ""
