"""For tests and plugin authors: a reference backend and the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchharness.testing.contract import BackendContract as BackendContract

__all__ = ["BackendContract"]


def __getattr__(name: str) -> object:
    """Import the contract when first asked for: the reference backend runs without pytest."""
    if name == "BackendContract":
        from benchharness.testing.contract import BackendContract

        return BackendContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
