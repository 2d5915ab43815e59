"""Check of ``synchronize``: after it has waited, nothing is left to wait for.

A stretch of steps is handed to the device, ``synchronize`` is called, and results of the last step
are read back, which no device can answer early. What the reading takes beyond its own cost is work
that ``synchronize`` has left undone. Its own cost shows in stretches with a pause before the
reading, long enough for any device to finish what it has begun.

A lazy framework may have begun nothing by then: the pause changes nothing, and the reading takes
longer the more steps there were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median

from benchharness.errors import RunError
from benchharness.measure.blocks import Block, first_half, seconds
from benchharness.measure.clock import now_s
from benchharness.model.work import AfterStep

# A stretch lasts about so long, so that a device with a long queue leaves much of it undone. Of
# long steps there are two, since a device with a short queue leaves one undone.
_STRETCH_S = 0.05
_FEWEST, MOST_STEPS = 2, 256
# So much may be left undone: half a step, or what noise can be taken for. It is a fiftieth of a
# stretch, and equal at both of its edges.
_TOLERATED_STEPS, _TOLERATED_S = 0.5, 0.001
# What a framework does before it reads, or to end its loop, may last as long as what was left
# undone and hide it. A stretch then lasts so many times as long.
_TIMES_READING = 3
# Noise only ever adds time, so the shortest readings decide. A backend passes as soon as two
# attempts agree that nothing was left; it is refused only after all attempts, for on a machine
# whose cores work for others most readings take a tenth of a second longer.
_AGREEING, _ATTEMPTS = 2, 12
# Attempts before a refusal once they have lasted far longer than any noise.
_FEW_ATTEMPTS, _LONG_S = 3, 20.0
# A pause is so much longer than the reading before it, and a little, for the device may be slower
# the next time.
_TIMES_PAUSED, _PAUSED_S = 1.5, 0.002
# Of work that has not begun, half the steps take half as long to read; of anything else that
# makes a reading long, as long. Half of the difference separates them.
_GROWN_BY = 0.5
# An honest middle of an epoch is at 1; where only handing over is timed, near 0. Half leaves room
# for an epoch's overhead, and a suspicion costs no more than a few steps.
_EARLY_BELOW = 0.5


class UnsynchronizedError(RunError):
    """A backend's ``synchronize`` returns before the device has finished."""


@dataclass(slots=True, kw_only=True)
class Stretches:
    """Stretches of steps, each ended by ``synchronize`` and by reading results back.

    Attributes:
        work: Takes so many steps, and calls back after each has been handed to the device.
        read_back: Returns when results of the last step have reached the host.
        pause: Sleeps for so many seconds.
        blocks: Each stretch, from the first step to the end of ``synchronize``.
    """

    work: Callable[[int, AfterStep], None]
    synchronize: Callable[[], None]
    read_back: Callable[[], object]
    now: Callable[[], float] = now_s
    pause: Callable[[float], None] = time.sleep
    blocks: list[Block] = field(default_factory=list)

    def run(self, steps: int, *, pause_s: float = 0.0) -> float:
        """Take so many steps, synchronize, pause and read back; return the reading's seconds."""
        done, edge_s = 0, 0.0

        def after_step() -> None:
            nonlocal done, edge_s
            done += 1
            if done == steps:
                self.synchronize()
                self.blocks.append(Block(steps, self.now() - began_s))
                self.pause(pause_s)
                edge_s = self.now()

        self.synchronize()
        began_s = self.now()
        self.work(steps, after_step)
        self.read_back()
        return self.now() - edge_s


def stretch_steps(step_s: float, *, at_most_s: float = inf) -> int:
    """Return how many steps of so many seconds make a stretch, which has one in any case."""
    steps = max(_FEWEST, min(MOST_STEPS, round(_STRETCH_S / max(step_s, 1e-9))))
    return steps if steps * step_s <= at_most_s else max(1, int(at_most_s / step_s))


