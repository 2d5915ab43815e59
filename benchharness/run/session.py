"""Session of a run: from the user's options to its inputs, its certificates or its runner."""

from __future__ import annotations

import os
import secrets
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchharness.data.info import DatasetInfo
from benchharness.download.caches import cache_folder
from benchharness.errors import Problem, SuiteError
from benchharness.measure.gpu import (
    Accelerator,
    find_accelerators,
    foreign_processes,
    read_gpus,
    unread_gpus,
)
from benchharness.measure.machine import host_name
from benchharness.plugins import disabled, installed, obstacle
from benchharness.results.run_folder import RunFolder, require_room
from benchharness.run import messages
from benchharness.run.certify import Certifier
from benchharness.run.device import Device, choose_device
from benchharness.run.dry_run import build_workloads, dataset_info, preview_trials
from benchharness.run.estimate import RUN_BYTES, ResourceEstimate, heads_bytes, warnings
from benchharness.run.events import (
    Observer,
    Preparing,
    RunStarted,
    ScheduledCell,
    announce,
    previous_durations,
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
from benchharness.run.requests import Requests, backend_plugin
from benchharness.run.resume import (
    SUCCESS,
    check_same_setup,
    describe_run,
    restore_options,
    run_to_resume,
)
from benchharness.run.runner import Runner
from benchharness.suite.load import load
from benchharness.suite.plan import Plan
from benchharness.suite.resolve import choose_profile, resolve
from benchharness.text import did_you_mean

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
        lines = messages.plan_messages(self.plan, self.options, device=self.device.name)
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
        """Return the session with interpreters; raise a SuiteError that names unusable ones."""
        interpreters = self.resolver.interpreters(cell.backend for cell in self.plan.cells)
        executors = {
            name: interpreter.with_interpreter(self.executor())
            for name, interpreter in interpreters.items()
        }
        # A revision's code comes before that of any environment.
        return replace(self, interpreters=interpreters, executors={**executors, **self.executors})

    def executor(self) -> LocalExecutor:
        """Return an executor on the device, with the interpreter and code of this process."""
        return LocalExecutor(
            gpu=self.device.selector,
            environment=self.device.environment(self.places.environment),
            silence_s=self.options.timeout_s,
        )

    def requests(self, inputs: RunInputs) -> Requests:
        """Return the requests to workers on the session's device."""
        return Requests(
            session=self,
            inputs=inputs,
            executor=self.executor(),
            resident_bytes=resident_bytes(self),
        )

    def lock_device(self, locks: ExitStack) -> None:
        """Lock the GPU, unless it is shared; raise a RunError if another run uses it."""
        if self.device.index is not None and not self.options.share_device:
            locks.callback(lock_gpu(self.device.selector, self.device.name).release)


def open_session(
    options: RunOptions,
    *,
    environment: Mapping[str, str] = os.environ,
    cache: Path | None = None,
    device: Device | None = None,
    observe: Observer = unobserved,
) -> Session:
    """Read the suite and choose profile, device and plan.

    Args:
        cache: For prepared data; None for $BENCHHARNESS_CACHE or the user's cache folder.
        device: Of the hosts that trials run on; None for one of this machine.
        observe: Called with downloads, where the profile depends on them.

    Raises:
        SuiteError: The options or the suite are wrong; every problem is named.
    """
    suite = load(options.suite)
    resumed = run_to_resume(options, suite=suite.name)
    if resumed is not None:
        options = restore_options(options, resumed)
    accelerators = find_accelerators(environment)
    device = device or choose_device(options.device, accelerators)
    cache = cache or cache_folder(environment)
    places = SearchPaths(
        environment=environment,
        cache=cache,
        data=options.data,
        fetcher=open_fetcher(cache, environment=environment, is_offline=options.offline),
    )
    report_downloads(places.fetcher, observe)
    select = partial(resolve, suite, backends=options.backends, benchmarks=options.benchmarks)

    def has_weights() -> bool:
        try:
            return has_real_weights(select(profile=None), places=places)
        except SuiteError:
            # Without a profile there is nothing to run.
            return True

    profile = choose_profile(
        suite,
        requested=options.profile,
        has_accelerator=device.kind == "gpu",
        has_weights=has_weights,
    )
    plan = select(
        profile=profile,
        trials=options.trials,
        max_trials=options.max_trials,
        max_minutes=options.max_minutes,
        tracks=options.tracks,
    )
    plan, skipped = _with_known_backends(plan, requested=options.backends)
    return Session(
        options=options,
        plan=plan,
        device=device,
        accelerators=accelerators,
        places=places,
        skipped=tuple(skipped),
        resumed=resumed,
    )


def _with_known_backends(plan: Plan, *, requested: Sequence[str]) -> tuple[Plan, list[str]]:
    """Return a plan without the backends that this Python does not support, and their warnings.

    A misspelt backend is refused, and an unsupported one that was requested; one that is merely
    not installed leaves failed rows instead.
    """
    plugins = _local_plugins(plan)
    problems = [
        Problem(
            where="backends",
            expected=f"an installed plugin ({', '.join(installed())})",
            found=f'"{plugin}"',
            hint=hint,
        )
        for plugin in plugins.values()
        if plugin not in (*installed(), *disabled()) and (hint := did_you_mean(plugin, installed()))
    ]
    unsupported = {
        backend: reason
        for backend, plugin in plugins.items()
        if plugin in installed() and (reason := obstacle(installed()[plugin]))
    }
    cells = tuple(cell for cell in plan.cells if cell.backend not in unsupported)
    problems += [
        Problem(
            where=f'backend "{backend}"',
            expected="a framework that this Python supports",
            found=str(reason),
            hint=reason.remedy,
        )
        for backend, reason in unsupported.items()
        if backend in requested or not cells
    ]
    if problems:
        raise SuiteError(str(plan.suite.path), problems)
    return replace(plan, cells=cells), [
        f"WARNING: {backend} is skipped: {reason}; {reason.remedy}"
        for backend, reason in unsupported.items()
    ]


def absent_backends(plan: Plan, *, elsewhere: Container[str]) -> list[str]:
    """Return a warning for each backend that is neither installed nor elsewhere."""
    return [
        f"WARNING: {backend} is not installed, and its trials fail; "
        "benchharness list shows what is installed"
        for backend, plugin in _local_plugins(plan).items()
        if backend not in elsewhere and plugin not in (*installed(), *disabled())
    ]


def _local_plugins(plan: Plan) -> dict[str, str]:
    """Return the plugin of each backend that runs on the interpreter of this process."""
    tables = plan.suite.backend
    return {
        cell.backend: backend_plugin(plan, cell.backend)[0]
        for cell in plan.cells
        if cell.backend not in tables or not tables[cell.backend].has_own_interpreter
    }


def prepare_inputs(session: Session, observe: Observer) -> RunInputs:
    """Find, download and decode everything that a run reads, and adapt the plan to it.

    Raises:
        BenchError: Data or weights are unavailable, or do not suit the plan.
    """
    announce(observe, session.plan_messages())
    announce(observe, messages.interpreter_messages(session.interpreters))
    report_downloads(session.places.fetcher, observe)
    inputs = find_inputs(
        session.plan,
        places=session.places,
        progress=lambda done, count: observe(Preparing(done=done, count=count)),
    )
    dataset, listing = inputs.dataset, inputs.listing
    announce(observe, messages.source_messages(dataset))
    announce(observe, messages.adaptation_messages(session.plan, dataset))
    build_workloads(inputs.plan, channels=listing.channels, classes=len(listing.classes))
    estimate = ResourceEstimate(plan=inputs.plan, device=session.device, facts=dataset)
    if session.options.cluster is None:
        announce(observe, warnings(estimate, session.accelerators))
    inputs.decode_images()
    announce(observe, messages.dataset_messages(inputs.describe_dataset()))
    announce(observe, messages.weights_messages(inputs.describe_weights()))
    return inputs


def certify(session: Session, observe: Observer) -> list[Certificate]:
    """Return the certificate of every pair of the plan, and time nothing."""
    session = session.resolve_interpreters()
    observe(_run_started(session, "certify", folder=None))
    with ExitStack() as locks:
        session.lock_device(locks)
        requests = session.requests(prepare_inputs(session, observe))
        logs = session.places.cache / "probes" / "logs"
        return Certifier(requests=requests, logs=logs, observe=observe).certificates()


def start_run(session: Session, observe: Observer, *, command: str = "run") -> Runner:
    """Lock the device, prepare the inputs and make the run's folder; nothing is timed yet.

    The runner is to be closed: it holds the locks.

    Raises:
        BenchError: Data, weights or the results folder are unavailable.
    """
    session = session.resolve_interpreters()
    options, device = session.options, session.device
    started, token = datetime.now(UTC), secrets.token_hex(2)
    suite, folder = session.plan.suite.name, session.resumed
    planned = folder or RunFolder.at(options.results, suite, now=started, token=token)
    observe(_run_started(session, command, folder=planned))
    with ExitStack() as locks:
        session.lock_device(locks)
        require_room(options.results, needed=RUN_BYTES)
        inputs = prepare_inputs(session, observe)
        previews = list(preview_trials(inputs.plan, inputs.dataset))
        require_room(options.results, needed=RUN_BYTES + heads_bytes(previews))
        described = describe_run(session, inputs, started=started, is_resumable=command == "run")
        if folder is None:
            folder = RunFolder.create(
                options.results, suite, now=started, token=token, run=described
            )
        else:
            check_same_setup(folder, described, is_here=options.cluster is None)
        locks.callback(lock_run(folder).release)
        # The looks of the resumed run no longer hold once a trial is added.
        run = folder.read_run()
        if run.pop("looks", None):
            folder.write_run(run)
        if session.resumed is not None:
            records, damages = folder.records()
            done = f"resuming {folder.path}: {len(records)} trials are done"
            announce(observe, [done, *(f"WARNING: {damage}" for damage in damages)])
        elif options.resume is not None:
            announce(observe, ["no previous run to resume; starting a new one"])
        # They use the GPU's time and memory.
        for process in foreign_processes(device.selector) if device.index is not None else ():
            words = f"is also in use by {process.name} (process {process.pid})"
            warning = f"WARNING: {device.name} {words}; timings will suffer, end it first"
            announce(observe, [warning])
        return Runner(
            requests=session.requests(inputs),
            folder=folder,
            options=options,
            locks=locks.pop_all(),
            host=host_name(session.places.environment),
            machine=described["machine"],
        )


def _run_started(session: Session, command: str, *, folder: RunFolder | None) -> RunStarted:
    plan, device, trials = session.plan, session.device.name, len(session.plan.trials())
    if session.resumed is not None:
        # As far as is known before the data are read; then ids decide.
        statuses = [record["status"] for record in session.resumed.records()[0]]
        failed = sum(status not in SUCCESS for status in statuses)
        trials = failed if session.options.only_failed else max(0, trials - len(statuses))
    expected_s = previous_durations(session.options.results, plan, device=device)
    return RunStarted(
        command=command,
        suite=plan.suite.name,
        profile=plan.profile,
        device=device,
        folder=str(folder.path) if folder else None,
        trials=trials if folder else 0,
        cells=tuple(
            ScheduledCell(
                benchmark=cell.benchmark,
                matrix=cell.matrix,
                backend=cell.backend,
                track=cell.track,
                trials=cell.trials,
                max_trials=cell.max_trials,
                epochs=cell.settings.epochs,
                expected_s=expected_s.get(place),
            )
            for place, cell in enumerate(plan.cells)
        ),
    )


def resident_bytes(session: Session) -> int:
    """Return how much of the GPU's memory a trial's inputs may take; 0 on a CPU."""
    used = [gpu for gpu in session.accelerators if gpu.index == session.device.index]
    return sum(
        int(_RESIDENT_SHARE * (state.free_bytes or state.accelerator.memory_bytes))
        for state in read_gpus(used)
    )
