"""Preview of a run, as a table of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from benchharness.data.info import DatasetInfo
from benchharness.run.dry_run import TrialPreview
from benchharness.run.estimate import CellMemory, duration_text, largest_per_benchmark
from benchharness.run.messages import source_messages
from benchharness.text import format_bytes

_HEADINGS = (
    ("#", ">"),
    ("benchmark", "<"),
    ("backend", "<"),
    ("trial", ">"),
    ("seed", ">"),
    ("epochs", ">"),
    ("steps", ">"),
    ("train", ">"),
    ("val", ">"),
    ("test", ">"),
    ("px", ">"),
    ("params", ">"),
    ("trainable", ">"),
)


def preview(facts: DatasetInfo, previews: Sequence[TrialPreview]) -> str:
    """Return one line per trial with its steps, images and parameter counts."""
    rows = [_row(number, trial_preview) for number, trial_preview in enumerate(previews, start=1)]
    headings = [name for name, _ in _HEADINGS]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [
        "  ".join(
            f"{text:{side}{width}}"
            for text, width, (_, side) in zip(row, widths, _HEADINGS, strict=True)
        ).rstrip()
        for row in (headings, *rows)
    ]
    return "\n".join([*source_messages(facts), *lines, f"{_count(previews)}; none was run"])


def _count(previews: Sequence[TrialPreview]) -> str:
    """Return how many trials there will be."""
    cells = {id(preview.trial.cell): preview.trial.cell for preview in previews}.values()
    most = sum(cell.most for cell in cells)
    if most == len(previews):
        return f"{most} trials"
    return f"{len(previews)} trials, up to {most} where looks ask for more"


def _row(number: int, trial_preview: TrialPreview) -> list[str]:
    trial = trial_preview.trial
    cell = trial.cell
    point = ", ".join(f"{key}={value}" for key, value in cell.matrix.items())
    track = "" if cell.track == "equal" else f" ({cell.track})"
    return [
        str(number),
        cell.benchmark + (f" [{point}]" if point else "") + track,
        cell.backend,
        str(trial.index),
        str(trial.seed),
        str(cell.settings.epochs),
        str(trial_preview.steps),
        str(trial_preview.train_images),
        str(trial_preview.validation_images),
        str(trial_preview.test_images),
        str(cell.settings.image_size),
        f"{trial_preview.workload.params:,}",
        f"{trial_preview.workload.trainable_params:,}",
    ]


def resources_text(seconds: float | None, cells: Sequence[CellMemory]) -> str:
    """Return in a line the time of a plan, by its last run, and the most memory it needs."""
    largest = max(largest_per_benchmark(cells), key=lambda cell: cell.needs.host_bytes)
    memory = f"most memory: {format_bytes(largest.needs.host_bytes)} ({largest.cell.benchmark})"
    if seconds is None:
        return f"{memory}; time: unknown before a first run"
    return f"time: about {duration_text(seconds)}, by the last run; {memory}"
