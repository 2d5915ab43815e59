"""What looks wrong with a trial's numbers, though the trial ended well.

A published run of ten classes reports a test accuracy of 0.0562. No honest guess does so badly on
10,000 images: labels and images were out of step. Such a number is flagged, not explained away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# One false alarm in a thousand guessing trials.
SIGNIFICANCE = 1e-3
# Beyond this, the largest class is what guesses are measured by: its share times the classes.
UNBALANCED_ABOVE = 1.1
# A loss this close to ln(classes), relatively, has not left the start.
STUCK_WITHIN = 0.02

EXPLANATIONS = {
    "not_a_number": (
        "a loss or an accuracy is infinite or not a number; the learning rate is the first thing "
        "to lower, then check the pixels for NaN"
    ),
    "below_chance": (
        "accuracy is lower than guessing gives, by more than luck explains (p < 0.001); "
        "labels and images may be out of step, or pixels scaled twice"
    ),
    "stuck_at_chance": (
        "the training loss ended where guessing begins, at ln(classes); nothing was learnt, "
        "and the learning rate or the pixel scale is the first thing to check"
    ),
    "device_memory_held": (
        "device memory was still in use half a minute after the trial's processes had ended; what "
        "ran after it had less, so see with nvidia-smi who holds it"
    ),
}


def flags(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of what looks wrong; none when the numbers are plausible or unknown.

    Args:
        record: As in records.jsonl. Read are ``metrics``, ``epochs``, ``classes``, ``test_count``,
            ``validation_count`` and ``held_bytes``; also ``flags``, for a stored record has null
            where a number was not one.
    """
    classes = record.get("classes") or 0
    found = {
        "not_a_number": _is_not_a_number(record),
        "below_chance": classes > 1 and _is_below_chance(record, classes),
        "stuck_at_chance": classes > 1 and _is_stuck(record, classes),
        "device_memory_held": bool(record.get("held_bytes")),
    }
    return tuple(flag for flag, is_raised in found.items() if is_raised)


def is_unbalanced(majority_share: float, *, classes: int) -> bool:
    """Return whether always guessing the largest class is clearly better than guessing any.

    Args:
        majority_share: Share of the test images that are of the training set's largest class, 0-1.
        classes: How many there are.
    """
    return majority_share * classes > UNBALANCED_ABOVE


def explain(flag: str) -> str:
    """Return a sentence on what a flag means and what to check.

    Raises:
        KeyError: There is no such flag.
    """
    return EXPLANATIONS[flag]


def lower_tail(*, successes: int, draws: int, chance: float) -> float:
    """Return the probability of at most this many successes.

    Args:
        successes: From 0 to ``draws``.
        draws: Independent of each other.
        chance: Of one success, above 0 and below 1.

    Source:
        Binomial distribution; summed as logarithms, for the terms of 10,000 draws underflow.
    """
    logs = [
        math.lgamma(draws + 1)
        - math.lgamma(count + 1)
        - math.lgamma(draws - count + 1)
        + count * math.log(chance)
        + (draws - count) * math.log1p(-chance)
        for count in range(successes + 1)
    ]
    largest = max(logs)
    return math.exp(largest) * math.fsum(math.exp(log - largest) for log in logs)


def _is_not_a_number(record: Mapping[str, Any]) -> bool:
    scores = (
        value for name, value in record["metrics"].items() if name.endswith(("_loss", "_top1"))
    )
    was_seen = "not_a_number" in record.get("flags", ())
    return was_seen or any(value is not None and not math.isfinite(value) for value in scores)


def _is_below_chance(record: Mapping[str, Any], classes: int) -> bool:
    return any(
        _is_improbable(
            record["metrics"].get(f"{split}_top1"), record.get(f"{split}_count"), classes
        )
        for split in ("test", "validation")
    )


def _is_improbable(top1: float | None, count: int | None, classes: int) -> bool:
    # A NaN is not below anything.
    if top1 is None or not count or not top1 * classes < 1:
        return False
    tail = lower_tail(successes=round(top1 * count), draws=count, chance=1 / classes)
    return tail < SIGNIFICANCE


def _is_stuck(record: Mapping[str, Any], classes: int) -> bool:
    # The first epoch of a sound run may still average near the start.
    loss = record["metrics"].get("train_loss")
    if loss is None or len(record["epochs"]) < 2 or _beats_guessing(record, classes):
        return False
    return math.isclose(
        loss, math.log(classes), rel_tol=0, abs_tol=STUCK_WITHIN * math.log(classes)
    )


def _beats_guessing(record: Mapping[str, Any], classes: int) -> bool:
    """Return whether the training images are told apart better than luck explains.

    A loss under dropout and augmentation may pass ln(classes) on its way down.
    """
    top1, count = record["metrics"].get("train_top1"), record.get("train_count")
    if top1 is None or not count:
        return False
    hits = round(top1 * count)
    # At least so many hits by guessing, read from the other side.
    luck = lower_tail(successes=count - hits, draws=count, chance=1 - 1 / classes)
    return luck < SIGNIFICANCE
