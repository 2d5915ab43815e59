"""Scatter of epochs within the trials of a pair and of pairs: which of them to have more of.

A pair's result varies for two reasons: its epochs differ, and so do the processes in which they
run, by where their memory lies and by what the machine is like. Longer trials average over the
first alone, more pairs over both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, variance
from typing import Any

from benchharness.results.record import Record

_FEWEST_PAIRS, _FEWEST_EPOCHS = 3, 2
# Pairs scatter by more than their epochs explain where an F test gives chance less than this.
_CHANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Standard deviations of the logarithm of B / A of the seconds of an epoch.

    Attributes:
        within: Of the epochs of a pair.
        between: Of pairs, beyond what their epochs explain.
        epochs: Of a trial.
        best_epochs: Of a trial, with which a given time shows the smallest difference; None where
            pairs scatter by no more than their epochs explain: the more the better.
    """

    within: float
    between: float
    epochs: int
    best_epochs: int | None

    @property
    def of_means(self) -> float:
        """Deviation of a pair's mean that is due to its epochs."""
        return self.within / math.sqrt(self.epochs)

    @property
    def are_longer_trials_better(self) -> bool:
        """Whether time is better spent on longer trials than on more of them."""
        return self.best_epochs is None or self.best_epochs >= 2 * self.epochs

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON knows it."""
        return asdict(self)


def scatter_of(
    ours: Sequence[Record], theirs: Sequence[Record], *, pair_s: float
) -> Scatter | None:
    """Return what the epochs of some pairs differ by; None where there are too few of either.

    Args:
        ours: Trials of A.
        theirs: Of B, in the same order.
        pair_s: Seconds that a pair takes, starting its processes included.

    Source:
        Kalibera and Jones, "Rigorous benchmarking in reasonable time" (2013): variances of the
        levels of an experiment, and the number of repetitions at each that makes the most of the
        time. Georges, Buytaert and Eeckhout, "Statistically rigorous Java performance evaluation"
        (2007): why processes have to be repeated, and not their iterations alone.
    """
    from scipy.special import fdtrc

    seconds = [_seconds(one, other) for one, other in zip(ours, theirs, strict=True)]
    epochs = min((len(pair) for pair in seconds), default=0)
    if len(seconds) < _FEWEST_PAIRS or epochs < _FEWEST_EPOCHS:
        return None
    costs = [[math.log(b / a) for a, b in pair[:epochs]] for pair in seconds]
    within = mean(variance(pair) for pair in costs)
    of_pairs, by_epochs = variance([mean(pair) for pair in costs]), within / epochs
    degrees = len(costs) - 1, len(costs) * (epochs - 1)
    is_beyond = not by_epochs or fdtrc(*degrees, of_pairs / by_epochs) < _CHANCE
    between = of_pairs - by_epochs if is_beyond and of_pairs > by_epochs else 0.0
    epoch_s = mean(a + b for pair in seconds for a, b in pair)
    # What a pair takes beside its epochs, at least an epoch of it: a pair cannot do without one.
    other_s = max(epoch_s, pair_s - epochs * epoch_s)
    best = math.sqrt(other_s / epoch_s * within / between) if between else None
    return Scatter(
        within=math.sqrt(within),
        between=math.sqrt(between),
        epochs=epochs,
        best_epochs=None if best is None else max(1, round(best)),
    )


def _seconds(one: Record, other: Record) -> list[tuple[float, float]]:
    """Return the seconds of each epoch of a pair."""
    return list(zip(_epochs(one), _epochs(other), strict=False))


def _epochs(record: Record) -> Iterator[float]:
    return (epoch["train_s"] for epoch in record["epochs"] if epoch.get("train_s"))
