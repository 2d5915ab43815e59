"""Reference backend and contract, for tests and plugin authors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchharness.testing.contract import BackendContract as BackendContract
    from benchharness.testing.contract_plugin import PluginContract as PluginContract

__all__ = ["BackendContract", "PluginContract"]
_HOMES = {"BackendContract": "contract", "PluginContract": "contract_plugin"}


def __getattr__(name: str) -> object:
    """Import the contract when first asked for: the reference backend runs without pytest."""
    if name in _HOMES:
        return getattr(import_module(f"benchharness.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
