"""Measure how often what is said of two accuracies is wrong, by simulation.

Trials of two frameworks answer the same images. An answer is right where the sum of normal parts
is positive: how easy the image is, what the seed gave to the whole model, what the framework makes
of the image whatever the seed, and the rest. So the true accuracies are known exactly.

    python tools/measure_accuracy_claims.py --repetitions 4000
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

import numpy as np
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from benchharness.measure.accuracy import AccuracyDifference, Score, accuracy_difference, packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Two frameworks as a simulation has them.

    Attributes:
        trials: Of each, in pairs.
        images: Of the test, the same in all trials.
        top1: True accuracy of A, 0-1.
        gap: How much lower that of B is.
        disagreement: Share of images that two models of equal accuracy answer differently.
        scatter: Standard deviation of a framework's accuracy between seeds.
        lasting: Share of the disagreement's variance that a framework keeps whatever the seed, 0-1.
    """

    trials: int
    images: int
    top1: float = 0.93
    gap: float = 0.0
    disagreement: float = 0.05
    scatter: float = 0.0
    lasting: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often something was said, 0-1.

    Attributes:
        different: That the accuracies differ.
        equal: That they are equal within the margin.
        covered: The 95 % interval held the true difference: that of the frameworks, or with fewer
            than three trials that of the models at hand.
    """

    different: float
    equal: float
    covered: float


def measure(case: Case, *, repetitions: int, seed: int = 0) -> Rates:
    """Return how often each claim was made of so many drawn comparisons."""
    random = np.random.default_rng(seed)
    drawn = [_compared(case, random) for _ in range(repetitions)]
    return Rates(
        different=fmean(found.verdict == "different" for found, _ in drawn),
        equal=fmean(found.verdict == "equal" for found, _ in drawn),
        covered=fmean(found.low <= truth <= found.high for found, truth in drawn),
    )


def _compared(case: Case, random: np.random.Generator) -> tuple[AccuracyDifference, float]:
    """Return what is said of one drawn comparison, and the true difference."""
    rest = _rest(case.top1, case.disagreement)
    spread = math.sqrt(1 + rest)
    of_seed = case.scatter * spread / float(norm.pdf(norm.ppf(case.top1)))
    ease = random.normal(size=case.images)
    sides, true = [], []
    for top1 in (case.top1, case.top1 - case.gap):
        whole = math.sqrt(1 + rest + of_seed**2)
        level = float(norm.ppf(top1)) * whole + of_seed * random.normal(size=(case.trials, 1))
        kept = math.sqrt(rest * case.lasting) * random.normal(size=case.images)
        new = math.sqrt(rest * (1 - case.lasting)) * random.normal(size=(case.trials, case.images))
        hits = ease + level + kept + new > 0
        sides.append([Score(right=int(h.sum()), of=len(h), bits=packed(h)) for h in hits])
        true.append(top1 if case.trials > 2 else float(norm.cdf(level / spread).mean()))
    return accuracy_difference(*sides), true[0] - true[1]


@lru_cache
def _rest(top1: float, disagreement: float) -> float:
    """Return the variance, beside an image's ease of variance 1, that makes models disagree."""
    level = float(norm.ppf(top1))

    def excess(log_rest: float) -> float:
        shared = 1 / (1 + math.exp(log_rest))
        both = multivariate_normal.cdf([level] * 2, cov=[[1, shared], [shared, 1]])
        return 2 * (top1 - float(both)) - disagreement

    return math.exp(float(brentq(excess, -15, 5)))


# Models of equal accuracy, however seeds scatter and frameworks keep to images of their own.
EQUAL = [
    Case(trials=trials, images=images, scatter=scatter, lasting=lasting)
    for trials in (3, 5, 10)
    for images in (200, 800, 2000)
    for scatter in (0.0, 0.005, 0.02)
    for lasting in (0.0, 0.5)
]
MODELS = [Case(trials=trials, images=images) for trials in (1, 2) for images in (200, 800, 2000)]
# How often equal ones are found equal, and those at the margin.
NEAR = [
    Case(trials=trials, images=images, gap=gap)
    for images in (800, 2000, 10_000)
    for trials in (1, 3, 5, 10)
    for gap in (0.0, 0.01)
]
# How often a difference of two points is found.
APART = [
    Case(trials=trials, images=images, top1=0.95, gap=0.02, scatter=scatter)
    for images in (800, 2000)
    for scatter in (0.0, 0.005)
    for trials in (1, 3, 5, 10)
]


def main() -> None:
    """Print a table for each claim, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    repetitions = parser.parse_args().repetitions
    for title, cases in (
        ("frameworks of equal accuracy", EQUAL),
        ("trained models of equal accuracy", MODELS),
        ("equal, and one point apart", NEAR),
        ("two points apart", APART),
    ):
        print(f"\n{title}\n")
        print("\n".join(_rows(cases, repetitions)), flush=True)


def _rows(cases: list[Case], repetitions: int) -> Iterator[str]:
    yield "| trials | images | seeds scatter | lasting | gap | different | equal | covered |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for place, case in enumerate(cases):
        rates = measure(case, repetitions=repetitions, seed=place)
        texts = (
            case.trials,
            f"{case.images:,}",
            *(f"{100 * share:g} %" for share in (case.scatter, case.lasting, case.gap)),
            *(f"{100 * rate:.1f} %" for rate in (rates.different, rates.equal, rates.covered)),
        )
        yield f"| {' | '.join(map(str, texts))} |"


if __name__ == "__main__":
    main()
