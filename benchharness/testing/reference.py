"""Reference backend in plain NumPy: complete, slow, and short enough to be checked by reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    Conv,
    Dense,
    Dropout,
    Flatten,
    HostLedger,
    Layer,
    MaxPool,
    Network,
    Optimizer,
    Scores,
    Setting,
    Task,
    UnsupportedError,
    preprocess_on_host,
    warp_on_host,
)
from benchharness.fairness.settings import learning_settings

Array = NDArray[Any]
DType = Literal["float64", "float32"]
# Inputs, weights and results are float32; float64 between them only rounds less.
_ONLY: Mapping[str, Setting] = {
    "device": "cpu",
    "precision": "float32",
    "layout": "channels_last",
    "compile": False,
}


class NumpyBackend:
    """The reference that other backends are compared with.

    Args:
        dtype: What the network computes in. With float64 the reference's own rounding is far
            below every tolerance of the contract.
    """

    def __init__(self, *, dtype: DType = "float64") -> None:
        self._dtype = dtype

    def versions(self) -> Mapping[str, str]:
        """Return NumPy's version."""
        return {"numpy": np.__version__}

    def feed(self, task: Task) -> NumpyFeeding:
        """Prepare to turn images into network inputs."""
        return NumpyFeeding(task, self._dtype)

    def extract(self, task: Task) -> NumpyExtraction:
        """Prepare to run images through the task's network."""
        return NumpyExtraction(task, self._dtype)

    def train(self, task: Task) -> NumpyTraining:
        """Prepare to learn."""
        return NumpyTraining(task, self._dtype)


class NumpyWork:
    """Base of every kind of work: settings, the network's inputs, their record, its arrays.

    Feeding has a network without layers, and no arrays.

    Raises:
        UnsupportedError: The execution asks for more than float32 on a CPU, as it comes.
        ValueError: Names or shapes of the weights are not those of the network.
    """

    def __init__(self, task: Task, dtype: DType) -> None:
        for setting, expected in _ONLY.items():
            value = getattr(task.execution, setting)
            if value != expected:
                raise UnsupportedError(
                    f"numpy: {setting}: expected {expected}, found {value}; "
                    "the reference backend computes in one way only"
                )
        self._task = task
        self._dtype = dtype
        self._ledger = HostLedger(task.fingerprint_spec)
        self._arrays: dict[str, Array] = {}
        self.load_weights(task.weights)

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array, or raise a ValueError."""
        parameters = self._task.network.parameters()
        expected = {name: parameter.shape for name, parameter in parameters.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != expected:
            raise ValueError(f"weights: expected {expected}, found {shapes}")
        self._arrays = {name: np.array(array, self._dtype) for name, array in arrays.items()}

    def synchronize(self) -> None:
        """Return at once: NumPy finishes every operation before it returns."""

    def settings(self) -> Mapping[str, Setting]:
        """Return the only way in which NumPy computes, and the dtype."""
        return {
            "engine": "numpy",
            **_ONLY,
            "dtype": self._dtype,
            "tf32": False,
            "deterministic": True,
            "loader_workers": 0,
        }

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last epoch, or of the last call of ``feed``."""
        return self._ledger.consumed()

    def _inputs(self, batch: Batch) -> Array:
        """Return a batch augmented and preprocessed, channels last; features as they are."""
        inputs: Array = batch.inputs
        if batch.warp is not None:
            inputs = warp_on_host(inputs, batch.warp)
        if self._task.preprocessing is not None:
            inputs = preprocess_on_host(inputs.astype(np.float32), self._task.preprocessing)
        return inputs.astype(self._dtype)

    def _output(self, batch: Batch) -> NDArray[np.float32]:
        inputs = self._inputs(batch)
        tape = forward(self._task.network, inputs, self._arrays)
        return (tape[-1][1].output if tape else inputs).astype(np.float32)


class NumpyFeeding(NumpyWork):
    """Images become network inputs, and nothing more."""

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Convert each batch."""
        self._ledger.clear()
        for batch in batches:
            self._ledger.write(self._inputs(batch), batch.labels)
            after_step()


class NumpyExtraction(NumpyWork):
    """Images through a frozen network."""

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield the network's output for each batch."""
        for batch in batches:
            yield self._output(batch)


