"""The hooks through which benchharness finds Keras, on each of its engines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from benchharness.api import Backend, PluginError, Setting, hookimpl

# Of benchharness.api, which it was written for.
benchharness_api = "1.0"
ENGINES = ("tensorflow", "jax", "torch")
# Read when the engine is imported. Unless told otherwise, TensorFlow and JAX take all the memory
# of a GPU at once, which would hide what a trial needs.
ENVIRONMENT = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    # Every trial compiles: what an earlier one has compiled would change its seconds.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
}


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
    return load_backend(str(engine))


@hookimpl
def benchharness_synchronize(device: str) -> Callable[[], None]:
    """Return what waits for the device, on the engine that this process has."""
    try:
        with _without_user_file():
            from benchharness_keras.engines import ENGINE
    except ImportError as error:
        raise PluginError(
            f"backend keras: Keras cannot be imported ({error}); "
            "install it with: pip install 'benchharness-keras[tensorflow]'"
        ) from error
    return ENGINE.waiter(device)


@dataclass(frozen=True, slots=True)
class OnEngine:
    """The hooks of a backend whose name tells the engine.

    Attributes:
        engine: One of ``ENGINES``.
    """

    engine: str

    @hookimpl
    def benchharness_backend(self, options: Mapping[str, Setting]) -> Backend:
        """Return the Keras backend on this engine; it has no options."""
        if options:
            raise PluginError(
                f"backend keras-{self.engine}: expected no options, "
                f"found {', '.join(sorted(options))}"
            )
        return load_backend(self.engine)

    @hookimpl
    def benchharness_synchronize(self, device: str) -> Callable[[], None]:
        """Return what waits for the device, on the engine that this process has."""
        return benchharness_synchronize(device)


ON_JAX = OnEngine("jax")
ON_TORCH = OnEngine("torch")


def load_backend(engine: str) -> Backend:
    """Import Keras on an engine, and return its backend.

    Raises:
        PluginError: Keras or the engine is missing.
    """
    # Keras reads its engine once, while it is being imported.
    os.environ["KERAS_BACKEND"] = engine
    for name, value in needed(os.environ).items():
        os.environ.setdefault(name, value)
    try:
        with _without_user_file():
            from benchharness_keras.training import KerasBackend
    except ImportError as error:
        raise PluginError(
            f"backend keras: Keras on {engine} cannot be imported ({error}); "
            f"install it with: pip install 'benchharness-keras[{engine}]'"
        ) from error
    return KerasBackend()


@contextmanager
def _without_user_file() -> Iterator[None]:
    """Import Keras with its own defaults, whatever the user's ``keras.json`` says.

    It is read once, in the home of Keras, while Keras is being imported; below the null device
    there can be none.
    """
    before = os.environ.get("KERAS_HOME")
    os.environ["KERAS_HOME"] = os.devnull
    try:
        yield
    finally:
        del os.environ["KERAS_HOME"]
        if before is not None:
            os.environ["KERAS_HOME"] = before


def needed(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables that an engine has to find when it is imported.

    Where the core has hidden every GPU, JAX for CUDA looks for one all the same, and fails.
    """
    is_hidden = environment.get("CUDA_VISIBLE_DEVICES") == ""
    return ENVIRONMENT | ({"JAX_PLATFORMS": "cpu"} if is_hidden else {})
