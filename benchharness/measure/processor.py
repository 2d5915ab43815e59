"""Processor time: what work takes of the cores, however long it had to wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class ProcessorTime:
    """Adds up the processor seconds of this process while something is timed.

    Attributes:
        now: Processor seconds of all threads of this process, in user and in system mode.
        seconds: So far, of what has been timed.
    """

    now: Callable[[], float] = time.process_time
    seconds: float = 0.0
    _began_s: float | None = field(default=None)

    def turn(self, is_timed: bool) -> None:
        """Take note that timed work begins, or ends or is interrupted."""
        now_s = self.now()
        if self._began_s is not None:
            self.seconds += now_s - self._began_s
        self._began_s = now_s if is_timed else None