class NumpyTraining(NumpyWork):
    """A network that learns."""

    def __init__(self, task: Task, dtype: DType) -> None:
        super().__init__(task, dtype)
        if task.optimizer is None:
            raise ValueError("task.optimizer: expected an optimizer for training, found None")
        self._optimizer = task.optimizer
        self.reset()

    def settings(self) -> Mapping[str, Setting]:
        """Return the only way in which NumPy computes, and how this network learns."""
        return {**super().settings(), **learning_settings(self._task, self._rule.optimizer)}

    def reset(self) -> None:
        """Return to the task's initial weights, a fresh optimizer and the first dropout mask."""
        self.load_weights(self._task.weights)
        self._rule = NumpyOptimizer(self._optimizer)
        self._random = np.random.Generator(np.random.Philox(self._task.seed))
        self._ledger.clear()

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""
        for batches in epochs:
            tally = Tally()
            self._ledger.clear()
            for batch in batches:
                inputs = self._inputs(batch)
                self._ledger.write(inputs, batch.labels)
                tally.add(self._step(inputs, batch.labels))
                after_step()
            after_epoch(tally.scores())

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Return what takes one training step on a batch; NumPy computes where the batch is."""

        def step() -> None:
            self._step(self._inputs(batch), batch.labels)

        return step

    def evaluate(self, batches: Batches) -> Scores:
        """Score the images as they are, without learning."""
        tally = Tally()
        for batch in batches:
            tally.add(self._judge(self._inputs(replace(batch, warp=None)), batch.labels)[1])
        return tally.scores()

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return a copy of every learnt array."""
        return {name: array.astype(np.float32) for name, array in self._arrays.items()}

    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return the logits of a batch without dropout."""
        return self._output(batch)

    def gradients(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Return the mean loss's gradient for every trainable array, without dropout."""
        gradients = self._backward(*self._judge(self._inputs(batch), batch.labels))
        return {name: gradient.astype(np.float32) for name, gradient in gradients.items()}

    def _step(self, inputs: Array, labels: NDArray[np.int32]) -> Judgement:
        tape, judgement = self._judge(inputs, labels, random=self._random)
        self._rule.apply(self._arrays, self._backward(tape, judgement))
        return judgement

    def _judge(
        self,
        inputs: Array,
        labels: NDArray[np.int32],
        *,
        random: np.random.Generator | None = None,
    ) -> tuple[Tape, Judgement]:
        tape = forward(self._task.network, inputs, self._arrays, random=random)
        return tape, JUDGES[self._task.output](tape[-1][1].output, labels)

    def _backward(self, tape: Tape, judgement: Judgement) -> dict[str, Array]:
        return backward(tape, judgement.gradient, trainable=self._task.trainable)


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeEntry:
    """One function applied to a batch, and the way back through it.

    Attributes:
        output: Shape (batch, ...).
        to_inputs: Turns the loss's gradient by the output into that by the input.
        to_parameters: Turns it into those by the learnt arrays, ``kernel`` and ``bias``.
    """

    output: Array
    to_inputs: Callable[[Array], Array]
    to_parameters: Callable[[Array], dict[str, Array]] = lambda gradient: {}


# Each step with the name of its layer, from the input to the logits.
Tape = list[tuple[str, TapeEntry]]


def forward(
    network: Network,
    inputs: Array,
    arrays: Mapping[str, Array],
    *,
    random: np.random.Generator | None = None,
) -> Tape:
    """Return every step of a batch through a network; the last one's output is the network's.

    Args:
        network: What to compute.
        inputs: Shape (batch, height, width, channels) or (batch, features).
        arrays: Learnt arrays by canonical name; the results have their dtype and that of inputs.
        random: Draws the dropout masks; None outside training, where dropout changes nothing.
    """
    tape: Tape = []
    for layer in network.layers:
        for step in apply_layer(layer, inputs, arrays, random=random):
            tape.append((layer.name, step))
            inputs = step.output
    return tape


def backward(tape: Tape, gradient: Array, *, trainable: Collection[str]) -> dict[str, Array]:
    """Return the gradient of every array of the trainable layers, from that by the output.

    Nothing below the lowest of them is computed.
    """
    lowest = next((p for p, (name, _) in enumerate(tape) if name in trainable), len(tape))
    gradients: dict[str, Array] = {}
    for name, step in reversed(tape[lowest:]):
        if name in trainable:
            parts = step.to_parameters(gradient)
            gradients.update({f"{name}/{part}": value for part, value in parts.items()})
        if step is not tape[lowest][1]:
            gradient = step.to_inputs(gradient)
    return gradients


