"""Running a plan: every trial in its order, a record for each, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchharness.errors import PluginError
from benchharness.measure.clock import now_s
from benchharness.measure.sanity import flags
from benchharness.plugins import find
from benchharness.results.cells import trains_on
from benchharness.results.record import FORMAT, Record
from benchharness.results.store import RunFolder
from benchharness.run.certify import Point, point_of
from benchharness.run.events import (
    Looked,
    Observer,
    TrialFinished,
    TrialName,
    TrialStarted,
    announce,
    of_worker,
)
from benchharness.run.heads import find_head_record, head_name, needs_pretrained_head, wanted
from benchharness.run.inputs import RunInputs
from benchharness.run.pending import PendingTrials
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.process.interleave import Course, run_interleaved, run_to_completion
from benchharness.run.process.outcome import Outcome
from benchharness.run.process.signals import defer_signals
from benchharness.run.requests import Requests, backend_plugin
from benchharness.run.stopping import begun, look_at, next_round
from benchharness.run.trial_ids import TrialIds
from benchharness.suite.plan import Cell, Plan, Trial, group_key

# Sizes of the splits: what a score is worth, not something measured.
_COUNTS = ("train_count", "validation_count", "test_count")
_NATIVE = "not comparable: native track"
# What is needed of a record to start from what its trial has learnt; a whole one may be large.
_OF_HEAD = ("id", "benchmark", "backend", "track", "trial", "status")


@dataclass(slots=True, kw_only=True)
class Runner:
    """Carries out the trials of a plan, of which one is at work at any time.

    Attributes:
        requests: What the workers are asked; the executor's environment shows only their device.
        proofs: Verdicts of the certificates by cell and other backend; empty for unproven runs.
        elsewhere: Executors of backends whose code is not what this process would import.
        own_head_per_backend: Whether each backend starts from the head that it has trained itself.
        retries: How often a trial is repeated whose process failed, and not the trial itself.
        backlog: Which trials are still to be run.
    """

    plan: Plan
    materials: RunInputs
    folder: RunFolder
    executor: LocalExecutor
    requests: Requests
    proofs: Mapping[tuple[Point, str], Mapping[str, str]] = field(default_factory=dict)
    elsewhere: Mapping[str, LocalExecutor] = field(default_factory=dict)
    own_head_per_backend: bool = False
    retries: int = 0
    backlog: PendingTrials = field(default_factory=PendingTrials)
    _identities: TrialIds = field(init=False)
    _sources: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        """Prepare what every trial asks for."""
        self._sources = wanted(self.plan.cells)
        self._identities = TrialIds(
            plan=self.plan,
            materials=self.materials,
            device=self.requests.device,
            variables=self.executor.variables,
            elsewhere=self.elsewhere,
            own_head_per_backend=self.own_head_per_backend,
        )

    def run(self, observe: Observer) -> list[Record]:
        """Carry out every trial and return the records, each on disk before the next begins."""
        return list(self.advance(observe))

    def pending(self) -> list[Trial]:
        """Return the trials of rounds that have begun which are still to be run, in their order."""
        records, _ = self.folder.records()
        trials = begun(self.plan, records)
        return [trial for trial in trials if self.backlog.has(self.identity(trial))]

    def advance(self, observe: Observer) -> Iterator[Record]:
        """Carry out a trial for each record that is asked for, round after round."""
        before = self._earlier() if self._sources else []
        number = count = 0
        for trials in self._rounds(observe):
            count += len(trials)
            for trial in trials:
                number += 1
                record = self.carry_out(trial, before, observe, number=number, count=count)
                if trial.cell.benchmark in self._sources:
                    before.append(_of_head(record))
                yield record

    def _rounds(self, observe: Observer) -> Iterator[list[Trial]]:
        """Yield the trials that are missing, then a round as often as a look asks for one."""
        began_s = now_s()
        yield self.pending()
        while looks := look_at(self.plan, self.folder.records()[0], spent_s=now_s() - began_s):
            trials = next_round(self.plan, looks)
            if trials and self.backlog.only_failed:
                return
            told = tuple(one.as_dict() for one in looks)
            observe(Looked(lines=told, trials=len(trials)))
            if not trials:
                self.folder.write_run({**self.folder.read_run(), "looks": list(told)})
                return
            yield trials

    def carry_out(
        self, trial: Trial, before: Sequence[Record], observe: Observer, *, number: int, count: int
    ) -> Record:
        """Carry out one trial of the plan and return its record, which is on disk.

        Args:
            before: Records of earlier trials: one of them may have trained the head it starts from.
            number: Its place in the run, from 1.
            count: Trials of the run, as far as that is known.
        """
        return run_to_completion(self._course(trial, before, observe, number=number, count=count))

    def carry_out_in_turn(
        self,
        trials: Sequence[Trial],
        before: Sequence[Record],
        observe: Observer,
        *,
        number: int,
        count: int,
    ) -> list[Record]:
        """Carry out several trials, an epoch of each in turn, and return their records in order.

        Their processes live at the same time, and one of them is at work. The arguments are those
        of ``carry_out``; the number is that of the first.
        """
        return run_interleaved(
            [
                self._course(
                    trial, before, observe, number=number + place, count=count, takes_turns=True
                )
                for place, trial in enumerate(trials)
            ]
        )

    def _course(
        self,
        trial: Trial,
        before: Sequence[Record],
        observe: Observer,
        *,
        number: int,
        count: int,
        takes_turns: bool = False,
    ) -> Course[Record]:
        head = find_head_record(self.plan, trial, before, own=self.own_head_per_backend)
        name = _name(trial, self.identity(trial), number=number)
        started = self._started(trial, name, count=count)
        observe(started)
        reporter = _Reporter(started, observe, takes_turns=takes_turns)
        record = yield from self._run_trial(trial, head, reporter)
        # A record and the word of it are one: who is told of a trial finds it on disk.
        with defer_signals():
            self.folder.append(record)
            observe(TrialFinished.of(name, record))
        return record

    def identity(self, trial: Trial) -> str:
        """Return the digest of all that decides a trial's outcome."""
        return self._identities.of(trial)

    def _earlier(self) -> list[Record]:
        """Return what an earlier part of this run has left to start from."""
        records, _ = self.folder.records()
        return [_of_head(record) for record in records if record["benchmark"] in self._sources]

    def _started(self, trial: Trial, name: TrialName, *, count: int) -> TrialStarted:
        cell = trial.cell
        return TrialStarted(
            name=name,
            count=count,
            trials=max(cell.trials, trial.index),
            max_trials=cell.max_trials,
            seed=trial.seed,
            epochs=cell.settings.epochs,
            images=len(self.materials.prepared(cell).splits["train"]),
            trains_on=trains_on(cell.strategy, cell.settings.model_dump()),
        )

    def _run_trial(self, trial: Trial, head: Record | None, reporter: _Reporter) -> Course[Record]:
        started = datetime.now(UTC)
        trial_id = reporter.started.name.trial_id
        failed: list[Outcome] = []
        while True:
            outcome = yield from self._attempt(trial, trial_id, head, reporter)
            if not outcome.is_retryable or len(failed) == self.retries:
                break
            failed.append(outcome)
            announce(
                reporter.observe,
                [f"WARNING: attempt {len(failed)} of {self.retries + 1}: {outcome.reason}"],
            )
        if head is not None:
            outcome.metrics["head_from"] = f"{head['benchmark']} {head['backend']} {head['trial']}"
        return self._record(trial, trial_id, outcome, started, failed)

    def _attempt(
        self, trial: Trial, trial_id: str, head: Record | None, reporter: _Reporter
    ) -> Course[Outcome]:
        if head is None and needs_pretrained_head(trial.cell):
            return Outcome(reason=f"no trial of {head_name(trial.cell)} has left a head")
        self.folder.set_aside_log(trial_id)
        try:
            return (yield from self._execute(trial, trial_id, head, reporter))
        except PluginError as error:
            return Outcome(reason=str(error))

    def _execute(
        self, trial: Trial, trial_id: str, head: Record | None, reporter: _Reporter
    ) -> Course[Outcome]:
        cell = trial.cell
        plugin, _ = backend_plugin(self.plan, cell.backend)
        executor = self.elsewhere.get(cell.backend)
        if executor is None:
            # A backend that is not installed needs no process to find out.
            find(plugin)
        request = self.requests.make(
            trial,
            head_file=self._weights_file(head["id"]) if head else None,
            weights_file=self._weights_file(trial_id) if cell.benchmark in self._sources else None,
        )
        return (
            yield from (executor or self.executor).course(
                request,
                request_file=self.folder.logs / f"{trial_id}.json",
                log=self.folder.log_path(trial_id),
                on_event=reporter.take,
                limit_s=cell.settings.time_limit_s,
                takes_turns=reporter.takes_turns,
            )
        )

    def _weights_file(self, trial_id: str) -> Path:
        return self.folder.weights / f"{trial_id}.safetensors"

    def _record(
        self,
        trial: Trial,
        trial_id: str,
        outcome: Outcome,
        started: datetime,
        failed: Sequence[Outcome],
    ) -> Record:
        cell = trial.cell
        log = self.folder.log_path(trial_id)
        record: Record = {
            "format": FORMAT,
            "id": trial_id,
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
            "attempts": [{"status": one.status, "reason": one.reason} for one in failed],
            "unreleased_device_bytes": outcome.held_bytes,
            **self._proof(cell, outcome),
            "ledger": outcome.ledger,
            "settings": cell.settings.model_dump(mode="json"),
            "metrics": {
                name: value for name, value in outcome.metrics.items() if name not in _COUNTS
            },
            "epochs": outcome.epochs,
            "blocks": outcome.blocks,
            "effective": outcome.effective and {**outcome.effective, **self.executor.variables},
            "versions": outcome.versions,
            "modules": outcome.modules,
            "classes": len(self.materials.listing.classes),
            "train_count": outcome.metrics.get("train_count"),
            "validation_count": outcome.metrics.get("validation_count"),
            "test_count": outcome.metrics.get("test_count"),
            "test_bits": outcome.test_bits,
            "class_counts": self.materials.prepared(cell).class_counts(),
            "published": cell.published.model_dump() if cell.published else None,
            "log": str(log.relative_to(self.folder.path)) if log.exists() else "",
            "started": started.isoformat(timespec="milliseconds"),
        }
        return record | {"flags": list(flags(record))}

    def _proof(self, cell: Cell, outcome: Outcome) -> dict[str, Any]:
        """Return the fields ``proof`` and ``proofs``, the trial's own troubles included."""
        from benchharness.fairness.certificate import amended, overall

        rivals = [other.backend for other in self.plan.cells if group_key(other) == group_key(cell)]
        if cell.track != "equal":
            others = [backend for backend in rivals if backend != cell.backend]
            return {"proof": _NATIVE, "proofs": dict.fromkeys(others, _NATIVE)}
        certified = self.proofs.get((point_of(cell), cell.backend), {})
        troubles = outcome.troubles()
        proofs = {other: amended(verdict, troubles) for other, verdict in certified.items()}
        return {"proof": overall(proofs, anchor=rivals[0]), "proofs": proofs}


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Tells an observer of a trial what its worker tells.

    Attributes:
        takes_turns: Whether another trial is at work between its epochs.
    """

    started: TrialStarted
    observe: Observer
    takes_turns: bool

    def take(self, event: Mapping[str, Any]) -> None:
        """Pass on an event of the worker, where it concerns an observer."""
        told = of_worker(event, started=self.started)
        if told is not None:
            self.observe(told)


def _name(trial: Trial, trial_id: str, *, number: int) -> TrialName:
    cell = trial.cell
    return TrialName(
        trial_id=trial_id,
        number=number,
        benchmark=cell.benchmark,
        matrix=cell.matrix,
        backend=cell.backend,
        track=cell.track,
        trial=trial.index,
    )


def _of_head(record: Record) -> Record:
    return {key: record[key] for key in _OF_HEAD}
