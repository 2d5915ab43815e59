"""How long a plan takes, summed over its trials from costs and tempos."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchharness.measure.peak import CPU_SIZE
from benchharness.model.network import Network
from benchharness.run.dry_run import TrialPreview
from benchharness.run.estimate.calibration import BackendSpeed, ImageSpeed
from benchharness.run.estimate.costs import Cost, forward_step, optimizer_states, training_step
from benchharness.run.inputs import Subset
from benchharness.suite.plan import Cell, group_key
from benchharness.suite.settings import (
    BottleneckSettings,
    FeedSettings,
    TrainingSettings,
    TransferSettings,
)

# Drawing an initial weight, copying it into the framework and reading it back once.
_PARAMETER_S = 1.5e-8
# Products of the yardstick with which each trial ends, the first to wake the threads.
_PRODUCTS = 6
# The proof trains on few images, and a few more times than it steps; each backend's cell builds
# about so many networks for it, the rule's and dropout's among them.
_PROOF_IMAGES, _PROOF_STEPS, _PROOF_NETWORKS = 8, 15, 3
# The float64 reference leaves out what takes it longer, and reaches this share of a float32
# product.
_REFERENCE_FLOPS, _REFERENCE_SHARE = 1e11, 1 / 16
# What a sum of a few measured rates does not see: caches, shapes, pipelines, and checks of the
# clock, which only ever add. Steps of eight networks took 0.77 to 1.22 times what was foreseen,
# those of 2 to 3 ms 1.7 times, PyTorch's with RMSprop 1.5 times.
_LOW, _HIGH = 0.8, 1.5
# A larger spread is noise of the machine, which stretches what is to come as well; by how much,
# nobody knows beyond a point.
_STEADY, _MOST = 1.3, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Seconds of a plan on a machine that is left alone.

    Attributes:
        trials_s: All trials before the first look, in which nothing is computed that is kept from
            then on.
        first_s: What comes on top the first time: pictures, extracted features, the proof.
        uncertainty: Factors to the least and the most that it may be.
        cells: Seconds of a cell's trials before the first look, by benchmark, point of the matrix
            and backend.
        later_s: All trials that looks may ask for.
        limit_s: After which they ask for none; infinite for no limit.
    """

    trials_s: float
    first_s: float
    uncertainty: tuple[float, float]
    cells: tuple[tuple[Cell, float], ...]
    later_s: float = 0.0
    limit_s: float = math.inf

    @property
    def trials_range_s(self) -> tuple[float, float]:
        """The least and the most that the trials may take."""
        low, high = self.uncertainty
        first_s = high * self.trials_s
        return low * self.trials_s, max(first_s, min(first_s + high * self.later_s, self.limit_s))

    @property
    def range_s(self) -> tuple[float, float]:
        """The least and the most that a first run may take."""
        (low, high), (low_s, high_s) = self.uncertainty, self.trials_range_s
        return low_s + low * self.first_s, high_s + high * self.first_s

    def as_dict(self) -> dict[str, Any]:
        """Return the estimate as JSON-able values."""
        low_s, high_s = self.range_s
        return {
            "trials_s": self.trials_s,
            "later_s": self.later_s,
            "first_s": self.first_s,
            "low_s": low_s,
            "high_s": high_s,
            "cells": [
                {
                    "benchmark": cell.benchmark,
                    "matrix": dict(cell.matrix),
                    "backend": cell.backend,
                    "track": cell.track,
                    "seconds": seconds,
                }
                for cell, seconds in self.cells
            ],
        }


def estimate(
    forecasts: Sequence[TrialPreview],
    tempos: Mapping[str, BackendSpeed],
    *,
    images: ImageSpeed,
    cores: int,
    is_drawn: bool,
    has_proof: bool = True,
    limit_s: float = math.inf,
) -> Estimate:
    """Return how long a plan takes.

    Args:
        forecasts: Of all trials in running order.
        tempos: By backend, of every backend of the plan.
        cores: That decode pictures side by side.
        is_drawn: Whether the pictures must be drawn first.
        has_proof: Whether equal work is proven first.
        limit_s: Of timing, after which a look asks for no more trials.
    """
    seconds: dict[int, float] = {}
    cells: dict[int, Cell] = {}
    for one in forecasts:
        cell = one.trial.cell
        tempo = tempos[cell.backend]
        key = id(cell)
        cells[key] = cell
        seconds[key] = seconds.get(key, 0.0) + trial_s(one, tempo, decode_s=images.decode_s)
    first_s = pictures_s(forecasts, images, cores=cores, is_drawn=is_drawn)
    first_s += extraction_s(forecasts, tempos)
    if has_proof:
        first_s += proof_s(forecasts, tempos)
    return Estimate(
        trials_s=sum(seconds.values()),
        later_s=sum(seconds[key] * (cell.most / cell.trials - 1) for key, cell in cells.items()),
        limit_s=limit_s,
        first_s=first_s,
        uncertainty=uncertainty(tempos.values()),
        cells=tuple((cells[key], seconds[key]) for key in seconds),
    )


def uncertainty(tempos: Iterable[BackendSpeed]) -> tuple[float, float]:
    """Return the factors to the least and the most; a noisy machine can take far longer."""
    spread = max((tempo.spread for tempo in tempos), default=1.0)
    return _LOW, _HIGH * min(_MOST, max(1.0, spread / _STEADY))


