"""The hook through which benchharness finds PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from benchharness.api import Backend, PluginError, Setting, hookimpl


@hookimpl
def benchharness_backend(options: Mapping[str, Setting]) -> Backend:
    """Return the PyTorch backend; it has no options."""
    if options:
        raise PluginError(f"backend torch: expected no options, found {', '.join(sorted(options))}")
    try:
        from benchharness_torch.backend import TorchBackend
    except ImportError as error:
        raise PluginError(
            f"backend torch: PyTorch cannot be imported ({error}); "
            "install it with: pip install 'benchharness-torch'"
        ) from error
    return TorchBackend()
