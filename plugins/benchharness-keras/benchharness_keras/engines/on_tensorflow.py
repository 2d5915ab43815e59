"""TensorFlow under Keras: steps are graphs over the variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchharness.api import Setting
from benchharness_keras.engines.engine import Arrays, Engine, Program, Tensor


class TensorFlow(Engine):
    """TensorFlow; its determinism forbids random numbers without a seed."""

    def compiles(self, wanted: bool) -> bool:
        """Return what is wanted: a graph otherwise, which XLA leaves alone."""
        return wanted

    def allow_tf32(self, allowed: bool) -> None:
        """Set TensorFlow's switch, which is on unless told otherwise."""
        tf.config.experimental.enable_tensor_float_32_execution(allowed)

    def use_determinism(self, wanted: bool, *, seed: int) -> None:
        """Switch it on or off; XLA cannot compile pooling's gradient while it is on."""
        # No public name switches it off (TensorFlow 2.21).
        from tensorflow.python.framework.config import disable_op_determinism

        if wanted:
            keras.utils.set_random_seed(seed)
            tf.config.experimental.enable_op_determinism()
        else:
            disable_op_determinism()

    def settings(self, *, is_gpu: bool) -> dict[str, Setting]:
        """Return TensorFlow's switches; zero threads mean a thread for each core it may use."""
        # No public name tells whether determinism is on (TensorFlow 2.21).
        from tensorflow.python.framework.config import is_op_determinism_enabled

        cores = len(os.sched_getaffinity(0))
        is_deterministic = is_op_determinism_enabled()
        has_search = os.environ.get("TF_CUDNN_USE_AUTOTUNE", "1") != "0"
        return {
            "threads": tf.config.threading.get_intra_op_parallelism_threads() or cores,
            "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads() or cores,
            "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
            "deterministic": is_deterministic,
            "autotune": is_gpu and has_search and not is_deterministic,
        }

    def waiter(self, device: str) -> Callable[[], None]:
        """Return what waits for all devices: TensorFlow has nothing for a single device."""
        wait: Callable[[], None] = tf.test.experimental.sync_devices
        return wait

    def array(self, array: NDArray[np.generic]) -> Tensor:
        """Return a tensor on the default device."""
        return tf.constant(array)

    def resample(self, images: Tensor, affine: Tensor) -> Tensor:
        """Return what a few gathers give, which XLA fuses, inside a graph of any kind.

        TensorFlow's own kernel, which is that of Keras's operation, takes five times as long on a
        CPU (TensorFlow 2.21).
        """
        return _resample(images, affine)

    def function(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a graph for tensors whose first axis is the batch."""
        return Graph(function, is_compiled=True)

    def forward(self, model: keras.Model, *, is_compiled: bool) -> Callable[[Arrays], Tensor]:
        """Return a graph of the model."""

        def forward(arrays: Arrays) -> Tensor:
            return model(arrays, training=False)

        return Graph(forward, _specs(model), is_compiled=is_compiled)

    def gradients(
        self, program: Program, model: keras.Model, arrays: Arrays, labels: Tensor
    ) -> Sequence[Tensor]:
        """Return what a graph of a gradient tape gives."""

        def gradients(arrays: Arrays, labels: Tensor) -> list[Tensor]:
            with tf.GradientTape() as tape:
                loss, _ = program.judge(model(arrays, training=False), labels)
            return tape.gradient(loss, _values(model))

        graph = tf.function(gradients, autograph=False, jit_compile=program.is_compiled)
        return graph(arrays, labels)

    def steps(self, program: Program) -> TensorFlowSteps:
        """Return graphs of the program's steps."""
        return TensorFlowSteps(program)


class Graph:
    """A function as a single graph for every batch size, traced with its first call.

    ``tf.function`` itself looks at its arguments in each call, for 0.2 ms (TensorFlow 2.21).

    Args:
        function: Of tensors.
        specs: Of its arguments; unless given, those of the first call, for any batch size.
        is_compiled: Whether XLA gets the graph.
    """

    def __init__(self, function: Callable[..., Tensor], *specs: object, is_compiled: bool) -> None:
        self._function = tf.function(function, autograph=False, jit_compile=is_compiled)
        self._specs = specs
        self._graph: Callable[..., Tensor] | None = None

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Return the function of tensors, which NumPy's arrays are not."""
        if self._graph is None:
            specs = self._specs or [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in tensors]
            self._graph = self._function.get_concrete_function(*specs)
        return self._graph(*tensors)


class TensorFlowSteps:
    """Graphs that are traced once for every batch size."""

    def __init__(self, program: Program) -> None:
        self._program = program
        totals, labels = tf.TensorSpec([2], tf.float32), tf.TensorSpec([None], tf.int32)
        learner, scorer = _specs(program.learner), _specs(program.scorer)
        self.learn = Graph(self._learn, totals, learner, labels, is_compiled=program.is_compiled)
        self.score = Graph(self._score, totals, scorer, labels, is_compiled=program.is_compiled)
        self._smallest = min(
            program.learner.trainable_variables, key=lambda variable: int(np.prod(variable.shape))
        )

    def publish(self) -> None:
        """Return at once: the graphs write to the variables."""

    def synchronize(self) -> None:
        """Wait for the smallest variable that the last step has written."""
        self._smallest.numpy()

    def _learn(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> tuple[Tensor, Tensor]:
        learner, optimizer = self._program.learner, self._program.optimizer
        with tf.GradientTape() as tape:
            inputs, logits = learner(arrays, training=True)
            loss, own = self._program.judge(logits, labels)
        gradients = tape.gradient(loss, _values(learner))
        optimizer.apply(gradients, learner.trainable_variables)
        return totals + own, inputs

    def _score(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> Tensor:
        _, own = self._program.judge(self._program.scorer(arrays, training=False), labels)
        return totals + own


@tf.function(autograph=False, jit_compile=True)
def _resample(images: Tensor, affine: Tensor) -> Tensor:
    height, width = images.shape[1:3]
    x, y = tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32)[:, None]
    a, b, c = tf.unstack(affine[:, :, :, None, None], axis=2)
    # Shape (batch, height, width) each.
    source_x, source_y = tf.unstack(a * x + b * y + c, axis=1)
    source_x = tf.clip_by_value(source_x, 0.0, width - 1.0)
    source_y = tf.clip_by_value(source_y, 0.0, height - 1.0)
    left, top = tf.floor(source_x), tf.floor(source_y)
    part_x, part_y = (source_x - left)[..., None], (source_y - top)[..., None]
    left, top = tf.cast(left, tf.int32), tf.cast(top, tf.int32)
    right, bottom = tf.minimum(left + 1, width - 1), tf.minimum(top + 1, height - 1)

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        return tf.gather_nd(images, tf.stack([rows, columns], axis=-1), batch_dims=1)

    upper = at(top, left) * (1 - part_x) + at(top, right) * part_x
    lower = at(bottom, left) * (1 - part_x) + at(bottom, right) * part_x
    return upper * (1 - part_y) + lower * part_y


def _values(model: keras.Model) -> list[tf.Variable]:
    return [variable.value for variable in model.trainable_variables]


def _specs(model: keras.Model) -> dict[str, tf.TensorSpec]:
    """Return the model's inputs by name, for batches of any size."""
    return {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs}


ENGINE = TensorFlow()
