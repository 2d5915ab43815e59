"""Benchmarks that ran out of time, and what more of it would decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from benchharness.report.rows import Note, printable


def stops_of(run: Mapping[str, Any]) -> Iterator[Note]:
    """Yield what each benchmark that ran out of time would have needed.

    Args:
        run: As in run.json.
    """
    for look in run.get("looks") or ():
        if look["stop"] == "time":
            point = ", ".join(f"{key}={value}" for key, value in look["matrix"].items())
            track = "" if look["track"] == "equal" else f" ({look['track']})"
            name = printable(look["benchmark"] + (f" [{point}]" if point else "") + track)
            yield Note(label="out of time", text=f"{name}: {_needed(look)}")


def _needed(look: Mapping[str, Any]) -> str:
    more, seconds = look["more_trials"], look["more_s"]
    if more is None:
        return f"even {look['max_trials']} trials of each would probably not decide it"
    trials = f"{more} more trial{'s' if more > 1 else ''} of each"
    time = f"{math.ceil(seconds)} s" if seconds < 120 else f"{math.ceil(seconds / 60)} minutes"
    return f"{trials}, {time}, would probably decide it: --resume"
