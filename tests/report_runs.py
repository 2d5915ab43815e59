"""Runs for the tests of the report: records as they come from two or three backends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from results_records import record

from benchharness.report.plugins import write_reports
from benchharness.results.run_folder import RunFolder

RUN: dict[str, Any] = {
    "suite": "pets",
    "title": "Cats and dogs",
    "profile": "cpu",
    "device": "a processor (2 cores)",
    "started": "2026-11-24T02:36:33+00:00",
    "benchharness": "0.1.0",
    "backends": ["keras", "torch"],
    "dataset": {"name": "cats_dogs", "origin": "photographs in pets", "is_real": True},
    "weights": None,
    "environment": {"python": "3.12.1", "cores": 2, "packages": {"numpy": "2.4.6"}},
    "resolved": {"name": "pets", "seed": 7},
}
PHASES = {
    "startup_s": 0.25,
    "import_s": 2.5,
    "build_s": 0.125,
    "compile_s": 0.5,
    "train_s": 7.0,
    "evaluate_s": 1.0,
    "ledger_s": 0.0625,
    "teardown_s": 0.5,
    "other_s": 0.0625,
}
RATES = {"keras": (24.0, 25.0, 23.0), "torch": (36.0, 37.25, 34.75), "jax": (30.0, 29.0, 31.0)}
PROVEN = "proven"


def write_page(folder: RunFolder) -> dict[str, Path]:
    """Write the reports of a run, none of which may fail; return page and charts by name."""
    files = write_reports(folder, tell=pytest.fail)
    return {file.name: file for file in files if file.suffix != ".md"}


def trial(benchmark: str, backend: str, number: int, rate: float, **changes: Any) -> dict[str, Any]:
    """Return a trial that went well, everything known of it; ``changes`` replace its keys."""
    epochs = [
        {
            "epoch": epoch,
            "train_s": 2.0 + number / 8,
            "train_loss": 0.75 / epoch,
            "train_top1": 0.5 + epoch / 16,
            "validation_loss": 0.8 / epoch,
            "validation_top1": 0.5 + epoch / 16 + number / 64,
        }
        for epoch in (1, 2, 3)
    ]
    metrics = {
        "train_images_per_s": rate,
        "epoch_s": 200 / rate,
        "validation_top1": epochs[-1]["validation_top1"],
        "test_top1": 0.875 + number / 64,
        "peak_host_bytes": 1_500_000_000 + number,
        "params": 1000,
        "trainable_params": 1000,
        "wall_s": sum(PHASES.values()),
        **PHASES,
    }
    others = [name for name in RATES if name != backend]
    known: dict[str, Any] = {
        "epochs": epochs,
        "metrics": metrics,
        "settings": {"batch_size": 50, "epochs": 3, "image_size": 64, "target_top1": None},
        "effective": {"engine": backend, "precision": "float32"},
        "versions": {backend: "1.2.3"},
        "train_count": 200,
        "proof": PROVEN,
        "proofs": dict.fromkeys(others, PROVEN),
    }
    return record(benchmark, backend, trial=number) | known | changes


def trials(
    benchmark: str = "fine_tune",
    backends: Sequence[str] = ("keras", "torch"),
    *,
    count: int = 3,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Return the trials of some backends on one benchmark."""
    return [
        trial(benchmark, backend, number, RATES[backend][number - 1], **changes)
        for backend in backends
        for number in range(1, count + 1)
    ]


def feeding(backends: Sequence[str] = ("keras", "torch")) -> list[dict[str, Any]]:
    """Return trials that feed and train nothing."""
    return [
        record(
            "feed",
            backend,
            trial=number,
            strategy="dataset",
            epochs=0,
            metrics={"feed_images_per_s": 1000.0 * number, "feed_s": 1.0, "wall_s": 1.0},
        )
        for backend in backends
        for number in (1, 2)
    ]


def failures(status: str = "failed", reason: str = "it broke") -> list[dict[str, Any]]:
    """Return trials that came to nothing."""
    return [
        record("broken", backend, status=status, reason=reason, metrics={}, epochs=0)
        for backend in ("keras", "torch")
    ]


def certificates(off: float = 1e-7) -> dict[str, Any]:
    """Return certificate.json with one pair, its logits so far apart."""
    stages = [
        {
            "stage": "logits",
            "between": between,
            "array": "",
            "off": off,
            "tolerance": 2e-5,
            "within": off <= 2e-5,
        }
        for between in (["keras", "torch"], ["keras", "reference"])
    ]
    verdict = PROVEN if off <= 2e-5 else f"partial: logits ({off:.1e} over 2e-05)"
    pair = {
        "benchmark": "fine_tune",
        "matrix": {},
        "backends": ["keras", "torch"],
        "verdict": verdict,
        "stages": stages,
        "deviations": [],
    }
    tolerances = [{"name": "logits", "meaning": "the network's output"}]
    return {"format": 1, "certificates": [pair], "tolerances": tolerances}
