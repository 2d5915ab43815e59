"""The hook through which benchharness finds PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchharness.api import Backend, Network, PluginError, Setting, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of benchharness.api, which it was written for.
benchharness_api = "1.0"


@hookimpl
def benchharness_backend(options: Mapping[str, Setting]) -> Backend:
    """Return the PyTorch backend; it has no options."""
    if options:
        raise PluginError(f"backend torch: expected no options, found {', '.join(sorted(options))}")
    try:
        from benchharness_torch.training import TorchBackend
    except ImportError as error:
        raise _absent(error) from error
    return TorchBackend()


@hookimpl
def benchharness_read_weights(
    path: Path, network: Network
) -> Mapping[str, NDArray[np.float32]] | None:
    """Return the weights in a ``.pth`` file of torchvision's; None for any other file."""
    if path.suffix != ".pth":
        return None
    try:
        from benchharness_torch.network import read_checkpoint
    except ImportError as error:
        raise _absent(error) from error
    return read_checkpoint(path, network)


@hookimpl
def benchharness_synchronize(device: str) -> Callable[[], None]:
    """Return what waits for the device."""
    try:
        from benchharness_torch.data import waiter
    except ImportError as error:
        raise _absent(error) from error
    return waiter(device)


def _absent(error: ImportError) -> PluginError:
    return PluginError(
        f"backend torch: PyTorch cannot be imported ({error}); "
        "install it with: pip install 'benchharness-torch'"
    )
