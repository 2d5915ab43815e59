"""Session of a run: from the user's options to its inputs, its certificates or its runner."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchharness.data.info import DatasetInfo
from benchharness.doctor.disk import RUN_BYTES, heads_bytes
from benchharness.download.caches import cache_folder
from benchharness.errors import SuiteError
from benchharness.files import ANOTHER_CACHE, writable
from benchharness.measure.gpu import (
    Accelerator,
    find_accelerators,
    foreign_processes,
    read_gpus,
    unread_gpus,
)
from benchharness.measure.machine import usable_cores
from benchharness.results.run_folder import RunFolder, require_room
from benchharness.run import messages
from benchharness.run.certify import Certifier
from benchharness.run.checks import (
    absent_backends,
    require_known_backends,
    without_unsupported,
)
from benchharness.run.device import Device, choose_device
from benchharness.run.dry_run import build_workloads, dataset_info, preview_trials
from benchharness.run.estimate import ResourceEstimate, warnings
from benchharness.run.events import (
    Observer,
    Preparing,
    RunStarted,
    announce,
    run_started,
    unobserved,
)
from benchharness.run.inputs import (
    RunInputs,
    SearchPaths,
    find_inputs,
    has_real_weights,
    open_fetcher,
    report_downloads,
)
from benchharness.run.interpreters import BackendInterpreter, InterpreterResolver
from benchharness.run.locks import lock_gpu, lock_run
from benchharness.run.options import RunOptions
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import Requests
from benchharness.run.resume import (
    PendingTrials,
    check_same_setup,
    describe_run,
    restore_options,
    run_to_resume,
)
from benchharness.run.runner import Runner
from benchharness.suite.builtin import IMAGES
from benchharness.suite.file import SuiteFile
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import choose_profile, resolve

if TYPE_CHECKING:
    from benchharness.fairness.certificate import Certificate

# Share of the GPU's free memory for a dataset's images: training needs the rest.
_RESIDENT_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Setup of a run, before any data are read.

    Attributes:
        plan: As requested; ``RunInputs.plan`` is adapted to the data.
        executors: Of backends whose code is not what this process would import.
        interpreters: Of the backends that have their own, once resolved.
        skipped: Warnings about backends of the suite that are not in the plan.
        own_head_per_backend: Whether each backend starts from the head that it trained itself.
        resumed: The run to resume; None for a new one.
    """

    options: RunOptions
    plan: Plan
    device: Device
    accelerators: tuple[Accelerator, ...]
    places: SearchPaths
    executors: Mapping[str, LocalExecutor] = field(default_factory=dict)
    interpreters: Mapping[str, BackendInterpreter] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    own_head_per_backend: bool = False
    resumed: RunFolder | None = None

    def plan_messages(self) -> list[str]:
        """Return the choices made for the user, one line each."""
        lines = messages.plan_messages(
            self.plan,
            device=self.device.name,
            is_built_in=self.options.suite == IMAGES,
            is_profile_requested=self.options.profile is not None,
        )
        is_cpu_by_default = self.device.kind == "cpu" and self.options.device == "auto"
        problem = unread_gpus(self.places.environment) if is_cpu_by_default else ""
        absent = absent_backends(self.plan, elsewhere=self.executors)
        return [*lines, *self.skipped, *absent, *([f"WARNING: {problem}"] if problem else [])]

    def dataset_info(self) -> DatasetInfo:
        """Return the plan's dataset in numbers; nothing is drawn or downloaded."""
        return dataset_info(self.plan, places=self.places)

    def estimate_resources(self, dataset: DatasetInfo) -> ResourceEstimate:
        """Return what the plan needs of this machine."""
        return ResourceEstimate(plan=self.plan, device=self.device, facts=dataset)

    @property
    def resolver(self) -> InterpreterResolver:
        """The resolver of interpreters for backends that have their own."""
        return InterpreterResolver(
            suite=self.plan.suite,
            cache=self.places.cache,
            environment=self.places.environment,
        )

    def resolve_interpreters(self) -> Session:
        """Return the session with the interpreter of every backend that has its own.

        Raises:
            SuiteError: One is missing, or lacks what its workers need; each of them is named.
        """
        interpreters = self.resolver.interpreters(cell.backend for cell in self.plan.cells)
        executors = {
            name: interpreter.with_interpreter(self.executor())
            for name, interpreter in interpreters.items()
        }
        # A revision's code comes before that of any environment.
        return replace(self, interpreters=interpreters, executors={**executors, **self.executors})

    def executor(
        self,
        *,
        python: str = sys.executable,
        variables: Mapping[str, str] = MappingProxyType({}),
        code: str = "",
    ) -> LocalExecutor:
        """Return an executor of trials on the session's device.

        Args:
            python: Interpreter of the workers.
            variables: Of their environment, beside those of this process.
            code: Digest of the code that they import; empty for that of this process.
        """
        environment = self.device.environment(self.places.environment)
        return LocalExecutor(
            gpu=self.device.selector,
            environment={**environment, **variables},
            silence_s=self.options.timeout_s,
            python=python,
            code=code,
        )