def trial_s(forecast: TrialPreview, tempo: BackendSpeed, *, decode_s: float) -> float:
    """Return the seconds of one trial whose features are extracted already.

    Args:
        decode_s: Of one image file, for cells that load files while they train.
    """
    settings = forecast.trial.cell.settings
    seen = forecast.train_images * settings.epochs
    seconds = tempo.start_s
    if settings.input == "files" and settings.trains_on_images:
        seconds += seen * decode_s
    if isinstance(settings, TrainingSettings):
        return seconds + _learning_s(forecast, settings, tempo)
    pixel_s = tempo.pixel_s + (0 if settings.augmentation.is_identity else tempo.warp_s)
    return (
        seconds
        + tempo.building_s(0)
        + forecast.steps * tempo.call_s
        + seen * settings.image_size**2 * pixel_s
    )


def _learning_s(forecast: TrialPreview, settings: TrainingSettings, tempo: BackendSpeed) -> float:
    workload = forecast.workload
    rule = settings.optimizer
    step = training_step(
        workload.learner,
        workload.trainable,
        batch_size=settings.batch_size,
        states=optimizer_states(rule.name, momentum=rule.momentum or 0.0),
    )
    # The last batch of an epoch is smaller as a rule; two more warm up.
    steps = settings.epochs * forecast.train_images / settings.batch_size + 2
    scorings = (settings.epochs if forecast.validation_images else 0) + 1
    scored = scorings * forecast.validation_images + forecast.test_images
    seconds = tempo.building_s(len(workload.learner.layers)) + _PARAMETER_S * workload.params
    seconds += tempo.seconds(step * steps)
    seconds += scorings * tempo.score_s
    seconds += _passing_s(workload.learner, scored, settings.batch_size, tempo)
    if settings.trains_on_images and not settings.augmentation.is_identity:
        values = steps * settings.batch_size * settings.image_size**2
        seconds += values * tempo.warp_s
    return seconds + _PRODUCTS * 2 * CPU_SIZE**3 / tempo.product_flops_per_s


def pictures_s(
    forecasts: Sequence[TrialPreview], images: ImageSpeed, *, cores: int, is_drawn: bool
) -> float:
    """Return the seconds of drawing and decoding, each picture once for each size."""
    slices: dict[Subset, int] = {}
    for one in forecasts:
        part = Subset.of(one.trial.cell)
        slices[part] = one.images
    # What is held out for validation decides nothing of what is decoded.
    distinct = {
        (part.image_size, part.train_images, part.test_images): count
        for part, count in slices.items()
    }
    seconds = sum(distinct.values()) * images.decode_s / cores
    return seconds + (max(distinct.values(), default=0) * images.draw_s if is_drawn else 0.0)


def extraction_s(forecasts: Sequence[TrialPreview], tempos: Mapping[str, BackendSpeed]) -> float:
    """Return the seconds of all extractions, each set of features once for each backend."""
    seconds: dict[tuple[Any, ...], float] = {}
    for one in forecasts:
        cell, settings = one.trial.cell, one.trial.cell.settings
        front = one.workload.front
        if front is None or not isinstance(settings, TransferSettings):
            continue
        part = Subset.of(cell)
        images = one.images
        weights = (settings.weights, one.trial.seed if settings.weights == "random" else 0)
        is_reused = not isinstance(settings, BottleneckSettings) or settings.reuse_features
        again = () if is_reused else (one.trial.index, cell.benchmark)
        key = (cell.backend, part.image_size, part.train_images, part.test_images)
        tempo = tempos[cell.backend]
        seconds[(*key, settings.backbone, settings.preprocessing, front, weights, again)] = (
            tempo.building_s(len(front.layers))
            + tempo.score_s
            + _passing_s(front, images, settings.batch_size, tempo)
        )
    return sum(seconds.values())


def proof_s(forecasts: Sequence[TrialPreview], tempos: Mapping[str, BackendSpeed]) -> float:
    """Return the seconds of proving equal work, each cell once in its backend."""
    cells = {id(one.trial.cell): one for one in forecasts if one.trial.cell.track == "equal"}
    rivals: dict[str, list[TrialPreview]] = {}
    for one in cells.values():
        rivals.setdefault(repr(group_key(one.trial.cell)), []).append(one)
    proven = [group for group in rivals.values() if len(group) > 1]
    backends = {one.trial.cell.backend for group in proven for one in group}
    seconds = sum(tempos[backend].start_s for backend in backends)
    for group in proven:
        costs = [_proof_cost(one) for one in group]
        for one, cost in zip(group, costs, strict=True):
            tempo = tempos[one.trial.cell.backend]
            networks = _proof_networks(one)
            seconds += tempo.seconds(cost) + networks * tempo.building_s(
                len(one.workload.learner.layers) // 2
            )
        product = min(tempos[one.trial.cell.backend].product_flops_per_s for one in group)
        seconds += min(costs[0].flops, _REFERENCE_FLOPS) / (product * _REFERENCE_SHARE)
    return seconds


def _proof_networks(forecast: TrialPreview) -> int:
    return 1 if isinstance(forecast.trial.cell.settings, FeedSettings) else _PROOF_NETWORKS


def _proof_cost(forecast: TrialPreview) -> Cost:
    settings, workload = forecast.trial.cell.settings, forecast.workload
    if not isinstance(settings, TrainingSettings):
        return Cost(calls=4)
    step = training_step(workload.learner, workload.trainable, batch_size=_PROOF_IMAGES, states=1)
    cost = step * _PROOF_STEPS
    if workload.front is not None:
        cost += forward_step(workload.front, batch_size=_PROOF_IMAGES) * 4
    return cost


def _passing_s(network: Network, images: int, batch_size: int, tempo: BackendSpeed) -> float:
    """Return the seconds of so many images through a network that does not learn."""
    return tempo.seconds(forward_step(network, batch_size=batch_size) * (images / batch_size))
