"""Figures that follow from what was measured: checks, shares of a peak, disturbed trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchharness.results.record import Record

# Phases in which the harness checks what was measured: no user of a framework has them.
CHECKS = ("calibrate_s", "replay_s", "ledger_s")
# A machine is busy where other processes use more than this share of its cores: what is timed then
# is disturbed.
BUSY = 0.25
# What a trial records as the source of its peak: NumPy's matrix product, or its backend's.
NUMPY, BACKEND = "numpy", "backend"


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

    The rate of a matrix product is measured in each trial, on a GPU by way of its backend. What
    else the machine does, and what a backend does beside the product, only ever lowers it: the
    best of the run, whoever measured it, is nearest to what the device can do. So shares of
    different backends have one denominator.

    Args:
        records: Of one run, and so of one device.
    """
    fastest: dict[object, Record] = {}
    for record in records:
        if _peak(record) > _peak(fastest.get(_computing(record))):
            fastest[_computing(record)] = record
    return [_against(record, fastest.get(_computing(record))) for record in records]


def with_disturbance(records: Sequence[Record], cores: int | None) -> list[Record]:
    """Return records with ``is_disturbed``: whether the machine was busy while a trial was timed.

    Args:
        records: Of one run.
        cores: Of its machine; where unknown, one is assumed, which calls more trials disturbed.
    """
    limit = BUSY * (cores or 1)
    return [
        {**record, "is_disturbed": (record["metrics"].get("foreign_cores") or 0.0) > limit}
        for record in records
    ]


def disturbed_count(records: Sequence[Record], cores: int | None) -> int:
    """Return during how many trials the machine was busy, see ``with_disturbance``."""
    return sum(record["is_disturbed"] for record in with_disturbance(records, cores))


def _computing(record: Record) -> object:
    settings = record["settings"]
    return settings.get("precision"), settings.get("threads")


def _peak(record: Record | None) -> float:
    """Return the rate of a record's matrix product; 0 for unknown."""
    return (record["metrics"].get("peak_flops_per_s") if record else None) or 0.0


def _against(record: Record, fastest: Record | None) -> Record:
    metrics = record["metrics"]
    speed, flops = metrics.get("train_images_per_s"), metrics.get("train_flops_per_image")
    if fastest is None or speed is None or flops is None:
        return record
    peak, source = _peak(fastest), fastest["metrics"].get("peak_source")
    shares = {
        "peak_flops_per_s": peak,
        # A trial knows its plugin, and its record the name of its backend.
        "peak_source": fastest["backend"] if source == BACKEND else source,
        "fraction_of_peak": speed * flops / peak,
    }
    return {**record, "metrics": {**metrics, **shares}}
