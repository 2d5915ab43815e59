"""The record of one finished trial, as it stands in records.jsonl.

A record is a JSON object. Absent or null means unknown; a number is never put in its place.

- ``format``: 2. In format 1 there were no ``failure``, ``attempts`` and
  ``unreleased_device_bytes``.
- ``id``: digest of all that decides the trial's outcome; a trial run again keeps its id.
- ``benchmark``, ``strategy``, ``backend``, ``track``: names.
- ``matrix``: setting to value, the point of the benchmark's matrix; empty without a matrix.
- ``trial``, ``seed``: integers; trials count from 1.
- ``max_trials``: most trials of its cell where looks at the ratios decide when to stop; absent or
  null where the number was fixed.
- ``status``: ``ok``, ``failed``, ``timeout``, ``oom``, ``diverged`` or ``skipped``.
- ``reason``: why it is not ok, and what to try; else empty.
- ``failure``: where it went wrong: ``phase``, ``epoch`` (null outside of one) and ``log_tail``,
  the last lines of its log; null where nothing did.
- ``attempts``: ``status`` and ``reason`` of each attempt before this one, which ``--retries``
  repeated; most often none.
- ``unreleased_device_bytes``: device memory that was not released after its end; 0 where it was, or
  unknown.
- ``flags``: what looks wrong with its numbers, from ``benchharness.measure.sanity``.
- ``settings``, ``effective``, ``versions``: what was asked, what the framework says it did (flat,
  named as in ``Work.settings``, with the variables of ``benchharness.measure.machine``;
  ``UNCONFIRMED`` where the timed work does not show it), and which versions did it.
- ``modules``: ``version`` and ``file`` of what was imported of the core, the plugin and its
  framework; absent in older records.
- ``proof``: the verdict on this trial: ``proven``, ``partial: WHAT (HOW FAR)`` or ``not
  comparable: WHY``; empty when no proof was requested.
- ``proofs``: other backend to the verdict on the pair, this trial's ledger and settings included.
- ``ledger``: ``verdict`` (``as planned``, or what is not), ``epochs``, ``steps`` and ``digest`` of
  the batches that were really consumed.
- ``blocks``: a list of ``[epoch, steps, seconds]``, the stretches of steps that were timed.
- ``metrics``: see ``METRICS`` in ``benchharness.results.columns``.
- ``epochs``: one object per epoch, see ``EPOCH`` there.
- ``classes``, ``train_count``, ``validation_count``, ``test_count``: integers.
- ``class_counts``: images of each class, by ``train``, ``validation`` and ``test``; absent in older
  records.
- ``test_bits``: which test images are right, as ``benchharness.measure.accuracy.packed`` has it;
  absent in older records.
- ``published``: ``top1``, ``epoch_s`` and ``note`` of the source that the benchmark reproduces.
- ``data``, ``weights``: digests of the images and of the pretrained weights that it read; null
  without such weights, both absent in older records.
- ``source``: in a merged run the name of the run that the record comes from; else absent.
- ``host``, ``machine``: the host that ran it, and its kind of machine; absent in older records,
  all of which ran where run.json says.
- ``place``: of its cell in the plan, from 0, by which records of a cluster are ordered; absent in
  others, which ended in the order of the plan.
- ``log``: path below the run folder. ``started``: UTC, ISO 8601.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

FORMAT = 2
UNCONFIRMED = "unconfirmed"
# Phases in which the harness checks what was measured: no user of a framework has them.
CHECKS = ("calibrate_s", "replay_s", "ledger_s")
# A machine is busy where other processes use more than this share of its cores: what is timed then
# is disturbed.
BUSY = 0.25
# As ``benchharness.measure.machine.machine_label`` writes them.
_CORES = re.compile(r", (\d+) cores\b")
# What a trial records as the source of its peak: NumPy's matrix product, or its backend's.
NUMPY, BACKEND = "numpy", "backend"

Record = dict[str, Any]


def in_present_format(record: Record) -> Record | None:
    """Return a record of this format or an older one as one of this; None for one of a newer."""
    written = record.get("format", FORMAT)
    if written not in (1, FORMAT):
        return None
    if written == 1:
        record = {**record, "format": FORMAT, "failure": None, "attempts": [], "held_bytes": 0}
    if "held_bytes" in record:
        record = _renamed(record, "held_bytes", "unreleased_device_bytes")
    if "last_words" in (record.get("failure") or {}):
        record = {**record, "failure": _renamed(record["failure"], "last_words", "log_tail")}
    return record if "class_counts" in record else _counted(record)


def _renamed(fields: Record, old: str, new: str) -> Record:
    return {new if name == old else name: value for name, value in fields.items()}


def _counted(record: Record) -> Record:
    """Return an older record, whose accuracies may be means in float32, with counts over images.

    So 36 of 40 are 0.9, and reach that target, where a mean was 0.89999998.
    """
    if record.get("status") != "ok":
        return record
    metrics, epochs = dict(record["metrics"]), [dict(epoch) for epoch in record["epochs"]]
    for split in ("validation", "test"):
        count, name = record.get(f"{split}_count"), f"{split}_top1"
        for scored in (metrics, *epochs):
            if count and scored.get(name) is not None:
                scored[name] = round(scored[name] * count) / count
    target = record["settings"].get("target_top1")
    if target is not None and metrics.get("time_to_top1_s") is None:
        times = accumulate(epoch["train_s"] for epoch in epochs)
        metrics["time_to_top1_s"] = next(
            (
                time_s
                for time_s, epoch in zip(times, epochs, strict=True)
                if (epoch.get("validation_top1") or 0.0) >= target
            ),
            None,
        )
    return {**record, "metrics": metrics, "epochs": epochs}


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return records of a cluster in the order of the plan, others as they are."""
    return sorted(records, key=lambda r: (r["place"], r["trial"]) if "place" in r else ())