def open_session(
    options: RunOptions,
    *,
    environment: Mapping[str, str] = os.environ,
    cache: Path | None = None,
    observe: Observer = unobserved,
) -> Session:
    """Read the suite and choose profile, device and plan.

    Args:
        environment: Variables of the process.
        cache: For prepared data; None for $BENCHHARNESS_CACHE or the user's cache folder.
        observe: Called with downloads, where the profile depends on them.

    Raises:
        SuiteError: The options or the suite are wrong; every problem is named.
    """
    suite = load(options.suite)
    resumed = run_to_resume(options, suite=suite.name)
    if resumed is not None:
        options = restore_options(options, resumed)
    accelerators = find_accelerators(environment)
    device = choose_device(options.device, accelerators)
    cache = cache or cache_folder(environment)
    places = SearchPaths(
        environment=environment,
        cache=cache,
        data=options.data,
        fetcher=open_fetcher(cache, environment=environment, is_offline=options.offline),
    )
    report_downloads(places.fetcher, observe)
    plan = resolve(
        suite,
        profile=choose_profile(
            suite,
            requested=options.profile,
            has_accelerator=device.kind == "gpu",
            has_weights=lambda: _has_weights(suite, options, places),
        ),
        backends=options.backends,
        benchmarks=options.benchmarks,
        trials=options.trials,
        max_trials=options.max_trials,
        max_minutes=options.max_minutes,
        tracks=options.tracks,
    )
    require_known_backends(plan)
    plan, skipped = without_unsupported(plan, requested=options.backends)
    return Session(
        options=options,
        plan=plan,
        device=device,
        accelerators=accelerators,
        places=places,
        skipped=tuple(skipped),
        resumed=resumed,
    )


def _has_weights(suite: SuiteFile, options: RunOptions, places: SearchPaths) -> bool:
    """Return whether the weights of the suite without a profile are available."""
    try:
        plan = resolve(
            suite, profile=None, backends=options.backends, benchmarks=options.benchmarks
        )
    except SuiteError:
        # Without a profile there is nothing to run.
        return True
    return has_real_weights(plan, places=places)


def prepare(session: Session, observe: Observer) -> RunInputs:
    """Find, download and decode everything that a run reads, and adapt the plan to it.

    Args:
        observe: Called with messages and progress.

    Raises:
        BenchError: Data or weights are unavailable, or do not suit the plan.
    """
    places = session.places
    announce(observe, session.plan_messages())
    announce(observe, list(messages.interpreter_messages(session.interpreters)))
    report_downloads(places.fetcher, observe)
    inputs = find_inputs(
        session.plan,
        places=places,
        workers=usable_cores(),
        progress=lambda done, count: observe(Preparing(done=done, count=count)),
    )
    dataset, listing = inputs.dataset, inputs.listing
    announce(observe, list(messages.source_messages(dataset)))
    announce(observe, list(messages.adaptation_messages(session.plan, dataset)))
    build_workloads(inputs.plan, channels=listing.channels, classes=len(listing.classes))
    estimate = ResourceEstimate(plan=inputs.plan, device=session.device, facts=dataset)
    announce(observe, warnings(estimate, session.accelerators))
    inputs.prepare()
    announce(observe, [*messages.dataset_messages(inputs.describe_dataset())])
    announce(observe, [*messages.weights_messages(inputs.describe_weights())])
    return inputs


def certify(session: Session, observe: Observer) -> list[Certificate]:
    """Return the certificate of every pair of the plan, and time nothing.

    Raises:
        BenchError: Data or weights are unavailable.
    """
    session = session.resolve_interpreters()
    observe(_run_started(session, "certify", folder=None))
    with ExitStack() as locks:
        _lock_device(session, locks)
        inputs = prepare(session, observe)
        logs = session.places.cache / "probes" / "logs"
        with writable(logs, elsewhere=ANOTHER_CACHE):
            logs.mkdir(parents=True, exist_ok=True)
        return _certifier(session, _requests(session, inputs), logs, observe).certificates()


