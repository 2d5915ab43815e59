"""What the records of a cell are to pytest-benchmark: rounds, and facts about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchharness import __version__
from benchharness.measure.machine import fingerprint, machine_label
from benchharness.results.cells import cells_of
from benchharness.results.record import Record
from benchharness.run.inputs import RunInputs
from benchharness.suite.plan import Cell, Plan

# Medians over the trials, beside the times.
_METRICS = (
    "test_top1",
    "validation_top1",
    "train_images_per_s",
    "feed_images_per_s",
    "peak_host_bytes",
    "peak_device_bytes",
)


def label(cell: Cell) -> str:
    """Return the name of a cell's item: ``simple_cnn[batch_size=64]-torch``."""
    track = "" if cell.track == "equal" else f"-{cell.track}"
    return f"{_point(cell)}-{cell.backend}{track}"


def group(plan: Plan, cell: Cell) -> str:
    """Return what cells have in common that are held against each other."""
    track = "" if cell.track == "equal" else f" ({cell.track})"
    return f"{plan.suite.name}: {_point(cell)}{track}"


def params(cell: Cell) -> dict[str, Any]:
    """Return what ``--benchmark-group-by=param:NAME`` can group by."""
    own = {"benchmark": cell.benchmark, "backend": cell.backend, "track": cell.track}
    return {**cell.matrix, **own}


def seconds_per_step(records: Iterable[Record]) -> list[float]:
    """Return a round for each block of steps that was timed, in running order.

    A block counts with the mean of its steps: the device is waited for at its edges alone.
    """
    return [
        seconds / steps for record in records for _, steps, seconds in record["blocks"] if steps
    ]


def facts(
    plan: Plan,
    cell: Cell,
    records: Sequence[Record],
    *,
    materials: RunInputs,
    device: str,
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """Return what a file of pytest-benchmark tells of a cell, JSON-able.

    Args:
        cell: With settled settings.
        records: Of its trials, all of them ok.
        device: Name.
        variables: Of the workers' environment, those that are part of what is measured.
    """
    (found,) = cells_of(records)
    settings = cell.settings.model_dump(mode="json")
    pretrained = materials.pretrained(cell)
    return {
        "benchharness": __version__,
        "kind": "cell",
        "unit": "seconds per step",
        "suite": plan.suite.name,
        "profile": plan.profile,
        "benchmark": cell.benchmark,
        "strategy": cell.strategy,
        "backend": cell.backend,
        "track": cell.track,
        "matrix": dict(cell.matrix),
        "batch_size": cell.settings.batch_size,
        "proof": found.proof,
        "proofs": {other: found.proof_against(other) for other in records[0]["proofs"]},
        "machine": machine_label(fingerprint()),
        "device": device,
        "precision": cell.settings.precision,
        "dataset": {
            "name": materials.dataset.title,
            "digest": materials.prepared(cell).digest,
        },
        "weights": pretrained and {"name": pretrained.backbone, "digest": pretrained.digest},
        "settings": {**settings, **variables},
        "settings_digest": _digest(settings),
        "options": _options(plan, cell.backend),
        "versions": records[-1]["versions"],
        **{name: found.median(name) for name in _METRICS if found.values(name)},
        "trials": [record["id"] for record in records],
    }


def _options(plan: Plan, backend: str) -> dict[str, Any]:
    """Return which plugin a backend is, and with which options."""
    table = plan.suite.backend.get(backend)
    plugin = (table.plugin if table else None) or backend
    return {"plugin": plugin, **(table.options if table else {})}


def _point(cell: Cell) -> str:
    """Return a benchmark and the point of its matrix."""
    settings = ",".join(f"{name}={_shown(value)}" for name, value in cell.matrix.items())
    return f"{cell.benchmark}[{settings}]" if settings else cell.benchmark


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
