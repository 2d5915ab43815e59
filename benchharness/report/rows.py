"""Rows and columns of the results table, and text and numbers as reports write them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from benchharness.measure.sanity import flags
from benchharness.results.cells import Cell, Number, cells_of, proof_word, worst_proof
from benchharness.results.record import Record, with_disturbance, with_one_peak

COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")
UNKNOWN = "-"
# Of records that do not state their kind of machine, beside some that do.
UNSTATED = "an unknown machine"
MAX_DECIMALS = 3
GAP = "  "
# Above this share of a step, a ratio of speeds compares feeding and adapters as much as frameworks.
NOTABLE_ABOVE = 0.15
STATUS_WORDS = {
    "failed": "failed",
    "timeout": "timed out",
    "oom": "no memory",
    "diverged": "diverged",
    "skipped": "skipped",
}


class Note(NamedTuple):
    """A remark below the table: what kind, and the sentence."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: a cell per backend, None where nothing is recorded.

    Its name is ``benchmark [setting=value] (track) on machine``, track and machine only where a run
    has several; ``machine`` is the short name of its kind then, else empty.
    """

    name: str
    cells: tuple[Cell | None, ...]
    machine: str = ""

    @property
    def recorded(self) -> tuple[Cell, ...]:
        """The cells that have trials."""
        return tuple(cell for cell in self.cells if cell is not None)

    @property
    def label(self) -> str:
        """Name and number of trials behind each median, where any has several."""
        counts = [len(cell.ok) for cell in self.recorded]
        if max(counts, default=0) < 2:
            return self.name
        shown = dict.fromkeys(counts) if len(set(counts)) == 1 else counts
        return f"{self.name} (n={'/'.join(map(str, shown))})"

    @property
    def effective(self) -> dict[str, Mapping[str, Any]]:
        """The settings in effect by backend, of those that report any."""
        known = {cell.backend: cell.trials[-1].get("effective") for cell in self.recorded}
        return {backend: settings for backend, settings in known.items() if settings}

    def distinct(self, metric: str) -> set[Number]:
        """Return the medians of a metric that its backends report; one where they agree."""
        return {value for value in self.medians(metric) if value is not None}

    def medians(self, metric: str) -> list[Number | None]:
        """Return the median of a metric for each cell; None where unknown."""
        return [None if cell is None else cell.median(metric) for cell in self.cells]

    def by_backend(self) -> list[Row]:
        """Return one row per backend, for terminals too narrow to set them side by side."""
        return [
            replace(self, name=f"{self.name}, {printable(cell.backend)}", cells=(cell,))
            for cell in self.recorded
        ]


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Columns that belong together: one measure under one title, the backends side by side.

    A single heading is empty where the title says it all; the meaning is for the legend.
    """

    title: str
    meaning: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def block(self) -> list[str]:
        """Return title, headings and rows as lines of one width, columns aligned."""
        columns = []
        for texts in zip(self.columns, *self.rows, strict=True):
            width = max(map(len, texts))
            columns.append([text.rjust(width) for text in texts])
        body = [GAP.join(texts) for texts in zip(*columns, strict=True)]
        width = max(len(self.title), len(body[0]))
        return [self.title.center(width), *(text.rjust(width) for text in body)]


