"""Text of progress, and the stream that it goes to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TextIO

from benchharness.progress.eta import Estimate
from benchharness.run.events import TrialFinished, TrialName


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


def point(benchmark: str, matrix: Mapping[str, Any]) -> str:
    """Return a benchmark and its point of the matrix."""
    return benchmark + "".join(f" {key}={value}" for key, value in matrix.items())


def cell_name(name: TrialName) -> str:
    """Return benchmark, point of the matrix, backend and, unless it is the equal one, track."""
    return f"{point(name.benchmark, name.matrix)} on {side(name)}"


def side(name: TrialName) -> str:
    """Return backend and, unless it is the equal one, track."""
    return name.backend if name.track == "equal" else f"{name.backend} ({name.track})"


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def left(estimate: Estimate | None) -> str:
    """Return what is left; empty where nothing is known."""
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


def ending(event: TrialFinished) -> str:
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
    mark = "!" if event.flags else ""
    reason = f": {event.reason}" if event.reason else ""
    if event.failed_in and event.status != "ok":
        parts.append(f"in {event.failed_in}")
    return ", ".join(parts) + mark + reason
