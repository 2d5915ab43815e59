"""Runner of a plan: certificates first, then every trial in its order, a record for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchharness.errors import PluginError
from benchharness.measure.clock import now_s
from benchharness.measure.sanity import flags
from benchharness.model.cell import CellKey
from benchharness.plugins import find
from benchharness.results.cells import trains_on
from benchharness.results.record import FORMAT, Record
from benchharness.results.run_folder import RunFolder
from benchharness.results.tables import write_csv_files
from benchharness.run.certify import Certifier, as_dict, verdicts
from benchharness.run.checks import require_proven
from benchharness.run.events import (
    Looked,
    Observer,
    TrialFinished,
    TrialName,
    TrialStarted,
    announce,
    of_worker,
)
from benchharness.run.inputs import RunInputs
from benchharness.run.process.executor import LocalExecutor, TrialSteps, run_interleaved
from benchharness.run.process.exit import Outcome
from benchharness.run.process.signals import defer_signals
from benchharness.run.requests import (
    Requests,
    TrialIds,
    backend_plugin,
    find_head_record,
    head_benchmark,
    head_benchmarks,
)
from benchharness.run.resume import SUCCESS, PendingTrials
from benchharness.run.stopping import look_at, next_round, started_trials
from benchharness.suite.plan import Cell, Plan, Trial

# Metrics of a worker that are sizes of the splits, and fields of the record.
_COUNTS = ("train_count", "validation_count", "test_count")
_NATIVE = "not comparable: native track"
# Fields of a record that later trials need to start from its head; a whole record may be large.
_HEAD_FIELDS = ("id", "benchmark", "backend", "track", "trial", "status")


@dataclass(slots=True, kw_only=True)
class TrialRun:
    """Execution of one trial: its attempts, until one counts.

    Attributes:
        head: Record of the trial whose head it starts from; None for none.
        failed: Outcomes of attempts that were repeated.
    """

    trial: Trial
    started: TrialStarted
    began: datetime
    head: Record | None
    observe: Observer
    failed: list[Outcome] = field(default_factory=list)

    @property
    def trial_id(self) -> str:
        """Digest of all that decides the trial's outcome."""
        return self.started.name.trial_id

    def take(self, event: Mapping[str, Any]) -> None:
        """Pass on an event of the worker to the observer, where it concerns one."""
        if (passed_on := of_worker(event, started=self.started)) is not None:
            self.observe(passed_on)


