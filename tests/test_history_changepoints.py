"""Steps are found where they are, and hardly ever where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchharness.history.changepoints import FEWEST, find_segments

SIGMA = 0.03


def noise(kind: str, count: int, seed: int) -> np.ndarray:
    """Return noise of about three per cent."""
    random = np.random.default_rng(seed)
    if kind == "heavy":
        return random.standard_t(3, count) * SIGMA / math.sqrt(3)
    drawn = random.normal(0, SIGMA, count)
    return np.where(random.random(count) < 0.1, 8 * drawn, drawn) if kind == "outliers" else drawn


@pytest.mark.parametrize("kind", ["normal", "heavy", "outliers"])
@pytest.mark.parametrize("count", [6, 12, 40])
def test_noise_alone_has_hardly_ever_a_step(kind: str, count: int):
    """At most two series of fifty, whatever the tails of the noise."""
    alarms = [len(find_segments(list(noise(kind, count, seed))).levels) > 1 for seed in range(50)]

    assert sum(alarms) <= 2


@pytest.mark.parametrize("kind", ["normal", "heavy", "outliers"])
def test_step_of_five_sigma_is_found_within_five_runs(kind: str):
    """Nine times of ten; eight, where every tenth run is far off anyway."""
    found = 0
    for seed in range(40):
        values = noise(kind, 25, seed)
        values[20:] -= 5 * SIGMA
        found += any(abs(level.first - 20) <= 1 for level in find_segments(list(values)).levels[1:])

    assert found >= (32 if kind == "outliers" else 36)


def correlated(count: int, seed: int, *, by: float) -> list[float]:
    """Return noise of three per cent whose neighbours are alike."""
    values = np.random.default_rng(seed).normal(0, SIGMA, count)
    for place in range(1, count):
        values[place] = by * values[place - 1] + math.sqrt(1 - by**2) * values[place]
    return [*values]


@pytest.mark.parametrize("by", [0.3, 0.5, 0.7])
def test_runs_that_resemble_their_neighbours_have_hardly_ever_a_step(by: float):
    """At most five series of fifty: each run is worth less than one of its own."""
    alarms = [len(find_segments(correlated(40, seed, by=by)).levels) > 1 for seed in range(50)]

    assert sum(alarms) <= 5


def test_a_step_between_runs_that_resemble_each_other_is_found_within_ten():
    """Eight times of ten, of five sigma; nine times without the resemblance."""
    found = 0
    for seed in range(30):
        values = np.array(correlated(30, seed, by=0.3))
        values[20:] -= 5 * SIGMA
        found += any(abs(level.first - 20) <= 1 for level in find_segments(list(values)).levels[1:])

    assert found >= 25


def changing(count: int, seed: int, *, share: float) -> list[float]:
    """Return the runs of a machine that changes between two speeds in a share of them."""
    random = np.random.default_rng(seed)
    mode = (random.random(count) < share).cumsum() % 2
    return [*(0.15 * mode + random.normal(0, 0.01, count))]


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5])
def test_a_machine_with_two_speeds_makes_no_steps(share: float):
    """At most five of fifty series of 40 runs have one."""
    alarms = [len(find_segments(changing(40, seed, share=share)).levels) > 1 for seed in range(50)]

    assert sum(alarms) <= 5


def test_two_speeds_are_named_with_the_number_of_changes():
    """Three runs fast, three slow, and so on: what look like steps are changes of the machine."""
    values = [0.15 * (place // 3 % 2) + 0.001 * (place % 3) for place in range(24)]

    found = find_segments(values)

    assert len(found.levels) == 1
    assert found.two_speeds is not None
    assert found.two_speeds.changes == 7
    assert found.two_speeds.low == pytest.approx(0.001)
    assert found.two_speeds.high == pytest.approx(0.151)
    assert find_segments([*values[:3], *([0.15] * 12)]).two_speeds is None


def test_rare_changes_between_two_levels_are_steps():
    """A regression, mended and made again, each for fifteen runs."""
    values = [0.15 * (place // 16 % 2) + 0.001 * (place % 3) for place in range(64)]

    assert [level.first for level in find_segments(values).levels] == [0, 16, 32, 48]


def test_levels_are_medians_and_cover_every_run():
    """By hand: six runs at 1, six at 2, one of which is far off."""
    values = [1.0, 1.001, 0.999, 1.0, 1.002, 0.998, 2.0, 2.001, 9.0, 1.999, 2.0, 2.002]

    first, second = find_segments(values).levels

    assert (first.first, first.last, first.value) == (0, 5, 1.0)
    assert (second.first, second.last) == (6, 11)
    assert second.value == pytest.approx(2.0005)


def test_two_runs_are_no_step_and_three_are():
    """However far off: two may be bad luck of one bad hour."""
    quiet = [0.001 * (place % 3) for place in range(12)]

    assert len(find_segments([*quiet, 0.3, 0.3]).levels) == 1
    assert [level.first for level in find_segments([*quiet, 0.3, 0.3, 0.301]).levels] == [0, 12]


def test_small_steps_do_not_matter():
    """Beyond doubt, and below what was asked for."""
    values = [0.0, 0.001] * 10 + [0.02, 0.021] * 10

    assert len(find_segments(values, smallest=0.03).levels) == 1
    assert len(find_segments(values, smallest=0.01).levels) == 2


def test_turning_a_series_upside_down_moves_no_step():
    """Faster and slower are treated alike."""
    values = [*noise("normal", 15, 7), *(noise("normal", 10, 9) + 0.4)]

    upright = [level.first for level in find_segments(values).levels]
    inverted = [level.first for level in find_segments([-value for value in values]).levels]

    assert upright == inverted == [0, 15]


def test_there_and_back_are_two_steps():
    """A mended regression."""
    values = noise("normal", 30, 3)
    values[10:20] += 0.4

    assert [level.first for level in find_segments(list(values)).levels] == [0, 10, 20]


@pytest.mark.parametrize("count", range(1, 2 * FEWEST))
def test_few_runs_have_one_level(count: int):
    """Nobody can tell a step from chance."""
    assert len(find_segments([float(place) for place in range(count)]).levels) == 1


def test_equal_values_have_one_level():
    """As of memory that is the same to the byte."""
    assert len(find_segments([5.0] * 20).levels) == 1