def apply_layer(
    layer: Layer,
    inputs: Array,
    arrays: Mapping[str, Array],
    *,
    random: np.random.Generator | None = None,
) -> tuple[TapeEntry, ...]:
    """Apply a layer as ``forward`` does: one step, or two when an activation follows."""
    match layer:
        case Conv() | Dense():
            kernel, bias = (arrays[f"{layer.name}/{part}"] for part in ("kernel", "bias"))
            if isinstance(layer, Conv):
                step = _conv(layer, inputs, kernel=kernel, bias=bias)
            else:
                step = _dense(inputs, kernel=kernel, bias=bias)
            return (step, _relu(step.output)) if layer.activation == "relu" else (step,)
        case MaxPool():
            return (_max_pool(layer, inputs),)
        case Flatten():
            flat = inputs.reshape(len(inputs), -1)
            return (TapeEntry(output=flat, to_inputs=lambda g: g.reshape(inputs.shape)),)
        case Dropout():
            return () if random is None else (_dropout(layer, inputs, random),)


def _conv(layer: Conv, inputs: Array, *, kernel: Array, bias: Array) -> TapeEntry:
    # With an even kernel the odd row of padding goes below, the odd column to the right.
    reach = layer.kernel - 1
    total = reach if layer.padding == "same" else 0
    above, below = total // 2, total - total // 2
    windows = _windows(inputs, layer.kernel, pad=(above, below))

    def to_inputs(gradient: Array) -> Array:
        # Every input pixel met the kernel at all its offsets: a convolution with it turned round.
        spread = _windows(gradient, layer.kernel, pad=(reach, reach))
        padded = np.tensordot(spread, kernel[::-1, ::-1], axes=((3, 4, 5), (3, 0, 1)))
        return padded[:, above : padded.shape[1] - below, above : padded.shape[2] - below]

    def to_parameters(gradient: Array) -> dict[str, Array]:
        channels_first = np.tensordot(windows, gradient, axes=((0, 1, 2), (0, 1, 2)))
        return {"kernel": np.moveaxis(channels_first, 0, 2), "bias": gradient.sum(axis=(0, 1, 2))}

    output = np.tensordot(windows, kernel, axes=((3, 4, 5), (2, 0, 1))) + bias
    return TapeEntry(output=output, to_inputs=to_inputs, to_parameters=to_parameters)


def _windows(images: Array, size: int, *, pad: tuple[int, int]) -> Array:
    """Return every window as (batch, height, width, channels, size, size)."""
    padded = np.pad(images, ((0, 0), pad, pad, (0, 0)))
    return sliding_window_view(padded, (size, size), axis=(1, 2))


def _dense(inputs: Array, *, kernel: Array, bias: Array) -> TapeEntry:
    return TapeEntry(
        output=inputs @ kernel + bias,
        to_inputs=lambda g: g @ kernel.T,
        to_parameters=lambda g: {"kernel": inputs.T @ g, "bias": g.sum(axis=0)},
    )


def _relu(inputs: Array) -> TapeEntry:
    return TapeEntry(output=np.maximum(inputs, 0), to_inputs=lambda g: g * (inputs > 0))


def _max_pool(layer: MaxPool, inputs: Array) -> TapeEntry:
    batch, height, width, channels = inputs.shape
    rows, columns, size = height // layer.size, width // layer.size, layer.size
    kept = (slice(None), slice(rows * size), slice(columns * size))
    tiles = inputs[kept].reshape(batch, rows, size, columns, size, channels)
    windows = np.moveaxis(tiles, 2, 3).reshape(batch, rows, columns, size * size, channels)
    winners = windows.argmax(axis=3, keepdims=True)

    def to_inputs(gradient: Array) -> Array:
        # Among equals the first of a window takes all, as in the frameworks.
        spread = np.zeros_like(windows)
        np.put_along_axis(spread, winners, gradient[:, :, :, None], axis=3)
        square = spread.reshape(batch, rows, columns, size, size, channels)
        result = np.zeros_like(inputs)
        result[kept] = np.moveaxis(square, 3, 2).reshape(inputs[kept].shape)
        return result

    output = np.take_along_axis(windows, winners, axis=3)[:, :, :, 0]
    return TapeEntry(output=output, to_inputs=to_inputs)


