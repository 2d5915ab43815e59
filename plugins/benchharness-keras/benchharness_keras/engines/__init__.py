"""Engine under Keras in this process: TensorFlow, JAX or PyTorch.

A module for each, beyond the files of the twins: each imports a framework that may be missing, and
what Keras leaves to its engine (devices, compiled steps, resampling) is another program on each.
"""

from __future__ import annotations

from importlib import import_module

import keras

from benchharness_keras.engines.engine import Arrays, Engine, Program, Tensor, named_arrays

# Keras reads its engine once, while it is being imported.
ENGINE: Engine = import_module(f"benchharness_keras.engines.on_{keras.config.backend()}").ENGINE

__all__ = ["ENGINE", "Arrays", "Engine", "Program", "Tensor", "named_arrays"]
