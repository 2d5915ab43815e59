"""Measuring a backend in a few seconds: four small networks, and what explains their times.

A step takes so much per call, per operation, per byte of activations and per byte of parameters.
Each network has a lot of one of these, so that four times tell the four.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchharness.measure.peak import cpu_flops_per_s
from benchharness.model.network import Conv, Dense, Flatten, Layer, MaxPool, Network
from benchharness.model.task import (
    AugmentationParams,
    Batch,
    Execution,
    Optimizer,
    Preprocessing,
    Task,
)
from benchharness.model.work import Backend, Batches, Setting
from benchharness.run.estimate.costs import Cost, optimizer_states, training_step
from benchharness.weights.initial import initial_weights

# A step is repeated for about so long, at least and at most so often.
_BUDGET_S = 0.2
_FEWEST, _MOST = 3, 20
_SCORINGS = 3
_FEED_SIZE, _FEED_BATCH = 96, 32
_RULE = Optimizer(name="adam", lr=1e-4)
# So large that the fit sees numbers near 1.
_GIGA = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One network's times.

    Attributes:
        cost: Of one step.
        step_s: Of the fastest step; others only ever slow one down.
        median_s: Of the median step.
        build_s: Building it, its first step and first scores, less what they take later.
        score_s: Scoring one batch.
    """

    layers: int
    cost: Cost
    step_s: float
    median_s: float
    build_s: float
    score_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """Measures one backend.

    Attributes:
        now: Monotonic clock in seconds.
        product: Gives the rate of a large matrix product, FLOP/s.
    """

    backend: Backend
    execution: Execution
    now: Callable[[], float]
    product: Callable[[], float] = field(default=cpu_flops_per_s)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings of feeding a small batch, having fed it."""
        batch = _images(2, size=8)
        feeding = self.backend.feed(self._task(_network(8, 3), is_augmented=False))
        feeding.feed([batch], after_step=_nothing)
        feeding.synchronize()
        return dict(feeding.settings())

    def measures(self) -> dict[str, Any]:
        """Return the fields of ``BackendSpeed`` that a backend's own process can tell."""
        samples = [self._sample(network, batch_size) for network, batch_size in self._networks()]
        plain_s, warped_s = self._feed_s(is_augmented=False), self._feed_s(is_augmented=True)
        pixels = _FEED_BATCH * _FEED_SIZE**2
        tiny, thin, _, dense = samples
        # Not from the first of them, which also wakes the framework, as the first of a trial does.
        slope = max(0.0, (thin.build_s - dense.build_s) / (thin.layers - dense.layers))
        return {
            **explain(samples),
            "build_s": max(0.0, tiny.build_s - slope * tiny.layers),
            "build_layer_s": slope,
            "score_s": tiny.score_s,
            "pixel_s": plain_s / pixels,
            "warp_s": max(0.0, warped_s - plain_s) / pixels,
            "product_flops_per_s": self.product(),
            "spread": median(sample.median_s / sample.step_s for sample in samples),
        }

    def _networks(self) -> Iterator[tuple[Network, int]]:
        """Yield networks with the batch size to train each with: little, thin, fat and dense."""
        # A GPU needs more of everything before its arithmetic shows.
        times = 1 if self.execution.device == "cpu" else 16
        yield _chain((8,), Dense(name="hidden", units=8, activation="relu")), 8
        yield (
            _chain(
                (64, 64, 3),
                Conv(name="conv1", filters=32),
                MaxPool(name="pool1"),
                Conv(name="conv2", filters=32),
                MaxPool(name="pool2"),
            ),
            32 * times,
        )
        yield (
            _chain(
                (14, 14, 256),
                Conv(name="conv1", filters=256, padding="same"),
                Conv(name="conv2", filters=256, padding="same"),
                MaxPool(name="pool"),
            ),
            8 * times,
        )
        yield _chain((4096,), Dense(name="hidden", units=256 * times, activation="relu")), 32

    def _sample(self, network: Network, batch_size: int) -> Sample:
        batch = _batch(network, batch_size)
        began_s = self.now()
        training = self.backend.train(self._task(network, is_augmented=False))
        training.train([[batch]], after_step=_nothing, after_epoch=_ignore)
        training.evaluate([batch])
        training.synchronize()
        first_s = self.now() - began_s
        steps = self._steps_s(training, batch)
        score_s = self._best_s(lambda: training.evaluate([batch]))
        return Sample(
            layers=len(network.layers),
            cost=training_step(
                network,
                network.learning_layers(),
                batch_size=batch_size,
                states=optimizer_states(_RULE.name),
            ),
            step_s=min(steps),
            median_s=median(steps),
            build_s=max(0.0, first_s - min(steps) - score_s),
            score_s=score_s,
        )

    def _steps_s(self, training: Any, batch: Batch) -> list[float]:
        """Return the seconds of each step, the device finished after each."""
        steps = self._epoch_s(training, [batch] * _FEWEST)
        more = min(_MOST, int(_BUDGET_S / min(steps))) - _FEWEST
        return steps + (self._epoch_s(training, [batch] * more) if more > 0 else [])

    def _epoch_s(self, training: Any, batches: Batches) -> list[float]:
        edges = [self.now()]

        def after_step() -> None:
            training.synchronize()
            edges.append(self.now())

        training.train([batches], after_step=after_step, after_epoch=_ignore)
        return [after - before for before, after in itertools.pairwise(edges)]

    def _feed_s(self, *, is_augmented: bool) -> float:
        """Return the seconds of bringing one batch of images to the device."""
        batch = _images(_FEED_BATCH, size=_FEED_SIZE, is_augmented=is_augmented)
        network = _network(_FEED_SIZE, 3)
        feeding = self.backend.feed(self._task(network, is_augmented=is_augmented))

        def feed() -> None:
            feeding.feed([batch], after_step=_nothing)
            feeding.synchronize()

        feed()
        return self._best_s(feed)

    def _best_s(self, work: Callable[[], Any]) -> float:
        times = []
        for _ in range(_SCORINGS):
            began_s = self.now()
            work()
            times.append(self.now() - began_s)
        return min(times)

    def _task(self, network: Network, *, is_augmented: bool) -> Task:
        channels = network.input_shape[-1]
        is_image = len(network.input_shape) == 3 and channels == 3
        return Task(
            network=network,
            weights=initial_weights(network, seed=1),
            trainable=network.learning_layers(),
            output="sigmoid",
            optimizer=_RULE,
            preprocessing=_UNIT if is_image else None,
            is_augmented=is_augmented,
            execution=self.execution,
            seed=1,
        )