def _dropout(layer: Dropout, inputs: Array, random: np.random.Generator) -> TapeEntry:
    is_kept = random.random(inputs.shape) >= layer.rate
    # Scaling up here, rather than down when evaluating, keeps the expected value (inverted).
    keep = 1.0 - layer.rate
    return TapeEntry(output=inputs * is_kept / keep, to_inputs=lambda g: g * is_kept / keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How a batch was answered.

    Attributes:
        losses: Cross-entropy of each image in nats, shape (batch,).
        is_right: Whether the best guess is the label, bool, shape (batch,).
        gradient: The mean loss's gradient by the logits, shape (batch, outputs).
    """

    losses: Array
    is_right: NDArray[np.bool_]
    gradient: Array


def judge_softmax(logits: Array, labels: NDArray[np.int32]) -> Judgement:
    """Judge one logit per class by the cross-entropy of their softmax."""
    images = np.arange(len(labels))
    # The largest logit becomes 0, so that no exponential overflows.
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    gradient = np.exp(log_shares)
    gradient[images, labels] -= 1
    return Judgement(
        losses=-log_shares[images, labels],
        is_right=logits.argmax(axis=1) == labels,
        gradient=gradient / len(labels),
    )


def judge_sigmoid(logits: Array, labels: NDArray[np.int32]) -> Judgement:
    """Judge a single logit, shape (batch, 1), by the cross-entropy of its sigmoid."""
    logit = logits[:, 0]
    # Half a hyperbolic tangent is the sigmoid that never overflows.
    share = 0.5 * (1 + np.tanh(0.5 * logit))
    return Judgement(
        losses=np.logaddexp(0, np.where(labels == 1, -logit, logit)),
        is_right=(logit > 0) == (labels == 1),
        gradient=((share - labels.astype(logit.dtype)) / len(labels))[:, None],
    )


JUDGES = {"softmax": judge_softmax, "sigmoid": judge_sigmoid}


class Tally:
    """Means over all the images of a pass, however they were batched."""

    def __init__(self) -> None:
        self._loss, self._right, self._count = 0.0, 0, 0

    def add(self, judgement: Judgement) -> None:
        """Count one batch."""
        self._loss += float(judgement.losses.sum(dtype=np.float64))
        self._right += int(judgement.is_right.sum())
        self._count += len(judgement.losses)

    def scores(self) -> Scores:
        """Return the means so far; not a number where nothing was seen."""
        count = self._count or math.nan
        return Scores(loss=self._loss / count, top1=self._right / count, count=self._count)


class NumpyOptimizer:
    """An optimizer with its state, as the formulas of ``Optimizer`` have it.

    Attributes:
        optimizer: The constants it computes with.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._steps = 0
        self._averages: dict[str, tuple[Array, Array]] = {}

    def apply(self, arrays: dict[str, Array], gradients: Mapping[str, Array]) -> None:
        """Take one step: replace every array that has a gradient."""
        lr, decay = self.optimizer.lr, self.optimizer.weight_decay
        self._steps += 1
        for name, gradient in gradients.items():
            decayed = arrays[name] - lr * decay * arrays[name]
            arrays[name] = decayed - lr * self._direction(name, gradient)

    def _direction(self, name: str, g: Array) -> Array:
        rule, t = self.optimizer, self._steps
        # Momentum or the mean gradient, and the mean square.
        m, s = self._averages.get(name) or (np.zeros_like(g), np.zeros_like(g))
        match rule.name:
            case "sgd":
                m = rule.momentum * m + g
                direction = g + rule.momentum * m if rule.nesterov else m
            case "adam":
                m = rule.beta_1 * m + (1 - rule.beta_1) * g
                s = rule.beta_2 * s + (1 - rule.beta_2) * g**2
                root = np.sqrt(s / (1 - rule.beta_2**t))
                direction = m / (1 - rule.beta_1**t) / (root + rule.epsilon)
            case "rmsprop":
                s = rule.rho * s + (1 - rule.rho) * g**2
                direction = g / (np.sqrt(s) + rule.epsilon)
        self._averages[name] = (m, s)
        return direction
