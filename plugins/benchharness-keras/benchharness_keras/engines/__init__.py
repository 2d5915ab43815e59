"""Engine under Keras in this process: TensorFlow, JAX or PyTorch."""

from __future__ import annotations

from importlib import import_module

import keras

from benchharness_keras.engines.engine import Arrays, Engine, Program, Steps, Tensor

# Keras reads its engine once, while it is being imported; the other engines may be missing.
ENGINE: Engine = import_module(f"benchharness_keras.engines.on_{keras.config.backend()}").ENGINE

__all__ = ["ENGINE", "Arrays", "Engine", "Program", "Steps", "Tensor"]
