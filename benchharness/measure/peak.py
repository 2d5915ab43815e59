"""Peak of a device: its rate of matrix products, with which training speed is compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from benchharness.measure.clock import now_s
from benchharness.model.network import Dense, Network
from benchharness.model.task import Batch, Execution, Task
from benchharness.model.work import Backend, Extraction

# 0.9 GFLOP: 6 ms on a core of 145 GFLOP/s, which a busy machine leaves in peace now and then.
CPU_SIZE = 768
# A product that takes less is over before all cores of a large machine are at work.
_WORTH_TIMING_S = 0.003
# 16,384 rows through layers of 4,096 x 4,096, 0.55 TFLOP each: four take 45 ms at 50 TFLOP/s, and
# more layers follow where they take less than 50 ms. Each holds 67 MB of weights.
GPU_ROWS, GPU_UNITS, GPU_LAYERS = 16384, 4096, 4
_MOST_LAYERS, _GPU_WORTH_TIMING_S = 64, 0.05
# Few values per row enter and leave, so that copying them to the device costs nothing.
_ENDS = 8
# At least so many repeats, and more until so much time has passed.
_REPEATS, _REPEATS_S = 3, 0.1


def cpu_flops_per_s(*, size: int = CPU_SIZE, now: Callable[[], float] = now_s) -> float:
    """Return the rate of NumPy's float32 matrix product, on the cores this process may use.

    The best of some repeats: what else runs on the machine only ever slows it down.

    Args:
        size: Of the square matrices; doubled while a product takes too little time.
        now: Monotonic clock in seconds.
    """
    while True:
        random = np.random.default_rng(0)
        left, right = (random.random((size, size), dtype=np.float32) for _ in range(2))
        product = np.empty_like(left)
        best_s = _best_s(partial(np.matmul, left, right, out=product), now=now)
        if best_s >= _WORTH_TIMING_S:
            return 2 * size**3 / best_s
        size *= 2


def backend_flops_per_s(
    backend: Backend,
    execution: Execution,
    *,
    rows: int = GPU_ROWS,
    units: int = GPU_UNITS,
    layers: int = GPU_LAYERS,
    now: Callable[[], float] = now_s,
) -> float:
    """Return the rate of matrix products in a backend, on the device and in the precision given.

    Of random matrices: a GPU multiplies constants with less power, and so at a higher clock than
    it holds in training. A run takes the best rate of all its backends for each of them.

    Args:
        rows: Of the left matrix.
        units: Rows and columns of the right ones.
        layers: How many products follow each other before anything is read back; more, up to 64,
            where they take less than 50 ms.
        now: Monotonic clock in seconds.
    """
    random = np.random.default_rng(0)
    batch = Batch(
        ids=np.arange(rows),
        inputs=random.standard_normal((rows, _ENDS), np.float32),
        labels=np.zeros(rows, np.int32),
    )
    while True:
        network = _chain(units=units, layers=layers)
        extraction = backend.extract(_task(network, execution, random))

        def multiply(extraction: Extraction = extraction) -> None:
            for _ in extraction.extract([batch]):
                extraction.synchronize()

        best_s = _best_s(multiply, now=now)
        if best_s >= _GPU_WORTH_TIMING_S or layers >= _MOST_LAYERS:
            return rows * network.flops_per_image() / best_s
        # A little more than it takes, for longer chains are faster.
        layers = min(_MOST_LAYERS, math.ceil(1.2 * layers * _GPU_WORTH_TIMING_S / best_s))
        # Two networks at a time would hold twice the weights.
        del extraction, multiply


def _best_s(work: Callable[[], object], *, now: Callable[[], float]) -> float:
    # The first time wakes threads, allocates and may compile.
    work()
    best_s, spent_s, repeats = float("inf"), 0.0, 0
    while repeats < _REPEATS or spent_s < _REPEATS_S:
        began_s = now()
        work()
        took_s = now() - began_s
        best_s, spent_s, repeats = min(best_s, took_s), spent_s + took_s, repeats + 1
    return best_s


def _chain(*, units: int, layers: int) -> Network:
    middle = (Dense(name=f"product{number}", units=units) for number in range(1, layers + 1))
    return Network(
        input_shape=(_ENDS,),
        layers=(Dense(name="widen", units=units), *middle, Dense(name="narrow", units=_ENDS)),
    )


def _task(network: Network, execution: Execution, random: np.random.Generator) -> Task:
    # Arrays of equal shape are one array: 67 MB less on the host for each layer but one. Values
    # keep their size from layer to layer.
    made = {
        shape: random.standard_normal(shape, np.float32) / np.float32(max(shape[0], 1) ** 0.5)
        for shape in {parameter.shape for parameter in network.parameters().values()}
    }
    return Task(
        network=network,
        weights={name: made[parameter.shape] for name, parameter in network.parameters().items()},
        trainable=(),
        output="softmax",
        optimizer=None,
        preprocessing=None,
        is_augmented=False,
        execution=execution,
        seed=0,
    )
