"""Seeing that a GPU's memory is free again before anything else is timed on it."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchharness.measure.clock import now_s

# A driver takes a moment to give back the memory of a process that was ended.
PATIENCE_S = 30.0
_PERIOD_S = 0.1
# What a driver keeps for itself changes a little.
_SLACK_BYTES = 64 * 2**20


def wait_until_released(
    before_bytes: int | None,
    used_bytes: Callable[[], int | None],
    *,
    patience_s: float = PATIENCE_S,
    now: Callable[[], float] = now_s,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until device memory is as it was before a worker began; return what is still held.

    Args:
        before_bytes: In use then; None where nobody tells.
        used_bytes: Tells what is in use.
        patience_s: Longest to wait.
        now: Monotonic clock in seconds.
        sleep: Waits so many seconds.
    """
    if before_bytes is None:
        return 0
    deadline_s = now() + patience_s
    while True:
        used = used_bytes()
        held = 0 if used is None else used - before_bytes
        if held <= _SLACK_BYTES:
            return 0
        if now() >= deadline_s:
            return held
        sleep(_PERIOD_S)