def failed_in(record: Record) -> str | None:
    """Return the phase in which a trial went wrong, and the epoch; None where unknown or none."""
    failure = record.get("failure") or {}
    phase, epoch = failure.get("phase"), failure.get("epoch")
    return f"{phase}, epoch {epoch}" if phase and epoch else phase


def without_nan(value: Any) -> Any:
    """Return JSON-like data with null in place of NaN and infinities, for which JSON has no word.

    The trial's status (``diverged``) tells that such a number was met.
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def machines_of(records: Sequence[Record]) -> list[str]:
    """Return the kind of machine of each record of a run; empty where nothing states it.

    Older records are of the run's only machine.
    """
    stated = {machine for record in records if (machine := record.get("machine"))}
    default = next(iter(stated)) if len(stated) == 1 else ""
    return [record.get("machine") or default for record in records]


def with_one_peak(records: Sequence[Record]) -> list[Record]:
    """Return the records of one run, with one peak per machine, precision and thread count.

    The rate of a matrix product is measured in each trial, on a GPU by way of its backend. What
    else the machine does, and what a backend does beside the product, only ever lowers it: the
    best of the run, whoever measured it, is nearest to what the device can do. So shares of
    different backends have one denominator.
    """

    def peak(record: Record) -> float:
        return record["metrics"].get("peak_flops_per_s") or 0.0

    kinds = [
        (machine, record["settings"].get("precision"), record["settings"].get("threads"))
        for machine, record in zip(machines_of(records), records, strict=True)
    ]
    fastest: dict[object, Record] = {}
    for kind, record in zip(kinds, records, strict=True):
        fastest[kind] = max(fastest.get(kind, record), record, key=peak)
    result = []
    for kind, record in zip(kinds, records, strict=True):
        metrics, best = record["metrics"], fastest[kind]
        speed, flops = metrics.get("train_images_per_s"), metrics.get("train_flops_per_image")
        if peak(best) and speed is not None and flops is not None:
            source = best["metrics"].get("peak_source")
            shares = {
                "peak_flops_per_s": peak(best),
                # A trial knows its plugin, and its record the name of its backend.
                "peak_source": best["backend"] if source == BACKEND else source,
                "fraction_of_peak": speed * flops / peak(best),
            }
            record = {**record, "metrics": {**metrics, **shares}}
        result.append(record)
    return result


def with_disturbance(records: Sequence[Record], cores: int | None) -> list[Record]:
    """Return a run's records with ``is_disturbed``: whether the machine was busy during a trial.

    Args:
        cores: Of the machines that do not state theirs; where unknown, one is assumed, which calls
            more trials disturbed.
    """

    def limit(record: Record) -> float:
        stated = _CORES.search(record.get("machine") or "")
        return BUSY * (int(stated[1]) if stated else cores or 1)

    return [
        {**record, "is_disturbed": (record["metrics"].get("foreign_cores") or 0.0) > limit(record)}
        for record in records
    ]


def disturbed_count(records: Sequence[Record], cores: int | None) -> int:
    """Return during how many trials the machine was busy, see ``with_disturbance``."""
    return sum(record["is_disturbed"] for record in with_disturbance(records, cores))
