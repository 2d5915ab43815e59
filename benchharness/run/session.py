"""From what a user asks for to a run: suite, profile, device, data, weights, folder."""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchharness import __version__
from benchharness.errors import Problem, RunError, SuiteError
from benchharness.measure.accelerators import Accelerator, find_accelerators
from benchharness.measure.environment import describe_environment, usable_cores
from benchharness.plugins import installed
from benchharness.results.csvfiles import write_csv_files
from benchharness.results.record import Record
from benchharness.results.store import RunFolder
from benchharness.run.certify import Certifier, as_dict, verdicts
from benchharness.run.device import Device, choose_device
from benchharness.run.executor import LocalExecutor
from benchharness.run.materials import Materials, Places
from benchharness.run.requests import Requests, backend_plugin
from benchharness.run.runner import Observer, Runner
from benchharness.run.survey import DatasetFacts, check, survey_dataset
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import choose_profile, resolve

if TYPE_CHECKING:
    from benchharness.fairness.certificate import Certificate

PACKAGES = ("benchharness", "numpy", "pandas", "pillow", "safetensors")
Announce = Callable[[list[str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asks for; fields as the options of ``benchharness run``."""

    suite: Path
    profile: str | None = None
    backends: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    trials: int | None = None
    data: Path | None = None
    device: str = "auto"
    results: Path = Path("results")
    timeout_s: float | None = None
    tracks: tuple[str, ...] = ()
    proof: Literal["no", "yes", "required"] = "yes"


@dataclass(slots=True, kw_only=True)
class Session:
    """A run that is understood but has not begun."""

    request: Request
    plan: Plan
    device: Device
    accelerators: tuple[Accelerator, ...]
    places: Places

    def announcements(self) -> list[str]:
        """Return what was decided for the user, one line each."""
        suite, profile = self.plan.suite, self.plan.profile
        lines = [f"suite {suite.name} on {self.device.name}"]
        if profile is not None:
            how = "as asked" if self.request.profile else "chosen for this machine"
            about = suite.profiles[profile].description
            lines.append(f"profile {profile} ({how}){f': {about}' if about else ''}")
        elif suite.profiles:
            names = ", ".join(suite.profiles)
            lines.append(f"no profile: the suite has none for this machine (it has {names})")
        if self.plan.added:
            lines.append(f"also running {', '.join(self.plan.added)}: others start from its head")
        if self.plan.fileless:
            names = ", ".join(self.plan.fileless)
            lines.append(f"native track on prepared images, there being no image files: {names}")
        if self.plan.left_out:
            lines.append(f"left out, for want of a backend: {', '.join(self.plan.left_out)}")
        return lines

    def survey(self) -> DatasetFacts:
        """Return the facts that a preview of the plan needs."""
        return survey_dataset(self.plan, places=self.places)

    def run(
        self,
        observer: Observer,
        *,
        on_prepare: Callable[[int, int], None],
        announce: Announce,
    ) -> tuple[RunFolder, list[Record]]:
        """Prepare data and weights, carry out every trial, write the tables.

        Raises:
            BenchError: Data, weights or the results folder are not to be had; nothing was run.
        """
        started = datetime.now(UTC)
        requests = self._prepare(on_prepare, announce)
        materials = requests.materials
        folder = RunFolder.create(
            self.request.results, self.plan.suite.name, now=started, token=secrets.token_hex(2)
        )
        dataset, weights = materials.describe_dataset(), materials.describe_weights()
        folder.write_run(self._describe(started, dataset, weights))
        certificates: list[Certificate] = []
        if self.request.proof != "no":
            certificates = self._certify(requests, logs=folder.logs, announce=announce)
            folder.write_certificates(as_dict(certificates))
            if self.request.proof == "required":
                _require_proven(certificates)
        runner = Runner(
            plan=self.plan,
            materials=materials,
            folder=folder,
            executor=self._executor(),
            requests=requests,
            proofs=verdicts(certificates),
        )
        self._warn_of_others(announce)
        try:
            runner.run(observer)
        finally:
            # Also when the user interrupts: the tables of what has finished.
            records, _ = folder.records()
            write_csv_files(folder.path, records)
        return folder, records

    def certify(
        self, *, on_prepare: Callable[[int, int], None], announce: Announce
    ) -> list[Certificate]:
        """Return the certificate of every pair of the plan, and time nothing.

        Raises:
            BenchError: Data or weights are not to be had.
        """
        requests = self._prepare(on_prepare, announce)
        logs = self.places.cache / "probes" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return self._certify(requests, logs=logs, announce=announce)

    def _prepare(self, on_prepare: Callable[[int, int], None], announce: Announce) -> Requests:
        """Find and decode everything that the plan's cells read."""
        cores = usable_cores()
        materials = Materials(self.plan, places=self.places, workers=cores, progress=on_prepare)
        listing = materials.listing
        self.plan = materials.plan
        check(self.plan, channels=listing.channels, classes=len(listing.classes))
        materials.prepare()
        announce(_materials_lines(materials.describe_dataset(), materials.describe_weights()))
        return Requests(
            plan=self.plan,
            materials=materials,
            device=self.device.kind,
            cores=cores,
            features=self.places.cache / "features",
        )

    def _certify(self, requests: Requests, *, logs: Path, announce: Announce) -> list[Certificate]:
        certifier = Certifier(
            plan=self.plan,
            requests=requests,
            executor=self._executor(),
            machine=self.device.name,
            cache=self.places.cache / "probes",
            logs=logs,
            announce=lambda line: announce([line]),
        )
        return certifier.certificates()

    def _warn_of_others(self, announce: Announce) -> None:
        """Say which processes share the GPU: they share its time and memory too."""
        from benchharness.measure.nvml import foreign_processes

        if self.device.index is None:
            return
        announce(
            [
                f"WARNING: {self.device.name} is also in use by {process.name} "
                f"(process {process.pid}); timings will suffer, end it first"
                for process in foreign_processes(self.device.index)
            ]
        )

    def _executor(self) -> LocalExecutor:
        return LocalExecutor(
            gpu_index=self.device.index,
            environment=self.device.environment(self.places.environment),
            timeout_s=self.request.timeout_s,
        )

    def _describe(
        self, started: datetime, dataset: dict[str, Any], weights: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return the contents of run.json."""
        suite = self.plan.suite
        backends = dict.fromkeys(cell.backend for cell in self.plan.cells)
        plugins = {name: backend_plugin(self.plan, name)[0] for name in backends}
        packages = [*PACKAGES, *{_package(plugin) for plugin in plugins.values()} - {""}]
        return {
            "format": 1,
            "benchharness": __version__,
            "suite": suite.name,
            "title": suite.title,
            "profile": self.plan.profile,
            "device": self.device.name,
            "started": started.isoformat(timespec="seconds"),
            "backends": list(backends),
            "dataset": dataset,
            "weights": weights,
            "environment": describe_environment(self.accelerators, packages=packages),
            "resolved": self.plan.as_dict(),
        }


def open_session(
    request: Request, *, environment: Mapping[str, str] = os.environ, cache: Path | None = None
) -> Session:
    """Read the suite and decide on profile, device and plan.

    Args:
        environment: Variables of the process.
        cache: For prepared data; None for $BENCHHARNESS_CACHE or the user's cache folder.

    Raises:
        SuiteError: The request cannot be understood; every problem is named.
    """
    suite = load(request.suite)
    accelerators = find_accelerators()
    device = choose_device(request.device, accelerators)
    profile = choose_profile(suite, requested=request.profile, has_accelerator=device.kind == "gpu")
    plan = resolve(
        suite,
        profile=profile,
        backends=request.backends,
        benchmarks=request.benchmarks,
        trials=request.trials,
        tracks=request.tracks,
    )
    _check_backends(plan)
    return Session(
        request=request,
        plan=plan,
        device=device,
        accelerators=accelerators,
        places=Places(
            environment=environment, cache=cache or cache_folder(environment), data=request.data
        ),
    )


def _require_proven(certificates: list[Certificate]) -> None:
    """Refuse to time what is not proven to be the same work.

    Raises:
        RunError: The verdict of a pair is another than proven; every such pair is named.
    """
    unproven = [
        f"{certificate.name}: {certificate.verdict}"
        for certificate in certificates
        if not certificate.is_proven
    ]
    if unproven:
        raise RunError(
            "proof: expected every pair of backends to be proven to do the same work, found "
            + "; ".join(unproven)
            + " (nothing was timed; leave out --require-proof to time it all the same)"
        )


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return where prepared images, drawn pictures and features are kept."""
    if environment.get("BENCHHARNESS_CACHE"):
        return Path(environment["BENCHHARNESS_CACHE"])
    import platformdirs

    return Path(platformdirs.user_cache_dir("benchharness"))


def _check_backends(plan: Plan) -> None:
    """Refuse a misspelt backend; one that is merely not installed leaves failed rows instead."""
    problems = []
    for backend in dict.fromkeys(cell.backend for cell in plan.cells):
        plugin, _ = backend_plugin(plan, backend)
        near = difflib.get_close_matches(plugin, installed(), n=1)
        if plugin not in installed() and near:
            problems.append(
                Problem(
                    where="backends",
                    expected=f"an installed plugin ({', '.join(installed())})",
                    found=f'"{plugin}"',
                    hint=f'did you mean "{near[0]}"?',
                )
            )
    if problems:
        raise SuiteError(str(plan.suite.path), problems)


def _materials_lines(dataset: dict[str, Any], weights: dict[str, Any] | None) -> list[str]:
    lines = [f"data: {dataset['origin']}"]
    lines += [
        f"left out {len(part['skipped'])} unreadable images, the first: {part['skipped'][0]}"
        for part in dataset["slices"]
        if part["skipped"]
    ]
    if weights and weights["is_random"]:
        lines.append(f"weights: RANDOM, not pretrained: {weights['reason']}")
    elif weights:
        lines.append(f"weights: {weights['origin']}")
    return lines


def _package(plugin: str) -> str:
    """Return the distribution that a plugin came with; empty where it is not installed."""
    entry = installed().get(plugin)
    return entry.dist.name if entry and entry.dist else ""
