"""From what a user asks for to a run: suite, profile, device, data, weights, folder."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from benchharness.doctor.disk import RUN_BYTES, heads_bytes
from benchharness.download.caches import cache_folder
from benchharness.files import ANOTHER_CACHE, writable
from benchharness.measure.environment import usable_cores
from benchharness.measure.gpu import Accelerator, find_accelerators, read_gpus, unread_gpus
from benchharness.measure.variables import recorded_variables
from benchharness.results.csvfiles import write_csv_files
from benchharness.results.record import Record
from benchharness.results.store import RunFolder, require_room
from benchharness.run import messages
from benchharness.run.availability import has_real_weights
from benchharness.run.certify import Certifier, as_dict, verdicts
from benchharness.run.checks import (
    require_known_backends,
    require_proven,
    told_absent,
    without_wheelless,
)
from benchharness.run.dataset_info import DatasetInfo
from benchharness.run.description import describe_run
from benchharness.run.device import Device, choose_device
from benchharness.run.downloads import listen, open_fetcher
from benchharness.run.dry_run import check, dataset_info
from benchharness.run.estimate.outlook import ResourceEstimate, warnings
from benchharness.run.events import (
    Observer,
    Preparing,
    RunStarted,
    announce,
    unobserved,
)
from benchharness.run.inputs import RunInputs, SearchPaths
from benchharness.run.interpreters import BackendInterpreter, InterpreterResolver
from benchharness.run.pending import SUCCESS, PendingTrials
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import Requests
from benchharness.run.resume import asked, check_same_setup, restore_options, run_to_resume
from benchharness.run.run_locks import RunLock, claim_gpu, claim_run
from benchharness.run.run_started import opening
from benchharness.run.runner import Runner
from benchharness.suite.builtin import IMAGES
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import choose_profile, resolve

if TYPE_CHECKING:
    from benchharness.fairness.certificate import Certificate

# Of the GPU's free memory, what the images of a dataset may take: training needs the rest.
_RESIDENT_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asks for; fields as the options of ``benchharness run``.

    Attributes:
        trials: Of each cell; ``auto`` for as many as it takes; None for the suite's word.
        max_trials: At most so many, where the number is ``auto``.
        max_minutes: Of timing, after which no cell gets more than its first trials.
        timeout_s: Longest a worker may give no sign of life.
        retries: How often a trial is repeated whose process failed.
        fail_fast: Whether the first trial that fails ends the run.
        resume: The run to go on with; an empty path for the suite's latest, None for a new one.
        only_failed: Whether to repeat what failed in it, rather than do what is missing.
        share_device: Whether another run may use the GPU, too.
    """

    suite: Path
    profile: str | None = None
    backends: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    trials: int | Literal["auto"] | None = None
    max_trials: int | None = None
    max_minutes: float | None = None
    data: Path | None = None
    device: str = "auto"
    results: Path = Path("results")
    timeout_s: float | None = None
    tracks: tuple[str, ...] = ()
    proof: Literal["no", "yes", "required"] = "yes"
    offline: bool = False
    retries: int = 0
    fail_fast: bool = False
    resume: Path | None = None
    only_failed: bool = False
    share_device: bool = False


