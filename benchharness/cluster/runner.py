"""Runner of a plan on the hosts of a cluster: it sends out trials and records what comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pickle import loads
from typing import TYPE_CHECKING

from benchharness.cluster import host as on_host
from benchharness.cluster.host import HostInfo, TrialOrder, TrialResult
from benchharness.cluster.hosts import WAITING, Ended, Happened, Hosts, Left
from benchharness.cluster.queue import Queue, Repetition
from benchharness.files import ANOTHER_RESULTS, writable
from benchharness.model.cell import CellKey
from benchharness.results.record import Record
from benchharness.run.certify import require_proven
from benchharness.run.events import Observer, TrialFinished, TrialName, announce
from benchharness.run.process.exit import Outcome
from benchharness.run.requests import head_benchmark
from benchharness.run.runner import Runner, attempts, defer_signals
from benchharness.suite.plan import Trial

if TYPE_CHECKING:
    from distributed import Future


@dataclass(slots=True, kw_only=True)
class Job:
    """A trial that a host is carrying out, the first that is left of its repetition.

    Attributes:
        name: Of the trial, for events.
        seen: How many of its events the observer has been told.
    """

    host: HostInfo
    repetition: Repetition
    future: Future[TrialResult]
    name: TrialName
    began: datetime
    seen: int = 0


@dataclass(slots=True, kw_only=True)
class ClusterRunner(Runner):
    """Runs the trials of a plan on several hosts, one at a time on each.

    All backends of a repetition run on one host, in turn. A trial whose host is lost is repeated
    on another as often as ``--retries`` says, or becomes a record with the host's name.
    """

    hosts: Hosts
    _jobs: dict[str, Job] = field(default_factory=dict)
    _failed: dict[str, list[Outcome]] = field(default_factory=dict)
    _outstanding: Counter[str] = field(default_factory=Counter)
    _places: dict[CellKey, int] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, runner: Runner, hosts: Hosts) -> ClusterRunner:
        """Return the runner of the same run on these hosts."""
        return cls(
            **{part.name: getattr(runner, part.name) for part in fields(runner)}, hosts=hosts
        )

    def prove(self, observe: Observer) -> None:
        """Wait for hosts, and have one of each kind of machine make its certificates.

        Raises:
            RunError: A proof is required and missing; no host can carry out the run.
        """
        self.hosts.settle()
        self._describe_hosts()
        if self.options.proof == "required":
            of_kinds = self.hosts.unproven.items()
            require_proven([f"{pair} on {kind}" for kind, pairs in of_kinds for pair in pairs])

    def run_round(
        self,
        trials: Sequence[Trial],
        heads: Sequence[Record],
        observe: Observer,
        *,
        number: int,
        count: int,
    ) -> Iterator[Record]:
        """Run trials on the hosts; their records are on disk when yielded, as they finish."""
        queue = Queue.of(trials, self.folder.records()[0])
        self._outstanding = Counter(trial.cell.benchmark for trial in trials)
        self._places = {cell.key: place for place, cell in enumerate(self.plan.cells)}
        self._numbers.update(
            (self.requests.trial_id(t), number + n) for n, t in enumerate(trials, 1)
        )
        is_waiting = False
        try:
            while queue or self._jobs:
                if not is_waiting and not self.hosts.usable:
                    announce(observe, [WAITING])
                is_waiting = not self.hosts.usable
                hosts = [(host.name, host.machine) for host in self.hosts.usable.values()]
                for host in self.hosts.idle(self._jobs):
                    taken = queue.take(
                        host=host.name, machine=host.machine, hosts=hosts, is_ready=self._is_ready
                    )
                    if taken is not None:
                        self._start(host, taken, heads, observe, count=count)
                match self.hosts.next_message():
                    case Happened(trial_id, place, event):
                        for job in self._jobs.values():
                            # Unless it is known already, or the trial is over.
                            if place > job.seen and job.name.trial_id == trial_id:
                                job.seen = place
                                observe(loads(event))
                    case Left(address) if address in self._jobs:
                        yield from self._lost(address, "", queue, observe)
                    case Ended(_, address, future, result, error) if any(
                        job.future is future for job in self._jobs.values()
                    ):
                        if error:
                            self.hosts.exclude(address, error)
                        if result is None:
                            self.hosts.require_scheduler()
                            yield from self._lost(address, error, queue, observe)
                            continue
                        job, record = self._finish(address, result, observe)
                        if job.repetition.trials:
                            self._start(job.host, job.repetition, heads, observe, count=count)
                        yield record
                    case Ended():
                        # A host has joined, or its kind has been certified.
                        self._describe_hosts()
        finally:
            for job in self._jobs.values():
                job.future.cancel()
            self.hosts.await_rest([*self._jobs])
            self._jobs.clear()

    def _describe_hosts(self) -> None:
        """Store what is known of the hosts and of what they have proven."""
        hosts = {
            host.name: {
                "machine": host.machine,
                "device": host.device,
                "environment": host.run["environment"],
            }
            for host in self.hosts.usable.values()
        }
        run = self.folder.read_run()
        self.folder.write_run({**run, "hosts": {**run.get("hosts", {}), **hosts}})
        certificates = self.hosts.certificates
        if certificates:
            # Records of kinds that a resumed run no longer has build on theirs.
            kept = [
                certificate
                for certificate in self.folder.read_certificates().get("certificates", ())
                if certificate.get("machine") not in certificates
            ]
            made = [
                {**certificate, "machine": machine}
                for machine, file in certificates.items()
                for certificate in file["certificates"]
            ]
            self.folder.write_certificates(
                {**next(iter(certificates.values())), "certificates": [*kept, *made]}
            )

    def _is_ready(self, repetition: Repetition) -> bool:
        """Return whether the trials are done that may train the heads of a repetition."""
        return not any(self._outstanding[head_benchmark(t.cell)] for t in repetition.trials)

    def _start(
        self,
        host: HostInfo,
        repetition: Repetition,
        heads: Sequence[Record],
        observe: Observer,
        *,
        count: int,
    ) -> None:
        """Have a host carry out the next trial of a repetition."""
        trial = repetition.trials[0]
        number = self._numbers[self.requests.trial_id(trial)]
        started = self.started(trial, number=number, count=count, host=host.name)
        wanted, head = head_benchmark(trial.cell), self.requests.head_record(trial, heads)
        order = TrialOrder(
            cell=trial.cell.key,
            index=trial.index,
            heads=[record for record in heads if record["benchmark"] == wanted],
            head_weights={head["id"]: self._weights_file(head["id"]).read_bytes()} if head else {},
            proofs=self.hosts.proofs[host.machine],
            number=number,
            is_repeated=self.options.only_failed,
        )
        observe(started)
        future = self.hosts.submit(
            started.name.trial_id,
            host.address,
            on_host.run_trial,
            self.hosts.setup,
            order,
            self.hosts.topic,
        )
        self._jobs[host.address] = Job(
            host=host,
            repetition=repetition,
            future=future,
            name=started.name,
            began=datetime.now(UTC),
        )

    def _finish(self, address: str, result: TrialResult, observe: Observer) -> tuple[Job, Record]:
        """Store what a host has returned."""
        job = self._jobs.pop(address)
        for event in result.events[job.seen :]:
            observe(event)
        trial_id = result.record["id"]
        self.folder.set_aside_log(trial_id)
        with writable(self.folder.path, elsewhere=ANOTHER_RESULTS):
            self.folder.log_path(trial_id).write_bytes(result.log)
            if result.weights is not None:
                self._weights_file(trial_id).write_bytes(result.weights)
        lost = attempts(self._failed.pop(trial_id, ()))
        record = result.record | {"attempts": [*lost, *result.record["attempts"]]}
        return job, self._append(job, record, observe)

    def _lost(self, address: str, error: str, queue: Queue, observe: Observer) -> Iterator[Record]:
        """Repeat the trial of a host that is gone, or yield the record of its failure."""
        job = self._jobs.pop(address)
        job.future.cancel()
        trial_id, host = job.name.trial_id, job.host.name
        outcome = Outcome(
            reason=f"host {host}: {error}" if error else f"host {host} was lost during the trial"
        )
        failed = self._failed.setdefault(trial_id, [])
        if len(failed) < self.options.retries:
            self.add_attempt(failed, outcome, observe)
            queue.put_back(job.repetition)
            return
        self.proofs = self.hosts.proofs.get(job.host.machine, {})
        record = self._record(
            job.repetition.trials[0],
            outcome,
            trial_id=trial_id,
            began=job.began,
            failed=self._failed.pop(trial_id),
        )
        record |= {"host": host, "machine": job.host.machine}
        yield self._append(job, record, observe)
        queue.put_back(job.repetition)

    def _append(self, job: Job, record: Record, observe: Observer) -> Record:
        trial = job.repetition.trials.pop(0)
        # Hosts finish in any order; tables have that of the plan.
        record["place"] = self._places[trial.cell.key]
        self._outstanding[trial.cell.benchmark] -= 1
        # The record is stored and the observer told: both or neither.
        with defer_signals():
            self.folder.append(record)
            observe(TrialFinished.of(job.name, record))
        job.future.release()
        return record
