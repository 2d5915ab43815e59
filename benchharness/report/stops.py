"""What more time would decide: benchmarks that stopped for want of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchharness.report.lines import Note, printable
from benchharness.run.outlook.duration import spoken


def stops_of(run: Mapping[str, Any]) -> Iterator[Note]:
    """Yield what each benchmark that ran out of time would have needed.

    Args:
        run: As in run.json.
    """
    file = printable((run.get("resolved") or {}).get("file", "SUITE"))
    for look in run.get("looks") or ():
        if look["stop"] == "time":
            point = ", ".join(f"{key}={value}" for key, value in look["matrix"].items())
            track = "" if look["track"] == "equal" else f" ({look['track']})"
            name = printable(look["benchmark"] + (f" [{point}]" if point else "") + track)
            text = f"{name}: {_needed(look)}; benchharness run {file} --resume goes on"
            yield Note(label="out of time", text=text)


def _needed(look: Mapping[str, Any]) -> str:
    more, seconds = look["more_trials"], look["more_s"]
    if more is None:
        return f"even {look['max_trials']} trials would probably not decide it"
    plural = "s" if more > 1 else ""
    return f"{more} more trial{plural}, {spoken(seconds, seconds)}, would probably decide it"
