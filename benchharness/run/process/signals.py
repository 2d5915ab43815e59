"""Holding back the signals that ask us to end, for the moment in which something must be whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let no request to end interrupt the block; what came meanwhile is obeyed after it."""
    if threading.current_thread() is not threading.main_thread():
        # Python interrupts the main thread alone.
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.getsignal(number) for number in ENDING}
    # Handlers of ours alone: a default one ends the process, which needs no holding back.
    ours = {number: handler for number, handler in before.items() if callable(handler)}
    for one in ours:
        signal.signal(one, note)
    try:
        yield
    finally:
        for one, handler in ours.items():
            signal.signal(one, handler)
        for number in came:
            signal.raise_signal(number)