@dataclass(slots=True, kw_only=True)
class Runner:
    """Runs the trials of a plan, one at a time, and records them in the run's folder.

    A context: on leaving it, device and folder are unlocked.

    Attributes:
        executor: Of backends that run on the interpreter of this process.
        executors: Of the other backends.
        certifier: Proves that the backends do the same work; None for unproven runs.
        is_proof_required: Whether to refuse pairs that are not proven.
        own_head_per_backend: Whether each backend starts from the head that it trained itself.
        retries: How often a trial is repeated whose process crashed or hung.
        fail_fast: Whether the first failed trial ends the run.
        proofs: Verdicts of the certificates, by cell and by the other backend.
    """

    inputs: RunInputs
    folder: RunFolder
    executor: LocalExecutor
    requests: Requests
    executors: Mapping[str, LocalExecutor]
    certifier: Certifier | None
    is_proof_required: bool
    own_head_per_backend: bool
    retries: int
    fail_fast: bool
    pending: PendingTrials
    locks: ExitStack
    proofs: Mapping[CellKey, Mapping[str, str]] = field(default_factory=dict)
    _ids: TrialIds = field(init=False)
    _head_benchmarks: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._head_benchmarks = head_benchmarks(self.plan.cells)
        self._ids = TrialIds(
            inputs=self.inputs,
            device=self.requests.device,
            variables=self.executor.variables,
            executors=self.executors,
            own_head_per_backend=self.own_head_per_backend,
        )

    @property
    def plan(self) -> Plan:
        """The plan, adapted to data and weights."""
        return self.inputs.plan

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unlock device and folder."""
        self.locks.close()

    def run(self, observe: Observer) -> list[Record]:
        """Prove, run every pending trial and write the tables; return all records of the run.

        Raises:
            RunError: A proof is required and missing; or a record cannot be written.
        """
        self.prove()
        try:
            for record in self.run_trials(observe):
                if self.fail_fast and record["status"] not in SUCCESS:
                    announce(observe, ["WARNING: stopped at the first failure (--fail-fast)"])
                    break
        finally:
            # Also when the user interrupts: the tables of what has finished.
            records = self.write_tables()
        return records

    def prove(self) -> None:
        """Make the certificates of all pairs and store them.

        Raises:
            RunError: Proofs are required, and a pair is not proven.
        """
        if self.certifier is None:
            return
        certificates = self.certifier.certificates()
        self.folder.write_certificates(as_dict(certificates))
        if self.is_proof_required:
            require_proven(certificates)
        self.proofs = verdicts(certificates)

    def write_tables(self) -> list[Record]:
        """Write the CSV files; return all records of the run."""
        records, _ = self.folder.records()
        write_csv_files(self.folder.path, records)
        return records

    def run_trials(self, observe: Observer) -> Iterator[Record]:
        """Run a trial for each record that is asked for, round after round."""
        earlier = [
            _head_fields(record)
            for record in self.folder.records()[0]
            if record["benchmark"] in self._head_benchmarks
        ]
        number = count = 0
        for trials in self._rounds(observe):
            count += len(trials)
            for trial in trials:
                number += 1
                record = self.run_trial(trial, earlier, observe, number=number, count=count)
                if trial.cell.benchmark in self._head_benchmarks:
                    earlier.append(_head_fields(record))
                yield record

    def _rounds(self, observe: Observer) -> Iterator[list[Trial]]:
        """Yield the pending trials, then a round as often as a look asks for one."""
        began_s = now_s()
        trials = started_trials(self.plan, self.folder.records()[0])
        yield [trial for trial in trials if self.pending.has(self._ids.of(trial))]
        while looks := look_at(self.plan, self.folder.records()[0], spent_s=now_s() - began_s):
            trials = next_round(self.plan, looks)
            if trials and self.pending.only_failed:
                return
            lines = tuple(look.as_dict() for look in looks)
            observe(Looked(lines=lines, trials=len(trials)))
            if not trials:
                self.folder.write_run({**self.folder.read_run(), "looks": list(lines)})
                return
            yield trials

    def run_trial(
        self,
        trial: Trial,
        earlier: Sequence[Record],
        observe: Observer,
        *,
        number: int,
        count: int,
    ) -> Record:
        """Run one trial; when its record is returned, it is on disk.

        Args:
            earlier: Records of earlier trials: one of them may have trained the head it needs.
            number: Its place in the run, from 1.
            count: Trials of the run, as far as that is known.
        """
        run = self._begin(trial, earlier, observe, number=number, count=count)
        while True:
            try:
                executor, options = self._attempt(run)
                outcome = executor.run(**options)
            except PluginError as error:
                outcome = Outcome(reason=str(error))
            if not self._is_repeated(run, outcome):
                return self._finish(run, outcome)

    def run_in_turn(
        self,
        trials: Sequence[Trial],
        earlier: Sequence[Record],
        observe: Observer,
        *,
        number: int,
        count: int,
    ) -> list[Record]:
        """Run several trials, an epoch of each in turn, and return their records in order.

        Their processes live at the same time, and one of them computes. The arguments are those
        of ``run_trial``; the number is that of the first.
        """

        def steps(place: int, trial: Trial) -> TrialSteps[Record]:
            run = self._begin(trial, earlier, observe, number=number + place, count=count)
            while True:
                try:
                    executor, options = self._attempt(run)
                    outcome = yield from executor.steps(**options)
                except PluginError as error:
                    outcome = Outcome(reason=str(error))
                if not self._is_repeated(run, outcome):
                    return self._finish(run, outcome)

        return run_interleaved([steps(place, trial) for place, trial in enumerate(trials)])

    def _begin(
        self, trial: Trial, earlier: Sequence[Record], observe: Observer, *, number: int, count: int
    ) -> TrialRun:
        """Return a trial about to run, and notify the observer."""
        cell = trial.cell
        started = TrialStarted(
            name=TrialName(
                trial_id=self._ids.of(trial),
                number=number,
                benchmark=cell.benchmark,
                matrix=cell.matrix,
                backend=cell.backend,
                track=cell.track,
                trial=trial.index,
            ),
            count=count,
            trials=max(cell.trials, trial.index),
            max_trials=cell.max_trials,
            seed=trial.seed,
            epochs=cell.settings.epochs,
            images=len(self.inputs.prepared(cell).splits["train"]),
            trains_on=trains_on(cell.strategy, cell.settings.model_dump()),
        )
        observe(started)
        head = find_head_record(self.plan, trial, earlier, own=self.own_head_per_backend)
        return TrialRun(
            trial=trial, started=started, began=datetime.now(UTC), head=head, observe=observe
        )

    def _attempt(self, run: TrialRun) -> tuple[LocalExecutor, dict[str, Any]]:
        """Return who runs an attempt at a trial, and with which arguments.

        Raises:
            PluginError: It cannot be run: the backend is not installed, or the head is missing.
        """
        cell, trial_id = run.trial.cell, run.trial_id
        name = head_benchmark(cell)
        if name and run.head is None:
            raise PluginError(f"no trial of {name} has trained a head")
        self.folder.set_aside_log(trial_id)
        executor = self.executors.get(cell.backend)
        if executor is None:
            # Whether a backend is installed is known without a process.
            find(backend_plugin(self.plan, cell.backend)[0])
            executor = self.executor
        is_source = cell.benchmark in self._head_benchmarks
        request = self.requests.trial(
            run.trial,
            head_file=self._weights_file(run.head["id"]) if run.head else None,
            weights_file=self._weights_file(trial_id) if is_source else None,
        )
        return executor, {
            "request": request,
            "request_file": self.folder.logs / f"{trial_id}.json",
            "log": self.folder.log_path(trial_id),
            "on_event": run.take,
            "limit_s": cell.settings.time_limit_s,
        }

    def _weights_file(self, trial_id: str) -> Path:
        return self.folder.weights / f"{trial_id}.safetensors"

    def _is_repeated(self, run: TrialRun, outcome: Outcome) -> bool:
        """Return whether there will be another attempt, and say so."""
        if not outcome.is_retryable or len(run.failed) == self.retries:
            return False
        run.failed.append(outcome)
        attempt = f"attempt {len(run.failed)} of {self.retries + 1}"
        announce(run.observe, [f"WARNING: {attempt}: {outcome.reason}"])
        return True

    def _finish(self, run: TrialRun, outcome: Outcome) -> Record:
        """Store the record of a trial and tell the observer: both or neither."""
        if run.head is not None:
            source = f"{run.head['benchmark']} {run.head['backend']} {run.head['trial']}"
            outcome.metrics["head_from"] = source
        record = self._record(run, outcome)
        with defer_signals():
            self.folder.append(record)
            run.observe(TrialFinished.of(run.started.name, record))
        return record

    def _record(self, run: TrialRun, outcome: Outcome) -> Record:
        trial, cell = run.trial, run.trial.cell
        log = self.folder.log_path(run.trial_id)
        metrics = outcome.metrics
        record: Record = {
            "format": FORMAT,
            "id": run.trial_id,
            "benchmark": cell.benchmark,
            "strategy": cell.strategy,
            "backend": cell.backend,
            "track": cell.track,
            "matrix": dict(cell.matrix),
            "trial": trial.index,
            "max_trials": cell.max_trials,
            "seed": trial.seed,
            "status": outcome.status,
            "reason": outcome.reason,
            "failure": outcome.failure(epochs=cell.settings.epochs),
            "attempts": [{"status": o.status, "reason": o.reason} for o in run.failed],
            "unreleased_device_bytes": outcome.unreleased_device_bytes,
            **self._proof(cell, outcome),
            "ledger": outcome.ledger,
            "settings": cell.settings.model_dump(mode="json"),
            "metrics": {name: value for name, value in metrics.items() if name not in _COUNTS},
            "epochs": outcome.epochs,
            "blocks": outcome.blocks,
            "effective": outcome.effective and {**outcome.effective, **self.executor.variables},
            "versions": outcome.versions,
            "modules": outcome.modules,
            "classes": len(self.inputs.listing.classes),
            **{name: metrics.get(name) for name in _COUNTS},
            "test_bits": outcome.test_bits,
            "class_counts": self.inputs.prepared(cell).class_counts(),
            "published": cell.published.model_dump() if cell.published else None,
            "log": str(log.relative_to(self.folder.path)) if log.exists() else "",
            "started": run.began.isoformat(timespec="milliseconds"),
        }
        return record | {"flags": list(flags(record))}

    def _proof(self, cell: Cell, outcome: Outcome) -> dict[str, Any]:
        """Return the fields ``proof`` and ``proofs``, with the deviations of this trial."""
        from benchharness.fairness.certificate import amended, overall

        rivals = [other.backend for other in self.plan.cells if other.group_key == cell.group_key]
        if cell.track != "equal":
            others = [backend for backend in rivals if backend != cell.backend]
            return {"proof": _NATIVE, "proofs": dict.fromkeys(others, _NATIVE)}
        deviations = outcome.deviations()
        proofs = {
            other: amended(verdict, deviations)
            for other, verdict in self.proofs.get(cell.key, {}).items()
        }
        return {"proof": overall(proofs, anchor=rivals[0]), "proofs": proofs}


def _head_fields(record: Record) -> Record:
    return {key: record[key] for key in _HEAD_FIELDS}
