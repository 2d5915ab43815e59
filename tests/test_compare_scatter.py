"""Scatter within and between trials, by hand, and what it advises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchharness.compare.sampling import scatter_of


def trials(*epochs: list[float]) -> list[dict[str, Any]]:
    """Return trials whose epochs took so many seconds."""
    return [{"epochs": [{"train_s": seconds} for seconds in one]} for one in epochs]


def test_variances_are_those_of_both_levels():
    """By hand, in logarithms: pairs at 0.1, 0.2 and 0.3, the two epochs 0.01 to either side.

    Within: 2 x 0.01**2. Of the means 0.01, less half of the former: between.
    """
    ours = trials([1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
    theirs = trials(*([math.exp(m - 0.01), math.exp(m + 0.01)] for m in (0.1, 0.2, 0.3)))

    found = scatter_of(ours, theirs, pair_s=10.0)

    assert found is not None
    assert found.within == pytest.approx(math.sqrt(2e-4))
    assert found.between == pytest.approx(math.sqrt(0.01 - 1e-4))
    assert found.of_means == pytest.approx(0.01)
    assert found.epochs == 2
    # An epoch of both sides takes 2.2 s, and 5.5 s of a pair's ten are for something else:
    # the root of 5.5 / 2.2 x 2e-4 / 0.0099 is 0.22.
    assert found.best_epochs == 1
    assert not found.are_longer_trials_better


def test_pairs_that_scatter_no_more_than_their_epochs_ask_for_longer_trials():
    """All pairs alike: the more epochs the better."""
    theirs = trials(*[[math.exp(0.05), math.exp(-0.05)]] * 4)

    found = scatter_of(trials(*[[1.0, 1.0]] * 4), theirs, pair_s=10.0)

    assert found is not None
    assert (found.between, found.best_epochs) == (0.0, None)
    assert found.are_longer_trials_better


def test_the_best_length_grows_with_what_starting_a_pair_costs():
    """With the square root of it: four times the cost, twice the epochs."""
    random = np.random.default_rng(4)
    ours = trials(*[[0.5] * 40] * 40)
    theirs = trials(
        *(0.5 * np.exp(random.normal(cost, 0.1, 40)) for cost in random.normal(0, 0.02, 40))
    )

    cheap, dear = (scatter_of(ours, theirs, pair_s=40.2 + other) for other in (10, 40))

    assert cheap is not None and dear is not None
    assert cheap.best_epochs is not None and dear.best_epochs is not None
    assert dear.best_epochs == pytest.approx(2 * cheap.best_epochs, rel=0.15)
    assert cheap.within == pytest.approx(0.1, rel=0.05)
    assert cheap.between == pytest.approx(0.02, rel=0.4)


@pytest.mark.parametrize("epochs", [[], [1.0]])
def test_one_epoch_cannot_be_told_from_its_trial(epochs: list[float]):
    """Nor can two trials be told from chance."""
    assert scatter_of(trials(*[epochs] * 6), trials(*[epochs] * 6), pair_s=1.0) is None
    assert scatter_of(trials(*[[1.0] * 6] * 2), trials(*[[1.0] * 6] * 2), pair_s=1.0) is None
