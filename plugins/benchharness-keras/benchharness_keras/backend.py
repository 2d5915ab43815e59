"""Keras as a benchharness backend."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import keras

from benchharness.api import Extraction, Feeding, Task, Training
from benchharness_keras.device import use_device
from benchharness_keras.extraction import KerasExtraction
from benchharness_keras.feeding import KerasFeeding
from benchharness_keras.native import KerasNativeTraining
from benchharness_keras.training import KerasTraining


class KerasBackend:
    """Feeds, extracts and trains with Keras, on whichever engine it was imported with."""

    def __init__(self) -> None:
        """Pin what a user's file or program may have set, and what nobody states in a task."""
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")

    def versions(self) -> Mapping[str, str]:
        """Return the versions of Keras and of its engine."""
        engine = keras.config.backend()
        return {"keras": keras.__version__, engine: version(engine)}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return KerasFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return KerasExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        kind = KerasTraining if task.native is None else KerasNativeTraining
        return kind(task, device=use_device(task))
