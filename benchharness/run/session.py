"""From what a user asks for to a run: suite, profile, device, data, weights, folder."""

from __future__ import annotations

import difflib
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from benchharness import __version__
from benchharness.errors import Problem, RunError, SuiteError
from benchharness.fetch.caches import cache_folder
from benchharness.measure.accelerators import Accelerator, find_accelerators
from benchharness.measure.environment import describe_environment, usable_cores
from benchharness.measure.fingerprint import fingerprint, in_words
from benchharness.measure.git import describe_commit
from benchharness.plugins import installed
from benchharness.results.csvfiles import write_csv_files
from benchharness.results.record import Record
from benchharness.results.store import RunFolder
from benchharness.run import remarks
from benchharness.run.availability import has_real_weights
from benchharness.run.device import Device, choose_device
from benchharness.run.downloads import listen, open_fetcher
from benchharness.run.earlier import earlier_seconds
from benchharness.run.events import (
    Observer,
    PlannedCell,
    Preparing,
    RunStarted,
    announce,
    unobserved,
)
from benchharness.run.executor import LocalExecutor
from benchharness.run.facts import DatasetFacts
from benchharness.run.materials import Materials, Places
from benchharness.run.outlook.outlook import Outlook, warnings
from benchharness.run.proof.certify import Certifier, as_dict, verdicts
from benchharness.run.quarters import Quarters, Ward
from benchharness.run.requests import Requests, backend_plugin
from benchharness.run.runner import Runner
from benchharness.run.survey import check, survey_dataset
from benchharness.suite.builtin import IMAGES
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import choose_profile, resolve

if TYPE_CHECKING:
    from benchharness.fairness.certificate import Certificate

PACKAGES = ("benchharness", "numpy", "pandas", "pillow", "safetensors")


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
    offline: bool = False


