"""A network that learns, in PyTorch, and the backend that builds it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own idiom)
from numpy.typing import NDArray
from torch import nn

from benchharness.api import (
    AfterEpoch,
    AfterStep,
    Batch,
    Batches,
    ConsumedBatches,
    Extraction,
    Feeding,
    Scores,
    Setting,
    Task,
    Training,
)
from benchharness_torch.data import (
    BatchArrays,
    Inputs,
    Ledger,
    ToDevice,
    TorchFeeding,
    autocast,
    build_loader,
    synchronize,
    use_device,
)
from benchharness_torch.network import (
    TorchExtraction,
    build_network,
    freeze,
    load_weights,
    named_parameters,
    network_settings,
    place,
    to_canonical,
)
from benchharness_torch.optimizers import build_native_optimizer, build_optimizer, read_optimizer


class TorchBackend:
    """Feeds, extracts and trains with PyTorch."""

    def versions(self) -> Mapping[str, str]:
        """Return the version of PyTorch, and of CUDA where this build has it."""
        cuda = {"cuda": torch.version.cuda} if torch.version.cuda else {}
        return {"torch": torch.__version__, **cuda}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return TorchFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return TorchExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        return TorchTraining(task, device=use_device(task))


class TorchTraining:
    """The task's network, its optimizer, and the loop over batches."""

    def __init__(self, task: Task, *, device: torch.device) -> None:
        self._task = task
        self._device = device
        self.holds_inputs = task.inputs is not None
        self._to_device = ToDevice(task, device=device)
        self._inputs = Inputs(task, device=device)
        self._loader = build_loader(task)
        self._ledger = Ledger(task.fingerprint_spec, device=device)
        # What the core gives no weights for starts from PyTorch's own draws.
        torch.manual_seed(task.seed)
        self._model = place(build_network(network=task.network), task, device=device)
        self._initial = initial_weights(self._model, task)
        freeze(self._model, task)
        self._forward = self._learner = self._model
        if task.execution.compile:
            self._forward = torch.compile(self._model)
            # A smaller last batch gets code of its own, and not code for any size.
            self._learner = torch.compile(self._model, dynamic=False)
        self.reset()

    def reset(self) -> None:
        """Return to the initial weights, a fresh optimizer and the first dropout mask."""
        load_weights(self._model, self._initial)
        self._optimizer = self._build_optimizer()
        torch.manual_seed(self._task.seed)
        self._ledger.clear()

    def train(
        self, epochs: Sequence[Batches], *, after_step: AfterStep, after_epoch: AfterEpoch
    ) -> None:
        """Take one optimizer step per batch, epoch by epoch."""
        for batches in epochs:
            self._model.train()
            self._ledger.clear()
            tally = Tally(self._device)
            for step, batch in enumerate(self._loader.load(batches) if self._loader else batches):
                arrays = self._to_device(batch)
                self._ledger.write(step, self._step(arrays, tally), arrays.labels)
                after_step()
            after_epoch(tally.scores())

    def replay(self, batch: Batch) -> Callable[[], None]:
        """Copy a batch to the device, and return what takes one training step on it."""
        arrays = self._to_device(batch)
        tally = Tally(self._device)

        def step() -> None:
            # An evaluation in between turns dropout off.
            if not self._model.training:
                self._model.train()
            self._step(arrays, tally)

        return step

    def consumed(self) -> ConsumedBatches:
        """Return the record of the last epoch."""
        return self._ledger.consumed()

    @torch.inference_mode()
    def evaluate(self, batches: Batches) -> Scores:
        """Score without dropout and without learning."""
        self._model.eval()
        tally = Tally(self._device)
        for batch in batches:
            arrays = self._to_device(batch)
            labels, logits = arrays.labels, self._logits(self._inputs(arrays))
            tally.add(cross_entropy(logits, labels, output=self._task.output), logits, labels)
        return tally.scores()

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return every learnt array, canonical; what is frozen, as it is computed with."""
        return {name: to_canonical(p) for name, p in named_parameters(self._model)}

    def load_weights(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Replace every learnt array."""
        load_weights(self._model, arrays)

    @torch.inference_mode()
    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """Return float32 logits without dropout, shape (batch, outputs)."""
        self._model.eval()
        arrays = self._to_device(batch)
        return self._logits(self._inputs(arrays)).cpu().numpy()

    def gradients(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Return the mean loss's gradient for every trainable array, without dropout."""
        self._model.eval()
        self._optimizer.zero_grad(set_to_none=True)
        arrays = self._to_device(batch)
        logits = self._logits(self._inputs(arrays))
        cross_entropy(logits, arrays.labels, output=self._task.output).backward()
        gradients = {
            name: to_canonical(p.grad)
            for name, p in named_parameters(self._model)
            if p.grad is not None
        }
        self._optimizer.zero_grad(set_to_none=True)
        return gradients

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        network = network_settings(
            self._task,
            self._device,
            model=self._model,
            is_compiled=self._forward is not self._model,
        )
        learning = learning_settings(
            model=self._model,
            optimizer=self._optimizer,
            drawn=self._initial.keys() - self._task.weights.keys(),
        )
        loading = {"loader_workers": self._loader.workers} if self._loader else {}
        return {**network, **learning, **loading}

    def _build_optimizer(self) -> torch.optim.Optimizer:
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        if self._task.native is not None:
            return build_native_optimizer(stated=self._task.native.optimizer, parameters=parameters)
        return build_optimizer(optimizer=self._task.optimizer, parameters=parameters)

    def _step(self, batch: BatchArrays, tally: Tally) -> torch.Tensor:
        """Augment and preprocess a batch, learn from it, and return what the network saw."""
        inputs = self._inputs(batch)
        self._optimizer.zero_grad(set_to_none=True)
        logits = self._logits(inputs, self._learner)
        loss = cross_entropy(logits, batch.labels, output=self._task.output)
        loss.backward()
        self._optimizer.step()
        tally.add(loss, logits, batch.labels)
        return inputs

    def _logits(
        self, inputs: torch.Tensor, forward: Callable[..., torch.Tensor] | None = None
    ) -> torch.Tensor:
        with autocast(self._task, self._device):
            return (forward or self._forward)(inputs).float()


def initial_weights(model: nn.Sequential, task: Task) -> Mapping[str, NDArray[np.float32]]:
    """Return what a training starts from: the task's arrays, in the native track over PyTorch's."""
    if task.native is None:
        return task.weights
    own = {name: to_canonical(p) for name, p in named_parameters(model)}
    return {**own, **task.weights}


class Tally:
    """Loss and hits summed on the device, so that reading them waits only once."""

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), device=device)
        self._hits = torch.zeros((), dtype=torch.int64, device=device)
        self._count = 0

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add one batch's mean loss and its right guesses."""
        # Detached, which is faster than a context without gradients.
        logits = logits.detach()
        guesses = logits.argmax(1) if logits.shape[1] > 1 else logits[:, 0] > 0
        self._loss += loss.detach() * len(labels)
        self._hits += (guesses == labels).sum()
        self._count += len(labels)

    def scores(self) -> Scores:
        """Return the means over everything added, after waiting for the device."""
        count = max(self._count, 1)
        loss, top1 = float(self._loss) / count, int(self._hits) / count
        return Scores(loss=loss, top1=top1, count=self._count)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, *, output: str) -> torch.Tensor:
    """Return the batch's mean cross-entropy in nats."""
    if output == "sigmoid":
        return F.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    return F.cross_entropy(logits, labels)


def learning_settings(
    *, model: nn.Sequential, optimizer: torch.optim.Optimizer, drawn: Collection[str]
) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers.

    ``drawn`` names the arrays that the framework has initialised by itself.
    """
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    learning = [name for name, parameter in named_parameters(model) if parameter.requires_grad]
    return {
        **{f"optimizer.{name}": value for name, value in read_optimizer(optimizer).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(dict.fromkeys(name.split("/")[0] for name in learning)),
        # PyTorch's layers keep no record of it; this is what Linear and Conv2d do (2.11 to 2.15).
        "initialiser": "kaiming_uniform" if drawn else "given",
    }
