"""Running images through a frozen network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from benchharness.api import Batches, Setting, Task
from benchharness_jax import steps
from benchharness_jax.images import BatchArrays, Inputs
from benchharness_jax.layers import describe_network
from benchharness_jax.settings import network_settings
from benchharness_jax.weights import load_weights, merge


class JaxExtraction:
    """The task's network, without dropout."""

    def __init__(self, task: Task, *, device: jax.Device) -> None:
        self._device = device
        self._inputs = Inputs(task, device=device)
        self._graph = nnx.graphdef(describe_network(task))
        self._outputs = steps.compiled(steps.outputs, device=device, graph=self._graph)
        self._weights = load_weights(task.weights, device=device)

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, one array per batch."""
        for batch in batches:
            yield np.array(self._outputs(self._weights, self._inputs(BatchArrays.of(batch))))

    def synchronize(self) -> None:
        """Return at once: each batch's output has come back to the host already."""

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return network_settings(self._device, model=merge(self._graph, self._weights))