@dataclass(slots=True, kw_only=True)
class Session:
    """A run that is understood but has not begun.

    Attributes:
        elsewhere: Executors of backends whose code is not what this process would import.
        quarters: Of the backends that have an interpreter of their own, once they are needed.
        own_heads: Whether each backend starts from the head that it has trained itself.
    """

    request: Request
    plan: Plan
    device: Device
    accelerators: tuple[Accelerator, ...]
    places: Places
    elsewhere: Mapping[str, LocalExecutor] = field(default_factory=dict)
    quarters: Mapping[str, Quarters] = field(default_factory=dict)
    own_heads: bool = False

    def announcements(self) -> list[str]:
        """Return what was decided for the user, one line each."""
        suite, profile = self.plan.suite, self.plan.profile
        lines = [f"suite {suite.name} on {self.device.name}"]
        if self.request.suite == IMAGES:
            lines.append(
                "the suite is built in, as none was named; "
                "a copy to change: benchharness run --write-suite my_suite.toml"
            )
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

    def outlook(self, facts: DatasetFacts) -> Outlook:
        """Return what the plan asks of this machine, on a dataset of these facts."""
        return Outlook(
            plan=self.plan,
            places=self.places,
            device=self.device,
            facts=facts,
            codes=self.codes(),
        )

    def run(self, observe: Observer) -> tuple[RunFolder, list[Record]]:
        """Prepare data and weights, carry out every trial, write the tables.

        Args:
            observe: Told of all that happens, but for the end.

        Raises:
            BenchError: Data, weights or the results folder are not to be had; nothing was run.
        """
        runner = self.begin(observe)
        try:
            runner.run(observe)
        finally:
            # Also when the user interrupts: the tables of what has finished.
            records, _ = runner.folder.records()
            write_csv_files(runner.folder.path, records)
        return runner.folder, records

    def begin(self, observe: Observer, *, command: str = "run") -> Runner:
        """Prepare data and weights, make the run's folder and prove; the trials are still to run.

        Args:
            observe: Told of what is decided and done.
            command: What the user has called.

        Raises:
            BenchError: As ``run`` does.
        """
        self.settle()
        started, token = datetime.now(UTC), secrets.token_hex(2)
        results, suite = self.request.results, self.plan.suite.name
        planned = RunFolder.at(results, suite, now=started, token=token)
        observe(self._started(command, folder=planned.path))
        requests = self._prepare(observe)
        materials = requests.materials
        folder = RunFolder.create(results, suite, now=started, token=token)
        dataset, weights = materials.describe_dataset(), materials.describe_weights()
        title = remarks.title(self.plan, materials.facts)
        folder.write_run(self._describe(started, title, dataset, weights))
        certificates: list[Certificate] = []
        if self.request.proof != "no":
            certificates = self._certify(requests, logs=folder.logs, observe=observe)
            folder.write_certificates(as_dict(certificates))
            if self.request.proof == "required":
                _require_proven(certificates)
        self._warn_of_others(observe)
        return Runner(
            plan=self.plan,
            materials=materials,
            folder=folder,
            executor=self.executor(),
            requests=requests,
            proofs=verdicts(certificates),
            elsewhere=self.elsewhere,
            own_heads=self.own_heads,
        )

    @property
    def ward(self) -> Ward:
        """What finds the interpreters of backends that have one of their own."""
        return Ward(
            suite=self.plan.suite,
            cache=self.places.cache,
            environment=self.places.environment,
        )

    def settle(self) -> None:
        """Find the interpreter of every backend that has one of its own.

        Raises:
            SuiteError: One is missing, or lacks what its workers need; every one is told.
        """
        self.quarters = self.ward.quarters(cell.backend for cell in self.plan.cells)
        own = {name: one.housed(self.executor()) for name, one in self.quarters.items()}
        # A revision's code comes before that of any environment.
        self.elsewhere = {**own, **self.elsewhere}

    def codes(self) -> dict[str, str]:
        """Return what tells the code of each backend that has an interpreter of its own.

        Empty where that was not looked at yet.
        """
        own = self.ward.apart(cell.backend for cell in self.plan.cells)
        return {name: self.quarters[name].code if name in self.quarters else "" for name in own}

    def prepare(self, observe: Observer) -> Materials:
        """Find, fetch and decode everything that a run would read, and run nothing.

        Args:
            observe: Told of what was decided and how far it is.

        Raises:
            BenchError: Data or weights are not to be had.
        """
        return self._prepare(observe).materials

    def certify(self, observe: Observer) -> list[Certificate]:
        """Return the certificate of every pair of the plan, and time nothing.

        Args:
            observe: Told of all that happens, but for the end.

        Raises:
            BenchError: Data or weights are not to be had.
        """
        self.settle()
        observe(self._started("certify", folder=None))
        requests = self._prepare(observe)
        logs = self.places.cache / "probes" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        return self._certify(requests, logs=logs, observe=observe)

    def _started(self, command: str, *, folder: Path | None) -> RunStarted:
        """Return the event with which everything begins."""
        plan = self.plan
        expected_s = earlier_seconds(self.request.results, plan, device=self.device.name)
        return RunStarted(
            command=command,
            suite=plan.suite.name,
            profile=plan.profile,
            device=self.device.name,
            folder=str(folder) if folder else None,
            trials=len(plan.trials()) if folder else 0,
            cells=tuple(
                PlannedCell(
                    benchmark=cell.benchmark,
                    matrix=cell.matrix,
                    backend=cell.backend,
                    track=cell.track,
                    trials=cell.trials,
                    epochs=cell.settings.epochs,
                    expected_s=expected_s.get(place),
                )
                for place, cell in enumerate(plan.cells)
            ),
        )

    def _prepare(self, observe: Observer) -> Requests:
        """Find and decode everything that the plan's cells read."""
        announce(observe, self.announcements())
        announce(observe, list(remarks.on_quarters(self.quarters)))
        listen(self.places.fetcher, observe)
        cores = usable_cores()

        def prepared(done: int, count: int) -> None:
            observe(Preparing(done=done, count=count))

        materials = Materials(self.plan, places=self.places, workers=cores, progress=prepared)
        listing = materials.listing
        asked, self.plan = self.plan, materials.plan
        announce(observe, list(remarks.on_fitting(asked, materials.facts)))
        check(self.plan, channels=listing.channels, classes=len(listing.classes))
        announce(observe, warnings(self.outlook(materials.facts), self.accelerators))
        materials.prepare()
        announce(observe, [*remarks.on_dataset(materials.describe_dataset())])
        announce(observe, [*remarks.on_weights(materials.describe_weights())])
        return Requests(
            plan=self.plan,
            materials=materials,
            device=self.device.kind,
            cores=cores,
            features=self.places.cache / "features",
        )

    def _certify(self, requests: Requests, *, logs: Path, observe: Observer) -> list[Certificate]:
        certifier = Certifier(
            plan=self.plan,
            requests=requests,
            executor=self.executor(),
            elsewhere=self.elsewhere,
            machine=self.device.name,
            cache=self.places.cache / "probes",
            logs=logs,
            observe=observe,
        )
        return certifier.certificates()

    def _warn_of_others(self, observe: Observer) -> None:
        """Say which processes share the GPU: they share its time and memory too."""
        from benchharness.measure.nvml import foreign_processes

        if self.device.index is None:
            return
        announce(
            observe,
            [
                f"WARNING: {self.device.name} is also in use by {process.name} "
                f"(process {process.pid}); timings will suffer, end it first"
                for process in foreign_processes(self.device.index)
            ],
        )

    def executor(
        self,
        *,
        python: str = sys.executable,
        variables: Mapping[str, str] = MappingProxyType({}),
        code: str = "",
    ) -> LocalExecutor:
        """Return what carries out trials on the session's device.

        Args:
            python: Interpreter of the workers.
            variables: Of their environment, beside those of this process.
            code: Tells the code that they import from that of this process; empty where it is that.
        """
        environment = self.device.environment(self.places.environment)
        return LocalExecutor(
            gpu_index=self.device.index,
            environment={**environment, **variables},
            timeout_s=self.request.timeout_s,
            python=python,
            code=code,
        )

    def _describe(
        self,
        started: datetime,
        title: str,
        dataset: dict[str, Any],
        weights: dict[str, Any] | None,
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
            "title": title,
            "profile": self.plan.profile,
            "device": self.device.name,
            "machine": in_words(fingerprint()),
            "commit": describe_commit(Path.cwd()),
            "started": started.isoformat(timespec="seconds"),
            "backends": list(backends),
            "dataset": dataset,
            "weights": weights,
            "environment": describe_environment(self.accelerators, packages=packages),
            "environments": {name: one.as_dict() for name, one in self.quarters.items()},
            "resolved": self.plan.as_dict(),
        }


