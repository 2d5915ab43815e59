"""Figures that follow from what was measured: seconds without checks, and shares of a peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchharness.results.record import Record

# Phases in which the harness checks what was measured: no user of a framework has them.
CHECKS = ("calibrate_s", "replay_s", "ledger_s")


def measured(metrics: Mapping[str, Any], name: str) -> Any:
    """Return a metric of a record, ``checks_s`` and ``total_s`` included; None for unknown."""
    if name not in ("checks_s", "total_s"):
        return metrics.get(name)
    checks = [metrics[phase] for phase in CHECKS if metrics.get(phase) is not None]
    if name == "checks_s":
        return sum(checks) if checks else None
    # A phase that is not recorded was never entered.
    wall_s = metrics.get("wall_s")
    return None if wall_s is None else wall_s - sum(checks)


def with_one_peak(records: Sequence[Record]) -> list[Record]:
    """Return the records of a run, all of one precision and thread count held against one peak.

    The rate of a matrix product is measured in each trial, and what else the machine does only
    ever lowers it: the best of the run is nearest to what the device can do.

    Args:
        records: Of one run, and so of one device.
    """
    peaks: dict[object, float] = {}
    for record in records:
        if peak := record["metrics"].get("peak_flops_per_s"):
            peaks[_computing(record)] = max(peak, peaks.get(_computing(record), 0.0))
    return [_against(record, peaks.get(_computing(record))) for record in records]


def _computing(record: Record) -> object:
    settings = record["settings"]
    return settings.get("precision"), settings.get("threads")


def _against(record: Record, peak: float | None) -> Record:
    metrics = record["metrics"]
    speed, flops = metrics.get("train_images_per_s"), metrics.get("train_flops_per_image")
    if peak is None or speed is None or flops is None:
        return record
    shares = {"peak_flops_per_s": peak, "fraction_of_peak": speed * flops / peak}
    return {**record, "metrics": {**metrics, **shares}}
