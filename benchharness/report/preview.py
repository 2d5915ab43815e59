"""Preview of a run, as plain text: it needs no rich, so that it starts at once."""

from __future__ import annotations

from collections.abc import Sequence

from benchharness.data.info import DatasetInfo
from benchharness.report.rows import row_name
from benchharness.run.dry_run import TrialPreview
from benchharness.run.estimate import CellMemory, duration_text, largest_per_benchmark
from benchharness.run.messages import source_messages
from benchharness.text import format_bytes

_TEXTS = ("benchmark", "backend")


def preview(dataset: DatasetInfo, previews: Sequence[TrialPreview]) -> str:
    """Return one line per trial with its steps, images and parameter counts."""
    columns = {
        "#": [str(number) for number in range(1, len(previews) + 1)],
        "benchmark": [
            row_name(cell.benchmark, cell.matrix, "" if cell.track == "equal" else cell.track)
            for cell in (shown.trial.cell for shown in previews)
        ],
        "backend": [shown.trial.cell.backend for shown in previews],
        "trial": [str(shown.trial.index) for shown in previews],
        "seed": [str(shown.trial.seed) for shown in previews],
        "epochs": [str(shown.trial.cell.settings.epochs) for shown in previews],
        "steps": [str(shown.steps) for shown in previews],
        "train": [str(shown.train_images) for shown in previews],
        "val": [str(shown.validation_images) for shown in previews],
        "test": [str(shown.test_images) for shown in previews],
        "px": [str(shown.trial.cell.settings.image_size) for shown in previews],
        "params": [f"{shown.workload.params:,}" for shown in previews],
        "trainable": [f"{shown.workload.trainable_params:,}" for shown in previews],
    }
    aligned = []
    for name, texts in columns.items():
        width, side = max(map(len, (name, *texts))), "<" if name in _TEXTS else ">"
        aligned.append([f"{text:{side}{width}}" for text in (name, *texts)])
    lines = ["  ".join(row).rstrip() for row in zip(*aligned, strict=True)]
    cells = {id(shown.trial.cell): shown.trial.cell for shown in previews}.values()
    most = sum(cell.most for cell in cells)
    more = "" if most == len(previews) else f", up to {most} where looks ask for more"
    return "\n".join(
        [*source_messages(dataset), *lines, f"{len(previews)} trials{more}; none was run"]
    )


def resources_text(seconds: float | None, cells: Sequence[CellMemory]) -> str:
    """Return in a line the time of a plan, by its last run, and the most memory it needs."""
    largest = max(largest_per_benchmark(cells), key=lambda cell: cell.host_bytes)
    memory = f"most memory: {format_bytes(largest.host_bytes)} ({largest.cell.benchmark})"
    if seconds is None:
        return f"{memory}; time: unknown before a first run"
    return f"time: about {duration_text(seconds)}, by the last run; {memory}"