def backends_of(run: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """Return the backends that have records, in the order in which the run names them."""
    seen = dict.fromkeys(record["backend"] for record in records)
    named = [backend for backend in run.get("backends") or () if backend in seen]
    return list(dict.fromkeys([*named, *seen]))


def cores_of(run: Mapping[str, Any]) -> int | None:
    """Return the number of cores of a run's machine; None where unknown."""
    cores: int | None = (run.get("environment") or {}).get("cores")
    return cores


def rows_of(
    records: Sequence[Record], backends: Sequence[str], *, cores: int | None = None
) -> list[Row]:
    """Return the rows of a table in the order in which their first trials were recorded.

    The machine's cores decide which trials were disturbed.
    """
    cells = cells_of(with_disturbance(with_one_peak(records), cores))
    shows_track = len({cell.track for cell in cells}) > 1
    short_names = _short_names(list(dict.fromkeys(cell.machine for cell in cells)))
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in cells:
        track, machine = cell.track if shows_track else "", short_names[cell.machine]
        name = row_name(cell.benchmark, cell.matrix, track, machine)
        rows.setdefault((name, machine), {})[cell.backend] = cell
    return [
        Row(name=name, cells=tuple(map(by_backend.get, backends)), machine=machine)
        for (name, machine), by_backend in rows.items()
    ]


def row_name(benchmark: str, matrix: Mapping[str, Any], track: str = "", machine: str = "") -> str:
    """Return the name of a row; track and machine are left out where they are empty."""
    point = ", ".join(f"{setting}={value}" for setting, value in matrix.items())
    return printable(
        benchmark
        + (f" [{point}]" if point else "")
        + (f" ({track})" if track else "")
        + (f" on {machine}" if machine else "")
    )


def _short_names(machines: Sequence[str]) -> dict[str, str]:
    """Return for each kind of machine the parts that others lack; empty for the only one."""
    if len(machines) == 1:
        return {machines[0]: ""}
    parts = {machine: machine.split(", ") for machine in machines}
    shared = set.intersection(*map(set, parts.values())) if machines else set()
    whole = {machine: printable(machine or UNSTATED) for machine in machines}
    names = {
        machine: printable(", ".join(part for part in of_machine if part not in shared))
        or whole[machine]
        for machine, of_machine in parts.items()
    }
    return names if len(set(names.values())) == len(machines) else whole


def groups_of(
    rows: Sequence[Row], backends: Sequence[str], *, is_detailed: bool = False
) -> list[ColumnGroup]:
    """Return the groups that have something to show, from left to right.

    Detailed ones include measures that follow from others.
    """
    cells = [cell for row in rows for cell in row.recorded]
    backends = tuple(map(printable, backends))
    hidden = set() if is_detailed else {"compute ms"}
    if not any(cell.trials[-1]["settings"].get("compile") for cell in cells):
        hidden.add("compile s")
    targets = sorted({cell.target_top1 for cell in cells if cell.target_top1})
    known = {"targets": ", ".join(f"{target:g}" for target in targets), "peak": _peak(cells)}
    groups = []
    for title, meaning, texts_of in COLUMNS:
        rows_of_texts = [texts_of(row) for row in rows]
        shown = [text for texts in rows_of_texts for text in texts if text != UNKNOWN]
        if title in hidden or not shown:
            continue
        figures = [text for text in shown if text[0].isdigit()]
        seen = " ".join(figures)
        marks = [words for (column, m), words in MARKS.items() if column == title and m in seen]
        if title == "test top-1":
            # Digits stand below digits, with a mark or without.
            width = max(map(len, figures), default=0)
            rows_of_texts = [
                [text.ljust(width) if text in figures else text for text in texts]
                for texts in rows_of_texts
            ]
        meaning = "; ".join([meaning.format(**known), *marks])
        groups.append(ColumnGroup(title, meaning, HEADINGS.get(title, backends), rows_of_texts))
    return groups


def speed_metric(cell: Cell) -> str:
    """Return the metric of a cell's speed: images trained, or fed where it trains none."""
    is_training = cell.median("train_images_per_s") is not None
    return "train_images_per_s" if is_training else "feed_images_per_s"


def raised_flags(cell: Cell) -> list[str]:
    """Return what looks wrong with any trial of a cell, each flag once."""
    return list(dict.fromkeys(flag for trial in cell.trials for flag in flags(trial)))


def notable_outside_share(cell: Cell) -> float | None:
    """Return the share of a step outside the framework's computation; None where it is small."""
    # What others took from a training, and not from its replay, is nobody's adapter.
    calm = tuple(trial for trial in cell.trials if not trial.get("is_disturbed"))
    share = replace(cell, trials=calm).median("outside_fraction")
    return share if share is not None and share > NOTABLE_ABOVE else None


def cell_label(row: Row, cell: Cell) -> str:
    """Return how notes name a cell."""
    return f"{row.name} ({printable(cell.backend)})"


def printable(text: object) -> str:
    """Return text on one line without control characters, which a log may bring along."""
    plain = COLOUR_CODE.sub("", str(text))
    visible = "".join(char if char.isprintable() else " " for char in plain)
    return " ".join(visible.split())


def rounded(values: Sequence[float | None]) -> list[str]:
    """Return numbers with the same decimals, enough for three digits of the smallest."""
    sizes = [abs(value) for value in values if value]
    leading = math.floor(math.log10(min(sizes))) if sizes else 3
    decimals = min(MAX_DECIMALS, max(0, 2 - leading))
    return [UNKNOWN if value is None else f"{value:,.{decimals}f}" for value in values]


def format_share(value: float | None) -> str:
    """Return a share of 0-1 with four decimals, as accuracies are published."""
    return UNKNOWN if value is None else f"{value:.4f}"


def counted(number: int, noun: str) -> str:
    """Return ``1 trial`` or ``3 trials``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _proof(row: Row) -> list[str]:
    return [proof_word(worst_proof(cell.proof for cell in row.recorded)) or UNKNOWN]


def _speeds(row: Row, *, unit: str) -> list[str]:
    if all(cell.speed_unit != unit for cell in row.recorded):
        return [UNKNOWN] * len(row.cells)
    speeds = [None if cell is None else cell.median(speed_metric(cell)) for cell in row.cells]
    return _or_status(row, rounded(speeds))


def _or_status(row: Row, texts: Sequence[str]) -> list[str]:
    """Return the texts of cells; the status in words in place of those that came to no end."""
    return [
        text if cell is None or cell.ok else STATUS_WORDS.get(cell.status, printable(cell.status))
        for cell, text in zip(row.cells, texts, strict=True)
    ]


def _times_to_target(row: Row) -> list[str]:
    texts = rounded(row.medians("time_to_top1_s"))
    for place, cell in enumerate(row.cells):
        if cell is not None and cell.ok and cell.target_misses:
            reached = len(cell.ok) - cell.target_misses
            texts[place] = f"{texts[place]} ({reached}/{len(cell.ok)})" if reached else "missed"
    return texts


def _top1(row: Row) -> list[str]:
    """Return the test top-1, or where there is no test the validation top-1 with a mark."""
    texts = []
    pairs = zip(row.medians("test_top1"), row.medians("validation_top1"), strict=True)
    for cell, (test, validation) in zip(row.cells, pairs, strict=True):
        top1 = validation if test is None else test
        if cell is None or top1 is None:
            texts.append(UNKNOWN)
        else:
            texts.append(format_share(top1) + "v" * (test is None) + "!" * bool(raised_flags(cell)))
    return _or_status(row, texts)


def _step_times(row: Row) -> list[str]:
    pairs = zip(row.medians("step_ms_p50"), row.medians("step_ms_p90"), strict=True)
    texts = iter(rounded([value for pair in pairs for value in pair]))
    return [
        UNKNOWN if UNKNOWN in (middle, high) else f"{middle}/{high}"
        for middle, high in zip(texts, texts, strict=True)
    ]


def _outside(row: Row) -> list[str]:
    # Repeated measurements differ by a per cent or two, so no decimals.
    shares = row.medians("outside_fraction")
    return [UNKNOWN if share is None else f"{round(100 * share)}" for share in shares]


def _millions(row: Row) -> list[str]:
    """Return both counts, as far as all backends agree; a note says where they do not."""
    counts = [row.distinct("params"), row.distinct("trainable_params")]
    texts = rounded([next(iter(known)) / 1e6 if len(known) == 1 else None for known in counts])
    return ["differ" if len(known) > 1 else text for known, text in zip(counts, texts, strict=True)]


def _published(row: Row) -> list[str]:
    published = row.recorded[0].published
    return [format_share(published("top1")), *rounded([published("epoch_s")])]


def _metric(name: str, factor: float = 1) -> Callable[[Row], list[str]]:
    return lambda row: rounded([None if v is None else v * factor for v in row.medians(name)])


def _peak(cells: Sequence[Cell]) -> str:
    """Return whose matrix product the peak is, with the precision where there are several."""
    precisions: dict[str, set[str]] = {}
    for trial in (trial for cell in cells for trial in cell.ok):
        if source := trial["metrics"].get("peak_source"):
            precisions.setdefault(source, set()).add(trial["settings"].get("precision", ""))
    names = [
        printable(source) + (f" ({', '.join(sorted(known))})" if len(precisions) > 1 else "")
        for source, known in sorted(precisions.items())
    ]
    measured = f", measured in {', '.join(names)}" if names else ""
    is_above = any((cell.median("fraction_of_peak") or 0) > 1 for cell in cells)
    return measured + ("; above 100: Winograd convolutions, or a busy machine" if is_above else "")


# Title, meaning for the legend, and texts of a row, from left to right.
COLUMNS: Sequence[tuple[str, str, Callable[[Row], Sequence[str]]]] = (
    ("same work", "equivalence check; -: not requested", _proof),
    ("images/s", "images trained per second, or fed", partial(_speeds, unit="images/s")),
    ("features/s", "stored features trained per second", partial(_speeds, unit="features/s")),
    ("target s", "training until validation top-1 of {targets}", _times_to_target),
    ("epoch s", "one pass over the training images", _metric("epoch_s")),
    ("total s", "a whole trial without checks", _metric("total_s")),
    ("checks s", "checks of clock, batches and scores; not in the total", _metric("checks_s")),
    ("compile s", "first steps of each kind; part of the total", _metric("compile_s")),
    ("test top-1", "share of test images classified correctly", _top1),
    (
        "step ms p50/p90 by block",
        "median and 90th percentile of steps, each the mean of its block of 0.1 s",
        _step_times,
    ),
    ("compute ms", "a step on a batch that is on the device", _metric("compute_ms")),
    (
        "input wait %",
        "share of training spent waiting for images",
        _metric("input_wait_fraction", 100),
    ),
    ("outside %", "share of a step outside the framework's computation", _outside),
    ("% of peak", "of the run's fastest matrix product{peak}", _metric("fraction_of_peak", 100)),
    ("host GB", "peak memory of the worker and its children", _metric("peak_host_bytes", 1e-9)),
    ("device GB", "peak memory of the device", _metric("peak_device_bytes", 1e-9)),
    ("energy J", "of training or feeding", _metric("energy_j")),
    ("params (M)", "millions of parameters", _millions),
    ("published", "figures of the source, on its machine and data", _published),
)
# Of groups that are not of a column per backend.
HEADINGS = {
    "same work": ("",),
    "params (M)": ("all", "trainable"),
    "published": ("top-1", "epoch s"),
}
# Column and mark within its figures: what the legend adds.
MARKS = {
    ("target s", "/"): "of the trials that reached it",
    ("test top-1", "v"): "v: of validation images",
    ("test top-1", "!"): "!: implausible, see above",
}
