"""How long a suite takes, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchharness.doctor.check import Finding
from benchharness.run.estimate.estimate import Estimate


def time_words(found: Estimate) -> str:
    """Return how long a suite takes, as closely as it is known."""
    again = format_duration_range(*found.trials_range_s)
    first = format_duration_range(*found.range_s)
    return f"about {first}" + (f" the first time, {again} from then on" if again != first else "")


def time_findings(
    found: Estimate | None, *, is_busy: bool, obstacle: str = ""
) -> Iterator[Finding]:
    """Yield how long the suite takes.

    Args:
        obstacle: Why there is no estimate.
    """
    if found is None:
        yield Finding(mark="warn", subject="time", text=f"not estimated: {obstacle}")
        return
    yield Finding(
        mark="warn" if is_busy else "ok",
        subject="time",
        text=time_words(found),
        remedy="others are computing here: it can take several times as long" if is_busy else "",
    )


def format_duration_range(low_s: float, high_s: float) -> str:
    """Return a range of seconds as people say it, never closer than it is known."""
    unit, name = next(
        (unit, name)
        for unit, name in ((3600, "h"), (60, "min"), (1, "s"))
        if high_s >= 2 * unit or unit == 1
    )
    step = 5 if unit == 1 and high_s > 20 else 0.5 if unit == 3600 and high_s < 36_000 else 1
    low = max(step, math.floor(low_s / unit / step) * step)
    high = max(low, math.ceil(high_s / unit / step) * step)
    return f"{low:g} {name}" if low == high else f"{low:g}-{high:g} {name}"
