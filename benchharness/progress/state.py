"""State of a run, from its events, and the time left.

What is left of a trial is estimated from its own epochs, else from the last trial of its cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from benchharness.model.cell import CellKey, cell_key
from benchharness.run import events
from benchharness.run.events import Event

# Phases that stand in the middle of a training.
_WITHIN_EPOCHS = ("train", "feed", "evaluate", "ledger")
_MEASURED = ("extract", "feed", "train")
_TRAINING = ("train", "feed")

BackgroundTask = events.Preparing | events.Downloading | events.Probing


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds left, never negative; more if something of unknown duration is still to come."""

    seconds: float
    is_lower_bound: bool = False


@dataclass(slots=True, kw_only=True)
class CellState:
    """Durations of a cell's trials.

    Attributes:
        pending: Trials that have not begun.
        seconds: Of one trial, by the last one or an earlier run; None where unknown.
        is_seen: Whether this run has timed a trial of it.
    """

    key: CellKey
    pending: int = 0
    seconds: float | None = None
    is_seen: bool = False


@dataclass(slots=True, kw_only=True)
class TrialState:
    """A trial in flight.

    Attributes:
        peers: Most trials that were in flight on its host, itself included: they run in turn.
        ended: Epochs that have ended.
        share: Of the phase, or of the current epoch, 0-1; None where unknown.
        images_per_s: Of the phase that was measured last; None before.
        loss: Of the latest epoch; None before.
        top1: Validation accuracy after the latest epoch; None before, or without validation.
        training_s: Reading of the clock when training began; None before.
        seen_s: Reading of the clock at the latest progress of the training.
        done: Epochs then, with the part of the one in hand.
    """

    started: events.TrialStarted
    cell: CellState
    began_s: float
    peers: int = 1
    phase: str = "startup"
    ended: int = 0
    share: float | None = None
    images_per_s: float | None = None
    loss: float | None = None
    top1: float | None = None
    training_s: float | None = None
    seen_s: float = 0.0
    done: float = 0.0
    _measured: str = ""

    @property
    def speed_unit(self) -> str:
        """What ``images_per_s`` counts."""
        return f"{self.started.trains_on if self._measured == 'train' else 'images'}/s"

    @property
    def epoch(self) -> int | None:
        """The current epoch, from 1; None outside the training."""
        is_within = self.phase in _WITHIN_EPOCHS and self.ended < self.started.epochs
        return self.ended + 1 if is_within else None

    def end_s(self) -> float | None:
        """Return when it will end, by the clock; None where unknown."""
        if self.training_s is not None and self.done:
            epoch_s = (self.seen_s - self.training_s) / self.done
            return self.seen_s + epoch_s * (self.started.epochs - self.done)
        return None if self.cell.seconds is None else self.began_s + self.cell.seconds * self.peers

    def take(self, event: events.OfTrial, *, at_s: float) -> None:
        """Update the state with an event at a reading of the clock."""
        match event:
            case events.PhaseEntered(phase=phase):
                self.phase, self.share = phase, None
                if phase in _MEASURED and phase != self._measured:
                    self.images_per_s, self._measured = None, phase
                if phase in _TRAINING and self.training_s is None:
                    self.training_s = at_s
            case events.TrialProgress(epoch=epoch):
                self.share = event.done / event.images
                self.images_per_s = event.done / event.seconds
                if epoch is not None:
                    self.seen_s, self.done = at_s, epoch - 1 + self.share
            case events.EpochEnded():
                self.ended, self.share = event.epoch, None
                self.phase = self._measured or self.phase
                self.images_per_s = event.images_per_s
                self.loss, self.top1 = event.train_loss, event.validation_top1
                self.seen_s, self.done = at_s, float(event.epoch)