def explain(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the seconds per call, operation and byte that explain the steps best.

    Least squares of relative errors; none of the four can be negative.
    """
    from scipy.optimize import nnls

    steps = np.array([sample.step_s for sample in samples])
    counts = np.array(
        [
            [
                sample.cost.calls,
                sample.cost.flops / _GIGA,
                sample.cost.activation_bytes / _GIGA,
                sample.cost.parameter_bytes / _GIGA,
            ]
            for sample in samples
        ]
    )
    found, _ = nnls(counts / steps[:, None], np.ones(len(samples)))
    call_s, *others = (float(value) for value in found)
    names = ("flop_s", "activation_byte_s", "parameter_byte_s")
    return {"call_s": call_s} | {
        name: value / _GIGA for name, value in zip(names, others, strict=True)
    }


_UNIT = Preprocessing(name="unit", order=(0, 1, 2), mean=(0.0,) * 3, scale=(1 / 255,) * 3)


def _chain(shape: tuple[int, ...], *layers: Layer) -> Network:
    ends = (Flatten(name="flatten"), Dense(name="logits", units=1))
    return Network(input_shape=shape, layers=(*layers, *ends))


def _network(size: int, channels: int) -> Network:
    return Network(input_shape=(size, size, channels), layers=())


def _images(count: int, *, size: int, is_augmented: bool = False) -> Batch:
    warp = None
    if is_augmented:
        # A slight shear: any map but none costs the same.
        affine = np.array([[1, 0.1, 0], [0, 1, 0]], np.float32)
        warp = AugmentationParams(
            affine=np.tile(affine, (count, 1, 1)), colour=np.zeros((count, 3), np.float32)
        )
    shape = (count, size, size, 3)
    return _labelled(np.random.default_rng(1).integers(0, 256, shape, np.uint8), warp)


def _batch(network: Network, count: int) -> Batch:
    random, shape = np.random.default_rng(1), network.input_shape
    if len(shape) == 3 and shape[-1] == 3:
        return _images(count, size=shape[0])
    return _labelled(random.random((count, *shape), np.float32), None)


def _labelled(inputs: NDArray[Any], warp: AugmentationParams | None) -> Batch:
    count = len(inputs)
    labels = (np.arange(count) % 2).astype(np.int32)
    return Batch(ids=np.arange(count), inputs=inputs, labels=labels, warp=warp)


def _nothing() -> None:
    """After a step of no interest."""


def _ignore(scores: object) -> None:
    """After an epoch of no interest."""
