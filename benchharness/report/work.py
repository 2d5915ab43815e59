"""Remarks on the work itself: what was done, whether alike, and under which settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from benchharness.report.rows import Line, Note, printable, where
from benchharness.results.cells import proof_word
from benchharness.results.record import UNCONFIRMED

if TYPE_CHECKING:
    from benchharness.fairness.settings import Difference

PLANNED = "as planned"


def proofs_of(lines: Sequence[Line]) -> Iterator[Note]:
    """Yield every verdict that is not ``proven``, with its reason, each said once."""
    places: dict[str, list[str]] = {}
    for line in lines:
        for cell in line.recorded:
            if proof_word(cell.proof) not in ("proven", ""):
                names = places.setdefault(cell.proof, [])
                names += [line.name] if line.name not in names else []
    for verdict, names in places.items():
        yield Note(label="same work", text=f"{_names(names, lines)}: {printable(verdict)}")


def ledgers_of(lines: Sequence[Line]) -> Iterator[Note]:
    """Yield where a backend did not consume the batches that were planned."""
    for line in lines:
        for cell in line.recorded:
            verdicts = ((trial.get("ledger") or {}).get("verdict") for trial in cell.ok)
            for verdict in dict.fromkeys(filter(None, verdicts)):
                if verdict != PLANNED:
                    yield Note(label="batches", text=f"{where(line, cell)}: {printable(verdict)}")


def parameters_of(lines: Sequence[Line]) -> Iterator[Note]:
    """Yield where the backends' networks are of unequal size, with exact counts."""
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


def settings_of(lines: Sequence[Line]) -> Iterator[Note]:
    """Yield the effective settings in which backends differ, those that decide the work first.

    Each difference is said once, with the lines that have it.
    """
    places: dict[tuple[bool, str], list[str]] = {}
    for line in lines:
        for difference in _differences(line):
            key = (difference.decides_work, _told(difference))
            places.setdefault(key, []).append(line.name)
    told: dict[tuple[bool, tuple[str, ...]], list[str]] = {}
    for (decides_work, text), names in places.items():
        told.setdefault((decides_work, tuple(names)), []).append(text)
    for (decides_work, found), texts in sorted(told.items(), key=lambda item: not item[0][0]):
        label = "work differs" if decides_work else "settings differ"
        yield Note(label=label, text=f"{'; '.join(texts)} ({_names(found, lines)})")


def unconfirmed_of(lines: Sequence[Line]) -> Iterator[Note]:
    """Yield the settings of speed that a backend reports and the timed work does not show."""
    for line in lines:
        for cell in line.recorded:
            effective = cell.trials[-1].get("effective") or {}
            names = [printable(name) for name, value in effective.items() if value == UNCONFIRMED]
            if names:
                text = f"{where(line, cell)}: {', '.join(names)}: not seen in the timed work"
                yield Note(label=UNCONFIRMED, text=text)


def versions_of(lines: Sequence[Line]) -> Iterator[Note]:
    """Yield what backends have in other versions, each said once: by this two of one are told."""
    told: dict[str, list[str]] = {}
    for line in lines:
        if text := _versions(line):
            told.setdefault(text, []).append(line.name)
    for text, names in told.items():
        yield Note(label="versions differ", text=f"{text} ({_names(names, lines)})")


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


def _differences(line: Line) -> list[Difference]:
    # Not at the top: it needs NumPy, which the table itself does without.
    from benchharness.fairness.settings import differences

    told = {cell.backend: cell.trials[-1].get("effective") or {} for cell in line.recorded}
    known = {backend: settings for backend, settings in told.items() if settings}
    return list(differences(known)) if len(known) > 1 else []


def _versions(line: Line) -> str:
    by_package: dict[str, dict[str, str]] = {}
    for cell in line.recorded:
        for package, version in (cell.trials[-1].get("versions") or {}).items():
            by_package.setdefault(package, {})[cell.backend] = version
    return "; ".join(
        f"{printable(package)}: "
        + ", ".join(f"{printable(backend)} {printable(one)}" for backend, one in found.items())
        for package, found in by_package.items()
        if len(set(found.values())) > 1
    )


def _told(difference: Difference) -> str:
    values = ", ".join(
        f"{printable(backend)} {printable(value)}"
        for backend, value in difference.values.items()
        if value is not None
    )
    return f"{printable(difference.setting)}: {values}"


def _names(names: Sequence[str], lines: Sequence[Line]) -> str:
    is_everywhere = len(lines) > 1 and len(names) == len(lines)
    return "all benchmarks" if is_everywhere else ", ".join(names)
