"""Numbers as a reader compares them: the same digits for what stands side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNKNOWN = "-"
MOST_DECIMALS = 3


def alike(values: Sequence[float | None], *, digits: int = 3) -> list[str]:
    """Return numbers with the same count of decimals, enough for the smallest of them.

    Args:
        values: None where unknown.
        digits: Significant digits of the smallest, within ``MOST_DECIMALS``.
    """
    sizes = [abs(value) for value in values if value]
    leading = math.floor(math.log10(min(sizes))) if sizes else digits
    decimals = min(MOST_DECIMALS, max(0, digits - 1 - leading))
    return [UNKNOWN if value is None else f"{value:,.{decimals}f}" for value in values]


def share(value: float | None) -> str:
    """Return a share of 0-1 with four decimals, as accuracies are published."""
    return UNKNOWN if value is None else f"{value:.4f}"


def aligned(texts: Sequence[str]) -> list[str]:
    """Return texts of one width, right-aligned."""
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]
