"""Time left of a run: from a trial's own epochs, else from the last trial of its cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchharness.measure.clock import now_s
from benchharness.model.cell import CellKey, cell_key
from benchharness.run.events import (
    EpochEnded,
    Event,
    Looked,
    OfTrial,
    PhaseEntered,
    PlannedCell,
    RunStarted,
    TrialFinished,
    TrialName,
    TrialProgress,
    TrialStarted,
)

_TRAINING = ("train", "feed")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds left.

    Attributes:
        seconds: Never negative.
        is_lower_bound: Whether something of unknown duration is still to come.
    """

    seconds: float
    is_lower_bound: bool = False


@dataclass(slots=True, kw_only=True)
class _Cell:
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
class _Trial:
    """A trial in flight.

    Attributes:
        done: Epochs, and the part of the one in hand.
        peers: Most trials that were in flight with it, itself included: they run in turn.
    """

    cell: _Cell
    began_s: float
    epochs: int
    training_s: float | None = None
    seen_s: float = 0.0
    done: float = 0.0
    peers: int = 1

    def end_s(self) -> float | None:
        """Return when it will end; None where unknown."""
        if self.training_s is not None and self.done:
            epoch_s = (self.seen_s - self.training_s) / self.done
            return self.seen_s + epoch_s * (self.epochs - self.done)
        return None if self.cell.seconds is None else self.began_s + self.cell.seconds * self.peers


class EtaEstimator:
    """Estimates the time left of each trial in flight, and of the whole run.

    Args:
        now: Monotonic clock in seconds.
    """

    def __init__(self, *, now: Callable[[], float] = now_s) -> None:
        self._now = now
        self._cells: dict[CellKey, _Cell] = {}
        self._trials: dict[int, _Trial] = {}
        self._has_begun = False
        self._may_grow = False

    def take(self, event: Event) -> None:
        """Update the durations."""
        match event:
            case RunStarted(cells=cells):
                for planned in cells:
                    cell = self._cell(planned)
                    cell.pending += planned.trials
                    cell.seconds = planned.expected_s
                    self._may_grow |= planned.max_trials is not None
            case Looked(lines=lines):
                for line in lines:
                    self._count_round(line)
            case TrialStarted(name=name, epochs=epochs):
                cell = self._cell(name)
                cell.pending = max(0, cell.pending - 1)
                self._has_begun = True
                self._trials[name.number] = _Trial(cell=cell, began_s=self._now(), epochs=epochs)
                for trial in self._trials.values():
                    trial.peers = max(trial.peers, len(self._trials))
            case TrialFinished(name=name):
                trial = self._trials.pop(name.number)
                trial.cell.seconds = (self._now() - trial.began_s) / trial.peers
                trial.cell.is_seen = True
            case OfTrial(name=name) if name.number in self._trials:
                self._advance(self._trials[name.number], event)

    def trial(self, name: TrialName) -> Estimate | None:
        """Return what is left of a trial in flight; None where unknown."""
        trial = self._trials.get(name.number)
        end_s = None if trial is None else trial.end_s()
        return None if end_s is None else Estimate(max(0.0, end_s - self._now()))

    def suite(self) -> Estimate | None:
        """Return what is left of all trials; None where nothing is known."""
        ends = [trial.end_s() for trial in self._trials.values()]
        waits = [self._seconds(cell) for cell in self._cells.values() if cell.pending]
        known = [max(0.0, end_s - self._now()) for end_s in ends if end_s is not None]
        # Trials in flight run in turn: the end of the last is the end of all.
        left = [max(known)] if known else []
        left += [
            seconds * cell.pending
            for cell in self._cells.values()
            if cell.pending and (seconds := self._seconds(cell)) is not None
        ]
        if not left and (ends or waits):
            return None
        # Nothing tells how long preparing and proving take, nor what looks will ask for.
        is_lower_bound = None in ends or None in waits or not self._has_begun or self._may_grow
        return Estimate(sum(left), is_lower_bound)

    def _count_round(self, line: Mapping[str, Any]) -> None:
        """Count the trials that a look has asked for."""
        if line["stop"] is None:
            for backend in line["backends"]:
                key = cell_key(line["benchmark"], line["matrix"], line["track"], backend)
                self._cells[key].pending += 1

    def _advance(self, trial: _Trial, event: OfTrial) -> None:
        match event:
            case PhaseEntered(phase=phase) if phase in _TRAINING and trial.training_s is None:
                trial.training_s = self._now()
            case TrialProgress(epoch=int(epoch), done=done, images=images):
                trial.seen_s, trial.done = self._now(), epoch - 1 + done / images
            case EpochEnded(epoch=epoch):
                trial.seen_s, trial.done = self._now(), float(epoch)

    def _seconds(self, cell: _Cell) -> float | None:
        """Return the duration of a cell's next trial; None where unknown."""
        if cell.seconds is not None:
            return cell.seconds
        for trial in self._trials.values():
            if trial.cell is cell and trial.done and (end_s := trial.end_s()) is not None:
                return (end_s - trial.began_s) / trial.peers
        # Other backends at the same point.
        others = [other for other in self._cells.values() if other.key[:3] == cell.key[:3]]
        seen = [other.seconds for other in others if other.is_seen and other.seconds is not None]
        return fmean(seen) if seen else None

    def _cell(self, name: PlannedCell | TrialName) -> _Cell:
        key = cell_key(name.benchmark, name.matrix, name.track, name.backend)
        return self._cells.setdefault(key, _Cell(key=key))
