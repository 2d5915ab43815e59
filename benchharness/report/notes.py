"""What a reader must know beside the numbers: failures, flags, unequal work, and spread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchharness.measure.sanity import explain, learning
from benchharness.measure.statistics import excessive_scatter
from benchharness.report import outside, work
from benchharness.report.compile_breakeven import paybacks_of
from benchharness.report.metric_columns import STATUS_WORDS
from benchharness.report.numbers import alike
from benchharness.report.rows import Line, Note, cores_of, printable, raised_flags, where
from benchharness.results.cells import Cell

# A machine is steady where the speeds of equal trials have at most this standard deviation, as a
# share of their mean.
STEADY = 0.05
# Probability that a report calls any cell of a steady machine unstable.
UNSTABLE_LEVEL = 0.05


def notes_of(lines: Sequence[Line]) -> list[Note]:
    """Return all remarks, what went wrong first."""
    makers = (
        _failures,
        _flags,
        _few_images,
        work.proofs_of,
        work.ledgers_of,
        work.parameters_of,
        work.versions_of,
        work.settings_of,
        work.unconfirmed_of,
        outside.outside_of,
        outside.unknown_of,
        paybacks_of,
        _misses,
        _throttling,
        _spreads,
        _published,
    )
    return [note for make in makers for note in make(lines)]


def busy_of(run: Mapping[str, Any], lines: Sequence[Line]) -> Iterator[Note]:
    """Yield how busy other processes kept the machine while trials were timed.

    Args:
        run: As in run.json.
        lines: Its lines.
    """
    cores = cores_of(run)
    busy = [
        trial["metrics"]["foreign_cores"] for _, cell in _cells(lines) for trial in cell.disturbed
    ]
    if busy:
        of = f"{cores} cores" if cores else "cores"
        trials = "1 trial was" if len(busy) == 1 else f"{len(busy)} trials were"
        text = (
            f"other processes used {median(busy):.1f} of this machine's {of} while {trials} timed, "
            "so no winner is named from them; close other programs and run again"
        )
        yield Note(label="the machine was busy", text=text)


def _failures(lines: Sequence[Line]) -> Iterator[Note]:
    for line, cell in _cells(lines):
        for (status, reason), count in cell.troubles.items():
            trials = f", {count} of {len(cell.trials)} trials" if len(cell.trials) > 1 else ""
            label = STATUS_WORDS.get(status, printable(status))
            yield Note(label=label, text=f"{where(line, cell)}{trials}: {printable(reason)}")


def _flags(lines: Sequence[Line]) -> Iterator[Note]:
    places: dict[str, dict[str, list[str]]] = {}
    for line, cell in _cells(lines):
        for flag in raised_flags(cell):
            backends = places.setdefault(flag, {}).setdefault(line.name, [])
            backends.append(printable(cell.backend))
    for flag, found in places.items():
        told = "; ".join(f"{name} ({', '.join(backends)})" for name, backends in found.items())
        yield Note(label=f"! {flag}", text=f"{told}: {explain(flag)}")


def _few_images(lines: Sequence[Line]) -> Iterator[Note]:
    places: dict[str, list[str]] = {}
    for line, cell in _cells(lines):
        if any(learning(trial) == "too few images" for trial in cell.ok):
            places.setdefault(line.name, []).append(printable(cell.backend))
    told = "; ".join(f"{name} ({', '.join(backends)})" for name, backends in places.items())
    if told:
        text = f"{told}: the accuracies fit guessing as well as learning; ask for more test images"
        yield Note(label="too few images", text=text)


def _misses(lines: Sequence[Line]) -> Iterator[Note]:
    for line, cell in _cells(lines):
        if cell.ok and cell.target_misses:
            text = (
                f"{where(line, cell)}: {cell.target_misses} of {len(cell.ok)} trials never reached "
                f"{cell.target_top1:g} validation top-1; ask for more epochs"
            )
            yield Note(label="target missed", text=text)


def _throttling(lines: Sequence[Line]) -> Iterator[Note]:
    for line, cell in _cells(lines):
        reasons = dict.fromkeys(trial["metrics"].get("throttled") for trial in cell.ok)
        if told := ", ".join(printable(reason) for reason in reasons if reason):
            text = (
                f"{where(line, cell)}: the device slowed down ({told}); cool it, or cap its clock"
            )
            yield Note(label="throttled", text=text)


def _spreads(lines: Sequence[Line]) -> Iterator[Note]:
    cells = sum(len(line.recorded) for line in lines)
    for line, cell in _cells(lines):
        rates = cell.values("train_images_per_s")
        if scatter := excessive_scatter(rates, limit=STEADY, level=UNSTABLE_LEVEL / cells):
            low, high = alike([min(rates), max(rates)])
            text = (
                f"{where(line, cell)}: from {low} to {high} images/s over {len(rates)} trials, a "
                f"standard deviation of {100 * scatter:.0f} %; close other programs"
            )
            yield Note(label="unstable", text=text)


def _published(lines: Sequence[Line]) -> Iterator[Note]:
    for line in lines:
        if remark := line.recorded[0].published("note"):
            yield Note(label="published", text=f"{line.name}: {printable(remark)}")


def _cells(lines: Sequence[Line]) -> Iterator[tuple[Line, Cell]]:
    return ((line, cell) for line in lines for cell in line.recorded)
