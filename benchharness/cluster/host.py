"""Host of a cluster: inspects itself, proves equal work and carries out trials for a client.

These functions are called by dask, in a worker's process on the host. Data and weights are the
host's own; what it is asked for, and what it returns, is small.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from pickle import dumps
from time import sleep, time
from typing import Any

from benchharness.cluster.connection import PRE_SPAWN
from benchharness.download.caches import cache_folder
from benchharness.errors import CancelledError, RunError
from benchharness.files import ANOTHER_CACHE, atomic_write_text, json_digest, writable
from benchharness.measure.clock import now_s
from benchharness.measure.gpu import find_accelerators
from benchharness.measure.machine import HOST, KIND, host_name
from benchharness.model.cell import CellKey
from benchharness.results.record import Record
from benchharness.results.run_folder import RECORDS, RunFolder
from benchharness.run.certify import Certifier, as_dict, unproven_pairs, verdicts
from benchharness.run.device import Device
from benchharness.run.events import Event, OfTrial, TrialFinished, TrialStarted, unobserved
from benchharness.run.locks import RunLock, lock_file, lock_gpu
from benchharness.run.options import RunOptions
from benchharness.run.process.reaper import workers_with
from benchharness.run.requests import Requests
from benchharness.run.resume import describe_run
from benchharness.run.runner import Runner
from benchharness.run.session import Session, open_session, prepare_inputs

Verdicts = Mapping[CellKey, Mapping[str, str]]

_POLL_S = 0.2
# A worker of another trial whose parent was killed is gone after a moment; one that stays longer
# belongs to a run that does not know of us.
_QUIET_S = 10.0
# What clients that never came back have left.
_KEPT_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSetup:
    """Setup of a run for its hosts, the same for all its trials.

    Attributes:
        run: Name of the run's folder; hosts keep what they have done under it.
        suite: Text of the suite's file.
        options: Of the client; its device is one that every host has.
    """

    run: str
    suite: str
    options: RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInfo:
    """Description of a host, by itself.

    Attributes:
        machine: Its kind.
        device: Name of the device that trials run on.
        trial_ids: Digest of the ids that trials have here, which say what decides their outcome.
        run: As in run.json.
        address: Of its worker, as the client knows it.
    """

    name: str
    machine: str
    device: str
    trial_ids: str
    run: Mapping[str, Any]
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOrder:
    """A trial to be carried out: the cell in the plan, and the trial's index.

    Attributes:
        heads: Records of the trials that may have trained its head.
        head_weights: What they have learnt: contents of safetensors files, by trial id.
        proofs: Verdicts for this kind of machine.
        number: Its place in the run, from 1.
        is_repeated: Whether to run it although this host has finished it before.
    """

    cell: CellKey
    index: int
    heads: Sequence[Record]
    head_weights: Mapping[str, bytes]
    proofs: Verdicts
    number: int
    is_repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """A trial that was carried out: its record, what it printed and learnt, and all its events."""

    record: Record
    log: bytes
    weights: bytes | None
    events: Sequence[Event]


@dataclass(slots=True, kw_only=True)
class _Host:
    """A run as this host sees it."""

    session: Session
    runner: Runner
    info: HostInfo


_hosts: dict[HostSetup, _Host] = {}
# Threads in which something runs that takes the host.
_busy: set[int] = set()
_opening = threading.Lock()


def inspect(setup: HostSetup) -> HostInfo:
    """Return what this host is, having prepared data and weights.

    That takes processor time, so it waits for a trial that is being timed here.

    Raises:
        BenchError: They are unavailable here, or do not suit the suite.
    """
    with _exclusive(setup):
        return _open(setup).info


def certify(setup: HostSetup) -> tuple[dict[str, Any], Verdicts, list[str]]:
    """Return this host's certificates, as in certificate.json, verdicts, and pairs not proven."""
    host = _open(setup)
    with _exclusive(setup, host.session.device):
        requests, logs = host.runner.requests, host.runner.folder.logs
        certifier = Certifier(requests=requests, logs=logs, observe=unobserved)
        certificates = certifier.certificates()
    return as_dict(certificates), verdicts(certificates), unproven_pairs(certificates)