def open_session(
    request: Request,
    *,
    environment: Mapping[str, str] = os.environ,
    cache: Path | None = None,
    observe: Observer = unobserved,
) -> Session:
    """Read the suite and decide on profile, device and plan.

    Args:
        environment: Variables of the process.
        cache: For prepared data; None for $BENCHHARNESS_CACHE or the user's cache folder.
        observe: Told of downloads, where the profile depends on what can be had.

    Raises:
        SuiteError: The request cannot be understood; every problem is named.
    """
    suite = load(request.suite)
    accelerators = find_accelerators()
    device = choose_device(request.device, accelerators)
    cache = cache or cache_folder(environment)
    places = Places(
        environment=environment,
        cache=cache,
        data=request.data,
        fetcher=open_fetcher(cache, environment=environment, is_offline=request.offline),
    )
    listen(places.fetcher, observe)
    profile = choose_profile(
        suite,
        requested=request.profile,
        has_accelerator=device.kind == "gpu",
        has_weights=lambda: has_real_weights(
            suite, places, backends=request.backends, benchmarks=request.benchmarks
        ),
    )
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
        places=places,
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


def _check_backends(plan: Plan) -> None:
    """Refuse a misspelt backend; one that is merely not installed leaves failed rows instead."""
    problems = []
    for backend in dict.fromkeys(cell.backend for cell in plan.cells):
        plugin, _ = backend_plugin(plan, backend)
        if backend in plan.suite.backend and plan.suite.backend[backend].is_apart:
            continue
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


def _package(plugin: str) -> str:
    """Return the distribution that a plugin came with; empty where it is not installed."""
    entry = installed().get(plugin)
    return entry.dist.name if entry and entry.dist else ""
