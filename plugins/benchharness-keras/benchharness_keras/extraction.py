"""Extraction: images through a frozen network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from benchharness.api import Batches, Setting, Task
from benchharness_keras.engines import ENGINE
from benchharness_keras.images import input_tensors, network_input
from benchharness_keras.layers import build_network, connect
from benchharness_keras.settings import network_settings
from benchharness_keras.weights import load_weights


class KerasExtraction:
    """The task's network in evaluation mode."""

    def __init__(self, task: Task, *, device: str) -> None:
        self._device = device
        self._layers = build_network(
            network=task.network, trainable=(), seed=task.seed, is_drawn=False
        )
        tensors = input_tensors(task, is_augmented=False)
        outputs = connect(self._layers, network_input(task, tensors), has_dropout=False)
        self._is_compiled = ENGINE.compiles(task.execution.compile)
        self._forward = ENGINE.forward(keras.Model(tensors, outputs), is_compiled=self._is_compiled)
        load_weights(self._layers, task.weights)

    def extract(self, batches: Batches) -> Iterator[NDArray[np.float32]]:
        """Yield float32 outputs, channels last, an array per batch."""
        for batch in batches:
            arrays, _ = ENGINE.arrays(batch)
            yield np.array(keras.ops.convert_to_numpy(self._forward(arrays)), np.float32)

    def synchronize(self) -> None:
        """Return at once: each batch's output has come back to the host already."""

    def settings(self) -> Mapping[str, Setting]:
        """Return the effective settings."""
        return network_settings(self._device, layers=self._layers, is_compiled=self._is_compiled)