def run_trial(setup: HostSetup, order: TrialOrder, topic: str) -> TrialResult:
    """Carry out a trial; its events are logged under a topic as ``(trial id, number, event)``.

    Nothing runs twice: a trial that this host has finished before, without the client's hearing of
    it, is returned as it is recorded here.

    Raises:
        CancelledError: The client no longer waits for it.
        BenchError: This host cannot carry out any trial.
    """
    from distributed import get_worker

    host, worker = _open(setup), get_worker()
    runner, folder = host.runner, host.runner.folder
    cells = [cell for cell in runner.plan.cells if cell.key == order.cell]
    (trial,) = runner.plan.turn(cells, order.index)
    trial_id = runner.requests.trial_id(trial)
    done = {record["id"]: record for record in folder.records()[0]}.get(trial_id)
    events: list[Event] = []

    def observe(event: Event) -> None:
        # The client itself says that a trial has started, and that it has finished, once its
        # record is on the client's disk.
        if isinstance(event, OfTrial) and not isinstance(event, TrialStarted | TrialFinished):
            event = replace(event, name=replace(event.name, host=host.info.name))
            events.append(event)
            worker.log_event(topic, (trial_id, len(events), dumps(event)))

    if done is None or order.is_repeated:
        for head_id, learnt in order.head_weights.items():
            (folder.weights / f"{head_id}.safetensors").write_bytes(learnt)
        runner.proofs = order.proofs
        with _exclusive(setup, host.session.device):
            (done,) = runner.run_in_turn(
                [trial],
                order.heads,
                observe,
                number=order.number,
                # Only an event tells of it that this host does not send.
                count=0,
            )
    log, weights = folder.log_path(trial_id), folder.weights / f"{trial_id}.safetensors"
    return TrialResult(
        record=done,
        log=log.read_bytes() if log.exists() else b"",
        weights=weights.read_bytes() if weights.exists() else None,
        events=events,
    )


def is_busy() -> bool:
    """Return whether this process is carrying out a trial, or certifying."""
    return bool(_busy)


def accelerator_count() -> int:
    """Return how many GPUs this process may use."""
    return len(find_accelerators(os.environ))


def forget(setup: HostSetup) -> None:
    """Remove what this host has kept of a run, whose records are all on the client's disk."""
    # Without the lock, for a worker's event loop waits here, and opening a run takes long.
    if (host := _hosts.pop(setup, None)) is not None:
        shutil.rmtree(host.runner.folder.path.parent, ignore_errors=True)


def _open(setup: HostSetup) -> _Host:
    """Return the run as this host sees it; opened once in each process."""
    with _opening:
        if (host := _hosts.get(setup)) is None:
            host = _hosts[setup] = _opened(setup)
        return host


def _opened(setup: HostSetup) -> _Host:
    environment = _environment()
    place = cache_folder(environment) / "cluster" / setup.run / host_name(environment)
    _remove_old(place.parents[1])
    folder = RunFolder(path=place)
    with writable(place, elsewhere=ANOTHER_CACHE):
        for path in (folder.logs, folder.weights):
            path.mkdir(parents=True, exist_ok=True)
        (place / RECORDS).touch()
        options = _local_options(setup, place)
    session = open_session(options, environment=environment).resolve_interpreters()
    inputs = prepare_inputs(session, unobserved)
    run = describe_run(session, inputs, started=datetime.now(UTC), is_resumable=False)
    name, machine = _place_of(session, environment, machine=run["machine"])
    executors = {
        backend: replace(executor, is_cancelled=is_cancelled)
        for backend, executor in session.executors.items()
    }
    session = replace(session, executors=executors)
    requests = session.requests(inputs)
    requests.executor = replace(requests.executor, is_cancelled=is_cancelled)
    runner = Runner(
        requests=requests,
        folder=folder,
        options=options,
        locks=ExitStack(),
        host=name,
        machine=machine,
    )
    info = HostInfo(
        name=name,
        machine=machine,
        device=session.device.name,
        trial_ids=trial_ids(requests),
        run={**run, "machine": machine},
    )
    return _Host(session=session, runner=runner, info=info)