class RunState:
    """A run, by a monotonic clock in seconds.

    Attributes:
        count: Trials in all; ``finished`` have ended, ``failed`` neither ok nor skipped.
        proven: Pairs of backends that do equal work.
        trials: In flight, by their number.
        task: Work besides trials; None for none.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self.now = now
        self.began_s = now()
        self.count = self.finished = self.failed = self.proven = 0
        self.trials: dict[int, TrialState] = {}
        self.task: BackgroundTask | None = None
        self._cells: dict[CellKey, CellState] = {}
        self._has_begun = self._may_grow = False

    def take(self, event: Event) -> None:
        """Update the state."""
        match event:
            case events.RunStarted(cells=cells):
                for planned in cells:
                    cell = self._cell(planned)
                    cell.pending += planned.trials
                    cell.seconds = planned.expected_s
                    self._may_grow |= planned.max_trials is not None
            case events.Looked(lines=lines):
                # A line that goes on gets another trial of each of its cells.
                for line in lines:
                    for backend in line["backends"] if line["stop"] is None else ():
                        key = cell_key(line["benchmark"], line["matrix"], line["track"], backend)
                        self._cells[key].pending += 1
            case events.TrialStarted(name=name):
                cell = self._cell(name)
                cell.pending = max(0, cell.pending - 1)
                self._has_begun, self.task, self.count = True, None, event.count
                started = TrialState(started=event, cell=cell, began_s=self.now())
                self.trials[name.number] = started
                peers = [t for t in self.trials.values() if t.started.name.host == name.host]
                for trial in peers:
                    trial.peers = max(trial.peers, len(peers))
            case events.TrialFinished(name=name):
                trial = self.trials.pop(name.number)
                trial.cell.seconds = (self.now() - trial.began_s) / trial.peers
                trial.cell.is_seen = True
                self.finished += 1
                self.failed += event.status not in ("ok", "skipped")
            case events.OfTrial(name=name) if name.number in self.trials:
                self.trials[name.number].take(event, at_s=self.now())
            case events.Preparing() | events.Downloading():
                self.task = None if event.is_complete else event
            case events.Probing():
                self.task = event
            case events.Certified():
                self.task = None
                self.proven += event.is_proven

    def left_of_trial(self, name: events.TrialName) -> Estimate | None:
        """Return what is left of a trial in flight; None where unknown."""
        trial = self.trials.get(name.number)
        end_s = None if trial is None else trial.end_s()
        return None if end_s is None else Estimate(max(0.0, end_s - self.now()))

    def left(self) -> Estimate | None:
        """Return what is left of all trials; None where nothing is known."""
        ends = [trial.end_s() for trial in self.trials.values()]
        waits = [
            None if (seconds := self._trial_s(cell)) is None else seconds * cell.pending
            for cell in self._cells.values()
            if cell.pending
        ]
        # Trials in flight run in turn, or on hosts of their own: the end of the last is the end of
        # all. Those that wait are shared among the hosts.
        hosts = len({trial.started.name.host for trial in self.trials.values()}) or 1
        known = [max(0.0, end_s - self.now()) for end_s in ends if end_s is not None]
        parts = [max(known)] if known else []
        parts += [wait / hosts for wait in waits if wait is not None]
        if not parts and (ends or waits):
            return None
        # Nothing tells how long preparing and proving take, nor what looks will ask for.
        is_lower_bound = None in ends or None in waits or not self._has_begun or self._may_grow
        return Estimate(sum(parts), is_lower_bound)

    def _trial_s(self, cell: CellState) -> float | None:
        """Return the duration of a cell's next trial; None where unknown."""
        if cell.seconds is not None:
            return cell.seconds
        for trial in self.trials.values():
            if trial.cell is cell and trial.done and (end_s := trial.end_s()) is not None:
                return (end_s - trial.began_s) / trial.peers
        # Other backends at the same point.
        others = [other for other in self._cells.values() if other.key[:3] == cell.key[:3]]
        seen = [other.seconds for other in others if other.is_seen and other.seconds is not None]
        return fmean(seen) if seen else None

    def _cell(self, name: events.ScheduledCell | events.TrialName) -> CellState:
        key = cell_key(name.benchmark, name.matrix, name.track, name.backend)
        return self._cells.setdefault(key, CellState(key=key))
