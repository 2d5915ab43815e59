"""Runner of a plan: certificates first, then every trial in its order, a record for each."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchharness.errors import PluginError
from benchharness.measure.clock import now_s
from benchharness.measure.sanity import flags
from benchharness.model.cell import CellKey
from benchharness.results.cells import trains_on
from benchharness.results.record import FORMAT, Record
from benchharness.results.run_folder import RunFolder
from benchharness.results.tables import write_csv_files
from benchharness.run.certify import Certifier, as_dict, require_proven, unproven_pairs, verdicts
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
from benchharness.run.options import RunOptions
from benchharness.run.process.executor import TrialSteps, run_interleaved
from benchharness.run.process.exit import Outcome
from benchharness.run.requests import Requests, backend_plugin, head_benchmark
from benchharness.run.resume import SUCCESS
from benchharness.run.stopping import look_at, next_round, started_trials
from benchharness.suite.plan import Plan, PlannedCell, Trial

# Metrics of a worker that are sizes of the splits, and fields of the record.
_COUNTS = ("train_count", "validation_count", "test_count")
_NATIVE = "not comparable: native track"
# Fields of a record that later trials need to start from its head; a whole record may be large.
_HEAD_FIELDS = ("id", "benchmark", "backend", "track", "trial", "status")
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True, kw_only=True)
class Runner(AbstractContextManager["Runner"]):
    """Runs the trials of a plan, one at a time, and records them in the run's folder.

    A context: on leaving it, device and folder are unlocked. ``proofs`` are the verdicts by cell
    and by the other backend; ``machine`` is the host's kind.
    """

    requests: Requests
    folder: RunFolder
    options: RunOptions
    locks: ExitStack
    host: str
    machine: str
    proofs: Mapping[CellKey, Mapping[str, str]] = field(default_factory=dict)

    @property
    def inputs(self) -> RunInputs:
        """Data and weights."""
        return self.requests.inputs

    @property
    def plan(self) -> Plan:
        """The plan, adapted to data and weights."""
        return self.inputs.plan

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock device and folder."""
        self.locks.close()

    def run(self, observe: Observer) -> list[Record]:
        """Prove, run every pending trial and write the tables; return all records of the run.

        Raises:
            RunError: A proof is required and missing; or a record cannot be written.
        """
        self.prove(observe)
        try:
            for record in self.run_trials(observe):
                if self.options.fail_fast and record["status"] not in SUCCESS:
                    announce(observe, ["WARNING: stopped at the first failure (--fail-fast)"])
                    break
        finally:
            # Also when the user interrupts: the tables of what has finished.
            records = self.write_tables()
        return records

    def prove(self, observe: Observer) -> None:
        """Make and store all certificates; raise a RunError where one is required and unproven."""
        if self.options.proof == "no":
            return
        certifier = Certifier(requests=self.requests, logs=self.folder.logs, observe=observe)
        certificates = certifier.certificates()
        self.folder.write_certificates(as_dict(certificates))
        if self.options.proof == "required":
            require_proven(unproven_pairs(certificates))
        self.proofs = verdicts(certificates)

    def write_tables(self) -> list[Record]:
        """Write the CSV files; return all records of the run."""
        records, _ = self.folder.records()
        write_csv_files(self.folder.path, records)
        return records

    def run_trials(self, observe: Observer) -> Iterator[Record]:
        """Run a trial for each record that is asked for, round after round."""
        records, _ = self.folder.records()
        heads = list(map(_head_fields, filter(self._is_head_source, records)))
        number = count = 0
        for trials in self._rounds(observe):
            count += len(trials)
            for record in self.run_round(trials, heads, observe, number=number, count=count):
                number += 1
                if self._is_head_source(record):
                    heads.append(_head_fields(record))
                yield record

    def run_round(
        self,
        trials: Sequence[Trial],
        heads: Sequence[Record],
        observe: Observer,
        *,
        number: int,
        count: int,
    ) -> Iterator[Record]:
        """Run trials one after the other; their records are on disk when yielded.

        Args:
            heads: Records of the trials so far that may have trained a head; records that are
                yielded are added to them.
            number: Trials of the run before these.
            count: Trials of the run, as far as that is known.
        """
        for place, trial in enumerate(trials, start=number + 1):
            yield from self.run_in_turn([trial], heads, observe, number=place, count=count)

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

        Their processes live at the same time, and one of them computes. The arguments are those of
        ``run_round``, but for the number: it is the place of the first in the run, from 1.
        """
        can_pause = len(trials) > 1
        return run_interleaved(
            [
                self._trial(trial, earlier, observe, number=place, count=count, can_pause=can_pause)
                for place, trial in enumerate(trials, start=number)
            ]
        )

    def _rounds(self, observe: Observer) -> Iterator[list[Trial]]:
        """Yield the pending trials, then a round as often as a look asks for one."""
        began_s, records = now_s(), self.folder.records()[0]
        statuses = {record["id"]: record["status"] for record in records}
        started = started_trials(self.plan, records)
        # Whole records may be large, and this function lives as long as the run.
        del records

        def is_pending(trial: Trial) -> bool:
            status = statuses.get(self.requests.trial_id(trial))
            return status not in (None, *SUCCESS) if self.options.only_failed else status is None

        yield [*filter(is_pending, started)]
        while looks := look_at(self.plan, self.folder.records()[0], spent_s=now_s() - began_s):
            trials = next_round(self.plan, looks)
            if trials and self.options.only_failed:
                return
            lines = tuple(look.as_dict() for look in looks)
            observe(Looked(lines=lines, trials=len(trials)))
            if not trials:
                self.folder.write_run({**self.folder.read_run(), "looks": list(lines)})
                return
            yield trials

    def started(self, trial: Trial, *, number: int, count: int, host: str = "") -> TrialStarted:
        """Return the event of a trial's start, on a host of a cluster where one is named."""
        cell = trial.cell
        return TrialStarted(
            name=TrialName(
                trial_id=self.requests.trial_id(trial),
                number=number,
                benchmark=cell.benchmark,
                matrix=cell.matrix,
                backend=cell.backend,
                track=cell.track,
                trial=trial.index,
                host=host,
            ),
            count=count,
            trials=max(cell.trials, trial.index),
            max_trials=cell.max_trials,
            seed=trial.seed,
            epochs=cell.settings.epochs,
            images=len(self.inputs.prepared(cell).splits["train"]),
            trains_on=trains_on(cell.strategy, cell.settings.model_dump()),
            settings=cell.settings.model_dump(mode="json"),
        )

    def _trial(
        self,
        trial: Trial,
        earlier: Sequence[Record],
        observe: Observer,
        *,
        number: int,
        count: int,
        can_pause: bool = False,
    ) -> TrialSteps[Record]:
        """Run one trial, repeated where its process fails; its record is on disk when returned."""
        cell, folder, requests = trial.cell, self.folder, self.requests
        trial_id, plugin = requests.trial_id(trial), backend_plugin(self.plan, cell.backend)[0]
        started = self.started(trial, number=number, count=count)

        def on_event(event: Mapping[str, Any]) -> None:
            if (passed_on := of_worker(event, started=started)) is not None:
                observe(passed_on)

        observe(started)
        began, failed = datetime.now(UTC), list[Outcome]()
        head = requests.head_record(trial, earlier)
        is_head_source = cell.benchmark in requests.head_benchmarks
        while True:
            try:
                if head is None and (name := head_benchmark(cell)):
                    raise PluginError(f"no trial of {name} has trained a head")
                folder.set_aside_log(trial_id)
                outcome = yield from requests.executor_of(cell.backend, plugin).steps(
                    requests.trial(
                        trial,
                        head_file=self._weights_file(head["id"]) if head else None,
                        weights_file=self._weights_file(trial_id) if is_head_source else None,
                    ),
                    request_file=folder.logs / f"{trial_id}.json",
                    log=folder.log_path(trial_id),
                    on_event=on_event,
                    limit_s=cell.settings.time_limit_s,
                    can_pause=can_pause,
                )
            except PluginError as error:
                outcome = Outcome(reason=str(error))
            if not outcome.is_retryable or len(failed) == self.options.retries:
                break
            self.add_attempt(failed, outcome, observe)
        if head is not None:
            source = f"{head['benchmark']} {head['backend']} {head['trial']}"
            outcome.metrics["head_from"] = source
        record = self._record(trial, outcome, trial_id=trial_id, began=began, failed=failed)
        # The record is stored and the observer told: both or neither.
        with defer_signals():
            folder.append(record)
            observe(TrialFinished.of(started.name, record))
        return record

    def add_attempt(self, failed: list[Outcome], outcome: Outcome, observe: Observer) -> None:
        """Add an attempt that is to be repeated to those that failed before, and say so."""
        failed.append(outcome)
        attempt = f"attempt {len(failed)} of {self.options.retries + 1}"
        announce(observe, [f"WARNING: {attempt}: {outcome.reason}"])

    def _record(
        self,
        trial: Trial,
        outcome: Outcome,
        *,
        trial_id: str,
        began: datetime,
        failed: Sequence[Outcome],
    ) -> Record:
        cell, log, metrics = trial.cell, self.folder.log_path(trial_id), outcome.metrics
        variables = self.requests.executor.variables if outcome.effective else {}
        record: Record = {
            "format": FORMAT,
            "id": trial_id,
            **{name: value for name, value in cell.as_dict().items() if name != "trials"},
            "trial": trial.index,
            "seed": trial.seed,
            "status": outcome.status,
            "reason": outcome.reason,
            "failure": outcome.failure(epochs=cell.settings.epochs),
            "attempts": attempts(failed),
            "unreleased_device_bytes": outcome.unreleased_device_bytes,
            **self._proof(cell, outcome),
            "ledger": outcome.ledger,
            "metrics": {name: value for name, value in metrics.items() if name not in _COUNTS},
            "epochs": outcome.epochs,
            "blocks": outcome.blocks,
            "effective": {**outcome.effective, **variables},
            "versions": outcome.versions,
            "modules": outcome.modules,
            "classes": len(self.inputs.listing.classes),
            **{name: metrics.get(name) for name in _COUNTS},
            "test_bits": outcome.test_bits,
            "class_counts": self.inputs.prepared(cell).class_counts(),
            "log": str(log.relative_to(self.folder.path)) if log.exists() else "",
            "data": self.inputs.prepared(cell).digest,
            "weights": pretrained.digest if (pretrained := self.inputs.pretrained(cell)) else None,
            "host": self.host,
            "machine": self.machine,
            "started": began.isoformat(timespec="milliseconds"),
            "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        return record | {"flags": list(flags(record))}

    def _proof(self, cell: PlannedCell, outcome: Outcome) -> dict[str, Any]:
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

    def _weights_file(self, trial_id: str) -> Path:
        return self.folder.weights / f"{trial_id}.safetensors"

    def _is_head_source(self, record: Record) -> bool:
        return record["benchmark"] in self.requests.head_benchmarks


def attempts(failed: Iterable[Outcome]) -> list[dict[str, str]]:
    """Return the attempts of a trial that failed, as its record has them."""
    return [{"status": outcome.status, "reason": outcome.reason} for outcome in failed]


def _head_fields(record: Record) -> Record:
    return {key: record[key] for key in _HEAD_FIELDS}


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let no request to end interrupt the block; those that came meanwhile take effect after it."""
    if threading.current_thread() is not threading.main_thread():
        # Python interrupts the main thread alone.
        yield
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}
    # Python handlers alone: a default one ends the process, which needs no deferring.
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda late, frame: received.append(late))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)
