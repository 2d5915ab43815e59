"""Reference backend and contract, for tests and plugin authors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchharness.testing.contract import BackendContract as BackendContract
    from benchharness.testing.contract_plugin import PluginContract as PluginContract

__all__ = ["BackendContract", "PluginContract"]


def __getattr__(name: str) -> object:
    """Import the contract when first asked for: the reference backend runs without pytest."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "contract" if name == "BackendContract" else "contract_plugin"
    return getattr(import_module(f"benchharness.testing.{module}"), name)
