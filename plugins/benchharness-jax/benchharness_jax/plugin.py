"""The hook through which benchharness finds JAX."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from benchharness.api import Backend, PluginError, Setting, hookimpl

# Of benchharness.api, which it was written for.
benchharness_api = "1.0"
# Read when XLA starts. Unless told otherwise, it takes most of a GPU's memory at once, which
# would hide what a trial needs.
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    # Every trial compiles: what an earlier one has compiled would change its seconds.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
}


@hookimpl
def benchharness_backend(options: Mapping[str, Setting]) -> Backend:
    """Return the JAX backend; it has no options."""
    if options:
        raise PluginError(f"backend jax: expected no options, found {', '.join(sorted(options))}")
    for name, value in needed(os.environ).items():
        os.environ.setdefault(name, value)
    try:
        from benchharness_jax.training import JaxBackend
    except ImportError as error:
        raise _absent(error) from error
    return JaxBackend()


@hookimpl
def benchharness_synchronize(device: str) -> Callable[[], None]:
    """Return what waits for the device."""
    try:
        from benchharness_jax.data import waiter
    except ImportError as error:
        raise _absent(error) from error
    return waiter(device)


def needed(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables that JAX has to find when it is imported.

    Where the core has hidden every GPU, JAX for CUDA looks for one all the same, and fails.
    """
    is_hidden = environment.get("CUDA_VISIBLE_DEVICES") == ""
    return ENVIRONMENT | ({"JAX_PLATFORMS": "cpu"} if is_hidden else {})


def _absent(error: ImportError) -> PluginError:
    return PluginError(
        f"backend jax: JAX, Flax or Optax cannot be imported ({error}); "
        "install them with: pip install 'benchharness-jax'"
    )
