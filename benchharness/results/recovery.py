"""What is known of a run from its records alone, where run.json is lost or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchharness.errors import RunError
from benchharness.results.record import Record
from benchharness.results.store import RunFolder


def load_run(folder: RunFolder, records: Sequence[Record]) -> tuple[dict[str, Any], list[str]]:
    """Return what run.json says, or what the records do in its place, and what is to be told of it.

    Machine, data and weights are unknown then, and left out rather than guessed.
    """
    try:
        return folder.read_run(), []
    except RunError as error:
        return described_by(folder, records), [
            f"{error}; the report is made from the records alone"
        ]


def described_by(folder: RunFolder, records: Sequence[Record]) -> dict[str, Any]:
    """Return what the records tell of their run, named as in run.json."""
    return {
        "suite": folder.suite,
        "backends": list(dict.fromkeys(record["backend"] for record in records)),
        "started": min((record["started"] for record in records), default=None),
    }
