"""The hook through which benchharness finds Keras."""

from __future__ import annotations

import os
from collections.abc import Mapping

from benchharness.api import Backend, PluginError, Setting, hookimpl

ENGINES = ("tensorflow", "jax", "torch")


@hookimpl
def benchharness_backend(options: Mapping[str, Setting]) -> Backend:
    """Return the Keras backend on the engine of ``options["engine"]``, TensorFlow by default."""
    unknown = sorted(set(options) - {"engine"})
    if unknown:
        raise PluginError(f"backend keras: expected option engine, found {', '.join(unknown)}")
    engine = options.get("engine", "tensorflow")
    if engine not in ENGINES:
        raise PluginError(
            f"backend keras: engine: expected one of {', '.join(ENGINES)}, found {engine!r}"
        )
    # Keras reads its engine once, while it is being imported.
    os.environ["KERAS_BACKEND"] = str(engine)
    try:
        from benchharness_keras.backend import KerasBackend
    except ImportError as error:
        raise PluginError(
            f"backend keras: Keras on {engine} cannot be imported ({error}); "
            f"install it with: pip install 'benchharness-keras[{engine}]'"
        ) from error
    return KerasBackend()
