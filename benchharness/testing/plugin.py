"""The reference backend as a plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

from benchharness.api import Backend, PluginError, Setting, hookimpl
from benchharness.testing.reference import DType, NumpyBackend

# Of benchharness.api, which it was written for.
benchharness_api = "1.1"


@hookimpl
def benchharness_backend(options: Mapping[str, Setting]) -> Backend:
    """Return the NumPy backend; its option ``dtype`` is float64 (default) or float32."""
    unknown = sorted(set(options) - {"dtype"})
    if unknown:
        raise PluginError(f"numpy: options: expected dtype, found {', '.join(unknown)}")
    wanted = options.get("dtype", "float64")
    for dtype in get_args(DType):
        if wanted == dtype:
            return NumpyBackend(dtype=dtype)
    raise PluginError(f"numpy: dtype: expected float64 or float32, found {wanted}")


@hookimpl
def benchharness_synchronize(device: str) -> Callable[[], None]:
    """Return what returns at once: NumPy has finished when it returns."""
    return lambda: None
