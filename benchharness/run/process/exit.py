"""What became of a worker that did not say so itself: what happened, and what to try."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from benchharness.run.process import oom

LOG_LINES = 3
# A log may be large, and only its end is of interest.
_TAIL_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitReason:
    """How a worker died.

    Attributes:
        status: ``failed`` or ``oom``.
        cause: In words.
        remedy: What to try.
    """

    status: str
    cause: str
    remedy: str

    def reason(self, words: tuple[str, ...]) -> str:
        """Return all of it on one line, with what the worker printed last."""
        said = f"it printed last: {' / '.join(words)}" if words else "it printed nothing"
        return f"{self.cause}; {said}; {self.remedy}"


def examine(code: int, words: tuple[str, ...], *, oom_kill_count: int) -> ExitReason:
    """Return what a worker died of.

    Args:
        code: As ``subprocess`` tells it: negative for a signal.
        words: What it printed last.
        oom_kill_count: Processes that the kernel has ended for want of memory while it ran.
    """
    if code == -signal.SIGKILL and oom_kill_count:
        return ExitReason(
            status="oom",
            cause="the kernel ended the worker by SIGKILL: the host's memory ran out",
            remedy=f"{oom.REMEDY}; so does an end to other programs",
        )
    cause = _cause(code)
    if any(oom.mentions_oom(line) for line in words):
        return ExitReason(status="oom", cause=f"{cause}: memory ran out", remedy=oom.REMEDY)
    return ExitReason(status="failed", cause=cause, remedy=_remedy(code))


def last_words(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log that say anything."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return tuple(lines[-LOG_LINES:])


def _cause(code: int) -> str:
    if code < 0:
        return f"the worker was ended by {_signal_name(-code)}"
    return f"the worker ended with exit code {code} before it had finished"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals have no name.
        return f"signal {number}"


def _remedy(code: int) -> str:
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "somebody, or a limit of the system, ended it; repeat it once that is gone"
    if code < 0:
        return "native code of the framework or of a library crashed; try another version of it"
    return "see its log"
