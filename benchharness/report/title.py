"""What was run, where and on what, in two or three lines over the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchharness.measure.sanity import is_unbalanced
from benchharness.model.conversions import in_words
from benchharness.report.rows import printable
from benchharness.results.record import Record


def heading(run: Mapping[str, Any]) -> str:
    """Return the suite's title, or its name."""
    return printable(run.get("title") or run.get("suite") or "results")


def setting(run: Mapping[str, Any]) -> str:
    """Return suite, profile, device and time, as far as known."""
    parts = (
        ("suite ", run.get("suite")),
        ("profile ", run.get("profile")),
        ("", run.get("device")),
        ("", run.get("started")),
    )
    return " | ".join(f"{word}{printable(value)}" for word, value in parts if value)


def inputs(run: Mapping[str, Any]) -> str:
    """Return where images and weights come from; drawn and random ones are called so."""
    dataset, weights = run.get("dataset") or {}, run.get("weights") or {}
    parts = []
    if dataset:
        parts.append(f"data: {_dataset(dataset)}")
    if weights:
        origin = "random" if weights.get("is_random") else printable(weights.get("origin", ""))
        parts.append(f"weights: {origin}")
    return ", ".join(parts)


def missing_trials(run: Mapping[str, Any], records: Sequence[Record]) -> str:
    """Return that a run is not complete, and how it goes on; empty where it is, or unknown."""
    resolved = run.get("resolved") or {}
    cells = resolved.get("cells", ())
    planned = sum(cell.get("trials", 0) for cell in cells)
    # A comparison decides by itself how many there are.
    if "asked" not in run:
        return ""
    if len(records) < planned:
        missing = f"{len(records)} of {planned} trials"
    elif any(cell.get("max_trials") for cell in cells) and "looks" not in run:
        missing = f"{len(records)} trials, ended before a look found them enough"
    else:
        return ""
    file = printable(resolved.get("file", "SUITE"))
    return f"NOT COMPLETE: {missing}; benchharness run {file} --resume does the rest"


def uses_substitutes(run: Mapping[str, Any]) -> bool:
    """Whether the images are drawn or the pretrained weights random."""
    is_drawn = not (run.get("dataset") or {}).get("is_real", True)
    return is_drawn or bool((run.get("weights") or {}).get("is_random"))


def _dataset(dataset: Mapping[str, Any]) -> str:
    if not dataset.get("is_real", True):
        return "drawn pictures"
    name, origin = printable(dataset.get("name", "")), printable(dataset.get("origin", ""))
    told = [origin] if origin and origin != name else []
    if converted := dataset.get("converted"):
        told.append(f"converted while decoding: {printable(in_words(converted))}")
    if leaks := (dataset.get("leaks") or {}).get("count"):
        told.append(f"{leaks:,} pictures of the test are for training too")
    share = dataset.get("majority_share")
    if share and is_unbalanced(share, classes=len(dataset.get("classes", ()))):
        told.append(f"always guessing the largest class is right on {share:.2f} of the test images")
    return f"{name} ({'; '.join(told)})" if told else name
