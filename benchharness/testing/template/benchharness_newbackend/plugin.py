"""The hook through which benchharness finds newbackend."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchharness.api import Backend, PluginError, Setting, hookimpl

# Of benchharness.api, which it was written for.
benchharness_api = "1.1"


@hookimpl
def benchharness_backend(options: Mapping[str, Setting]) -> Backend:
    """Return the newbackend backend; it has no options."""
    if options:
        raise PluginError(
            f"backend newbackend: expected no options, found {', '.join(sorted(options))}"
        )
    # Here and not at the top: listing backends imports this module, and no framework.
    try:
        from benchharness_newbackend.training import NewBackend
    except ImportError as error:
        raise _absent(error) from error
    return NewBackend()


@hookimpl
def benchharness_synchronize(device: str) -> Callable[[], None]:
    """Return what waits for the device."""
    try:
        from benchharness_newbackend.data import waiter
    except ImportError as error:
        raise _absent(error) from error
    return waiter(device)


def _absent(error: ImportError) -> PluginError:
    return PluginError(
        f"backend newbackend: its framework cannot be imported ({error}); "
        "install it with: pip install benchharness-newbackend"
    )
