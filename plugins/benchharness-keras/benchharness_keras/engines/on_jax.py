"""JAX under Keras: steps are compiled functions of the variables' values."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from benchharness.api import Batch, Setting
from benchharness_keras.engines.engine import Arrays, Engine, Program, Tensor, named_arrays

# Read by XLA with its first operation.
XLA_DETERMINISM = "--xla_gpu_deterministic_ops=true"
State = tuple[list[jax.Array], list[jax.Array], list[jax.Array]]


class Jax(Engine):
    """JAX; on a CPU it is deterministic as it comes, on a GPU by a flag read at its start."""

    shares_memory = True

    def compiles(self, wanted: bool) -> bool:
        """Return True: nobody trains on JAX without, where each single operation is compiled."""
        return True

    def allow_tf32(self, allowed: bool) -> None:
        """Set the precision of products, which is TF32 on a GPU unless told otherwise."""
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if allowed else "float32")

    def use_determinism(self, wanted: bool, *, seed: int) -> None:
        """Add XLA's flag to the environment."""
        flags = os.environ.get("XLA_FLAGS", "")
        if wanted and XLA_DETERMINISM not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {XLA_DETERMINISM}".strip()

    def max_pool(self, size: int, *, name: str) -> keras.Layer:
        """Return a layer whose gradient XLA computes well."""
        return MaxPooling(size, name=name)

    def settings(self, *, is_gpu: bool) -> dict[str, Setting]:
        """Return JAX's switches; it takes a thread for each core it may use."""
        is_flagged = XLA_DETERMINISM in os.environ.get("XLA_FLAGS", "")
        return {
            "threads": len(os.sched_getaffinity(0)),
            "tf32": jax.config.jax_default_matmul_precision not in ("float32", "highest"),
            "deterministic": is_flagged or not is_gpu,
            "autotune": is_gpu and not is_flagged,
        }

    def waiter(self, device: str) -> Callable[[], None]:
        """Return what waits for every array there is: JAX has nothing that waits for a device."""
        return lambda: [array.block_until_ready() for array in jax.live_arrays()] and None

    def hold(self, array: NDArray[np.generic]) -> Tensor:
        """Return an array on the default device."""
        return jax.device_put(array)

    def array(self, array: NDArray[np.generic]) -> Tensor:
        """Return NumPy's array, which a compiled function copies sooner than ``device_put``."""
        return array

    def place(self, batch: Batch) -> tuple[Arrays, Tensor]:
        """Return arrays on the default device."""
        placed: tuple[Arrays, Tensor] = jax.device_put((named_arrays(batch), batch.labels))
        return placed

    def resample(self, images: Tensor, affine: Tensor) -> Tensor:
        """Return what a few gathers give, which XLA fuses.

        ``keras.ops.image.affine_transform`` multiplies matrices for its coordinates, which on a
        GPU may round them to TF32.
        """
        return jax.vmap(_resample)(images, affine)

    def function(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a compiled function."""
        return jax.jit(function)

    def forward(self, model: keras.Model, *, is_compiled: bool) -> Callable[[Arrays], Tensor]:
        """Return a compiled function of the model's variables and the arrays."""
        compiled = jax.jit(
            lambda learnt, other, arrays: model.stateless_call(
                learnt, other, arrays, training=False
            )[0]
        )
        return lambda arrays: compiled(*_values(model), arrays)

    def gradients(
        self, program: Program, model: keras.Model, arrays: Arrays, labels: Tensor
    ) -> Sequence[Tensor]:
        """Return the gradient of a compiled function of the variables' values."""

        def loss(learnt: list[Tensor], other: list[Tensor]) -> Tensor:
            logits, _ = model.stateless_call(learnt, other, arrays, training=False)
            return program.judge(logits, labels)[0]

        return jax.jit(jax.grad(loss))(*_values(model))

    def steps(self, program: Program) -> JaxSteps:
        """Return compiled functions of the program's state."""
        return JaxSteps(program)


class JaxSteps:
    """Compiled functions, each of which takes the state and gives the next in its memory.

    Between the first step and ``publish``, the values of Keras's variables are gone.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        learner = program.learner
        # A step changes the states of random numbers; frozen weights only enter it.
        weights = {id(variable) for variable in learner.weights}
        others = [id(variable) for variable in learner.non_trainable_variables]
        self._drawn = [place for place, other in enumerate(others) if other not in weights]
        self._frozen = [place for place, other in enumerate(others) if other in weights]
        self._state: State | None = None
        self._compiled = jax.jit(self._learn, donate_argnums=(0, 1))
        self._compiled_score = jax.jit(self._score, donate_argnums=0)

    def learn(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step from the state of the last, or from the variables of Keras."""
        if self._state is None:
            self._state = tuple([v.value for v in group] for group in self._variables())
            others = self._program.learner.non_trainable_variables
            self._fixed = [others[place].value for place in self._frozen]
        self._state, totals, inputs = self._compiled(
            self._state, totals, self._fixed, arrays, labels
        )
        return totals, inputs

    def score(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> Tensor:
        """Score by the variables of Keras, which must have been published."""
        return self._compiled_score(totals, *_values(self._program.scorer), arrays, labels)

    def publish(self) -> None:
        """Assign the state to the variables of Keras."""
        if self._state is not None:
            for variables, values in zip(self._variables(), self._state, strict=True):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
            self._state = None

    def synchronize(self) -> None:
        """Wait for the state, which the last step gives."""
        jax.block_until_ready(self._state)

    def _learn(
        self,
        state: State,
        totals: Tensor,
        frozen: list[Tensor],
        arrays: Arrays,
        labels: Tensor,
    ) -> tuple[State, Tensor, Tensor]:
        program, (learnt, drawn, optimizer) = self._program, state
        others: list[Any] = [None] * (len(self._drawn) + len(self._frozen))
        for places, values in ((self._drawn, drawn), (self._frozen, frozen)):
            for place, value in zip(places, values, strict=True):
                others[place] = value

        def judge(learnt: list[Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, list[Tensor]]]:
            (inputs, logits), after = program.learner.stateless_call(
                learnt, others, arrays, training=True
            )
            loss, own = program.judge(logits, labels)
            return loss, (own, inputs, after)

        gradients, (own, inputs, after) = jax.grad(judge, has_aux=True)(learnt)
        learnt, optimizer = program.optimizer.stateless_apply(optimizer, gradients, learnt)
        following = (learnt, [after[place] for place in self._drawn], optimizer)
        return following, totals + own, inputs

    def _score(
        self,
        totals: Tensor,
        learnt: list[Tensor],
        other: list[Tensor],
        arrays: Arrays,
        labels: Tensor,
    ) -> Tensor:
        logits, _ = self._program.scorer.stateless_call(learnt, other, arrays, training=False)
        return totals + self._program.judge(logits, labels)[1]

    def _variables(self) -> tuple[list[keras.Variable], ...]:
        learner = self._program.learner
        drawn = [learner.non_trainable_variables[place] for place in self._drawn]
        return learner.trainable_variables, drawn, self._program.optimizer.variables


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(images: jax.Array, size: int) -> jax.Array:
    """Return the maxima of windows that do not overlap; a ragged edge is dropped.

    XLA's own pooling has a gradient that takes seventeen times as long on a CPU (jaxlib 0.10), and
    on a GPU scatters an element at a time where it must be deterministic. As there, the gradient
    goes to the first maximum of a window.

    Args:
        images: Shape (batch, height, width, channels).
        size: Height and width of a window.
    """
    window = (1, size, size, 1)
    return jax.lax.reduce_window(images, -jnp.inf, jax.lax.max, window, window, "VALID")


def _pool_forward(images: jax.Array, size: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    # Where a gradient follows, XLA fuses these with what its taps need.
    maxima = reduce(jnp.maximum, _taps(images, size))
    return maxima, (images, maxima)


def _pool_backward(
    size: int, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    images, maxima = kept
    is_open, parts = jnp.ones(maxima.shape, bool), []
    for tap in _taps(images, size):
        is_first = is_open & (tap == maxima)
        is_open &= ~is_first
        parts.append(jnp.where(is_first, gradient, 0))
    rows = [jnp.stack(parts[start : start + size], axis=3) for start in range(0, len(parts), size)]
    batch, height, width, channels = maxima.shape
    whole = jnp.stack(rows, axis=2).reshape(batch, height * size, width * size, channels)
    edges = [(0, found - made) for found, made in zip(images.shape, whole.shape, strict=True)]
    return (jnp.pad(whole, edges),)


max_pool.defvjp(_pool_forward, _pool_backward)


def _taps(images: jax.Array, size: int) -> list[jax.Array]:
    """Return the pixels at each place of a window, row by row, each of all windows."""
    height, width = (side // size * size for side in images.shape[1:3])
    whole = images[:, :height, :width]
    return [whole[:, y::size, x::size] for y in range(size) for x in range(size)]


class MaxPooling(keras.layers.MaxPooling2D):
    """Pooling over windows that do not overlap, with the gradient of ``max_pool``."""

    def call(self, inputs: Tensor) -> Tensor:
        """Map (batch, height, width, channels) to fewer pixels."""
        return max_pool(inputs, self.pool_size[0])


def _resample(image: Tensor, affine: Tensor) -> Tensor:
    height, width, _ = image.shape
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    source_x, source_y = (row[0] * x + row[1] * y + row[2] for row in affine)
    source_x, source_y = jnp.clip(source_x, 0, width - 1), jnp.clip(source_y, 0, height - 1)
    left, top = jnp.floor(source_x), jnp.floor(source_y)
    part_x, part_y = (source_x - left)[..., None], (source_y - top)[..., None]
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)
    right, bottom = jnp.minimum(left + 1, width - 1), jnp.minimum(top + 1, height - 1)
    upper = image[top, left] * (1 - part_x) + image[top, right] * part_x
    lower = image[bottom, left] * (1 - part_x) + image[bottom, right] * part_x
    return upper * (1 - part_y) + lower * part_y


def _values(model: keras.Model) -> tuple[list[jax.Array], list[jax.Array]]:
    """Return the values of the trainable variables, and of the others."""
    groups = model.trainable_variables, model.non_trainable_variables
    learnt, other = ([variable.value for variable in group] for group in groups)
    return learnt, other


ENGINE = Jax()
