"""Hosts of a cluster as the client sees them: who is there, what differs, what each has proven."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from benchharness.cluster import host as on_host
from benchharness.cluster.connection import RESOURCE, WORKER_COMMAND
from benchharness.cluster.host import HostInfo, HostSetup, Verdicts
from benchharness.errors import BenchError, RunError
from benchharness.errors import CancelledError as TrialCancelledError
from benchharness.measure.clock import now_s
from benchharness.run.events import Observer, announce
from benchharness.run.resume import setup_differences

if TYPE_CHECKING:
    from distributed import Client, Future

WAITING = f"waiting for a host; start one on each with: {WORKER_COMMAND}"
_LOST = "the connection to the scheduler is lost; finished trials are saved"
# How long the trials that were cancelled may take to end.
_REST_S = 10.0
# How often we look whether the scheduler is still there.
_POLL_S = 1.0


class Ended(NamedTuple):
    """Message that a task has ended on a worker.

    ``what`` is ``inspect``, the kind of machine that was certified, or a trial's id. There is
    no result where the task has failed, by an error, or where it was cancelled or its worker lost.
    """

    what: str
    address: str
    future: Future[Any]
    result: Any = None
    error: str = ""


class Joined(NamedTuple):
    """Message that a worker has joined the cluster."""

    address: str


class Left(NamedTuple):
    """Message that a worker has left the cluster."""

    address: str


class Happened(NamedTuple):
    """Message that a trial has had an event, which is its ``number``-th; pickled."""

    trial_id: str
    number: int
    event: bytes


Message = Ended | Joined | Left | Happened


@dataclass(slots=True, kw_only=True)
class Hosts:
    """The workers of a cluster: each is inspected as it joins, each kind of machine certified once.

    Attributes:
        run: The client's run.json, from which hosts must not differ in what decides an outcome.
        certificates: Of each kind, as in certificate.json.
        proofs: Verdicts of each kind that may carry out trials.
        unproven: Pairs that are not proven, by kind.
        excluded: Name of the workers that are left out, and why, by address.
    """

    client: Client
    setup: HostSetup
    run: Mapping[str, Any]
    trial_ids: str
    observe: Observer
    usable: dict[str, HostInfo] = field(default_factory=dict)
    certificates: dict[str, dict[str, Any]] = field(default_factory=dict)
    proofs: dict[str, Verdicts] = field(default_factory=dict)
    unproven: dict[str, list[str]] = field(default_factory=dict)
    excluded: dict[str, tuple[str, str]] = field(default_factory=dict)
    _messages: SimpleQueue[Message] = field(default_factory=SimpleQueue)
    # What each was asked for, and the worker's address.
    _asked: dict[Future[Any], tuple[str, str]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    @property
    def topic(self) -> str:
        """The topic under which the events of trials are logged."""
        return f"{RESOURCE}-{self.setup.run}"

    def watch(self) -> None:
        """Begin to notice workers: those that are there, and those that come and go."""

        def on_change(event: tuple[float, Mapping[str, Any]]) -> None:
            action, address = event[1].get("action"), event[1].get("worker", "")
            if action == "add-worker":
                self._messages.put(Joined(address))
            elif action == "remove-worker":
                self._messages.put(Left(address))

        self.client.subscribe_topic("all", on_change)
        self.client.subscribe_topic(
            self.topic, lambda event: self._messages.put(Happened(*event[1]))
        )
        for address in self.client.scheduler_info(n_workers=-1)["workers"]:
            self._messages.put(Joined(address))

    def next_message(self) -> Message | None:
        """Return what happens next, None where nothing does for a second.

        What it says of hosts has been heeded.

        Raises:
            RunError: The scheduler is gone; or no host is left, and none will come.
        """
        try:
            message = self._messages.get(timeout=_POLL_S)
        except Empty:
            self.require_scheduler()
            self._require_hope()
            return None
        match message:
            case Joined(address):
                self._join(address)
            case Left(address):
                self._leave(address)
            case Ended(what="inspect"):
                self._inspected(message)
            case Ended(future=future) if future in self._asked:
                self._certified(message)
        return message

    def require_scheduler(self) -> None:
        """Raise a RunError where the scheduler is gone."""
        if self.client.status != "running":
            raise RunError(_LOST)

    def _require_hope(self) -> None:
        """Raise a RunError where no host is left, and no job of a batch system that brings one."""
        if self.usable or self._asked:
            return
        cluster = self.client.cluster
        are_jobs_over = cluster is not None and not cluster.workers
        if are_jobs_over or (self._known and self._known <= self.excluded.keys()):
            reasons = f" ({self._reasons()})" if self.excluded else ""
            raise RunError(
                f"no host is left{reasons}; finished trials are saved, "
                "--resume runs what is missing"
            )

    def _reasons(self) -> str:
        return "; ".join(f"{name}: {reason}" for name, reason in self.excluded.values())

    def settle(self) -> None:
        """Wait for a host, and until those that are there are inspected and their kinds certified.

        Raises:
            RunError: None can carry out the run, or the scheduler is gone.
        """
        is_waiting_told = False
        while True:
            message = self.next_message()
            if self._asked or not self._messages.empty():
                continue
            if self.usable:
                return
            if self.excluded:
                raise RunError(f"no host can carry out this run: {self._reasons()}")
            if message is None and not is_waiting_told:
                announce(self.observe, [WAITING])
                is_waiting_told = True

    def idle(self, busy: Mapping[str, Any]) -> list[HostInfo]:
        """Return the hosts that may carry out a trial now, one worker of each unless shared.

        Args:
            busy: What is being carried out, by address.
        """
        is_shared = self.setup.options.share_host
        taken = {host.name for host in self.usable.values() if host.address in busy}
        free = []
        for host in self.usable.values():
            is_free = host.address not in busy and (is_shared or host.name not in taken)
            if is_free and host.machine in self.proofs:
                free.append(host)
                taken.add(host.name)
        return free

    def submit(
        self, what: str, address: str, function: Callable[..., Any], *arguments: Any
    ) -> Future[Any]:
        """Ask a worker to do something, alone; a message ``Ended`` says when it is done."""
        from distributed import CancelledError, KilledWorker

        future = self.client.submit(
            function,
            *arguments,
            workers=[address],
            allow_other_workers=False,
            resources={RESOURCE: 1},
            pure=False,
            retries=0,
        )
        asked = Ended(what, address, future)

        async def deliver() -> None:
            # In the client's own thread, where many results are fetched at a time.
            try:
                result = await self.client.gather(future, asynchronous=True)
                self._messages.put(asked._replace(result=result))
            except (CancelledError, KilledWorker, TrialCancelledError):
                # The worker is gone, or about to go.
                self._messages.put(asked)
            except Exception as error:
                words = str(error) if isinstance(error, BenchError) else repr(error)
                self._messages.put(asked._replace(error=words))

        assert self.client.loop is not None
        self.client.loop.add_callback(deliver)
        return future

    def await_rest(self, addresses: Iterable[str]) -> None:
        """Wait until no trial runs on workers, as far as they still answer."""
        busy, end_s = list(addresses), now_s() + _REST_S
        while busy and now_s() < end_s and self.client.status == "running":
            answers: dict[str, bool] = {}
            # Whatever ended the run is what is told.
            with suppress(OSError):
                answers = self.client.run(on_host.is_busy, workers=busy, on_error="ignore")
            busy = [address for address, is_busy in answers.items() if is_busy]

    def forget_run(self) -> None:
        """Let the hosts remove what they have kept of the run."""
        addresses = [host.address for host in self.usable.values()]
        # A run that has ended well does not fail by what is left elsewhere.
        with suppress(OSError):
            self.client.run(on_host.forget, self.setup, workers=addresses, on_error="ignore")

    def exclude(self, address: str, reason: str, *, name: str = "") -> None:
        """Leave a worker out from here on, and say so; ``name`` where it is not usable yet."""
        name = name or (self.usable[address].name if address in self.usable else address)
        self.excluded[address] = name, reason
        self.usable.pop(address, None)
        announce(self.observe, [f"WARNING: {name} is left out: {reason}"])

    def _join(self, address: str) -> None:
        if address in self._known:
            return
        self._known.add(address)
        # Whoever started the worker may have left the resource out.
        with connected():
            said = self.client.run(_offer, workers=[address], on_error="return").get(address)
        if isinstance(said, Exception) and not isinstance(said, OSError):
            # It would never offer it, and so never be inspected.
            self.exclude(address, str(said))
            return
        self._ask("inspect", address, on_host.inspect)

    def _ask(self, what: str, address: str, function: Callable[[HostSetup], Any]) -> None:
        self._asked[self.submit(what, address, function, self.setup)] = what, address

    def _leave(self, address: str) -> None:
        self.usable.pop(address, None)
        self._known.discard(address)
        for future, (_, asked) in self._asked.items():
            # It would wait for the worker to come back.
            if asked == address:
                future.cancel()

    def _inspected(self, ended: Ended) -> None:
        del self._asked[ended.future]
        address, info = ended.address, ended.result
        if ended.error:
            self.exclude(address, ended.error)
        if info is None:
            return
        differences = setup_differences(self.run, info.run, names=("benchharness",))
        if not differences and info.trial_ids != self.trial_ids:
            differences = [("trial ids", self.trial_ids, info.trial_ids)]
        if differences:
            named = "; ".join(f"{at}: expected {a}, found {b}" for at, a, b in differences)
            self.exclude(address, named, name=info.name)
            return
        self.usable[address] = replace(info, address=address)
        notes = [f"WARNING: {info.name}: {note}" for note in differences_noted(self.run, info)]
        announce(self.observe, [f"{info.name}: {info.machine}; {info.device}", *notes])
        self._certify(info.machine)

    def _certify(self, machine: str) -> None:
        """Have the first host of a kind prove that the backends do the same work there."""
        if machine in self.proofs or machine in (what for what, _ in self._asked.values()):
            return
        if self.setup.options.proof == "no":
            self.proofs[machine] = {}
            return
        for host in self.usable.values():
            if host.machine == machine:
                announce(self.observe, [f"proving equal work on {host.name}: {machine}"])
                self._ask(machine, host.address, on_host.certify)
                return

    def _certified(self, ended: Ended) -> None:
        del self._asked[ended.future]
        machine = ended.what
        if ended.result is not None:
            self.certificates[machine], proofs, self.unproven[machine] = ended.result
            if self.setup.options.proof != "required" or not self.unproven[machine]:
                self.proofs[machine] = proofs
            elif self.proofs:
                # It has joined later; the others go on.
                for host in [host for host in self.usable.values() if host.machine == machine]:
                    self.exclude(host.address, f"not proven: {'; '.join(self.unproven[machine])}")
            return
        if ended.error:
            self.exclude(ended.address, ended.error)
        self._certify(machine)


@contextmanager
def connected() -> Iterator[None]:
    """Raise a RunError where the scheduler is lost in the block."""
    try:
        yield
    except OSError as error:
        raise RunError(_LOST) from error


async def _offer(dask_worker: Any) -> None:
    """Let a worker offer the resource that trials take, if it does not yet."""
    if RESOURCE not in dask_worker.state.total_resources:
        await dask_worker.set_resources(**{RESOURCE: 1})


def differences_noted(run: Mapping[str, Any], info: HostInfo) -> list[str]:
    """Return what differs on a host from the client, and need not be equal."""
    here, there = run["environment"], info.run["environment"]
    pairs = [(name, here[name], there[name]) for name in ("python", "system")]
    packages = {**here["packages"], **there["packages"]}
    pairs += [(name, here["packages"].get(name), there["packages"].get(name)) for name in packages]
    drivers = [[gpu["driver"] for gpu in side["accelerators"]] for side in (here, there)]
    if all(drivers):
        pairs.append(("driver", drivers[0][0], drivers[1][0]))
    return [f"{name} {b or 'missing'}, and {a or 'missing'} here" for name, a, b in pairs if a != b]
