"""Progress as plain lines, for logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from benchharness.progress import text
from benchharness.progress.state import RunState, TrialState
from benchharness.progress.text import BrokenPipeSafeStream
from benchharness.run.events import (
    Announced,
    Certified,
    Downloading,
    Event,
    OfTrial,
    Preparing,
    Probing,
    TrialFinished,
    TrialStarted,
)
from benchharness.text import escape_control_chars

_INDENT = " " * 8
# A log of a night should still be read with pleasure.
_EVERY_S = 10.0


class PlainReporter:
    """Prints a line when a trial begins, now and then while it runs, and at its end.

    Args:
        stream: Where to.
        now: Monotonic clock in seconds.
    """

    def __init__(self, stream: TextIO, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = BrokenPipeSafeStream(stream)
        self._now = now
        self._state = RunState(now=now)
        self._proofs = Proofs()
        self._last_s = now()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave nothing to tidy up."""

    def __call__(self, event: Event) -> None:
        """Say what is worth a line."""
        self._state.take(event)
        for line in lines_of(event, self._proofs):
            self._say(line)
        match event:
            case TrialStarted(name=name):
                self._say(begin(event))
                self._last_s = self._now()
            case TrialFinished():
                self._say(f"{_INDENT}{text.ending(event)}")
            case OfTrial(name=name):
                if self._is_due():
                    self._say(_INDENT + self._description(self._state.trials[name.number]))
            case Preparing(done=done, count=count):
                if event.is_complete or self._is_due():
                    self._say(f"preparing images: {done:,} of {count:,}")
            case Downloading(what=what):
                if event.is_complete or self._is_due():
                    amount = text.amount(event.done_bytes, event.count_bytes)
                    self._say(f"downloading {what or 'a file'}{f': {amount}' if amount else ''}")
            case Probing(cell=1, cells=cells):
                plural = "s" if cells > 1 else ""
                self._say(f"proving equal work: {event.backend}, {cells} cell{plural}")

    def _description(self, trial: TrialState) -> str:
        eta = self._state.eta
        parts = [phase(trial)]
        if trial.images_per_s is not None:
            parts.append(f"{text.rate(trial.images_per_s)} {trial.speed_unit}")
        if trial.loss is not None:
            parts.append(f"loss {trial.loss:.4f}")
        if trial.top1 is not None:
            parts.append(f"validation top-1 {trial.top1:.3f}")
        own = text.left(eta.trial(trial.started.name))
        whole = text.left(eta.suite())
        parts += [own] if own else []
        parts += [f"{whole} for the suite"] if whole else []
        return ", ".join(parts)

    def _say(self, line: str) -> None:
        self._stream.line(escape_control_chars(line))

    def _is_due(self) -> bool:
        now = self._now()
        if now - self._last_s < _EVERY_S:
            return False
        self._last_s = now
        return True


class Proofs:
    """Counts verdicts, to tell them together."""

    def __init__(self) -> None:
        self._proven = 0

    def take(self, event: Certified) -> list[str]:
        """Return what to say: each pair that is not proven, and a sum at the end."""
        self._proven += event.is_proven
        certificate = event.certificate
        lines = []
        if not event.is_proven:
            name = text.point(certificate["benchmark"], certificate["matrix"])
            pair = " and ".join(certificate["backends"])
            lines.append(f"equal work NOT proven: {name}, {pair}: {certificate['verdict']}")
        if event.number == event.count:
            lines.append(f"equal work proven for {self._proven} of {event.count} pairs")
        return lines


def lines_of(event: Event, proofs: Proofs) -> list[str]:
    """Return the lines that an event leaves behind, on a terminal or not."""
    match event:
        case Announced(level="warning"):
            return [f"WARNING: {event.text}"]
        case Announced():
            return [event.text]
        case Certified():
            return proofs.take(event)
    return []


def begin(event: TrialStarted) -> str:
    """Return the line with which a trial begins."""
    name = event.name
    is_open = (event.max_trials or 0) > event.trials
    most = f"up to {event.max_trials}" if is_open else f"{event.trials}"
    turn = f", trial {name.trial} of {most}" if event.trials > 1 else ""
    return f"[{name.number}/{event.count}] {text.cell_name(name)}{turn}"


def phase(trial: TrialState) -> str:
    """Return the phase of a trial, its epoch, and how much of it is done."""
    words = trial.phase
    if trial.epoch is not None:
        words += f" {trial.epoch}/{trial.started.epochs}"
    return words if trial.share is None else f"{words} {trial.share:3.0%}"
