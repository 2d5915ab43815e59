"""Training time in blocks of steps, the device finished at both edges of each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import quantiles
from typing import NamedTuple

from benchharness.measure.clock import now_s

# Waiting for the device costs up to a millisecond and empties its queue: 1 % of such a block.
BLOCK_S = 0.1


class Block(NamedTuple):
    """Consecutive steps, at least one, between two waits for the device."""

    steps: int
    seconds: float


def low_decile(seconds: Sequence[float]) -> float:
    """Return what nine of ten exceed.

    Other programs only ever add time, to a different share of the blocks each time: at different
    times it differs by less than the median does.
    """
    return quantiles(seconds, n=10, method="inclusive")[0] if len(seconds) > 1 else seconds[0]


class BlockTimer:
    """Times epochs, block by block.

    A block ends with the step at which ``BLOCK_S`` have passed since it began, with the middle
    step of its epoch, and with the epoch.

    Args:
        synchronize: Returns when the device has finished.
        now: Monotonic clock in seconds.
        on_edge: Called with the epoch's blocks so far between two of them, where no clock runs
            and the device has nothing to do.
    """

    def __init__(
        self,
        *,
        synchronize: Callable[[], None],
        now: Callable[[], float] = now_s,
        on_edge: Callable[[Sequence[Block]], None] | None = None,
    ) -> None:
        self._synchronize = synchronize
        self._now = now
        self._on_edge = on_edge
        self._edge_s = 0.0
        self._middle = self._step = self._step_of_edge = 0
        self._blocks: list[Block] = []

    def start(self, *, steps: int) -> None:
        """Begin an epoch of so many steps."""
        self._middle = steps // 2
        self._step = self._step_of_edge = 0
        self._blocks = []
        self._synchronize()
        self._edge_s = self._now()

    def step(self) -> None:
        """Take note that a step has been handed to the device."""
        self._step += 1
        if self._step == self._middle or self._now() - self._edge_s >= BLOCK_S:
            self._close()
            if self._on_edge is not None:
                self._on_edge(self._blocks)
                self._edge_s = self._now()

    def stop(self) -> list[Block]:
        """End the epoch and return its blocks; what follows its last step is in the last block."""
        if self._step == self._step_of_edge and self._blocks:
            last = self._blocks.pop()
            self._step_of_edge -= last.steps
            self._edge_s -= last.seconds
        self._close()
        return self._blocks

    def _close(self) -> None:
        self._synchronize()
        now = self._now()
        self._blocks.append(Block(self._step - self._step_of_edge, now - self._edge_s))
        self._edge_s, self._step_of_edge = now, self._step


def seconds(blocks: Sequence[Block]) -> float:
    """Return the seconds of all blocks."""
    return sum(block.seconds for block in blocks)


def first_half(blocks: Sequence[Block]) -> Sequence[Block]:
    """Return the blocks up to the middle step of an epoch; none where none ends there."""
    reached = list(accumulate(block.steps for block in blocks))
    middle = reached[-1] // 2
    return blocks[: reached.index(middle) + 1] if middle and middle in reached else []


def best_epoch(epochs: Sequence[Sequence[Block]]) -> float:
    """Return the seconds of an epoch whose halves are each the fastest of all epochs.

    What disturbs a machine comes in bursts, and rarely spares the work in none of its epochs; what
    belongs to the work is there in each. A block of each epoch ends with its middle step.
    """
    halves = [seconds(first_half(blocks)) for blocks in epochs]
    rests = [seconds(blocks[len(first_half(blocks)) :]) for blocks in epochs]
    return min(halves) + min(rests)


def step_percentiles(blocks: Sequence[Block]) -> dict[str, float]:
    """Return ``step_ms_p50``, ``p90`` and ``p99``; nothing without steps.

    Each step counts with the mean of its block: the smallest time that so many per cent of the
    steps do not exceed.
    """
    total = sum(block.steps for block in blocks)
    if not total:
        return {}
    ordered = sorted((block.seconds / block.steps, block.steps) for block in blocks if block.steps)
    reached = list(accumulate(steps for _, steps in ordered))
    return {
        f"step_ms_p{per_cent}": 1e3 * ordered[bisect_left(reached, total * per_cent / 100)][0]
        for per_cent in (50, 90, 99)
    }
