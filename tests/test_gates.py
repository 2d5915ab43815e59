"""The short form of tools/measure_gates.py: planted changes end as they should."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import measure_gates as gates

TEN = 10
# Machines on which 20 pairs show twice the limit nearly always.
STEADY = ("normal, 1 %", "normal, 3 %", "heavy tails", "bursts in epochs", "drift")


def ends(name: str, what: str, *, repeats: int, seed: int = 1) -> Counter[int]:
    """Return the exit codes of some comparisons on a machine."""
    random = np.random.default_rng(seed)
    machine, planted = gates.MACHINES[name], gates.PLANTED[what]
    return Counter(gates.compare(machine, planted, random)[0] for _ in range(repeats))


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize(
    "what",
    [
        "every tenth epoch double",
        "target missed in every other trial",
        "target never reached",
        "target never reached, usual columns",
    ],
)
def test_planted_regressions_end_in_exit_3_ten_times_of_ten(name: str, what: str):
    """Whatever the noise."""
    assert ends(name, what, repeats=TEN) == {3: TEN}


@pytest.mark.parametrize("name", ["normal, 5 %", "bursts in trials", "two speeds"])
def test_what_noise_hides_is_undecidable_rather_than_the_same(name: str):
    """Every tenth epoch double, on machines too noisy to show it each time."""
    found = ends(name, "every tenth epoch double", repeats=50)

    assert found[0] <= 1
    assert found[3] >= 40


@pytest.mark.parametrize("name", gates.MACHINES)
def test_equal_code_never_ends_in_exit_3(name: str):
    """None of 100, with and without a target; of both sides missing half, one in 200 may."""
    assert ends(name, "equal code", repeats=50)[3] == 0
    assert ends(name, "equal code, time to target", repeats=50)[3] == 0
    assert ends(name, "equal code, both miss half", repeats=50)[3] <= 1


def test_a_target_missed_in_half_the_trials_is_a_regression():
    """At random: a B that misses none of its first ten trials, one in 1,024, is the only excuse."""
    found = ends("normal, 3 %", "target missed in half the trials, at random", repeats=100)

    assert found[0] <= 1
    assert found[3] >= 99


@pytest.mark.parametrize(("slower", "code"), [(0.0, 0), (0.5, 3)])
def test_recorded_runs_are_decided_where_the_drift_allows(slower: float, code: int):
    """Of 50 comparisons of ten trials each; equal code is never a regression."""
    random = np.random.default_rng(5)
    found = Counter(gates.recorded(random, slower=slower, hours=1, trials=10) for _ in range(50))

    assert found[code] >= 40
    assert found[3 - code] == 0


def test_sides_of_several_hours_see_what_drift_hides():
    """Ten per cent slower, with a limit of 5 %, over eight hours: a regression or undecided."""
    random = np.random.default_rng(5)

    def codes(slower: float) -> Counter[int]:
        return Counter(
            gates.recorded(random, slower=slower, hours=8, trials=5, threshold=0.05)
            for _ in range(50)
        )

    assert codes(0.0)[3] <= 1
    assert codes(0.2)[3] >= 45


def test_advice_on_longer_trials_follows_what_was_planted():
    """Noise of epochs asks for longer trials, noise of trials for more of them."""
    random = np.random.default_rng(6)

    of_epochs = sum(gates.advice(random, within=0.1, between=0.005) for _ in range(20))
    of_trials = sum(gates.advice(random, within=0.02, between=0.03) for _ in range(20))

    assert of_epochs >= 14
    assert of_trials == 0