def _place_of(session: Session, environment: Mapping[str, str], *, machine: str) -> tuple[str, str]:
    """Return what records call this host and its kind of machine.

    Trials of one name ran one after the other, and those of one kind on the same GPU: workers that
    compute at once are hosts of their own, and so are those with unlike GPUs of one machine.
    """
    from distributed import get_worker

    name, options = host_name(environment), session.options
    used = [gpu for gpu in session.accelerators if gpu.index == session.device.index]
    is_mixed = bool(used) and len({gpu.name for gpu in find_accelerators({})}) > 1
    if options.share_host or is_mixed:
        name = f"{name} {used[0].selector if used else get_worker().name}"
    if is_mixed and KIND not in environment:
        machine = f"{machine}; on {used[0].name}"
    return name, machine


def _remove_old(folder: Path) -> None:
    """Remove what is kept of runs that nobody has resumed for a month."""
    for run in folder.iterdir() if folder.is_dir() else ():
        # Another host that shares the folder may do the same.
        with suppress(OSError):
            if time() - run.stat().st_mtime > _KEPT_S:
                shutil.rmtree(run, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Return the variables of this process without those that dask adds for its own tasks.

    One thread for each library, and memory that is given back at once, would slow trials down.
    """
    import dask
    from distributed import get_worker

    added, stated = dask.config.get(PRE_SPAWN), set[str]()
    # A nanny adds them, and was itself started with the user's own.
    starter = os.getppid() if get_worker().nanny else os.getpid()
    with suppress(OSError):
        lines = Path(f"/proc/{starter}/environ").read_bytes().split(b"\0")
        stated = {os.fsdecode(line.partition(b"=")[0]) for line in lines}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in added or name in stated or value != str(added[name])
    }


def trial_ids(requests: Requests) -> str:
    """Return the digest of the ids of all trials of a plan."""
    return json_digest([*map(requests.trial_id, requests.inputs.plan.trials())], length=16)


def _local_options(setup: HostSetup, place: Path) -> RunOptions:
    """Return the client's options with the suite and the data folder as they are found here."""
    suite, data = setup.options.suite, setup.options.data
    is_same = has_data = False
    # The client's folders may be closed to the user that a worker runs as.
    with suppress(OSError):
        is_same = suite.read_text(encoding="utf-8") == setup.suite
    with suppress(OSError):
        has_data = data is not None and data.is_dir()
    if not is_same:
        suite = place / suite.name
        atomic_write_text(suite, setup.suite)
    return replace(setup.options, suite=suite, data=data if has_data else None, results=place)


def is_cancelled() -> bool:
    """Return whether nobody waits any longer for the task of this thread, or its worker ends."""
    from distributed import get_worker
    from distributed.core import Status

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    is_waited_for = task is not None and task.state in ("executing", "long-running")
    return not is_waited_for or worker.status not in (Status.running, Status.paused)


@contextmanager
def _exclusive(setup: HostSetup, device: Device | None = None) -> Iterator[None]:
    """Keep other trials off the host, unless it is shared, and off a device; wait for their end.

    Raises:
        CancelledError: Nobody waits for it any longer.
    """
    with ExitStack() as locks:
        if not setup.options.share_host:
            file = lock_file(f"host-{host_name(os.environ)}")
            locks.callback(_waiting(partial(RunLock.acquire, file)).release)
            began_s = now_s()
            while workers_with(HOST, os.environ.get(HOST, "")) and now_s() - began_s < _QUIET_S:
                sleep(_POLL_S)
        if device is not None:
            if device.index is not None and not setup.options.share_device:
                locks.callback(_waiting(partial(lock_gpu, device.selector, device.name)).release)
            _busy.add(threading.get_ident())
            locks.callback(_busy.remove, threading.get_ident())
        yield


def _waiting(acquire: Callable[[], RunLock]) -> RunLock:
    """Return a lock as soon as it is free."""
    while True:
        try:
            return acquire()
        except RunError:
            if is_cancelled():
                raise CancelledError("the trial was cancelled") from None
            sleep(_POLL_S)