@dataclass(slots=True, kw_only=True)
class Session:
    """A run that is understood but has not begun.

    Attributes:
        elsewhere: Executors of backends whose code is not what this process would import.
        quarters: Of the backends that have an interpreter of their own, once they are needed.
        left_out: Why some backends of the suite do not run here, a line each.
        own_head_per_backend: Whether each backend starts from the head that it has trained itself.
        resumed: The run that goes on; None for a new one.
        folder: Of the run, once it has begun.
    """

    request: Request
    plan: Plan
    device: Device
    accelerators: tuple[Accelerator, ...]
    places: SearchPaths
    elsewhere: Mapping[str, LocalExecutor] = field(default_factory=dict)
    quarters: Mapping[str, BackendInterpreter] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    own_head_per_backend: bool = False
    resumed: RunFolder | None = None
    folder: RunFolder | None = None
    _claims: list[RunLock] = field(default_factory=list)

    def announcements(self) -> list[str]:
        """Return what was decided for the user, one line each."""
        found = messages.plan_messages(
            self.plan,
            device=self.device.name,
            is_built_in=self.request.suite == IMAGES,
            is_profile_asked=self.request.profile is not None,
        )
        is_unasked = self.device.kind == "cpu" and self.request.device == "auto"
        trouble = unread_gpus(self.places.environment) if is_unasked else ""
        return [*found, *self.left_out, *([f"WARNING: {trouble}"] if trouble else [])]

    def survey(self) -> DatasetInfo:
        """Return the facts that a preview of the plan needs."""
        return dataset_info(self.plan, places=self.places)

    def outlook(self, facts: DatasetInfo) -> ResourceEstimate:
        """Return what the plan asks of this machine, on a dataset of these facts."""
        return ResourceEstimate(
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
        try:
            runner = self.begin(observe)
            try:
                self._run_trials(runner, observe)
            finally:
                # Also when the user interrupts: the tables of what has finished.
                records, _ = runner.folder.records()
                write_csv_files(runner.folder.path, records)
        finally:
            self.close()
        return runner.folder, records

    def _run_trials(self, runner: Runner, observe: Observer) -> None:
        """Carry out what the run lacks, up to the first failure where that is to end it."""
        for record in runner.advance(observe):
            if self.request.fail_fast and record["status"] not in SUCCESS:
                announce(observe, ["WARNING: stopped at the first failure, as asked"])
                return

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
        planned = self.resumed or RunFolder.at(results, suite, now=started, token=token)
        observe(self._started(command, folder=planned))
        self.lock_device()
        require_room(results, needed=RUN_BYTES)
        requests = self._prepare(observe)
        materials = requests.materials
        forecasts = self.outlook(materials.facts).forecasts()
        require_room(results, needed=RUN_BYTES + heads_bytes(forecasts))
        self.folder = folder = self._open_folder(materials, started, token, command=command)
        backlog = self._backlog(observe)
        certificates: list[Certificate] = []
        if self.request.proof != "no":
            certificates = self._certify(requests, logs=folder.logs, observe=observe)
            folder.write_certificates(as_dict(certificates))
            if self.request.proof == "required":
                require_proven(certificates)
        self._warn_of_others(observe)
        return Runner(
            plan=self.plan,
            materials=materials,
            folder=folder,
            executor=self.executor(),
            requests=requests,
            proofs=verdicts(certificates),
            elsewhere=self.elsewhere,
            own_head_per_backend=self.own_head_per_backend,
            retries=self.request.retries,
            backlog=backlog,
        )

    def _open_folder(
        self, materials: RunInputs, started: datetime, token: str, *, command: str
    ) -> RunFolder:
        """Make the folder of a new run, or see that a resumed one is the same still; hold it."""
        described = describe_run(
            self.plan,
            materials,
            started=started,
            device=self.device.name,
            accelerators=self.accelerators,
            elsewhere=self.elsewhere,
            environments={name: one.as_dict() for name, one in self.quarters.items()},
            variables=recorded_variables(self.places.environment),
            asked=asked(self.request) if command == "run" else None,
        )
        if self.resumed is not None:
            folder = self.resumed
            check_same_setup(folder, described)
        else:
            folder = RunFolder.create(
                self.request.results,
                self.plan.suite.name,
                now=started,
                token=token,
                run=described,
            )
        self._claims.append(claim_run(folder))
        # What earlier looks have found holds until this run adds a trial; it looks again.
        run = folder.read_run()
        if run.pop("looks", None):
            folder.write_run(run)
        return folder

    def _backlog(self, observe: Observer) -> PendingTrials:
        """Return what the run lacks, and tell of the one that goes on."""
        if self.resumed is None:
            if self.request.resume is not None:
                announce(observe, ["no run of this suite to go on with: a new one begins"])
            return PendingTrials()
        records, damages = self.resumed.records()
        announce(observe, [f"going on with {self.resumed.path}: {len(records)} trials are done"])
        announce(observe, [f"WARNING: {damage}" for damage in damages])
        return PendingTrials.of(records, only_failed=self.request.only_failed)

    def lock_device(self) -> None:
        """Keep other runs from the GPU as long as this session is open, unless it is shared.

        Raises:
            RunError: Another run is on it.
        """
        if self.device.index is not None and not self.request.share_device:
            self._claims.append(claim_gpu(self.device.selector, self.device.name))

    def close(self) -> None:
        """Let others have the device and the run's folder."""
        while self._claims:
            self._claims.pop().release()

    @property
    def ward(self) -> InterpreterResolver:
        """What finds the interpreters of backends that have one of their own."""
        return InterpreterResolver(
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
        own = {name: one.with_interpreter(self.executor()) for name, one in self.quarters.items()}
        # A revision's code comes before that of any environment.
        self.elsewhere = {**own, **self.elsewhere}

    def codes(self) -> dict[str, str]:
        """Return what tells the code of each backend that has an interpreter of its own.

        Empty where that was not looked at yet.
        """
        own = self.ward.apart(cell.backend for cell in self.plan.cells)
        return {name: self.quarters[name].code if name in self.quarters else "" for name in own}

    def prepare(self, observe: Observer) -> RunInputs:
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
        self.lock_device()
        try:
            requests = self._prepare(observe)
            logs = self.places.cache / "probes" / "logs"
            with writable(logs, elsewhere=ANOTHER_CACHE):
                logs.mkdir(parents=True, exist_ok=True)
            return self._certify(requests, logs=logs, observe=observe)
        finally:
            self.close()

    def _started(self, command: str, *, folder: RunFolder | None) -> RunStarted:
        """Return the event with which everything begins."""
        trials = len(self.plan.trials())
        if self.resumed is not None:
            # As far as can be told before the data are read; then ids decide.
            records, _ = self.resumed.records()
            backlog = PendingTrials.of(records, only_failed=self.request.only_failed)
            trials = backlog.count(of=trials)
        return opening(
            self.plan,
            command=command,
            device=self.device.name,
            folder=folder,
            results=self.request.results,
            trials=trials,
        )

    def _prepare(self, observe: Observer) -> Requests:
        """Find and decode everything that the plan's cells read."""
        announce(observe, self.announcements())
        announce(observe, list(messages.on_quarters(self.quarters)))
        listen(self.places.fetcher, observe)
        cores = usable_cores()

        def prepared(done: int, count: int) -> None:
            observe(Preparing(done=done, count=count))

        materials = RunInputs(self.plan, places=self.places, workers=cores, progress=prepared)
        listing = materials.listing
        asked, self.plan = self.plan, materials.plan
        announce(observe, list(messages.on_facts(materials.facts)))
        announce(observe, list(messages.adaptation_messages(asked, materials.facts)))
        check(self.plan, channels=listing.channels, classes=len(listing.classes))
        announce(observe, warnings(self.outlook(materials.facts), self.accelerators))
        materials.prepare()
        announce(observe, [*messages.dataset_messages(materials.describe_dataset())])
        announce(observe, [*messages.on_weights(materials.describe_weights())])
        return Requests(
            plan=self.plan,
            materials=materials,
            device=self.device.kind,
            cores=cores,
            features=self.places.cache / "features",
            resident_bytes=self._resident_bytes(),
        )

    def _resident_bytes(self) -> int:
        """Return how much of the GPU's memory a trial's inputs may take; 0 on a CPU."""
        used = [one for one in self.accelerators if one.index == self.device.index]
        return sum(
            int(_RESIDENT_SHARE * (state.free_bytes or state.accelerator.memory_bytes))
            for state in read_gpus(used)
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
        from benchharness.measure.gpu import foreign_processes

        if self.device.index is None:
            return
        announce(
            observe,
            [
                f"WARNING: {self.device.name} is also in use by {process.name} "
                f"(process {process.pid}); timings will suffer, end it first"
                for process in foreign_processes(self.device.selector)
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
            gpu=self.device.selector,
            environment={**environment, **variables},
            silence_s=self.request.timeout_s,
            python=python,
            code=code,
        )


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
    resumed = run_to_resume(request, suite=suite.name)
    if resumed is not None:
        request = restore_options(request, resumed)
    accelerators = find_accelerators(environment)
    device = choose_device(request.device, accelerators)
    cache = cache or cache_folder(environment)
    places = SearchPaths(
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
        max_trials=request.max_trials,
        max_minutes=request.max_minutes,
        tracks=request.tracks,
    )
    require_known_backends(plan)
    plan, left_out = without_wheelless(plan, asked=request.backends)
    return Session(
        request=request,
        plan=plan,
        device=device,
        accelerators=accelerators,
        places=places,
        left_out=(*left_out, *told_absent(plan)),
        resumed=resumed,
    )
