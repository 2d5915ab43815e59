"""Running a plan: every trial in its order, a record for each, nothing lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchharness import __version__
from benchharness.errors import PluginError
from benchharness.measure.sanity import flags
from benchharness.plugins import distribution, find
from benchharness.results.record import Record
from benchharness.results.store import RunFolder
from benchharness.run.events import (
    Observer,
    TrialFinished,
    TrialName,
    TrialStarted,
    of_worker,
)
from benchharness.run.executor import LocalExecutor, Outcome
from benchharness.run.materials import Materials
from benchharness.run.proof.certify import Point, point_of
from benchharness.run.requests import Requests, backend_plugin, stated_optimizer
from benchharness.suite.plan import Cell, Plan, Trial, rivalry
from benchharness.suite.settings import FineTuneSettings

# Sizes of the splits: what a score is worth, not something measured.
_COUNTS = ("train_count", "validation_count", "test_count")
_NATIVE = "not comparable: native track"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Carries out the trials of a plan, one at a time.

    Attributes:
        requests: What the workers are asked; the executor's environment shows only their device.
        proofs: Verdicts of the certificates by cell and other backend; empty for unproven runs.
        elsewhere: Executors of backends whose code is not what this process would import.
        own_heads: Whether each backend starts from the head that it has trained itself.
    """

    plan: Plan
    materials: Materials
    folder: RunFolder
    executor: LocalExecutor
    requests: Requests
    proofs: Mapping[tuple[Point, str], Mapping[str, str]] = field(default_factory=dict)
    elsewhere: Mapping[str, LocalExecutor] = field(default_factory=dict)
    own_heads: bool = False

    def run(self, observe: Observer) -> list[Record]:
        """Carry out every trial and return the records, each on disk before the next begins."""
        return list(self.advance(observe))

    def advance(self, observe: Observer) -> Iterator[Record]:
        """Carry out a trial for each record that is asked for, in the plan's order."""
        trials = self.plan.trials()
        records: list[Record] = []
        for number, trial in enumerate(trials, start=1):
            record = self.carry_out(trial, records, observe, number=number, count=len(trials))
            records.append(record)
            yield record

    def carry_out(
        self, trial: Trial, before: Sequence[Record], observe: Observer, *, number: int, count: int
    ) -> Record:
        """Carry out one trial of the plan and return its record, which is on disk.

        Args:
            before: Records of earlier trials: one of them may have trained the head it starts from.
            number: Its place in the run, from 1.
            count: Trials of the run, as far as that is known.
        """
        head = self._head(trial, before)
        name = _name(trial, self._identify(trial, head), number=number)
        started = self._started(trial, name, count=count)
        observe(started)
        record = self._run_trial(trial, head, _Reporter(started, observe))
        self.folder.append(record)
        observe(TrialFinished.of(name, record))
        return record

    def _started(self, trial: Trial, name: TrialName, *, count: int) -> TrialStarted:
        cell = trial.cell
        return TrialStarted(
            name=name,
            count=count,
            trials=cell.trials,
            seed=trial.seed,
            epochs=cell.settings.epochs,
            images=len(self.materials.prepared(cell).splits["train"]),
        )

    def _run_trial(self, trial: Trial, head: Record | None, reporter: _Reporter) -> Record:
        started = datetime.now(UTC)
        trial_id = reporter.started.name.trial_id
        try:
            if head is None and _wants_head(trial.cell):
                outcome = Outcome(reason=f"no trial of {_head_name(trial.cell)} has left a head")
            else:
                outcome = self._execute(trial, trial_id, head, reporter)
        except PluginError as error:
            outcome = Outcome(reason=str(error))
        if head is not None:
            outcome.metrics["head_from"] = f"{head['benchmark']} {head['backend']} {head['trial']}"
        return self._record(trial, trial_id, outcome, started)

    def _execute(
        self, trial: Trial, trial_id: str, head: Record | None, reporter: _Reporter
    ) -> Outcome:
        plugin, _ = backend_plugin(self.plan, trial.cell.backend)
        executor = self.elsewhere.get(trial.cell.backend)
        if executor is None:
            # A backend that is not installed needs no process to find out.
            find(plugin)
        request = self.requests.make(
            trial,
            head_file=self._weights_file(head["id"]) if head else None,
            weights_file=self._weights_file(trial_id) if self._is_wanted(trial.cell) else None,
        )
        return (executor or self.executor).run(
            request,
            request_file=self.folder.logs / f"{trial_id}.json",
            log=self.folder.log_path(trial_id),
            on_event=reporter.take,
        )

    def _head(self, trial: Trial, records: Sequence[Record]) -> Record | None:
        """Return the trial whose head this one starts from.

        All backends start from the same head, or they would not do the same work: that of the
        first backend of the suite that has left one. In the native track each starts from its own.
        """
        if not _wants_head(trial.cell):
            return None
        name = _head_name(trial.cell)
        able = {
            record["backend"]: record
            for record in records
            if record["benchmark"] == name
            and record["track"] == trial.cell.track
            and record["trial"] == _head_trial(trial, records)
            and record["status"] == "ok"
        }
        if self.own_heads or trial.cell.track == "native":
            return able.get(trial.cell.backend)
        in_suite_order = dict.fromkeys(cell.backend for cell in self.plan.cells)
        return next((able[backend] for backend in in_suite_order if backend in able), None)

    def _is_wanted(self, cell: Cell) -> bool:
        """Whether another benchmark starts from what this cell learns."""
        return any(
            _wants_head(other) and _head_name(other) == cell.benchmark for other in self.plan.cells
        )

    def _weights_file(self, trial_id: str) -> Path:
        return self.folder.weights / f"{trial_id}.safetensors"

    def _identify(self, trial: Trial, head: Record | None) -> str:
        """Return the digest of all that decides the trial's outcome."""
        cell = trial.cell
        plugin, options = backend_plugin(self.plan, cell.backend)
        pretrained = self.materials.pretrained(cell)
        facts = {
            "core": __version__,
            "benchmark": cell.benchmark,
            "settings": cell.settings.model_dump(mode="json"),
            "backend": [cell.backend, plugin, dict(options)],
            "plugin": self._code(cell.backend, plugin),
            "track": cell.track,
            "stated": stated_optimizer(cell),
            "trial": [trial.index, trial.seed],
            "device": self.requests.device,
            "data": self.materials.prepared(cell).digest,
            "weights": pretrained.digest if pretrained else None,
            "head": head["id"] if head else None,
        }
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _code(self, backend: str, plugin: str) -> str:
        """Return which code does a backend's work."""
        elsewhere = self.elsewhere.get(backend)
        return _plugin_version(plugin) if elsewhere is None else elsewhere.code

    def _record(self, trial: Trial, trial_id: str, outcome: Outcome, started: datetime) -> Record:
        cell = trial.cell
        log = self.folder.log_path(trial_id)
        record: Record = {
            "format": 1,
            "id": trial_id,
            "benchmark": cell.benchmark,
            "strategy": cell.strategy,
            "backend": cell.backend,
            "track": cell.track,
            "matrix": dict(cell.matrix),
            "trial": trial.index,
            "seed": trial.seed,
            "status": outcome.status,
            "reason": outcome.reason,
            **self._proof(cell, outcome),
            "ledger": outcome.ledger,
            "settings": cell.settings.model_dump(mode="json"),
            "metrics": {
                name: value for name, value in outcome.metrics.items() if name not in _COUNTS
            },
            "epochs": outcome.epochs,
            "blocks": outcome.blocks,
            "effective": outcome.effective,
            "versions": outcome.versions,
            "classes": len(self.materials.listing.classes),
            "train_count": outcome.metrics.get("train_count"),
            "validation_count": outcome.metrics.get("validation_count"),
            "test_count": outcome.metrics.get("test_count"),
            "published": cell.published.model_dump() if cell.published else None,
            "log": str(log.relative_to(self.folder.path)) if log.exists() else "",
            "started": started.isoformat(timespec="milliseconds"),
        }
        return record | {"flags": list(flags(record))}

    def _proof(self, cell: Cell, outcome: Outcome) -> dict[str, Any]:
        """Return the fields ``proof`` and ``proofs``, the trial's own troubles included."""
        from benchharness.fairness.certificate import amended, overall

        rivals = [other.backend for other in self.plan.cells if rivalry(other) == rivalry(cell)]
        if cell.track != "equal":
            others = [backend for backend in rivals if backend != cell.backend]
            return {"proof": _NATIVE, "proofs": dict.fromkeys(others, _NATIVE)}
        certified = self.proofs.get((point_of(cell), cell.backend), {})
        troubles = outcome.troubles()
        proofs = {other: amended(verdict, troubles) for other, verdict in certified.items()}
        return {"proof": overall(proofs, anchor=rivals[0]), "proofs": proofs}


@dataclass(frozen=True, slots=True)
class _Reporter:
    """Tells an observer of a trial what its worker tells."""

    started: TrialStarted
    observe: Observer

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


def _wants_head(cell: Cell) -> bool:
    return isinstance(cell.settings, FineTuneSettings) and cell.settings.head_from is not None


def _head_trial(trial: Trial, records: Sequence[Record]) -> int:
    """Return which trial of the bottleneck serves; where it has fewer, they serve in turn."""
    name = _head_name(trial.cell)
    count = max((record["trial"] for record in records if record["benchmark"] == name), default=1)
    return (trial.index - 1) % int(count) + 1


def _head_name(cell: Cell) -> str:
    assert isinstance(cell.settings, FineTuneSettings)
    return cell.settings.head_from or ""


def _plugin_version(plugin: str) -> str:
    try:
        return distribution(find(plugin))
    except PluginError:
        return "not installed"
