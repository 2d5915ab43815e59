"""Columns of the results table, from left to right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from benchharness.report.rows import UNKNOWN, Row, alike, printable, raised_flags, share
from benchharness.results.cells import Cell, Number, proof_word, worst_proof

STATUS_WORDS = {
    "failed": "failed",
    "timeout": "timed out",
    "oom": "no memory",
    "diverged": "diverged",
    "skipped": "skipped",
}

Headings = tuple[str, ...]
GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnGroup:
    """Columns that belong together: one measure, the backends side by side.

    Attributes:
        title: Over all of its columns.
        columns: Headings; a single empty one where the title says it all.
        rows: For each row of the table the text of each column.
        meaning: For the legend.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    meaning: str

    @property
    def is_empty(self) -> bool:
        """Whether no row has a value here."""
        return all(text == UNKNOWN for row in self.rows for text in row)

    def block(self) -> list[str]:
        """Return heading and rows as text of one width, columns aligned.

        The first two lines are the title and the columns; the second is empty when the only
        column has no heading.
        """
        columns = []
        for heading, *texts in zip(self.columns, *self.rows, strict=True):
            width = max(map(len, (heading, *texts)))
            columns.append([text.rjust(width) for text in (heading, *texts)])
        body = [GAP.join(texts) for texts in zip(*columns, strict=True)]
        width = max(len(self.title), len(body[0]))
        return [self.title.center(width), *(text.rjust(width) for text in body)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricColumn:
    """A measure that is one number per cell, the median of a metric.

    Attributes:
        factor: From the record's unit to the table's.
    """

    title: str
    metric: str
    meaning: str
    factor: float = 1.0

    def group(self, rows: Sequence[Row], headings: Headings) -> ColumnGroup:
        """Return its columns."""
        texts = tuple(_numbers(row, self._value) for row in rows)
        return ColumnGroup(title=self.title, columns=headings, rows=texts, meaning=self.meaning)

    def _value(self, cell: Cell) -> Number | None:
        value = cell.median(self.metric)
        return None if value is None else value * self.factor


EPOCH = MetricColumn(
    title="epoch s",
    metric="epoch_s",
    meaning="seconds of one pass over the training images, evaluation excluded",
)
TOTAL = MetricColumn(
    title="total s",
    metric="total_s",
    meaning="seconds of a whole trial without checks: import, building, compiling, training, "
    "scoring",
)
CHECKS = MetricColumn(
    title="checks s",
    metric="checks_s",
    meaning="seconds in which the trial checked its clock, its batches and its scores, and "
    "repeated steps; not in the total",
)
COMPILE = MetricColumn(
    title="compile s",
    metric="compile_s",
    meaning="seconds of the first steps of each kind, tracing and compiling included; part of the "
    "total",
)
COMPUTE = MetricColumn(
    title="compute ms",
    metric="compute_ms",
    meaning="milliseconds of a training step repeated on a batch that is on the device already",
)
INPUT_WAIT = MetricColumn(
    title="input wait %",
    metric="input_wait_fraction",
    meaning="share of the training time that went by waiting for images",
    factor=100,
)
OF_PEAK = MetricColumn(
    title="% of peak",
    metric="fraction_of_peak",
    meaning="operations of training over those of the run's fastest matrix product in the same "
    "time",
    factor=100,
)
HOST = MetricColumn(
    title="host GB",
    metric="peak_host_bytes",
    meaning="peak memory of the worker and its children, 10^9 bytes",
    factor=1e-9,
)
DEVICE = MetricColumn(
    title="device GB",
    metric="peak_device_bytes",
    meaning="peak memory of the device, 10^9 bytes",
    factor=1e-9,
)
ENERGY = MetricColumn(title="energy J", metric="energy_j", meaning="joules of training or feeding")


def groups_of(
    rows: Sequence[Row], backends: Sequence[str], *, is_detailed: bool = False
) -> list[ColumnGroup]:
    """Return the groups that have something to show, from left to right.

    Args:
        rows: At least one.
        backends: Headings of the rows' cells.
        is_detailed: Whether there is room for measures that follow from others.
    """
    headings = tuple(map(printable, backends))
    makers: list[Callable[[Sequence[Row], Headings], ColumnGroup]] = [
        _same_work,
        _speed(
            "images/s",
            "training images per second of training; for `dataset`, images brought to the device",
        ),
        _speed(
            "features/s",
            "stored features of images through the trained layers, per second of training",
        ),
        _target,
        EPOCH.group,
        TOTAL.group,
        CHECKS.group,
        _compile,
        _top1,
        _step,
        *([COMPUTE.group] if is_detailed else []),
        INPUT_WAIT.group,
        _outside,
        _of_peak,
        HOST.group,
        DEVICE.group,
        ENERGY.group,
        _parameters,
        _published,
    ]
    groups = (make(rows, headings) for make in makers)
    return [group for group in groups if not group.is_empty]


def speed_metric(cell: Cell) -> str:
    """Return the metric of a cell's speed: images trained, or fed where it trains none."""
    is_training = cell.median("train_images_per_s") is not None
    return "train_images_per_s" if is_training else "feed_images_per_s"


def shown_top1(cell: Cell) -> Number | None:
    """Return the test top-1, or the validation top-1 where there is no test."""
    test = cell.median("test_top1")
    return cell.median("validation_top1") if test is None else test


def _same_work(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    proofs = (worst_proof(cell.proof for cell in row.recorded) for row in rows)
    texts = tuple((proof_word(proof) or UNKNOWN,) for proof in proofs)
    meaning = "equivalence check; -: not requested"
    return ColumnGroup(title="same work", columns=("",), rows=texts, meaning=meaning)


def _speed(unit: str, meaning: str) -> Callable[[Sequence[Row], Headings], ColumnGroup]:
    def group(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
        texts = tuple(
            _with_status(row, _numbers(row, lambda cell: cell.median(speed_metric(cell))))
            if any(cell.speed_unit == unit for cell in row.recorded)
            else tuple(UNKNOWN for _ in row.cells)
            for row in rows
        )
        return ColumnGroup(title=unit, columns=headings, rows=texts, meaning=meaning)

    return group


def _of_peak(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    group = OF_PEAK.group(rows, headings)
    group = replace(group, meaning=group.meaning + _peak_sources(rows))
    shares = (cell.median(OF_PEAK.metric) for row in rows for cell in row.recorded)
    if max((share for share in shares if share is not None), default=0.0) <= 1:
        return group
    above = (
        "; above 100 where convolutions take fewer multiplications than are counted (Winograd), or "
        "the machine was busier while it measured the product"
    )
    return replace(group, meaning=group.meaning + above)


def _peak_sources(rows: Sequence[Row]) -> str:
    """Return whose product the peak is, with the precision where there are several."""
    precisions: dict[str, set[str]] = {}
    for trial in (trial for row in rows for cell in row.recorded for trial in cell.ok):
        if source := trial["metrics"].get("peak_source"):
            precisions.setdefault(source, set()).add(trial["settings"].get("precision", ""))
    names = [
        printable(source) + (f" ({', '.join(sorted(known))})" if len(precisions) > 1 else "")
        for source, known in sorted(precisions.items())
    ]
    return f", measured in {', '.join(names)}" if names else ""


def _compile(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    """Return what compiling took, where a benchmark asks for it; else nothing worth a column."""
    trials = (cell.trials[-1] for row in rows for cell in row.recorded)
    is_asked = any(trial["settings"].get("compile") for trial in trials)
    group = COMPILE.group(rows, headings)
    nothing = tuple(tuple(UNKNOWN for _ in row) for row in group.rows)
    return group if is_asked else replace(group, rows=nothing)


def _target(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    texts = tuple(tuple(_times_to_target(row)) for row in rows)
    targets = {cell.target_top1 for row in rows for cell in row.recorded}
    known = ", ".join(f"{target:g}" for target in sorted(filter(None, targets)))
    meaning = f"seconds of training until validation top-1 reached the target ({known})"
    meaning += ", of the trials that did" if "/" in "".join(chain(*texts)) else ""
    return ColumnGroup(title="target s", columns=headings, rows=texts, meaning=meaning)


def _times_to_target(row: Row) -> Iterator[str]:
    texts = _numbers(row, lambda cell: cell.median("time_to_top1_s"))
    for cell, text in zip(row.cells, texts, strict=True):
        if cell is None or not cell.ok or not cell.target_misses:
            yield text
        elif cell.target_misses == len(cell.ok):
            yield "missed"
        else:
            yield f"{text} ({len(cell.ok) - cell.target_misses}/{len(cell.ok)})"


def _step(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    meaning = (
        "step time in ms: median and 90th percentile, each step with the mean of its block (the "
        "steps of 0.1 s, or a single step that takes longer)"
    )
    texts = tuple(tuple(_step_times(row)) for row in rows)
    return ColumnGroup(
        title="step ms p50/p90 by block", columns=headings, rows=texts, meaning=meaning
    )


def _step_times(row: Row) -> Iterator[str]:
    names = ("step_ms_p50", "step_ms_p90")
    values = [_median(cell, name) for cell in row.cells for name in names]
    texts = iter(alike(values))
    for middle, high in zip(texts, texts, strict=True):
        yield UNKNOWN if UNKNOWN in (middle, high) else f"{middle}/{high}"


def _outside(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    meaning = (
        "share of a training step outside the framework's computation: feeding, copying, or the "
        "adapter"
    )
    texts = tuple(
        tuple(
            # Repeated measurements differ by a per cent or two.
            UNKNOWN
            if (share := _median(cell, "outside_fraction")) is None
            else f"{round(100 * share)}"
            for cell in row.cells
        )
        for row in rows
    )
    return ColumnGroup(title="outside %", columns=headings, rows=texts, meaning=meaning)


def _top1(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    marks = {_mark(cell) for row in rows for cell in row.recorded}
    room = max(map(len, marks), default=0)
    texts = tuple(
        _with_status(row, tuple(_marked_top1(cell, room) for cell in row.cells)) for row in rows
    )
    meaning = "share of test images whose best guess is right"
    meaning += "; v: of validation images, there being no test" if "v" in "".join(marks) else ""
    meaning += "; !: implausible, see above" if "!" in "".join(marks) else ""
    return ColumnGroup(title="test top-1", columns=headings, rows=texts, meaning=meaning)


def _parameters(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    texts = tuple(_millions(row) for row in rows)
    meaning = "millions of values in the network, and of those that the optimizer updates"
    return ColumnGroup(
        title="params (M)", columns=("all", "trainable"), rows=texts, meaning=meaning
    )


def _published(rows: Sequence[Row], headings: Headings) -> ColumnGroup:
    texts = tuple(
        (share(row.recorded[0].published("top1")), *alike([row.recorded[0].published("epoch_s")]))
        for row in rows
    )
    meaning = "figures of the source that the benchmark reproduces, on its machine and data"
    return ColumnGroup(title="published", columns=("top-1", "epoch s"), rows=texts, meaning=meaning)


def _median(cell: Cell | None, metric: str) -> Number | None:
    return None if cell is None else cell.median(metric)


def _numbers(row: Row, measure: Callable[[Cell], Number | None]) -> tuple[str, ...]:
    return tuple(alike([None if cell is None else measure(cell) for cell in row.cells]))


def _with_status(row: Row, texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        text if cell is None or cell.ok else STATUS_WORDS.get(cell.status, printable(cell.status))
        for cell, text in zip(row.cells, texts, strict=True)
    )


def _marked_top1(cell: Cell | None, room: int) -> str:
    top1 = None if cell is None else shown_top1(cell)
    if cell is None or top1 is None:
        return UNKNOWN
    return share(top1) + _mark(cell).ljust(room)


def _mark(cell: Cell) -> str:
    if shown_top1(cell) is None:
        return ""
    is_validation = cell.median("test_top1") is None
    return "v" * is_validation + "!" * bool(raised_flags(cell))


def _millions(row: Row) -> tuple[str, ...]:
    """Return both counts, as far as all backends agree; a note says where they do not."""
    values = [row.distinct("params"), row.distinct("trainable_params")]
    agreed = [known.pop() / 1e6 if len(known) == 1 else None for known in map(set, values)]
    texts = alike(agreed)
    return tuple(
        "differ" if len(known) > 1 else text for known, text in zip(values, texts, strict=True)
    )
