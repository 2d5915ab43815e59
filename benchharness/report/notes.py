"""Notes of a report: failures, suspicious numbers, unequal work, spread, and what was run."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from benchharness.measure.sanity import explain, learning
from benchharness.measure.statistics import excessive_scatter
from benchharness.report.compile_breakeven import breakeven_notes
from benchharness.report.metric_columns import STATUS_WORDS
from benchharness.report.rows import (
    Note,
    Row,
    alike,
    cell_label,
    cores_of,
    notable_outside_share,
    printable,
    raised_flags,
)
from benchharness.results.cells import Cell, proof_word
from benchharness.results.record import UNCONFIRMED

if TYPE_CHECKING:
    from benchharness.fairness.settings import SettingDifference

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
# A machine is steady where the speeds of equal trials have at most this standard deviation, as a
# share of their mean.
STEADY = 0.05
# Probability that a report calls any cell of a steady machine unstable.
UNSTABLE_LEVEL = 0.05
PLANNED = "as planned"


def notes_of(run: Mapping[str, Any], rows: Sequence[Row]) -> list[Note]:
    """Return what a reader must know, what went wrong first.

    Args:
        run: As in run.json.
        rows: Of its table.
    """
    makers = (
        _failures,
        _flags,
        _few_images,
        _unproven,
        _unplanned_batches,
        _parameters,
        _versions,
        _settings,
        _unconfirmed,
        _outside,
        _unknown_computation,
        breakeven_notes,
        _misses,
        _throttling,
        _spreads,
        _published,
    )
    notes = [note for make in makers for note in make(rows)]
    return [*notes, *_busy(run, rows), *out_of_time(run)]


def work_of(rows: Sequence[Row]) -> list[Note]:
    """Return what each benchmark did: epochs, images, their size, batches."""
    notes = []
    for row in rows:
        record = row.recorded[0].trials[-1]
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
            f"{row.name}: {epochs} epoch{'s' if epochs > 1 else ''} of "
            f"{record['train_count']:,} images, {size} x {size} pixels, "
            f"{settings['batch_size']} a step"
        )
        notes.append(Note(label="work", text=f"{text}; {scored} images" if scored else text))
    return notes


def out_of_time(run: Mapping[str, Any]) -> Iterator[Note]:
    """Yield what each benchmark that ran out of time would have needed.

    Args:
        run: As in run.json.
    """
    for look in run.get("looks") or ():
        if look["stop"] != "time":
            continue
        point = ", ".join(f"{key}={value}" for key, value in look["matrix"].items())
        track = "" if look["track"] == "equal" else f" ({look['track']})"
        name = printable(look["benchmark"] + (f" [{point}]" if point else "") + track)
        more, seconds = look["more_trials"], look["more_s"]
        if more is None:
            needed = f"even {look['max_trials']} trials of each would probably not decide it"
        else:
            trials = f"{more} more trial{'s' if more > 1 else ''} of each"
            time = (
                f"{math.ceil(seconds)} s" if seconds < 120 else f"{math.ceil(seconds / 60)} minutes"
            )
            needed = f"{trials}, {time}, would probably decide it: --resume"
        yield Note(label="out of time", text=f"{name}: {needed}")


def _busy(run: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[Note]:
    """Yield how busy other processes kept the machine while trials were timed."""
    cores = cores_of(run)
    busy = [t["metrics"]["foreign_cores"] for _, cell in _cells(rows) for t in cell.disturbed]
    if busy:
        of = f"{cores} cores" if cores else "cores"
        trials = "1 trial was" if len(busy) == 1 else f"{len(busy)} trials were"
        text = (
            f"other processes used {median(busy):.1f} of this machine's {of} while {trials} timed, "
            "so no winner is named from them; close other programs and run again"
        )
        yield Note(label="the machine was busy", text=text)


def _failures(rows: Sequence[Row]) -> Iterator[Note]:
    for row, cell in _cells(rows):
        for (status, reason), count in cell.failures.items():
            trials = f", {count} of {len(cell.trials)} trials" if len(cell.trials) > 1 else ""
            label = STATUS_WORDS.get(status, printable(status))
            yield Note(label=label, text=f"{cell_label(row, cell)}{trials}: {printable(reason)}")


def _flags(rows: Sequence[Row]) -> Iterator[Note]:
    flags = ((flag, (row, cell)) for row, cell in _cells(rows) for flag in raised_flags(cell))
    for flag, cells in _grouped(flags).items():
        yield Note(label=f"! {flag}", text=f"{_places(cells)}: {explain(flag)}")


def _few_images(rows: Sequence[Row]) -> Iterator[Note]:
    cells = [
        (row, cell)
        for row, cell in _cells(rows)
        if any(learning(trial) == "too few images" for trial in cell.ok)
    ]
    if cells:
        text = "the accuracies fit guessing as well as learning; ask for more test images"
        yield Note(label="too few images", text=f"{_places(cells)}: {text}")


def _unproven(rows: Sequence[Row]) -> Iterator[Note]:
    verdicts = (
        (cell.proof, row.name)
        for row, cell in _cells(rows)
        if proof_word(cell.proof) not in ("proven", "")
    )
    for verdict, names in _grouped(verdicts).items():
        yield Note(label="same work", text=f"{_names(names, rows)}: {printable(verdict)}")


def _unplanned_batches(rows: Sequence[Row]) -> Iterator[Note]:
    for row, cell in _cells(rows):
        verdicts = ((trial.get("ledger") or {}).get("verdict") for trial in cell.ok)
        for verdict in dict.fromkeys(verdicts):
            if verdict and verdict != PLANNED:
                yield Note(label="batches", text=f"{cell_label(row, cell)}: {printable(verdict)}")


def _parameters(rows: Sequence[Row]) -> Iterator[Note]:
    for row in rows:
        for metric in ("params", "trainable_params"):
            if len(row.distinct(metric)) > 1:
                counts = ", ".join(
                    f"{printable(cell.backend)} {count:,.0f}"
                    for cell in row.recorded
                    if (count := cell.median(metric)) is not None
                )
                text = f"{row.name}: {counts} {metric}; the backends do not do the same work"
                yield Note(label="params differ", text=text)


def _settings(rows: Sequence[Row]) -> Iterator[Note]:
    """Yield the effective settings in which backends differ, those that decide the work first."""
    differences = _grouped(
        ((difference.decides_work, _difference_text(difference)), row.name)
        for row in rows
        for difference in _differences(row)
    )
    by_lines = _grouped(
        ((decides_work, tuple(names)), text) for (decides_work, text), names in differences.items()
    )
    for (decides_work, names), texts in sorted(by_lines.items(), key=lambda item: not item[0][0]):
        label = "work differs" if decides_work else "settings differ"
        yield Note(label=label, text=f"{'; '.join(texts)} ({_names(names, rows)})")


def _differences(row: Row) -> list[SettingDifference]:
    # Not at the top: it needs NumPy, which the table itself does without.
    from benchharness.fairness.settings import differences

    reported = {cell.backend: cell.trials[-1].get("effective") or {} for cell in row.recorded}
    known = {backend: settings for backend, settings in reported.items() if settings}
    return list(differences(known)) if len(known) > 1 else []


def _difference_text(difference: SettingDifference) -> str:
    values = ", ".join(
        f"{printable(backend)} {printable(value)}"
        for backend, value in difference.values.items()
        if value is not None
    )
    return f"{printable(difference.setting)}: {values}"


def _unconfirmed(rows: Sequence[Row]) -> Iterator[Note]:
    """Yield the settings of speed that a backend reports and the timed work does not show."""
    for row, cell in _cells(rows):
        effective = cell.trials[-1].get("effective") or {}
        names = [printable(name) for name, value in effective.items() if value == UNCONFIRMED]
        if names:
            text = f"{cell_label(row, cell)}: {', '.join(names)}: not seen in the timed work"
            yield Note(label=UNCONFIRMED, text=text)


def _versions(rows: Sequence[Row]) -> Iterator[Note]:
    """Yield what backends have in other versions: it tells two backends of one package apart."""
    texts = ((text, row.name) for row in rows if (text := _version_differences(row)))
    for text, names in _grouped(texts).items():
        yield Note(label="versions differ", text=f"{text} ({_names(names, rows)})")


def _version_differences(row: Row) -> str:
    by_package: dict[str, dict[str, str]] = {}
    for cell in row.recorded:
        for package, version in (cell.trials[-1].get("versions") or {}).items():
            by_package.setdefault(package, {})[cell.backend] = version
    return "; ".join(
        f"{printable(package)}: "
        + ", ".join(f"{printable(backend)} {printable(v)}" for backend, v in versions.items())
        for package, versions in by_package.items()
        if len(set(versions.values())) > 1
    )


def _outside(rows: Sequence[Row]) -> Iterator[Note]:
    """Yield where much of a step is outside the computation, all in one note."""
    shares = _grouped(
        (row.name, f"{printable(cell.backend)} {100 * share:.0f} %")
        for row, cell in _cells(rows)
        if (share := notable_outside_share(cell)) is not None
    )
    if shares:
        places = "; ".join(f"{name} ({', '.join(texts)})" for name, texts in shares.items())
        text = (
            f"{places}: share of a training step outside the framework's computation "
            "(feeding, copying, the adapter), which the speed ratio measures too"
        )
        yield Note(label="outside computation", text=text)


def _unknown_computation(rows: Sequence[Row]) -> Iterator[Note]:
    """Yield which backends of the equal track have trained without a replay, all in one note."""
    trained = [
        (row, cell)
        for row, cell in _cells(rows)
        if cell.track == "equal"
        and cell.median("train_images_per_s") is not None
        and cell.median("step_ms_p50") is not None
    ]
    every = _grouped((cell.backend, row.name) for row, cell in trained)
    unknown = _grouped(
        (cell.backend, row.name) for row, cell in trained if not cell.values("compute_ms")
    )
    if unknown:
        backends = ", ".join(
            printable(backend) + ("" if names == every[backend] else f" in {', '.join(names)}")
            for backend, names in unknown.items()
        )
        text = (
            f"{backends}: no replay was measured (the plugin offers none, the log says "
            "why it failed, or the run is older than this measurement)"
        )
        yield Note(label="computation unknown", text=text)


def _misses(rows: Sequence[Row]) -> Iterator[Note]:
    for row, cell in _cells(rows):
        if cell.ok and cell.target_misses:
            text = (
                f"{cell_label(row, cell)}: {cell.target_misses} of {len(cell.ok)} trials never "
                f"reached {cell.target_top1:g} validation top-1; ask for more epochs"
            )
            yield Note(label="target missed", text=text)


def _throttling(rows: Sequence[Row]) -> Iterator[Note]:
    for row, cell in _cells(rows):
        reasons = dict.fromkeys(trial["metrics"].get("throttled") for trial in cell.ok)
        if texts := ", ".join(printable(reason) for reason in reasons if reason):
            place = cell_label(row, cell)
            text = f"{place}: the device slowed down ({texts}); cool it, or cap its clock"
            yield Note(label="throttled", text=text)


def _spreads(rows: Sequence[Row]) -> Iterator[Note]:
    cells = list(_cells(rows))
    for row, cell in cells:
        rates = cell.values("train_images_per_s")
        if scatter := excessive_scatter(rates, limit=STEADY, level=UNSTABLE_LEVEL / len(cells)):
            low, high = alike([min(rates), max(rates)])
            text = (
                f"{cell_label(row, cell)}: from {low} to {high} images/s over {len(rates)} trials, "
                f"a standard deviation of {100 * scatter:.0f} %; close other programs"
            )
            yield Note(label="unstable", text=text)


def _published(rows: Sequence[Row]) -> Iterator[Note]:
    for row in rows:
        if remark := row.recorded[0].published("note"):
            yield Note(label="published", text=f"{row.name}: {printable(remark)}")


def _cells(rows: Sequence[Row]) -> Iterator[tuple[Row, Cell]]:
    return ((row, cell) for row in rows for cell in row.recorded)


def _grouped(items: Iterable[tuple[Key, Item]]) -> dict[Key, list[Item]]:
    """Return for each key its items, each once."""
    groups: dict[Key, list[Item]] = {}
    for key, item in items:
        group = groups.setdefault(key, [])
        if item not in group:
            group.append(item)
    return groups


def _places(cells: Iterable[tuple[Row, Cell]]) -> str:
    by_line = _grouped((row.name, printable(cell.backend)) for row, cell in cells)
    return "; ".join(f"{name} ({', '.join(backends)})" for name, backends in by_line.items())


def _names(names: Sequence[str], rows: Sequence[Row]) -> str:
    is_everywhere = len(rows) > 1 and len(names) == len(rows)
    return "all benchmarks" if is_everywhere else ", ".join(names)
