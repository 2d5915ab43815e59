"""Interface to an engine of Keras: process-wide switches, and compiled steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from benchharness.api import Batch, Setting

Tensor = Any
Arrays = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Models and update rule from which an engine makes its steps.

    Attributes:
        learner: Maps a batch's arrays to the network's inputs and its logits, with dropout.
        scorer: Maps them to the logits, without dropout; over the same layers.
        layers: Of the network, in both models; what is before them prepares their inputs.
        optimizer: Built on the learner's trainable variables.
        output: ``softmax`` or ``sigmoid``, as in the task.
        is_compiled: Whether the engine's compiler gets the steps.
    """

    learner: keras.Model
    scorer: keras.Model
    layers: Sequence[keras.Layer]
    optimizer: keras.optimizers.Optimizer
    output: str
    is_compiled: bool

    def judge(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy in nats, and its sum beside the number of right guesses.

        Logits are float32, shape (batch, outputs), labels int32, the second result has shape (2,).
        """
        if self.output == "sigmoid":
            score = logits[:, 0]
            losses = ops.binary_crossentropy(ops.cast(labels, "float32"), score, from_logits=True)
            hits = ops.equal(score > 0, labels > 0)
        else:
            losses = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            hits = ops.equal(ops.argmax(logits, axis=-1), ops.cast(labels, "int64"))
        totals = ops.stack([ops.sum(losses), ops.sum(ops.cast(hits, "float32"))])
        return ops.mean(losses), totals


class Steps(Protocol):
    """Steps over the variables of a program.

    Totals are sums on the device, shape (2,): of losses and of right guesses, so that reading them
    waits once per epoch.
    """

    def learn(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take one optimizer step; return the totals with its batch, and the network's inputs."""

    def score(self, totals: Tensor, arrays: Arrays, labels: Tensor) -> Tensor:
        """Return the totals with a batch that is scored without dropout and without learning."""

    def publish(self) -> None:
        """Bring the state of the last step into the variables of Keras, where it is elsewhere."""

    def synchronize(self) -> None:
        """Return when the device has finished the last step."""


class Engine(Protocol):
    """An engine; methods with a body are those of the engines that compile images into the step.

    Attributes:
        shares_memory: Whether a variable that an array is assigned to may keep the array's memory,
            over which a step may write.
    """

    shares_memory = False

    def compiles(self, wanted: bool) -> bool:
        """Return whether steps are compiled for a task that asks for it, or does not.

        Raises:
            PluginError: The engine's compiler is missing.
        """

    def allow_tf32(self, allowed: bool) -> None:
        """Allow products to round to TF32, or forbid it."""

    def use_determinism(self, wanted: bool, *, seed: int) -> None:
        """Ask for kernels that give the same bits each time, or stop asking where that is possible.

        The seed is for generators that nobody should use.
        """

    def dropout_seed(self, seed: int) -> int | None:
        """Return what Keras's dropout layers are seeded with; None for the engine's generator."""
        return seed

    def restart_dropout(self, seed: int) -> None:
        """Return to the first mask, where the engine's generator draws it."""

    def conv(self, **options: Any) -> keras.Layer:
        """Return a convolution of stride 1 with bias, by the options of ``Conv2D``."""
        return keras.layers.Conv2D(**options)

    def max_pool(self, size: int, *, name: str) -> keras.Layer:
        """Return a layer that gives the maxima of windows that do not overlap."""
        return keras.layers.MaxPooling2D(size, name=name)

    def settings(self, *, is_gpu: bool) -> dict[str, Setting]:
        """Return ``tf32``, ``deterministic``, ``threads``, ``autotune`` and its own switches."""

    def waiter(self, device: str) -> Callable[[], None]:
        """Return what waits for the device of a process that is not ours."""

    def hold(self, array: NDArray[np.generic]) -> Tensor:
        """Return an array that stays on the device."""
        return self.array(array)

    def constant(self, array: NDArray[np.generic], *, like: Tensor) -> Tensor:
        """Return an array, the same object in each step, for arithmetic with a tensor like that."""
        return array

    def array(self, array: NDArray[np.generic]) -> Tensor:
        """Return an array as functions and steps take it soonest."""

    def arrays(self, batch: Batch) -> tuple[Arrays, Tensor]:
        """Return a batch as functions and steps take it soonest: arrays by name, and labels.

        Names are those of ``input_tensors``; labels are int32.
        """
        arrays = {name: self.array(array) for name, array in named_arrays(batch).items()}
        return arrays, self.array(batch.labels)

    def place(self, batch: Batch) -> tuple[Arrays, Tensor]:
        """Return the same on the device, where it stays for several steps."""
        return self.arrays(batch)

    def resample(self, images: Tensor, affine: Tensor) -> Tensor:
        """Resample each image by its affine map, bilinear, edge pixels repeated outside.

        Images are float32, channels last; maps have shape (batch, 2, 3), output to input pixel.
        """

    def recolour(self, images: Tensor, colour: Tensor) -> Tensor:
        """Add a shift, shape (batch, channels), to what ``resample`` gave, and clip to 0-255.

        The memory of the images may be used again.
        """
        shift = ops.tile(colour, (1, images.shape[2]))[:, None, :]
        return _as_images(ops.clip(_as_rows(images) + shift, 0, 255), like=images)

    def normalise(
        self, images: Tensor, scale: tuple[float, ...], shift: tuple[float, ...]
    ) -> Tensor:
        """Return ``images * scale + shift``, both of each channel, as float32 from any dtype."""
        rows, width = _as_rows(ops.cast(images, "float32")), images.shape[2]
        # Most preprocessings need only half of it, and each pass over the images takes time.
        if any(value != 1 for value in scale):
            rows = rows * np.tile(np.array(scale, np.float32), width)
        if any(shift):
            rows = rows + np.tile(np.array(shift, np.float32), width)
        return _as_images(rows, like=images)

    def function(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a function of tensors without variables, as the engine runs it best."""

    def preparation(self, model: keras.Model) -> Callable[[Arrays], Tensor]:
        """Return what maps arrays to the output of a model without weights, as it runs best.

        Compiled, because XLA fuses all passes: a third of the time on TensorFlow.
        """
        return self.forward(model, is_compiled=True)

    def forward(self, model: keras.Model, *, is_compiled: bool) -> Callable[[Arrays], Tensor]:
        """Return what maps arrays to a model's output, without dropout and without gradients."""

    def gradients(
        self, program: Program, model: keras.Model, arrays: Arrays, labels: Tensor
    ) -> Sequence[Tensor]:
        """Return the gradient of the program's mean loss for a model's trainable variables."""

    def steps(self, program: Program) -> Steps:
        """Return the steps of a program, whose weights and optimizer have their first values."""


def named_arrays(batch: Batch) -> dict[str, Any]:
    """Return a batch's arrays by the names of ``input_tensors``, on the host."""
    named: dict[str, Any] = {"inputs": batch.inputs}
    if batch.warp is not None:
        named |= {"affine": batch.warp.affine, "colour": batch.warp.colour}
    return named


# Constants of each channel, repeated along a row, combine with rows of pixels four times as fast as
# with three channels, which are too short for a vectorised loop.
def _as_rows(images: Tensor) -> Tensor:
    _, height, width, channels = images.shape
    return ops.reshape(images, (-1, height, width * channels))


def _as_images(rows: Tensor, *, like: Tensor) -> Tensor:
    return ops.reshape(rows, (-1, *like.shape[1:]))
