"""State of a run, from its events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchharness.progress.eta import EtaEstimator
from benchharness.run.events import (
    Certified,
    Downloading,
    EpochEnded,
    Event,
    OfTrial,
    PhaseEntered,
    Preparing,
    Probing,
    TrialFinished,
    TrialProgress,
    TrialStarted,
)

# Phases that stand in the middle of a training.
_WITHIN_EPOCHS = ("train", "feed", "evaluate", "ledger")
_MEASURED = ("extract", "feed", "train")

BackgroundTask = Preparing | Downloading | Probing


@dataclass(slots=True, kw_only=True)
class TrialState:
    """A trial in flight.

    Attributes:
        phase: Where it is.
        ended: Epochs that have ended.
        share: Of the phase, or of the current epoch, 0-1; None where it is not known.
        images_per_s: Of the phase that was measured last; None before.
        loss: Of the latest epoch; None before.
        top1: Validation accuracy after the latest epoch; None before, or without validation.
    """

    started: TrialStarted
    phase: str = "startup"
    ended: int = 0
    share: float | None = None
    images_per_s: float | None = None
    loss: float | None = None
    top1: float | None = None
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

    def take(self, event: OfTrial) -> None:
        """Update the state."""
        match event:
            case PhaseEntered(phase=phase):
                self.phase, self.share = phase, None
                if phase in _MEASURED and phase != self._measured:
                    self.images_per_s, self._measured = None, phase
            case TrialProgress():
                self.share = event.done / event.images
                self.images_per_s = event.done / event.seconds
            case EpochEnded():
                self.ended, self.share = event.epoch, None
                self.phase = self._measured or self.phase
                self.images_per_s = event.images_per_s
                self.loss, self.top1 = event.train_loss, event.validation_top1


@dataclass(slots=True, kw_only=True)
class RunState:
    """A run.

    Attributes:
        now: Monotonic clock in seconds.
        began_s: When it began.
        count: Trials in all.
        trials: In flight, by their number.
        finished: Trials that have ended.
        failed: Those of them that are neither ok nor skipped.
        task: Work besides trials; None for none.
    """

    now: Callable[[], float] = time.monotonic
    began_s: float = field(init=False)
    eta: EtaEstimator = field(init=False)
    count: int = 0
    trials: dict[int, TrialState] = field(default_factory=dict)
    finished: int = 0
    failed: int = 0
    task: BackgroundTask | None = None

    def __post_init__(self) -> None:
        """Start the clock."""
        self.began_s = self.now()
        self.eta = EtaEstimator(now=self.now)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self.now() - self.began_s

    def take(self, event: Event) -> None:
        """Update the state."""
        self.eta.take(event)
        match event:
            case TrialStarted():
                self.task, self.count = None, event.count
                self.trials[event.name.number] = TrialState(started=event)
            case TrialFinished():
                del self.trials[event.name.number]
                self.finished += 1
                self.failed += event.status not in ("ok", "skipped")
            case OfTrial():
                self.trials[event.name.number].take(event)
            case Preparing() | Downloading():
                self.task = None if event.is_complete else event
            case Probing():
                self.task = event
            case Certified():
                self.task = None
