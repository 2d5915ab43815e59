"""Records as a run makes them, for the tests of results and reports."""

from __future__ import annotations

from typing import Any


def record(
    benchmark: str = "simple_cnn",
    backend: str = "keras",
    *,
    trial: int = 1,
    matrix: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    epochs: int = 2,
    **changes: Any,
) -> dict[str, Any]:
    """Return a sound record; ``metrics`` replaces all of them, ``changes`` other keys."""
    matrix = matrix or {}
    whole = {
        "format": 2,
        "id": f"{benchmark}-{backend}-{trial}-{matrix}",
        "benchmark": benchmark,
        "strategy": "simple_cnn",
        "backend": backend,
        "track": "equal",
        "matrix": matrix,
        "trial": trial,
        "seed": 41 + trial,
        "status": "ok",
        "reason": "",
        "flags": [],
        "settings": {"batch_size": 50},
        "metrics": {"train_images_per_s": 100.0, "test_top1": 0.9} if metrics is None else metrics,
        "epochs": [
            {"epoch": epoch, "train_s": 2.5, "train_loss": 0.5 / epoch}
            for epoch in range(1, epochs + 1)
        ],
        "effective": {},
        "versions": {},
        "classes": 2,
        "test_count": 800,
        "published": None,
        "log": "logs/x.log",
        "started": "2026-11-23T14:02:10Z",
    }
    return whole | changes
