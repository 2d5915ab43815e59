"""Runs over time, recorded and stored, for the tests of the history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from results_records import record

from benchharness.results.run_folder import RunFolder

START = datetime(2026, 11, 2, 6, 30, tzinfo=UTC)
# Noise of one per cent, drawn once.
NOISE = (0.4, -0.9, 1.1, 0.2, -0.5, -1.2, 0.8, 0.1, -0.3, 1.3, -0.7, 0.6, 0.0, -1.0, 0.9, -0.2)
MACHINE = "a processor, 2 cores, Linux x86_64"
PLANTED = 8


def speeds(*, slower: float = 1.0, runs: int = 14) -> list[float]:
    """Return about 100 images a second, and from the ninth run on so many times fewer."""
    return [
        100 * (1 + NOISE[place % len(NOISE)] / 100) / (slower if place >= PLANTED else 1)
        for place in range(runs)
    ]


def run_facts(place: int, **changes: Any) -> dict[str, Any]:
    """Return run.json of the run at a place in time; PyTorch changes with the ninth."""
    return {
        "suite": "pets",
        "started": (START + timedelta(days=place)).isoformat(),
        "device": "a processor (2 cores)",
        "machine": MACHINE,
        "benchharness": "0.1.0",
        "commit": {"id": f"{place:02x}" * 20, "is_dirty": place == 1, "branch": "main", "time": ""},
        "dataset": {"name": "cats_dogs", "slices": [{"image_size": 64, "digest": "d1"}]},
        "weights": {"digest": "w1"},
        "environment": {
            "python": "3.12.1",
            "system": "Linux 6.1",
            "packages": {"numpy": "2.4.6"},
            "accelerators": [],
        },
        "resolved": {"backend": {}},
    } | changes


def write_run(
    results: Path,
    place: int,
    rate: float,
    *,
    benchmark: str = "cnn",
    backend: str = "torch",
    facts: dict[str, Any] | None = None,
    **changes: Any,
) -> RunFolder:
    """Record a run of three trials about a rate."""
    now = START + timedelta(days=place)
    run = RunFolder.create(results, "pets", now=now, token=f"{place:04x}")
    run.write_run(run_facts(place, **(facts or {})))
    version = "2.15.0" if place >= PLANTED else "2.14.1"
    for trial, factor in enumerate((0.99, 1.0, 1.01), start=1):
        own: dict[str, Any] = {
            "settings": {"batch_size": 50, "image_size": 64},
            "metrics": {"train_images_per_s": rate * factor, "peak_host_bytes": 1_500_000_000},
            "versions": {"torch": version},
            "train_count": 800,
        }
        run.append(record(benchmark, backend, trial=trial, **(own | changes)))
    return run


def write_runs(results: Path, rates: Sequence[float], **changes: Any) -> None:
    """Record a run a day."""
    for place, rate in enumerate(rates):
        write_run(results, place, rate, **changes)


def write_storage(
    folder: Path, place: int, median_s: float, *, own: dict[str, Any] | None = None, cores: int = 2
) -> Path:
    """Write a file as pytest-benchmark stores it."""
    content = {
        "machine_info": {
            "node": f"host-{place}",
            "machine": "x86_64",
            "system": "Linux",
            "release": "6.1",
            "python_version": "3.12.1",
            "cpu": {"brand_raw": "a processor", "count": cores},
        },
        "commit_info": {"id": f"{place:02x}" * 20, "dirty": False, "time": None},
        "benchmarks": [
            {
                "name": "test_step[8]",
                "fullname": "test_steps.py::test_step[8]",
                "extra_info": own or {},
                "stats": {
                    "median": median_s,
                    "min": 0.98 * median_s,
                    "mean": median_s,
                    "max": 1.1 * median_s,
                    "q1": 0.99 * median_s,
                    "q3": 1.02 * median_s,
                    "ops": 1 / median_s,
                    "rounds": 40,
                },
            }
        ],
        "datetime": (START + timedelta(days=place)).isoformat(),
        "version": "5.3.1",
    }
    file = folder / "Linux-CPython-3.12-64bit" / f"{place:04}_name.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