def start_run(session: Session, observe: Observer, *, command: str = "run") -> Runner:
    """Lock the device, prepare the inputs and make the run's folder; nothing is timed yet.

    Args:
        observe: Called with all events.
        command: As the user called it.

    Returns:
        The runner, to be closed: it holds the locks.

    Raises:
        BenchError: Data, weights or the results folder are unavailable.
    """
    session = session.resolve_interpreters()
    options, started, token = session.options, datetime.now(UTC), secrets.token_hex(2)
    suite = session.plan.suite.name
    planned = session.resumed or RunFolder.at(options.results, suite, now=started, token=token)
    observe(_run_started(session, command, folder=planned))
    with ExitStack() as locks:
        _lock_device(session, locks)
        require_room(options.results, needed=RUN_BYTES)
        inputs = prepare(session, observe)
        previews = list(preview_trials(inputs.plan, inputs.dataset))
        require_room(options.results, needed=RUN_BYTES + heads_bytes(previews))
        described = describe_run(session, inputs, started=started, is_resumable=command == "run")
        if session.resumed is None:
            folder = RunFolder.create(
                options.results, suite, now=started, token=token, run=described
            )
        else:
            folder = session.resumed
            check_same_setup(folder, described)
        locks.callback(lock_run(folder).release)
        # The looks of the resumed run no longer hold once a trial is added.
        run = folder.read_run()
        if run.pop("looks", None):
            folder.write_run(run)
        pending = _pending(session, observe)
        _warn_of_other_processes(session.device, observe)
        requests = _requests(session, inputs)
        has_proof = options.proof != "no"
        return Runner(
            inputs=inputs,
            folder=folder,
            executor=session.executor(),
            executors=session.executors,
            requests=requests,
            certifier=_certifier(session, requests, folder.logs, observe) if has_proof else None,
            is_proof_required=options.proof == "required",
            own_head_per_backend=session.own_head_per_backend,
            retries=options.retries,
            fail_fast=options.fail_fast,
            pending=pending,
            locks=locks.pop_all(),
        )


def _run_started(session: Session, command: str, *, folder: RunFolder | None) -> RunStarted:
    trials = len(session.plan.trials())
    if session.resumed is not None:
        # As far as is known before the data are read; then ids decide.
        records, _ = session.resumed.records()
        pending = PendingTrials.of(records, only_failed=session.options.only_failed)
        trials = pending.count(of=trials)
    return run_started(
        session.plan,
        command=command,
        device=session.device.name,
        folder=folder,
        results=session.options.results,
        trials=trials,
    )


def _lock_device(session: Session, locks: ExitStack) -> None:
    """Lock the GPU as long as the session is at work, unless it is shared.

    Raises:
        RunError: Another run uses it.
    """
    device = session.device
    if device.index is not None and not session.options.share_device:
        locks.callback(lock_gpu(device.selector, device.name).release)


def _pending(session: Session, observe: Observer) -> PendingTrials:
    """Return the pending trials of the run, and announce that one is resumed."""
    if session.resumed is None:
        if session.options.resume is not None:
            announce(observe, ["no previous run to resume; starting a new one"])
        return PendingTrials()
    records, damages = session.resumed.records()
    announce(observe, [f"resuming {session.resumed.path}: {len(records)} trials are done"])
    announce(observe, [f"WARNING: {damage}" for damage in damages])
    return PendingTrials.of(records, only_failed=session.options.only_failed)


def _warn_of_other_processes(device: Device, observe: Observer) -> None:
    """Warn of processes on the GPU: they use its time and memory."""
    if device.index is not None:
        announce(
            observe,
            [
                f"WARNING: {device.name} is also in use by {process.name} "
                f"(process {process.pid}); timings will suffer, end it first"
                for process in foreign_processes(device.selector)
            ],
        )


def _requests(session: Session, inputs: RunInputs) -> Requests:
    return Requests(
        inputs=inputs,
        device=session.device.kind,
        cores=usable_cores(),
        features=session.places.cache / "features",
        resident_bytes=resident_bytes(session),
    )


def resident_bytes(session: Session) -> int:
    """Return how much of the GPU's memory a trial's inputs may take; 0 on a CPU."""
    used = [gpu for gpu in session.accelerators if gpu.index == session.device.index]
    return sum(
        int(_RESIDENT_SHARE * (state.free_bytes or state.accelerator.memory_bytes))
        for state in read_gpus(used)
    )


def _certifier(session: Session, requests: Requests, logs: Path, observe: Observer) -> Certifier:
    return Certifier(
        requests=requests,
        executor=session.executor(),
        executors=session.executors,
        machine=session.device.name,
        cache=session.places.cache / "probes",
        logs=logs,
        observe=observe,
    )
