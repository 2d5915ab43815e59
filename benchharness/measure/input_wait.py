"""How long the training loop waits for its input, seen from the batches it asks for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar, overload

from benchharness.measure.clock import now_s
from benchharness.model.task import Batch

Item = TypeVar("Item")


class InputTimer:
    """Adds up the time that the thread of its maker spends in getting batches.

    Where other threads get them, waiting cannot be seen from here, and stays unknown.

    Args:
        now: Monotonic clock in seconds.
    """

    def __init__(self, *, now: Callable[[], float] = now_s) -> None:
        self._now = now
        self._thread = threading.get_ident()
        self._waited_s = 0.0
        self._has_foreign = False

    @property
    def waited_s(self) -> float | None:
        """Seconds spent in getting batches; None where other threads did it."""
        return None if self._has_foreign else self._waited_s

    def epochs(self, epochs: Sequence[Sequence[Batch]]) -> Sequence[Sequence[Batch]]:
        """Return the epochs, watched: their batches, and drawing their order."""
        return _TimedSequence(epochs, lambda get: _TimedSequence(self._timed(get), self._timed))

    def _timed(self, get: Callable[[], Item]) -> Item:
        if threading.get_ident() != self._thread:
            self._has_foreign = True
            return get()
        began_s = self._now()
        try:
            return get()
        finally:
            self._waited_s += self._now() - began_s


class _TimedSequence(Sequence[Item]):
    """A sequence that hands over how an item is got, instead of getting it."""

    def __init__(
        self, items: Sequence[Item], receive: Callable[[Callable[[], Item]], Item]
    ) -> None:
        self._items = items
        self._receive = receive

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._receive(lambda: self._items[index])
