"""Notes of a report: failures, suspicious numbers, unequal work, spread, and what was run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from statistics import median
from typing import Any, TypeVar

from benchharness.measure.sanity import explain, learning
from benchharness.measure.sequential import rule_for
from benchharness.measure.statistics import excessive_scatter
from benchharness.report.pairs import Pair
from benchharness.report.rows import (
    STATUS_WORDS,
    UNSTATED,
    Note,
    Row,
    cell_label,
    cores_of,
    counted,
    notable_outside_share,
    printable,
    raised_flags,
    rounded,
    row_name,
    speed_metric,
)
from benchharness.report.summary import format_ci, times_text
from benchharness.results.cells import Cell, proof_word
from benchharness.results.comparisons import host_of
from benchharness.results.record import UNCONFIRMED

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
# A machine is steady where the speeds of equal trials have at most this standard deviation, as a
# share of their mean.
STEADY = 0.05
# Probability that a report calls any cell of a steady machine unstable.
UNSTABLE_LEVEL = 0.05
PLANNED = "as planned"
Cells = Sequence[tuple[Row, Cell]]


def notes_of(run: Mapping[str, Any], rows: Sequence[Row]) -> list[Note]:
    """Return what a reader must know, what went wrong first."""
    cells = [(row, cell) for row in rows for cell in row.recorded]
    return [
        *_failures(cells),
        *_suspicious(cells),
        *_unproven(rows, cells),
        *_parameters(rows),
        *_versions(rows),
        *_settings(rows),
        *_per_cell(cells, UNCONFIRMED, _unconfirmed),
        *_outside(cells),
        *_unknown_computation(cells),
        *_compiling(cells),
        *_per_cell(cells, "target missed", _missed),
        *_per_cell(cells, "throttled", _throttled),
        *_per_cell(cells, "unstable", partial(_unstable, level=UNSTABLE_LEVEL / (len(cells) or 1))),
        *_published(rows),
        *_busy(cells, cores_of(run)),
        *_hosts(cells),
        *out_of_time(run, rows),
    ]


def work_of(rows: Sequence[Row]) -> list[Note]:
    """Return what each benchmark did: epochs, images, their size, batches."""
    notes = []
    for row in rows:
        record = row.recorded[0].trials[-1]
        settings = record["settings"]
        if record.get("train_count") is None or "epochs" not in settings:
            continue
        size = settings["image_size"]
        scored = " and ".join(
            f"{record[f'{split}_count']:,} {split}"
            for split in ("validation", "test")
            if record.get(f"{split}_count") and record["metrics"].get(f"{split}_top1") is not None
        )
        text = (
            f"{row.name}: {counted(settings['epochs'], 'epoch')} of {record['train_count']:,} "
            f"images, {size} x {size} pixels, {settings['batch_size']} a step"
        )
        notes.append(Note("work", f"{text}; {scored} images" if scored else text))
    return notes


def out_of_time(run: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[Note]:
    """Yield what each benchmark that ran out of time would have needed."""
    # As the table names its rows.
    shows_track = len({cell.track for row in rows for cell in row.recorded}) > 1
    for look in run.get("looks") or ():
        if look["stop"] != "time":
            continue
        track = look["track"] if shows_track else ""
        more, seconds = look["more_trials"], look["more_s"]
        if more is None:
            needed = f"even {look['max_trials']} trials of each would probably not decide it"
        else:
            is_short = seconds < 120
            time = f"{math.ceil(seconds)} s" if is_short else f"{math.ceil(seconds / 60)} minutes"
            trials = counted(more, "more trial")
            needed = f"{trials} of each, {time}, would probably decide it: --resume"
        name = row_name(look["benchmark"], look["matrix"], track)
        yield Note("out of time", f"{name}: {needed}")


def _failures(cells: Cells) -> Iterator[Note]:
    for row, cell in cells:
        for (status, reason), count in cell.failures.items():
            trials = f", {count} of {len(cell.trials)} trials" if len(cell.trials) > 1 else ""
            label = STATUS_WORDS.get(status, printable(status))
            yield Note(label, f"{cell_label(row, cell)}{trials}: {printable(reason)}")


def _suspicious(cells: Cells) -> Iterator[Note]:
    places = [(row, printable(cell.backend), cell) for row, cell in cells]
    flags = _grouped((flag, (row, name)) for row, name, c in places for flag in raised_flags(c))
    for flag, flagged in flags.items():
        yield Note(f"! {flag}", f"{_places(flagged)}: {explain(flag)}")
    few = _places(
        (row, name)
        for row, name, cell in places
        if any(learning(trial) == "too few images" for trial in cell.ok)
    )
    if few:
        text = "the accuracies fit guessing as well as learning; ask for more test images"
        yield Note("too few images", f"{few}: {text}")


def _unproven(rows: Sequence[Row], cells: Cells) -> Iterator[Note]:
    """Yield verdicts on equal work other than proven, and batches other than planned."""
    verdicts = _grouped((cell.proof, row.name) for row, cell in cells)
    for verdict, names in verdicts.items():
        if proof_word(verdict) not in ("proven", ""):
            yield Note("same work", f"{_names(names, rows)}: {printable(verdict)}")
    for row, cell in cells:
        ledgers = ((trial.get("ledger") or {}).get("verdict") for trial in cell.ok)
        for found in dict.fromkeys(ledgers):
            if found and found != PLANNED:
                yield Note("batches", f"{cell_label(row, cell)}: {printable(found)}")


def _parameters(rows: Sequence[Row]) -> Iterator[Note]:
    for row, metric in product(rows, ("params", "trainable_params")):
        if len(row.distinct(metric)) > 1:
            counts = ", ".join(
                f"{printable(cell.backend)} {count:,.0f}"
                for cell in row.recorded
                if (count := cell.median(metric)) is not None
            )
            text = f"{row.name}: {counts} {metric}; the backends do not do the same work"
            yield Note("params differ", text)


def _versions(rows: Sequence[Row]) -> Iterator[Note]:
    """Yield what backends have in other versions: it tells two backends of one package apart."""
    texts = []
    for row in rows:
        packages: dict[str, dict[str, str]] = {}
        for cell in row.recorded:
            for package, version in (cell.trials[-1].get("versions") or {}).items():
                packages.setdefault(package, {})[cell.backend] = version
        differing = [
            _values(package, versions)
            for package, versions in packages.items()
            if len(set(versions.values())) > 1
        ]
        if differing:
            texts.append(("; ".join(differing), row.name))
    for text, names in _grouped(texts).items():
        yield Note("versions differ", f"{text} ({_names(names, rows)})")


def _settings(rows: Sequence[Row]) -> Iterator[Note]:
    """Yield the effective settings in which backends differ, those that decide the work first."""
    # Not at the top: it needs NumPy, which the table itself does without.
    from benchharness.fairness.settings import differences

    differing = []
    for row in rows:
        for found in differences(row.effective):
            values = {name: value for name, value in found.values.items() if value is not None}
            text = _values(found.setting, values)
            differing.append(((found.decides_work, text), row.name))
    by_rows = _grouped(
        ((decides_work, tuple(names)), text)
        for (decides_work, text), names in _grouped(differing).items()
    )
    for (decides_work, names), texts in sorted(by_rows.items(), key=lambda item: not item[0][0]):
        label = "work differs" if decides_work else "settings differ"
        yield Note(label, f"{'; '.join(texts)} ({_names(names, rows)})")


def _per_cell(cells: Cells, label: str, text_of: Callable[[Cell], str]) -> list[Note]:
    """Return a note on each cell of which there is something to say."""
    texts = [(cell_label(row, cell), text_of(cell)) for row, cell in cells]
    return [Note(label, f"{place}: {text}") for place, text in texts if text]


def _unconfirmed(cell: Cell) -> str:
    """Return the settings of speed that a backend reports and the timed work does not show."""
    effective = cell.trials[-1].get("effective") or {}
    names = [printable(name) for name, value in effective.items() if value == UNCONFIRMED]
    return f"{', '.join(names)}: not seen in the timed work" if names else ""


def _outside(cells: Cells) -> Iterator[Note]:
    """Yield where much of a step is outside the computation, all in one note."""
    places = _places(
        (row, f"{printable(cell.backend)} {100 * share:.0f} %")
        for row, cell in cells
        if (share := notable_outside_share(cell)) is not None
    )
    if places:
        text = (
            f"{places}: share of a training step outside the framework's computation "
            "(feeding, copying, the adapter), which the speed ratio measures too"
        )
        yield Note("outside computation", text)


def _unknown_computation(cells: Cells) -> Iterator[Note]:
    """Yield which backends of the equal track have trained without a replay, all in one note."""
    metrics = ("train_images_per_s", "step_ms_p50")
    trained = [
        (cell, row.name)
        for row, cell in cells
        if cell.track == "equal" and all(map(cell.values, metrics))
    ]
    every = _grouped((cell.backend, name) for cell, name in trained)
    without = [(cell.backend, name) for cell, name in trained if not cell.values("compute_ms")]
    if unknown := _grouped(without):
        backends = ", ".join(
            printable(backend) + ("" if names == every[backend] else f" in {', '.join(names)}")
            for backend, names in unknown.items()
        )
        text = (
            f"{backends}: no replay was measured (the plugin offers none, the log says "
            "why it failed, or the run is older than this measurement)"
        )
        yield Note("computation unknown", text)


def _compiling(cells: Cells) -> Iterator[Note]:
    """Yield for every compiled cell after how many steps it has gained what it cost.

    It is held against the cell of the run that differs from it in compiling alone.
    """
    ok = [(row, cell, *_compilation(cell)) for row, cell in cells if cell.ok]
    twins = [
        # All that ran in between counts, of both rows where they are two.
        (row, Pair(compiled, plain, (*row.recorded, *(() if other is row else other.recorded))))
        for (row, compiled, first, rest), (other, plain, second, same) in product(ok, ok)
        if (first, second) == (True, False) and rest == same
    ]
    known = [speed for _, pair in twins if not pair.is_separate_run and (speed := pair.speed())]
    rule = rule_for(known, comparisons=max(len(twins), 1))
    for row, pair in twins:
        if not (text := _break_even(pair.a, pair.b)):
            continue
        # Medians are over all trials, those included that have no partner.
        is_disturbed = bool(pair.a.disturbed or pair.b.disturbed)
        is_sure = not (is_disturbed or pair.is_separate_run)
        speed = pair.speed()
        if speed and not (is_sure and rule.verdict(speed) in ("faster", "slower")):
            why = format_ci(speed, is_disturbed=is_disturbed)
            why += "; the sides ran at different times" if pair.is_separate_run else ""
            text += f"; not sure: {times_text(speed)}x as fast ({why})"
        yield Note("compiled", f"{cell_label(row, pair.a)}: {text}")


def _compilation(cell: Cell) -> tuple[object, object]:
    """Return whether a cell was compiled, and all else that decides its speed.

    By what the frameworks tell of themselves: some compile whether asked or not.
    """
    trial = cell.ok[-1]
    effective = trial.get("effective") or {}
    settings = {name: value for name, value in trial["settings"].items() if name != "compile"}
    context = (cell.benchmark, cell.track, cell.machine, effective.get("engine"))
    return effective.get("compile"), (*context, settings, trial.get("versions"))


def _break_even(compiled: Cell, plain: Cell) -> str:
    """Return when compiling pays; empty where a figure is missing, as for feeding."""
    trial = compiled.ok[-1]
    images, batch_size = trial.get("train_count"), trial["settings"].get("batch_size")
    known = [cell.median(name) for name in ("epoch_s", "compile_s") for cell in (compiled, plain)]
    if not (images and batch_size) or None in known or compiled.strategy == "dataset":
        return ""
    epoch_s, plain_epoch_s, first_s, plain_first_s = (float(value or 0) for value in known)
    steps_per_epoch = math.ceil(images / batch_size)
    step_s, plain_step_s = epoch_s / steps_per_epoch, plain_epoch_s / steps_per_epoch
    measured = (
        f"a step takes {step_s * 1000:.3g} ms instead of {plain_step_s * 1000:.3g}, the first "
        f"steps with compiling {first_s:.3g} s instead of {plain_first_s:.3g}"
    )
    if step_s >= plain_step_s:
        return f"{measured}: compiling never pays"
    steps = max(math.ceil((first_s - plain_first_s) / (plain_step_s - step_s)), 0)
    return (
        f"{measured}: compiling pays after {steps:,} steps "
        f"({steps / steps_per_epoch:,.3g} epochs, {steps * step_s:,.3g} s of training)"
    )


def _missed(cell: Cell) -> str:
    if not (cell.ok and cell.target_misses):
        return ""
    return (
        f"{cell.target_misses} of {len(cell.ok)} trials never reached {cell.target_top1:g} "
        "validation top-1; ask for more epochs"
    )


def _throttled(cell: Cell) -> str:
    reasons = dict.fromkeys(trial["metrics"].get("throttled") for trial in cell.ok)
    texts = ", ".join(printable(reason) for reason in reasons if reason)
    return f"the device slowed down ({texts}); cool it, or cap its clock" if texts else ""


def _unstable(cell: Cell, *, level: float) -> str:
    """Return by how much the trials of the cell, or of the first such host, scatter too much."""
    by_host = _grouped((host_of(trial), trial) for trial in cell.ok)
    for host, trials in by_host.items():
        rates = replace(cell, trials=tuple(trials)).values(speed_metric(cell))
        scatter = excessive_scatter(rates, limit=STEADY, level=level / len(by_host))
        if scatter:
            where = f" on {printable(host)}" if len(by_host) > 1 else ""
            return (
                f"from {' to '.join(rounded([min(rates), max(rates)]))} {cell.speed_unit} over "
                f"{len(rates)} trials{where}, a standard deviation of {100 * scatter:.0f} %; "
                "close other programs"
            )
    return ""


def _published(rows: Sequence[Row]) -> Iterator[Note]:
    for row in rows:
        if remark := row.recorded[0].published("note"):
            yield Note("published", f"{row.name}: {printable(remark)}")


def _busy(cells: Cells, cores: int | None) -> Iterator[Note]:
    """Yield how busy other processes kept the machine while trials were timed."""
    if busy := [t["metrics"]["foreign_cores"] for _, cell in cells for t in cell.disturbed]:
        is_known = cores and len({cell.machine for _, cell in cells}) == 1
        of = f"{cores} cores" if is_known else "cores"
        trials = f"{counted(len(busy), 'trial')} {'was' if len(busy) == 1 else 'were'}"
        text = (
            f"other processes used {median(busy):.1f} of this machine's {of} while {trials} timed, "
            "so no winner is named from them; close other programs and run again"
        )
        yield Note("the machine was busy", text)


def _hosts(cells: Cells) -> Iterator[Note]:
    """Yield which hosts ran how many trials, where there are several, by kind of machine."""
    trials = [(cell.machine, host_of(trial)) for _, cell in cells for trial in cell.trials]
    by_machine = _grouped(trials)
    if len(set(trials)) < 2:
        return
    counts, parts = Counter(trials), []
    for machine, hosts in by_machine.items():
        names = ", ".join(
            f"{printable(host) or 'unknown'} ({counted(counts[machine, host], 'trial')})"
            for host in hosts
        )
        all_of = {1: "", 2: "both "}.get(len(hosts), "all ")
        parts.append(f"{names}, {all_of}{printable(machine) or UNSTATED}")
    yield Note("hosts", "; ".join(parts))


def _values(name: str, by_backend: Mapping[str, Any]) -> str:
    """Return ``name: backend value, backend value``."""
    values = (f"{printable(backend)} {printable(value)}" for backend, value in by_backend.items())
    return f"{printable(name)}: {', '.join(values)}"


def _grouped(items: Iterable[tuple[Key, Item]]) -> dict[Key, list[Item]]:
    """Return for each key its items, each once."""
    groups: dict[Key, list[Item]] = {}
    for key, item in items:
        group = groups.setdefault(key, [])
        if item not in group:
            group.append(item)
    return groups


def _places(texts: Iterable[tuple[Row, str]]) -> str:
    """Return ``row (text, text); row (text)``."""
    by_row = _grouped((row.name, text) for row, text in texts)
    return "; ".join(f"{name} ({', '.join(of_row)})" for name, of_row in by_row.items())


def _names(names: Sequence[str], rows: Sequence[Row]) -> str:
    is_everywhere = len(rows) > 1 and len(names) == len(rows)
    return "all benchmarks" if is_everywhere else ", ".join(names)
