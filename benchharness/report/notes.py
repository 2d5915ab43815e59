"""What a reader must know beside the numbers: failures, flags, and spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchharness.measure.sanity import explain, flags
from benchharness.report.groups import STATUS_WORDS
from benchharness.report.lines import Line, printable
from benchharness.report.numbers import alike
from benchharness.results.cells import Cell

# Above this, (largest - smallest) / median of images/s, one should not read small differences.
UNSTABLE_ABOVE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A remark below the table: what kind, and the sentence."""

    label: str
    text: str


def notes_of(lines: Sequence[Line]) -> list[Note]:
    """Return all remarks, what went wrong first."""
    makers = (_failures, _flags, _differences, _spreads, _published)
    return [note for make in makers for note in make(lines)]


def _failures(lines: Sequence[Line]) -> Iterator[Note]:
    for line, cell in _cells(lines):
        for (status, reason), count in cell.troubles.items():
            trials = f", {count} of {len(cell.trials)} trials" if len(cell.trials) > 1 else ""
            label = STATUS_WORDS.get(status, printable(status))
            yield Note(label=label, text=f"{_where(line, cell)}{trials}: {printable(reason)}")


def _flags(lines: Sequence[Line]) -> Iterator[Note]:
    places: dict[str, dict[str, list[str]]] = {}
    for line, cell in _cells(lines):
        for flag in dict.fromkeys(flag for trial in cell.trials for flag in flags(trial)):
            backends = places.setdefault(flag, {}).setdefault(line.name, [])
            backends.append(printable(cell.backend))
    for flag, found in places.items():
        where = "; ".join(f"{name} ({', '.join(backends)})" for name, backends in found.items())
        yield Note(label=f"! {flag}", text=f"{where}: {explain(flag)}")


def _differences(lines: Sequence[Line]) -> Iterator[Note]:
    for line in lines:
        for metric in ("params", "trainable_params"):
            if len(line.distinct(metric)) > 1:
                counts = ((cell.backend, cell.median(metric)) for cell in line.recorded)
                told = ", ".join(
                    f"{printable(backend)} {count:,.0f}"
                    for backend, count in counts
                    if count is not None
                )
                text = f"{line.name}: {told} {metric}; the backends do not do the same work"
                yield Note(label="params differ", text=text)


def _spreads(lines: Sequence[Line]) -> Iterator[Note]:
    for line, cell in _cells(lines):
        rates = cell.values("train_images_per_s")
        middle = cell.median("train_images_per_s")
        if middle and max(rates) - min(rates) > UNSTABLE_ABOVE * middle:
            low, high = alike([min(rates), max(rates)])
            text = (
                f"{_where(line, cell)}: from {low} to {high} images/s over {len(rates)} trials; "
                "close other programs, or ask for more trials"
            )
            yield Note(label="unstable", text=text)


def work_of(lines: Sequence[Line]) -> list[Note]:
    """Return what each benchmark did: epochs, images, their size, batches."""
    notes = []
    for line in lines:
        record = line.recorded[0].trials[-1]
        settings = record["settings"]
        if record.get("train_count") is None or "epochs" not in settings:
            continue
        epochs, size = settings["epochs"], settings["image_size"]
        scored = " and ".join(
            f"{record[f'{split}_count']:,} {split}"
            for split in ("validation", "test")
            if record.get(f"{split}_count") and record["metrics"].get(f"{split}_top1") is not None
        )
        text = (
            f"{line.name}: {epochs} epoch{'s' if epochs > 1 else ''} of "
            f"{record['train_count']:,} images, {size} x {size} pixels, "
            f"{settings['batch_size']} a step"
        )
        notes.append(Note(label="work", text=f"{text}; {scored} images" if scored else text))
    return notes


def _published(lines: Sequence[Line]) -> Iterator[Note]:
    for line in lines:
        if remark := line.recorded[0].published("note"):
            yield Note(label="published", text=f"{line.name}: {printable(remark)}")


def _cells(lines: Sequence[Line]) -> Iterator[tuple[Line, Cell]]:
    return ((line, cell) for line in lines for cell in line.recorded)


def _where(line: Line, cell: Cell) -> str:
    return f"{line.name} ({printable(cell.backend)})"
