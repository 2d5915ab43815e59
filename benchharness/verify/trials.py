"""Verification of one trial: its metrics from its blocks, epochs and counts."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Iterator
from fractions import Fraction
from statistics import median
from typing import Any

from benchharness.measure.sanity import flags
from benchharness.results.cells import record_label
from benchharness.results.columns import PHASES
from benchharness.results.record import Record
from benchharness.verify.findings import Findings

_STATUSES = ("ok", "failed", "timeout", "oom", "diverged", "skipped")
_AS_PLANNED = "as planned"
# Means in float32, as older versions recorded accuracies.
_SINGLE = 1e-6
# A trial's clock is read twice at its end, between which a busy machine may do something else.
_LATE_S = 0.01
Timed = dict[int, list[tuple[int, float]]]


def place(record: Record) -> str:
    """Return where a record is, for people."""
    return f"records.jsonl: {record_label(record)}, trial {record['trial']}"


def is_older(record: Record) -> bool:
    """Return whether accuracies may be means in float32 rather than counts."""
    return "class_counts" not in record


def check_trial(record: Record, findings: Findings) -> None:
    """Compare the metrics of a trial with what its raw samples give."""
    where, metrics = place(record), record["metrics"]
    within = _SINGLE if is_older(record) else 1e-9
    for name, expected in _derived(record, findings):
        if name in metrics:
            close = within if name.endswith("_top1") else 1e-9
            findings.compare(f"{where}: {name}", expected, metrics[name], within=close)
        elif expected is not None:
            findings.skip(f"{name}, which some trials do not record")
    findings.compare(f"{where}: flags", list(flags(record)), list(record["flags"]))
    _check_end(record, where, findings)


def _check_end(record: Record, where: str, findings: Findings) -> None:
    status, failure = record["status"], record.get("failure")
    if status not in _STATUSES:
        findings.add(f"{where}: status", f"one of {', '.join(_STATUSES)}", status)
    findings.compare(f"{where}: reason given", status != "ok", bool(record["reason"]))
    if status in ("ok", "skipped"):
        findings.compare(f"{where}: failure", None, failure)
    elif not failure:
        if not is_older(record):
            findings.add(f"{where}: failure", "the phase in which it failed", "none")
    elif failure.get("epoch") is not None:
        blocks = record.get("blocks") or ()
        done = max([0, *(e["epoch"] for e in record["epochs"]), *(block[0] for block in blocks)])
        findings.compare(f"{where}: epoch of the failure", done + 1, failure["epoch"])


def _derived(record: Record, findings: Findings) -> Iterator[tuple[str, Any]]:
    """Yield the metrics that follow from other records of a trial, by name."""
    metrics = record["metrics"]
    if metrics.get("wall_s") is not None:
        # Stored features were computed within another trial's time.
        reused = ("extract_s",) if metrics.get("extract_reused") else ()
        phases = (metrics.get(name) for name in PHASES if name not in reused)
        total_s = math.fsum(seconds for seconds in phases if seconds is not None)
        is_whole = abs(total_s - metrics["wall_s"]) < _LATE_S
        yield "wall_s", metrics["wall_s"] if is_whole else total_s
    if record["status"] != "ok":
        return
    if metrics.get("extract_s"):
        splits = ("train", "validation", "test")
        images = sum(record.get(f"{split}_count") or 0 for split in splits)
        yield "extract_images_per_s", images / metrics["extract_s"]
    if metrics.get("compute_ms") is not None:
        outside = 1 - metrics["compute_ms"] / metrics["step_ms_p50"]
        yield "outside_fraction", max(0.0, outside)
    speed, peak = metrics.get("train_images_per_s"), metrics.get("peak_flops_per_s")
    if speed and peak and metrics.get("train_flops_per_image") is not None:
        yield "fraction_of_peak", speed * metrics["train_flops_per_image"] / peak
    if record.get("test_bits") is not None:
        bits = b64decode(record["test_bits"])
        ones = sum(byte.bit_count() for byte in bits)
        findings.compare(f"{place(record)}: test_bits", -(-record["test_count"] // 8), len(bits))
        yield "test_right", ones
        yield "test_top1", ones / record["test_count"]
    elif metrics.get("test_right") is not None:
        yield "test_top1", metrics["test_right"] / record["test_count"]
    elif metrics.get("test_top1") is not None:
        findings.skip("test_top1 of older trials, which do not record which images are right")
    yield from _timing(record, findings)
    if record["epochs"]:
        yield from _learning(record, findings)


def _timing(record: Record, findings: Findings) -> Iterator[tuple[str, Any]]:
    """Yield speeds and step times, from the blocks."""
    where, settings = place(record), record["settings"]
    timed: Timed = {}
    for epoch, steps, seconds in record.get("blocks") or ():
        timed.setdefault(epoch, []).append((steps, seconds))
    if not timed:
        if is_older(record):
            findings.skip("speeds of older trials, which do not record blocks")
        else:
            findings.add(f"{where}: blocks", "timed blocks", "none")
        return
    findings.compare(f"{where}: timed epochs", list(range(1, settings["epochs"] + 1)), list(timed))
    epoch_s = {epoch: math.fsum(s for _, s in blocks) for epoch, blocks in timed.items()}
    total_s, is_feeding = math.fsum(epoch_s.values()), record["strategy"] == "dataset"
    for epoch in record["epochs"]:
        at = f"{where}: epoch {epoch['epoch']}: train_s"
        findings.compare(at, epoch_s.get(epoch["epoch"]), epoch["train_s"])
    ledger = (record.get("ledger") or {}).get("verdict")
    if ledger is None and not is_older(record):
        findings.add(f"{where}: ledger", "a verdict on the batches", "none")
    if ledger not in (None, _AS_PLANNED):
        findings.skip("rates of trials whose batches were not as planned")
    else:
        planned = math.ceil(record["train_count"] / settings["batch_size"])
        for number, blocks in timed.items():
            taken = sum(steps for steps, _ in blocks)
            findings.compare(f"{where}: steps of epoch {number}", planned, taken)
        rate = "feed_images_per_s" if is_feeding else "train_images_per_s"
        yield rate, record["train_count"] * len(timed) / total_s
    yield "feed_s" if is_feeding else "train_s", total_s
    yield "epoch_s", total_s / len(timed) if is_feeding else median(epoch_s.values())
    yield "best_epoch_s", _best_epoch_s(timed)
    steps_s = sorted((s / steps, steps) for blocks in timed.values() for steps, s in blocks)
    count = sum(steps for _, steps in steps_s)
    for percent in (50, 90, 99):
        # Of all steps in order, the first that so many per cent do not exceed.
        last, reached = math.ceil(Fraction(count * percent, 100)), 0
        for seconds, steps in steps_s:
            reached += steps
            if reached >= last:
                yield f"step_ms_p{percent}", 1000 * seconds
                break


def _best_epoch_s(timed: Timed) -> float:
    """Return the fastest first half of an epoch, and the fastest second half."""
    first, second = [], []
    for blocks in timed.values():
        middle = sum(steps for steps, _ in blocks) // 2
        edges = [sum(steps for steps, _ in blocks[: n + 1]) for n in range(len(blocks))]
        cut = edges.index(middle) + 1 if middle in edges else 0
        first.append(math.fsum(s for _, s in blocks[:cut]))
        second.append(math.fsum(s for _, s in blocks[cut:]))
    return min(first) + min(second)


def _learning(record: Record, findings: Findings) -> Iterator[tuple[str, Any]]:
    """Yield losses and accuracies, from the epochs."""
    where, epochs = place(record), record["epochs"]
    findings.compare(f"{where}: epochs", record["settings"]["epochs"], len(epochs))
    for epoch in epochs:
        for split in ("train", "validation"):
            if (right := epoch.get(f"{split}_right")) is not None:
                at = f"{where}: epoch {epoch['epoch']}: {split}_top1"
                findings.compare(at, right / record[f"{split}_count"], epoch[f"{split}_top1"])
    names = ["train_loss", "train_top1"]
    names += [f"validation_{name}" for name in ("loss", "top1", "right")]
    yield from ((name, epochs[-1].get(name)) for name in names)
    scored = [epoch for epoch in epochs if epoch.get("validation_top1") is not None]
    if not scored:
        return
    best = max(epoch["validation_top1"] for epoch in scored)
    yield "best_validation_top1", best
    yield "best_epoch", next(e["epoch"] for e in scored if e["validation_top1"] == best)
    target, needed_s, passed_s = record["settings"].get("target_top1"), None, 0.0
    for epoch in scored if target is not None else ():
        passed_s += epoch["train_s"]
        if epoch["validation_top1"] >= target:
            needed_s = passed_s
            break
    yield "time_to_top1_s", needed_s
