"""Whether a backend works on this machine, seen in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchharness.environments.install import origin_of
from benchharness.errors import PluginError
from benchharness.plugins import distribution, find, obstacle
from benchharness.run.estimate.calibration import BackendSpeed, now
from benchharness.run.interpreters import BackendInterpreter
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.process.exit import Outcome
from benchharness.worker.request import WorkerRequest

_INSTALL = "; install it with: "


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """How one backend is.

    Attributes:
        backend: As a suite calls it.
        plugin: Its entry point.
        options: As the suite states them.
        distribution: What the plugin came with; empty where it is not installed.
        versions: Of the framework.
        device: As the framework calls what it computes on.
        threads: That its arithmetic uses; None if it does not tell.
        import_s: Importing the framework.
        reason: Why it does not work; empty where it does.
        remedy: What to do about that.
        tempo: How fast it is; None where that was not measured.
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
    tempo: BackendSpeed | None = None

    @property
    def is_well(self) -> bool:
        """Whether it can work."""
        return not self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """Looks at backends, one after the other so that none disturbs another.

    Attributes:
        executor: With the limit of time that a backend has.
        folder: For requests and logs.
        load: Of the machine, to be noted beside what is measured.
    """

    executor: LocalExecutor
    folder: Path
    device: Literal["cpu", "gpu"]
    threads: int
    load: float | None = None

    def look(
        self,
        backend: str,
        *,
        plugin: str,
        options: Mapping[str, Any],
        is_measured: bool,
        quarters: BackendInterpreter | None = None,
    ) -> BackendStatus:
        """Return how a backend is; never raises for what a backend does.

        Args:
            is_measured: Whether to measure its tempo.
            quarters: Where its workers live; None for here.
        """
        try:
            came_with = distribution(find(plugin)) if quarters is None else quarters.distribution
        except PluginError as error:
            reason, remedy = _parted(str(error), backend=backend)
            return BackendStatus(
                backend=backend, plugin=plugin, options=options, reason=reason, remedy=remedy
            )
        if quarters is None and (found := obstacle(find(plugin))):
            return BackendStatus(
                backend=backend,
                plugin=plugin,
                options=options,
                distribution=came_with,
                reason=str(found),
                remedy=found.remedy,
            )
        executor = self.executor if quarters is None else quarters.with_interpreter(self.executor)
        self.folder.mkdir(parents=True, exist_ok=True)
        heard: dict[str, Any] = {}
        outcome = executor.run(
            WorkerRequest(
                job="calibrate",
                plugin=plugin,
                options=options,
                device=self.device,
                threads=self.threads,
                arguments={"is_measured": is_measured},
            ),
            request_file=self.folder / f"{backend}.json",
            log=self.folder / f"{backend}.log",
            on_event=lambda event: heard.update({event["event"]: event}),
        )
        reason, remedy = _parted(outcome.reason, backend=backend)
        framework_bytes = heard.get("base", {}).get("bytes")
        return BackendStatus(
            backend=backend,
            plugin=plugin,
            options=options,
            distribution=came_with,
            versions=outcome.versions,
            device=str(outcome.effective.get("device", "")),
            threads=_whole(outcome.effective.get("threads")),
            import_s=outcome.metrics.get("import_s"),
            framework_bytes=framework_bytes,
            reason=reason,
            remedy=remedy or (_reinstall(plugin, quarters) if reason else ""),
            tempo=self._tempo(heard.get("measures"), outcome, framework_bytes),
        )

    def is_outdated(self, tempo: BackendSpeed) -> bool:
        """Return whether a tempo was measured beside others, who have left."""
        return self._is_busy(tempo.load) and not self._is_busy(self.load)

    def _is_busy(self, load: float | None) -> bool:
        return load is not None and load > self.threads / 2

    def _tempo(
        self, told: Mapping[str, Any] | None, outcome: Outcome, framework_bytes: int | None
    ) -> BackendSpeed | None:
        if told is None or framework_bytes is None or outcome.status != "ok":
            return None
        process = ("startup_s", "import_s", "teardown_s")
        return BackendSpeed(
            **told["measures"],
            start_s=sum(outcome.metrics.get(name, 0.0) for name in process),
            framework_bytes=framework_bytes,
            load=self.load,
            measured=now().isoformat(timespec="seconds"),
        )


def _parted(message: str, *, backend: str) -> tuple[str, str]:
    """Return what is wrong, and the command that mends it where the message names one."""
    reason, _, remedy = (
        message.removeprefix(f"backend {backend}").removeprefix(": ").partition(_INSTALL)
    )
    return reason, remedy


def _reinstall(plugin: str, quarters: BackendInterpreter | None) -> str:
    if quarters is not None:
        return quarters.remedy
    entry = find(plugin)
    return f"pip install --force-reinstall {origin_of(entry.dist.name)}" if entry.dist else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
