"""Reference backend in plain NumPy: complete, slow, and short enough to be checked by reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    Execution,
    HostLedger,
    Scores,
    Setting,
    Task,
    UnsupportedError,
    preprocess_on_host,
    warp_on_host,
)
from benchharness.fairness.settings import learning_settings
from benchharness.testing.reference_layers import Array, Tape, backward, forward
from benchharness.testing.reference_rules import JUDGES, Judgement, Rule, Tally

DType = Literal["float64", "float32"]


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
    """What every kind of work shares: the settings, and batches as network inputs.

    Raises:
        UnsupportedError: The execution asks for more than float32 on a CPU, as it comes.
    """

    def __init__(self, task: Task, dtype: DType) -> None:
        _refuse_unsupported(task.execution)
        self._task = task
        self._dtype = dtype

    def synchronize(self) -> None:
        """Return at once: NumPy finishes every operation before it returns."""

    def settings(self) -> Mapping[str, Setting]:
        """Return the only way in which NumPy computes, and the dtype."""
        return {
            "engine": "numpy",
            "device": "cpu",
            "dtype": self._dtype,
            # Inputs, weights and results are float32; float64 between them only rounds less.
            "precision": "float32",
            "tf32": False,
            "layout": "channels_last",
            "compile": False,
            "deterministic": True,
            "loader_workers": 0,
        }

    def _inputs(self, batch: Batch) -> Array:
        """Return a batch augmented and preprocessed, channels last; features as they are."""
        inputs: Array = batch.inputs
        if batch.warp is not None:
            inputs = warp_on_host(inputs, batch.warp)
        if self._task.preprocessing is not None:
            inputs = preprocess_on_host(inputs.astype(np.float32), self._task.preprocessing)
        return inputs.astype(self._dtype)


class NumpyFeeding(NumpyWork):
    """Images become network inputs, and nothing more."""

    def __init__(self, task: Task, dtype: DType) -> None:
        super().__init__(task, dtype)
        self._ledger = HostLedger(task.witness)

    def feed(self, batches: Batches, *, after_step: AfterStep) -> None:
        """Convert each batch."""
        self._ledger.clear()
        for batch in batches:
            self._ledger.write(self._inputs(batch), batch.labels)
            after_step()

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last call of ``feed``."""
        return self._ledger.consumed()


class NumpyNetworkWork(NumpyWork):
    """Work with a network: its arrays, and the way forward."""

    def __init__(self, task: Task, dtype: DType) -> None:
        super().__init__(task, dtype)
        self._arrays: dict[str, Array] = {}
        self.load_weights(task.weights)

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array.

        Raises:
            ValueError: Names or shapes are not those of the network.
        """
        parameters = self._task.network.parameters()
        expected = {name: parameter.shape for name, parameter in parameters.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != expected:
            raise ValueError(f"weights: expected {expected}, found {shapes}")
        self._arrays = {name: np.array(array, self._dtype) for name, array in arrays.items()}

    def _forward(self, inputs: Array, *, random: np.random.Generator | None = None) -> Tape:
        return forward(self._task.network, inputs, self._arrays, random=random)

    def _output(self, batch: Batch) -> NDArray[np.float32]:
        inputs = self._inputs(batch)
        tape = self._forward(inputs)
        return (tape[-1][1].output if tape else inputs).astype(np.float32)


class NumpyExtraction(NumpyNetworkWork):
    """Images through a frozen network."""

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield the network's output for each batch."""
        for batch in batches:
            yield self._output(batch)


class NumpyTraining(NumpyNetworkWork):
    """A network that learns."""

    def __init__(self, task: Task, dtype: DType) -> None:
        super().__init__(task, dtype)
        if task.optimizer is None:
            raise ValueError("task.optimizer: expected an optimizer for training, found None")
        self._optimizer = task.optimizer
        self._ledger = HostLedger(task.witness)
        self.reset()

    def settings(self) -> Mapping[str, Setting]:
        """Return the only way in which NumPy computes, and how this network learns."""
        return {**super().settings(), **learning_settings(self._task, self._rule.optimizer)}

    def reset(self) -> None:
        """Return to the task's initial weights, a fresh optimizer and the first dropout mask."""
        self.load_weights(self._task.weights)
        self._rule = Rule(self._optimizer)
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

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last epoch."""
        return self._ledger.consumed()

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
        tape = self._forward(inputs, random=random)
        return tape, JUDGES[self._task.output](tape[-1][1].output, labels)

    def _backward(self, tape: Tape, judgement: Judgement) -> dict[str, Array]:
        return backward(tape, judgement.gradient, trainable=self._task.trainable)


def _refuse_unsupported(execution: Execution) -> None:
    only = {"device": "cpu", "precision": "float32", "layout": "channels_last", "compile": False}
    for setting, expected in only.items():
        value = getattr(execution, setting)
        if value != expected:
            raise UnsupportedError(
                f"numpy: {setting}: expected {expected}, found {value}; "
                "the reference backend computes in one way only"
            )
