"""Memory that a cell needs, from the shapes of its layers, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchharness.model.network import Flatten, Network
from benchharness.run.estimate.costs import FLOAT_BYTES, optimizer_states
from benchharness.suite.settings import StrategySettings, TrainingSettings
from benchharness.suite.workload import Workload

# A process with a framework imported and its first network trained: 0.63 to 0.87 GB measured for
# PyTorch 2.15 and for Keras 3.15 on TensorFlow 2.21. Used where this machine has not measured its
# own.
FRAMEWORK_BYTES = 800_000_000
# Initial weights, what was learnt, what is read back.
_COPIES = 3
# What CUDA and its libraries take of a GPU before the first array. An assumption on the safe side,
# not a measurement: contexts take some 0.5 GB, workspaces of cuBLAS and cuDNN come on top.
GPU_FRAMEWORK_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes by what they are for.

    Attributes:
        host: Of the worker's own memory.
        device: Of the GPU's; empty where the host computes.
    """

    host: Mapping[str, int]
    device: Mapping[str, int] = field(default_factory=dict)

    @property
    def host_bytes(self) -> int:
        """All that the worker holds at once."""
        return sum(self.host.values())

    @property
    def device_bytes(self) -> int:
        """All that it holds of the GPU at once."""
        return sum(self.device.values())

    @property
    def learning_bytes(self) -> int:
        """What the parameters take: weights, gradients, optimizer state."""
        parts = {**self.host, **self.device}
        return sum(parts.get(name, 0) for name in ("weights", "gradients", "optimizer"))


def memory_needs(
    settings: StrategySettings,
    workload: Workload,
    *,
    channels: int,
    images: int,
    device: Literal["cpu", "gpu"],
    framework_bytes: int = FRAMEWORK_BYTES,
) -> MemoryEstimate:
    """Return what one trial holds at its fullest.

    With P learnt values, T of them trainable, and s arrays of optimizer state: weights 4 P,
    gradients 4 T, optimizer 4 s T. On the host there are copies of them: the initial weights, what
    was learnt and what is read back while the clock is checked, 12 P, and a fresh optimizer's
    state, 4 s T. Images and features are not held, but their pages are mapped.

    Within a factor of 0.8 to 1.4 of the peaks that trials of 0.4 to 120 million parameters
    reached; how many copies a framework makes is its own affair.

    Args:
        channels: Of the images.
        images: Of the dataset, in all splits.
        framework_bytes: Of a worker that has imported its framework and done nothing yet.
    """
    work = {"weights": FLOAT_BYTES * workload.learner.count()}
    copies = _COPIES * FLOAT_BYTES * workload.params
    if isinstance(settings, TrainingSettings):
        rule = settings.optimizer
        states = optimizer_states(rule.name, momentum=rule.momentum or 0.0)
        learnt = FLOAT_BYTES * workload.trainable_params
        work |= {"gradients": learnt, "optimizer": states * learnt}
        copies += states * learnt
    work["activations"] = peak_activation_bytes(
        workload, batch_size=settings.batch_size, precision=settings.precision
    )
    image = settings.image_size**2 * channels
    # Bytes from the dataset, floats for the network, and a batch or two ahead.
    work["batches"] = settings.batch_size * image * (1 + FLOAT_BYTES) * 2
    stored = workload.front.output_shape if workload.front else (0,)
    kept = {
        "framework": framework_bytes,
        "copies": copies,
        "dataset": images * (image + FLOAT_BYTES * math.prod(stored)),
    }
    if device == "cpu":
        return MemoryEstimate(host=kept | work)
    return MemoryEstimate(host=kept, device={"framework": GPU_FRAMEWORK_BYTES, **work})


def peak_activation_bytes(workload: Workload, *, batch_size: int, precision: str) -> int:
    """Return what the layers' outputs take at the fullest moment, that of a batch.

    Training keeps the outputs of all layers from the first that learns; on the way back the
    gradients of one layer's input and output come on top. Layers before it, and a front that is
    run once, hold one layer's input and output at a time.
    """
    value_bytes = 2 if precision == "bfloat16" else FLOAT_BYTES
    training = _kept(workload.learner, workload.trainable)
    passing = _passing(workload.front) if workload.front else 0
    return batch_size * value_bytes * max(training, passing)


def _kept(network: Network, trainable: tuple[str, ...]) -> int:
    """Return the values of one image that a training step holds at once."""
    is_learning, kept, frozen, behind = False, 0, 0, 0
    for layer, before, after in network.steps():
        if isinstance(layer, Flatten):
            # The same values under another shape.
            continue
        pair = math.prod(before) + math.prod(after)
        if not is_learning and layer.name in trainable:
            is_learning = True
            kept += math.prod(before)
        if is_learning:
            kept += math.prod(after)
            behind = max(behind, pair)
        else:
            frozen = max(frozen, pair)
    return max(kept + behind, frozen)


def _passing(network: Network) -> int:
    pairs = (math.prod(before) + math.prod(after) for _, before, after in network.steps())
    return max(pairs, default=0)
