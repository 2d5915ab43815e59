"""benchharness: benchmark deep-learning backends on the same work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchharness.results.load import load_results as load_results

__version__ = "0.1.0"
__all__ = ["__version__", "load_results"]


def __getattr__(name: str) -> object:
    """Import ``load_results`` when first asked for: pandas costs half a second at start-up."""
    if name == "load_results":
        from benchharness.results.load import load_results

        return load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
