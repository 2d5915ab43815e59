"""What a run would do, as a table of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from benchharness.data.info import DatasetInfo
from benchharness.doctor.check import size
from benchharness.run.dry_run import TrialPreview
from benchharness.run.estimate.duration import time_words
from benchharness.run.estimate.estimate import Estimate
from benchharness.run.estimate.memory import CellNeeds, largest_per_benchmark
from benchharness.run.messages import source_messages

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


def preview(facts: DatasetInfo, forecasts: Sequence[TrialPreview]) -> str:
    """Return one line per trial with its steps, images and parameter counts."""
    rows = [_row(number, one) for number, one in enumerate(forecasts, start=1)]
    headings = [name for name, _ in _HEADINGS]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [
        "  ".join(
            f"{text:{side}{width}}"
            for text, width, (_, side) in zip(row, widths, _HEADINGS, strict=True)
        ).rstrip()
        for row in (headings, *rows)
    ]
    return "\n".join([*source_messages(facts), *lines, f"{_count(forecasts)}; none was run"])


def _count(forecasts: Sequence[TrialPreview]) -> str:
    """Return how many trials there will be."""
    cells = {id(one.trial.cell): one.trial.cell for one in forecasts}.values()
    most = sum(cell.most for cell in cells)
    if most == len(forecasts):
        return f"{most} trials"
    return f"{len(forecasts)} trials, up to {most} where looks ask for more"


def _row(number: int, forecast: TrialPreview) -> list[str]:
    trial = forecast.trial
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
        str(forecast.steps),
        str(forecast.train_images),
        str(forecast.validation_images),
        str(forecast.test_images),
        str(cell.settings.image_size),
        f"{forecast.params:,}",
        f"{forecast.trainable_params:,}",
    ]


def asks(expected: Estimate | None, cells: Sequence[CellNeeds]) -> str:
    """Return in a line what a plan asks of this machine: time, where it is known, and memory."""
    most = max(largest_per_benchmark(cells), key=lambda one: one.needs.host_bytes)
    memory = f"most memory: {size(most.needs.host_bytes)} ({most.cell.benchmark})"
    if expected is None:
        return f"{memory}; time: benchharness doctor estimates it"
    return f"{time_words(expected)}; {memory}"
