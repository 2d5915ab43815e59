"""Sanity of a trial's numbers: flags of what looks wrong, though the trial ended well.

A published run of ten classes reports a test accuracy of 0.0562. No honest guess does so badly on
10,000 images: labels and images were out of step. Such a number is flagged, not explained away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, Literal

from benchharness.measure.accuracy import Score
from benchharness.measure.statistics import CONFIDENCE

# One false alarm in a thousand guessing trials.
_SIGNIFICANCE = 1e-3
# Beyond this, the largest class is what guesses are measured by: its share times the classes.
_UNBALANCED_ABOVE = 1.1
# Who has come so far from guessing to knowing all has learnt something.
_LEARNT_ABOVE = 0.2
# A loss so much below that of guessing by the classes' shares, relatively, has left the start.
_BELOW_START = 0.02
# Of which the first that was scored counts.
_HELD_OUT = ("test", "validation")

Learning = Literal["learnt", "stuck", "too few images", "unknown"]

EXPLANATIONS = {
    "not_a_number": (
        "a loss or an accuracy is infinite or not a number; the learning rate is the first thing "
        "to lower, then check the pixels for NaN"
    ),
    "below_chance": (
        "accuracy is lower than always guessing the rarest class gives, by more than luck explains "
        "(p < 0.001); labels and images may be out of step, or pixels scaled twice"
    ),
    "stuck_at_chance": (
        "neither on training nor on test images is accuracy better than always guessing the "
        "largest class, by its 95 % interval; nothing was learnt, and the learning rate or the "
        "pixel scale is the first thing to check"
    ),
    "device_memory_held": (
        "device memory was still in use 30 s after the trial's processes ended; later "
        "trials had less; find the holder with nvidia-smi"
    ),
}


def explain(flag: str) -> str:
    """Return a sentence on what a flag means and what to check."""
    return EXPLANATIONS[flag]


def flags(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of what looks wrong; none when the numbers are plausible or unknown.

    A record's own flags count, for a stored one has null where a number was not one.
    """
    scored = [v for name, v in record["metrics"].items() if name.endswith(("_loss", "_top1"))]
    raised = {
        "not_a_number": "not_a_number" in record.get("flags", ())
        or any(value is not None and not math.isfinite(value) for value in scored),
        "below_chance": any(_is_below_chance(record, split) for split in _HELD_OUT),
        "stuck_at_chance": learning(record) == "stuck",
        "device_memory_held": bool(record.get("unreleased_device_bytes")),
    }
    return tuple(flag for flag, is_raised in raised.items() if is_raised)


def learning(record: Mapping[str, Any]) -> Learning:
    """Return whether a training has learnt, by its accuracy on training and on held-out images.

    - ``learnt``: a 95 % interval lies above what always guessing the largest class gives, or the
      training loss lies below that of guessing by the classes' shares.
    - ``stuck``: not learnt, and every interval excludes an accuracy that is worth the name.
    - ``too few images``: neither.
    - ``unknown``: no training accuracy is recorded, or that of a single epoch alone, whose mean
      begins at guessing in any sound run.
    """
    scores = {name: Score.of_record(record, name) for name in ("train", *_HELD_OUT)}
    shares = _shares(record, "train")
    if scores["train"] is None or len(shares) < 2 or len(record["epochs"]) < 2:
        return "unknown"
    loss = record["metrics"].get("train_loss")
    start = -math.fsum(share * math.log(share) for share in shares if share)
    if loss is not None and loss < (1 - _BELOW_START) * start:
        return "learnt"
    # Training, and the first of the others.
    ends = [
        (*_interval(score), max(_shares(record, split))) for split, score in scores.items() if score
    ][:2]
    if any(low > chance for low, _, chance in ends):
        return "learnt"
    is_stuck = all(high < chance + _LEARNT_ABOVE * (1 - chance) for _, high, chance in ends)
    return "stuck" if is_stuck else "too few images"


def is_unbalanced(majority_share: float, *, classes: int) -> bool:
    """Return whether always guessing training's largest class is clearly better than any guess."""
    return majority_share * classes > _UNBALANCED_ABOVE


def _interval(score: Score) -> tuple[float, float]:
    """Return the ends of the 95 % interval of an accuracy, 0-1.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    centre = (score.top1 + z**2 / (2 * score.of)) / (1 + z**2 / score.of)
    spread = math.sqrt(score.top1 * (1 - score.top1) / score.of + (z / (2 * score.of)) ** 2)
    reach = z * spread / (1 + z**2 / score.of)
    return centre - reach, centre + reach


def _is_below_chance(record: Mapping[str, Any], split: str) -> bool:
    """Return whether no blind guess, not even the worst, explains so few right answers."""
    score = Score.of_record(record, split)
    chance = min(_shares(record, split), default=0.0)
    if score is None or not score.top1 < chance < 1:
        return False
    from scipy.special import bdtr

    # The binomial probability of at most so many right answers.
    return float(bdtr(score.right, score.of, chance)) < _SIGNIFICANCE


def _shares(record: Mapping[str, Any], split: str) -> list[float]:
    """Return the classes' shares of a split; equal ones where an older record has no counts."""
    counts = (record.get("class_counts") or {}).get(split)
    if counts and sum(counts):
        return [count / sum(counts) for count in counts]
    classes = record.get("classes") or 0
    return [1 / classes for _ in range(classes)]
