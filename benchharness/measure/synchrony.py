"""Whether ``synchronize`` waits for the device: twice the steps must take about twice the time.

Two stages. Every timed epoch is screened for free: did half its steps take about half its time?
Framework overhead at the end of a short epoch, or a busy machine, can also make the middle early;
so a suspicion is confirmed or dismissed by short runs of their own, in which overhead cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from math import inf
from statistics import median

from benchharness.errors import RunError
from benchharness.measure.blocks import Block
from benchharness.measure.clock import now_s
from benchharness.model.task import Batch
from benchharness.model.work import AfterStep, Batches

# An honest middle lies at 1; one that only counts hand-overs, near 0. Half leaves room for an
# epoch's own overhead, and a suspicion costs no more than a few steps.
EARLY_BELOW = 0.5
# No edge lies that far behind the steps before it: the machine was busy, and it tells nothing.
_LATE_ABOVE = 2.0
# Reading results back after a wait that waited leaves nothing: this much of the last epoch's time
# is beyond what copying a small network costs.
LEFTOVER_ABOVE = 0.1
# The longer of the short runs: as many steps as take this long, so that a busy machine interrupts
# both halves alike, and at most so many.
_RUN_S = 0.3
_STEPS = 256
# Batches that are read for it and used again and again; more would only fill the memory.
_BATCHES = 16
# How often each run is done before a verdict; how many verdicts dismiss a suspicion and how many
# refuse a timing, whichever are complete first; and how many there may be, as some tell nothing. A
# clock that does not wait is early every time, a busy machine makes any verdict wrong now and then.
_REPEATS = 3
_DISMISSING = 2
_REFUSING = 4
_ATTEMPTS = 8


class UnsynchronizedError(RunError):
    """A backend's ``synchronize`` returns before the device has finished."""


class Witnessed:
    """Runs of a few steps, timed both by ``synchronize`` and by a read-back that cannot lie.

    Args:
        work: Does a step with each of some batches, and calls back after each has been handed to
            the device.
        batches: Of an epoch; a run takes the first of them, and those again.
        synchronize: As the backend has it.
        read_back: Returns when results of the last step have reached the host.
        now: Monotonic clock in seconds.
    """

    def __init__(
        self,
        *,
        work: Callable[[Batches, AfterStep], None],
        batches: Batches,
        synchronize: Callable[[], None],
        read_back: Callable[[], object],
        now: Callable[[], float] = now_s,
    ) -> None:
        self._work = work
        self._batches = batches
        self._gathered: list[Batch] = []
        self._synchronize = synchronize
        self._read_back = read_back
        self._now = now

    def gather(self, steps: int) -> None:
        """Read the batches of so many steps, so that no run waits for its input."""
        few = list(self._batches[: min(steps, _BATCHES)])
        self._gathered = list(islice(cycle(few), steps))

    def run(self, steps: int) -> tuple[float, float]:
        """Do so many steps; return the seconds until the edge at half of them, and until the end.

        The edge is set by ``synchronize``, the end by reading back.
        """
        done, edge_s = 0, 0.0

        def after_step() -> None:
            nonlocal done, edge_s
            done += 1
            if done == steps // 2:
                self._synchronize()
                edge_s = self._now() - began_s

        self._read_back()
        began_s = self._now()
        self._work(self._gathered[:steps], after_step)
        self._read_back()
        return edge_s, self._now() - began_s


def middle_share(blocks: Sequence[Block]) -> float | None:
    """Return how the time at an epoch's middle edge compares with its share of the steps.

    Returns:
        1 where both halves are equally fast, below 1 where the middle came early; None for an
        epoch of one step, or where no edge lies at its middle.
    """
    steps = sum(block.steps for block in blocks)
    total_s = sum(block.seconds for block in blocks)
    done, elapsed_s = 0, 0.0
    for block in blocks[:-1]:
        done += block.steps
        elapsed_s += block.seconds
        if done == steps // 2:
            return (elapsed_s / total_s) / (done / steps) if total_s else None
    return None


def is_suspicious(epochs: Sequence[Sequence[Block]]) -> bool:
    """Return whether the middle of most epochs came too early."""
    shares = [share for blocks in epochs if (share := middle_share(blocks)) is not None]
    return bool(shares) and median(shares) < EARLY_BELOW


def leaves_leftover(
    *,
    synchronize: Callable[[], None],
    read_back: Callable[[], object],
    epoch_s: float,
    now: Callable[[], float] = now_s,
) -> bool:
    """Return whether reading results back, after a wait, still had to wait.

    Args:
        read_back: Done again at once where it took long: the second time tells its own cost.
        epoch_s: Seconds of the last epoch, which set the scale.
    """

    def read_s() -> float:
        began_s = now()
        read_back()
        return now() - began_s

    synchronize()
    first_s = read_s()
    tolerated_s = LEFTOVER_ABOVE * epoch_s
    return first_s > tolerated_s and first_s - read_s() > tolerated_s


def demand_synchrony(runs: Witnessed, *, step_s: float) -> None:
    """Refuse the timing where half the steps seem to take much less than half the time.

    Args:
        step_s: What a step has taken, about.

    Raises:
        UnsynchronizedError: ``synchronize`` does not wait for the device.
    """
    long = max(4, min(_STEPS, round(_RUN_S / step_s)))
    runs.gather(long)
    # The first runs may still compile something.
    for steps in (long // 2, long):
        runs.run(steps)
    early: list[float] = []
    on_time: list[float] = []
    for _ in range(_ATTEMPTS):
        share = _edge_share(runs, long)
        if share <= _LATE_ABOVE:
            (early if share < EARLY_BELOW else on_time).append(share)
        if len(on_time) == _DISMISSING:
            return
        if len(early) == _REFUSING:
            raise UnsynchronizedError(
                f"timing refused: synchronize() returned after {100 * median(early):.0f} % of the "
                "time of half the steps: it does not wait for the device"
            )


def _edge_share(runs: Witnessed, long: int) -> float:
    """Return when half of a run's steps seemed to be done, over when they were; 1 is honest.

    Source:
        With overhead a of a run and b seconds a step, runs of n / 2 and of n steps end after
        a + b n / 2 and a + b n; half the steps take the difference. Noise only ever adds, so the
        shortest ends count; for the edge it is the median, lest one early edge decide.
    """
    short_s, long_s = [], []
    for _ in range(_REPEATS):
        short_s.append(runs.run(long // 2)[1])
        long_s.append(runs.run(long))
    half_s = min(end_s for _, end_s in long_s) - min(short_s)
    edge_s = median(edge_s for edge_s, _ in long_s)
    return edge_s / half_s if half_s > 0 else inf
