"""Progress as plain lines, for logs and pipes, and its words, which a terminal shows as well."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from benchharness.progress.state import Estimate, RunState, TrialState
from benchharness.run import events
from benchharness.run.events import Event
from benchharness.text import escape_control_chars

_INDENT = " " * 8
# A log of a night should still be read with pleasure.
_EVERY_S = 10.0


class BrokenPipeSafeStream:
    """Writes to a stream as long as somebody reads it, and into nothing afterwards.

    A run takes hours, ``| head`` a second: what is recorded must not depend on who watches.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, and say how much."""
        try:
            return self._stream.write(text)
        except OSError:
            self._detach()
        return len(text)

    def flush(self) -> None:
        """Hand on what has been written."""
        try:
            self._stream.flush()
        except OSError:
            self._detach()

    def line(self, text: str) -> None:
        """Write a line at once."""
        self.write(f"{text}\n")
        self.flush()

    def _detach(self) -> None:
        """Let all that follows go nowhere, what Python flushes at its own end included."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PlainReporter:
    """Prints a line when a trial begins, now and then while it runs, and at its end.

    Args:
        now: Monotonic clock in seconds.
    """

    def __init__(self, stream: TextIO, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = BrokenPipeSafeStream(stream)
        self._state = RunState(now=now)
        self._last_s = now()

    def __call__(self, event: Event) -> None:
        """Say what is worth a line."""
        self._state.take(event)
        for line in lasting_lines(event, proven=self._state.proven):
            self._say(line)
        match event:
            case events.TrialStarted(name=name):
                is_open = (event.max_trials or 0) > event.trials
                most = f"up to {event.max_trials}" if is_open else f"{event.trials}"
                turn = f", trial {name.trial} of {most}" if event.trials > 1 else ""
                self._say(f"[{name.number}/{event.count}] {cell_name(name)}{turn}")
                self._last_s = self._state.now()
            case events.TrialFinished(name=name):
                self._say(f"{_INDENT}{_which(name)}{ending(event)}")
            case events.OfTrial(name=name):
                if self._is_due():
                    description = self._description(self._state.trials[name.number])
                    self._say(f"{_INDENT}{_which(name)}{description}")
            case events.Preparing(done=done, count=count):
                if event.is_complete or self._is_due():
                    self._say(f"preparing images: {done:,} of {count:,}")
            case events.Downloading(what=what):
                if event.is_complete or self._is_due():
                    bytes_done = amount(event.done_bytes, event.count_bytes)
                    details = f": {bytes_done}" if bytes_done else ""
                    self._say(f"downloading {what or 'a file'}{details}")
            case events.Probing(cell=1, cells=cells):
                plural = "s" if cells > 1 else ""
                self._say(f"proving equal work: {event.backend}, {cells} cell{plural}")

    def _description(self, trial: TrialState) -> str:
        parts = [phase(trial)]
        if trial.images_per_s is not None:
            parts.append(f"{rate(trial.images_per_s)} {trial.speed_unit}")
        if trial.loss is not None:
            parts.append(f"loss {trial.loss:.4f}")
        if trial.top1 is not None:
            parts.append(f"validation top-1 {trial.top1:.3f}")
        parts.append(left(self._state.left_of_trial(trial.started.name)))
        whole = left(self._state.left())
        parts.append(f"{whole} for the suite" if whole else "")
        return ", ".join(filter(None, parts))

    def _say(self, line: str) -> None:
        self._stream.line(escape_control_chars(line))

    def _is_due(self) -> bool:
        if self._state.now() - self._last_s < _EVERY_S:
            return False
        self._last_s = self._state.now()
        return True


def lasting_lines(event: Event, *, proven: int) -> list[str]:
    """Return what an event leaves behind, on a terminal or not: messages, and what is proven.

    Args:
        proven: Pairs that are proven so far.
    """
    match event:
        case events.Announced(level=level, text=text):
            return [f"WARNING: {text}" if level == "warning" else text]
        case events.Certified(certificate=certificate):
            lines = []
            if not event.is_proven:
                name = point(certificate["benchmark"], certificate["matrix"])
                pair = " and ".join(certificate["backends"])
                lines.append(f"equal work NOT proven: {name}, {pair}: {certificate['verdict']}")
            if event.number == event.count:
                lines.append(f"equal work proven for {proven} of {event.count} pairs")
            return lines
    return []


def phase(trial: TrialState) -> str:
    """Return the phase of a trial, its epoch, and how much of it is done."""
    words = trial.phase
    if trial.epoch is not None:
        words += f" {trial.epoch}/{trial.started.epochs}"
    return words if trial.share is None else f"{words} {trial.share:3.0%}"


def point(benchmark: str, matrix: Mapping[str, Any]) -> str:
    """Return a benchmark and its point of the matrix."""
    return benchmark + "".join(f" {key}={value}" for key, value in matrix.items())


def cell_name(name: events.TrialName) -> str:
    """Return benchmark, point of the matrix, backend, track and host."""
    return f"{point(name.benchmark, name.matrix)} on {side(name)}"


def side(name: events.TrialName) -> str:
    """Return backend, track unless it is the equal one, and the host of a cluster."""
    track = "" if name.track == "equal" else f" ({name.track})"
    return name.backend + track + (f", host {name.host}" if name.host else "")


def _which(name: events.TrialName) -> str:
    """Return which trial a line is about, where several run at the same time."""
    return f"{cell_name(name)}: " if name.host else ""


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def left(estimate: Estimate | None) -> str:
    """Return the time left; empty where nothing is known."""
    if estimate is None:
        return ""
    return f"{'> ' if estimate.is_lower_bound else ''}{clock(estimate.seconds)} left"


def rate(images_per_s: float) -> str:
    """Return a throughput; fractions where there are few images a second."""
    return f"{images_per_s:,.0f}" if images_per_s >= 10 else f"{images_per_s:.1f}"


def amount(done_bytes: int | None, count_bytes: int | None) -> str:
    """Return how much of a download is there, as far as that is known."""
    if done_bytes is None:
        return ""
    done = f"{done_bytes / 1e6:,.1f}"
    return f"{done} of {count_bytes / 1e6:,.1f} MB" if count_bytes else f"{done} MB"


def ending(event: events.TrialFinished) -> str:
    """Return how a trial ended: status, seconds, throughput, accuracy, and what went wrong.

    Numbers that look wrong are marked as in the table, which says why.
    """
    metrics, parts = event.metrics, [event.status]
    if "wall_s" in metrics:
        parts[0] += f" in {metrics['wall_s']:.1f} s"
    images_per_s = metrics.get("train_images_per_s", metrics.get("feed_images_per_s"))
    if images_per_s is not None:
        # Whoever extracts features trains on them.
        unit = "features/s" if "extract_s" in metrics else "images/s"
        parts.append(f"{rate(images_per_s)} {unit}")
    if "test_top1" in metrics:
        parts.append(f"test top-1 {metrics['test_top1']:.3f}")
    if event.failed_in and event.status != "ok":
        parts.append(f"in {event.failed_in}")
    reason = f": {event.reason}" if event.reason else ""
    return ", ".join(parts) + ("!" if event.flags else "") + reason
