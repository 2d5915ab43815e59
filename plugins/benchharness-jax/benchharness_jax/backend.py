"""JAX, with Flax NNX and Optax, as a benchharness backend."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from benchharness.api import Extraction, Feeding, Task, Training
from benchharness_jax.device import use_device
from benchharness_jax.extraction import JaxExtraction
from benchharness_jax.feeding import JaxFeeding
from benchharness_jax.training import JaxTraining


class JaxBackend:
    """Feeds, extracts and trains with JAX."""

    def versions(self) -> Mapping[str, str]:
        """Return the versions of JAX, of its compiler's library, and of what is built on it."""
        return {name: version(name) for name in ("jax", "jaxlib", "flax", "optax")}

    def feed(self, task: Task) -> Feeding:
        """Prepare to bring images to the device."""
        return JaxFeeding(task, device=use_device(task))

    def extract(self, task: Task) -> Extraction:
        """Prepare to run images through the task's frozen network."""
        return JaxExtraction(task, device=use_device(task))

    def train(self, task: Task) -> Training:
        """Build the task's network on the device, ready to learn."""
        return JaxTraining(task, device=use_device(task))