def require_synchronize(
    stretches: Stretches,
    *,
    steps: int,
    step_s: float,
    budget_s: float = inf,
    reading_s: float | None = None,
    most: int = MOST_STEPS,
) -> None:
    """Refuse a ``synchronize`` that leaves work undone, and steps that have not begun.

    Args:
        stretches: Whose first step need not be compiled any more.
        step_s: What a step takes, about.
        budget_s: Seconds that the check of an honest backend may take, beyond a single attempt. A
            suspicion takes as many attempts as it needs.
        reading_s: What reading back takes where nothing is left to wait for, as far as known: it
            decides where the budget allows no second stretch.
        most: Steps that a stretch may have.

    Raises:
        UnsynchronizedError: ``synchronize`` does not wait for the device, or ``after_step`` comes
            before a step is handed over.
    """
    # The shortest readings at once and after a pause.
    prompt_s, rested_s, agreeing = inf, inf, 0
    began_s = stretches.now()
    for attempt in range(1, _ATTEMPTS + 1):
        attempt_s = stretches.now()
        read_s = stretches.run(steps)
        prompt_s = min(prompt_s, read_s)
        # A step takes no longer than its share of all that was waited for.
        step_s = min(step_s, (stretches.now() - attempt_s) / steps)
        tolerated_s = max(_TOLERATED_STEPS * step_s, _TOLERATED_S)
        if prompt_s <= tolerated_s:
            # No more can be left undone than the whole reading has taken.
            return
        is_read_soon = reading_s is not None and prompt_s - reading_s <= tolerated_s
        if is_read_soon and 3 * (stretches.now() - began_s) > budget_s:
            return
        rested_s = min(rested_s, stretches.run(steps, pause_s=_TIMES_PAUSED * read_s + _PAUSED_S))
        longer = min(most, int(_TIMES_READING * rested_s / step_s))
        if attempt == 1 and longer > steps and longer * step_s <= budget_s / 4:
            steps, prompt_s, rested_s = longer, inf, inf
            continue
        agreeing = agreeing + 1 if prompt_s - rested_s <= tolerated_s else 0
        spent_s = stretches.now() - began_s
        is_over = spent_s * (1 + 1 / attempt) > budget_s
        if agreeing == _AGREEING or (agreeing and is_over):
            _require_begun(stretches, steps, rested_s, tolerated_s=tolerated_s)
            return
        if is_over and attempt >= _FEW_ATTEMPTS and spent_s > _LONG_S:
            break
    if not agreeing:
        raise UnsynchronizedError(
            f"timing refused: synchronize() returned {1e3 * (prompt_s - rested_s):.0f} ms before "
            f"{steps} steps of {1e3 * step_s:.3g} ms were done: it does not wait for the device"
        )


def _require_begun(
    stretches: Stretches, steps: int, rested_s: float, *, tolerated_s: float
) -> None:
    """Refuse steps that begin when their result is read; ``rested_s`` is a reading after a pause.

    A reading after a single step may take longer than a reading alone for many a reason, and says
    nothing.
    """
    half, half_s = steps // 2, inf
    if not half:
        return
    for _ in range(_ATTEMPTS):
        began_s = stretches.now()
        stretches.read_back()
        alone_s = stretches.now() - began_s
        if rested_s - alone_s <= tolerated_s:
            return
        half_s = min(half_s, stretches.run(half, pause_s=alone_s))
        begun_late_s = _GROWN_BY * (rested_s - alone_s) * (steps - half) / steps
        if rested_s - half_s <= max(begun_late_s, tolerated_s):
            return
        rested_s = min(rested_s, stretches.run(steps, pause_s=alone_s))
    raise UnsynchronizedError(
        f"timing refused: {steps} steps took {1e3 * (rested_s - alone_s):.0f} ms when their result "
        "was read, long after synchronize(): they were not handed to the device before "
        "after_step(); a lazy framework has to evaluate each step"
    )


def middle_share(blocks: Sequence[Block]) -> float | None:
    """Return how the time at an epoch's middle edge compares with its share of the steps.

    1 where both halves are equally fast, below 1 where the middle came early; None for an epoch of
    one step, or where no edge is at its middle.
    """
    first, total_s = first_half(blocks), seconds(blocks)
    if not first or not total_s:
        return None
    done, steps = (sum(block.steps for block in part) for part in (first, blocks))
    return (seconds(first) / total_s) / (done / steps)


def is_suspicious(epochs: Sequence[Sequence[Block]]) -> bool:
    """Return whether the middle of most epochs came too early, or none of them has a middle.

    Overhead at the end of a short epoch, or a busy machine, can also make it early: a suspicion is
    no verdict.
    """
    shares = [share for blocks in epochs if (share := middle_share(blocks)) is not None]
    return not shares or median(shares) < _EARLY_BELOW
