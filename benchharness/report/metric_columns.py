"""The measures of the results table, from left to right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from benchharness.report.column_groups import Group
from benchharness.report.numbers import UNKNOWN, alike, share
from benchharness.report.rows import Line, printable, raised_flags
from benchharness.results.cells import Cell, Number, proof_word, worst_proof

STATUS_WORDS = {
    "failed": "failed",
    "timeout": "timed out",
    "oom": "no memory",
    "diverged": "diverged",
    "skipped": "skipped",
}

Headings = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A measure that is one number per cell, the median of a metric.

    Attributes:
        factor: From the record's unit to the table's.
    """

    title: str
    metric: str
    meaning: str
    factor: float = 1.0

    def group(self, lines: Sequence[Line], headings: Headings) -> Group:
        """Return its columns."""
        rows = tuple(_numbers(line, self._value) for line in lines)
        return Group(title=self.title, columns=headings, rows=rows, meaning=self.meaning)

    def _value(self, cell: Cell) -> Number | None:
        value = cell.median(self.metric)
        return None if value is None else value * self.factor


EPOCH = Plain(
    title="epoch s",
    metric="epoch_s",
    meaning="seconds of one pass over the training images, evaluation excluded",
)
TOTAL = Plain(
    title="total s",
    metric="total_s",
    meaning="seconds of a whole trial without checks: import, building, compiling, training, "
    "scoring",
)
CHECKS = Plain(
    title="checks s",
    metric="checks_s",
    meaning="seconds in which the trial checked its clock, its batches and its scores, and "
    "repeated steps; beside the total",
)
COMPILE = Plain(
    title="compile s",
    metric="compile_s",
    meaning="seconds of the first steps of each kind, tracing and compiling included; part of the "
    "total",
)
COMPUTE = Plain(
    title="compute ms",
    metric="compute_ms",
    meaning="milliseconds of a training step repeated on a batch that is on the device already",
)
INPUT_WAIT = Plain(
    title="input wait %",
    metric="input_wait_fraction",
    meaning="share of the training time that went by waiting for images",
    factor=100,
)
OF_PEAK = Plain(
    title="% of peak",
    metric="fraction_of_peak",
    meaning="operations of training over those of the run's fastest matrix product in the same "
    "time",
    factor=100,
)
HOST = Plain(
    title="host GB",
    metric="peak_host_bytes",
    meaning="most memory that the worker and its children held at once, 10^9 bytes",
    factor=1e-9,
)
DEVICE = Plain(
    title="device GB",
    metric="peak_device_bytes",
    meaning="most memory held on the device at once, 10^9 bytes",
    factor=1e-9,
)
ENERGY = Plain(title="energy J", metric="energy_j", meaning="joules of training or feeding")


def groups_of(
    lines: Sequence[Line], backends: Sequence[str], *, is_detailed: bool = False
) -> list[Group]:
    """Return the groups that have something to show, from left to right.

    Args:
        lines: At least one.
        backends: Headings of the lines' cells.
        is_detailed: Whether there is room for measures that follow from others.
    """
    headings = tuple(map(printable, backends))
    makers: list[Callable[[Sequence[Line], Headings], Group]] = [
        _same_work,
        _images,
        _features,
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
    groups = (make(lines, headings) for make in makers)
    return [group for group in groups if not group.is_empty]


def speed_metric(cell: Cell) -> str:
    """Return the metric of a cell's speed: images trained, or fed where it trains none."""
    is_training = cell.median("train_images_per_s") is not None
    return "train_images_per_s" if is_training else "feed_images_per_s"


def shown_top1(cell: Cell) -> Number | None:
    """Return the test top-1, or the validation top-1 where there is no test."""
    test = cell.median("test_top1")
    return cell.median("validation_top1") if test is None else test


def _same_work(lines: Sequence[Line], headings: Headings) -> Group:
    rows = tuple((_proof(line) or UNKNOWN,) for line in lines)
    meaning = "whether the backends were proven to do the same work; -: nobody asked"
    return Group(title="same work", columns=("",), rows=rows, meaning=meaning)


def _proof(line: Line) -> str:
    return proof_word(worst_proof(cell.proof for cell in line.recorded))


def _images(lines: Sequence[Line], headings: Headings) -> Group:
    meaning = "training images per second of training; for `dataset`, images brought to the device"
    return _speed(lines, headings, unit="images/s", meaning=meaning)


def _features(lines: Sequence[Line], headings: Headings) -> Group:
    meaning = "stored features of images through the layers that learn, per second of training"
    return _speed(lines, headings, unit="features/s", meaning=meaning)


def _speed(lines: Sequence[Line], headings: Headings, *, unit: str, meaning: str) -> Group:
    rows = tuple(
        _with_status(line, _numbers(line, _images_per_s))
        if any(cell.speed_unit == unit for cell in line.recorded)
        else tuple(UNKNOWN for _ in line.cells)
        for line in lines
    )
    return Group(title=unit, columns=headings, rows=rows, meaning=meaning)


def _of_peak(lines: Sequence[Line], headings: Headings) -> Group:
    group = OF_PEAK.group(lines, headings)
    group = replace(group, meaning=group.meaning + _peak_sources(lines))
    shares = (cell.median(OF_PEAK.metric) for line in lines for cell in line.recorded)
    if max((share for share in shares if share is not None), default=0.0) <= 1:
        return group
    above = (
        "; above 100 where convolutions take fewer multiplications than are counted (Winograd), or "
        "the machine was busier while it measured the product"
    )
    return replace(group, meaning=group.meaning + above)


def _peak_sources(lines: Sequence[Line]) -> str:
    """Return whose product the peak is, with the precision where there are several."""
    precisions: dict[str, set[str]] = {}
    for trial in (trial for line in lines for cell in line.recorded for trial in cell.ok):
        if source := trial["metrics"].get("peak_source"):
            precisions.setdefault(source, set()).add(trial["settings"].get("precision", ""))
    names = [
        printable(source) + (f" ({', '.join(sorted(known))})" if len(precisions) > 1 else "")
        for source, known in sorted(precisions.items())
    ]
    return f", measured in {', '.join(names)}" if names else ""


def _compile(lines: Sequence[Line], headings: Headings) -> Group:
    """Return what compiling took, where a benchmark asks for it; else nothing worth a column."""
    trials = (cell.trials[-1] for line in lines for cell in line.recorded)
    is_asked = any(trial["settings"].get("compile") for trial in trials)
    group = COMPILE.group(lines, headings)
    nothing = tuple(tuple(UNKNOWN for _ in row) for row in group.rows)
    return group if is_asked else replace(group, rows=nothing)


def _target(lines: Sequence[Line], headings: Headings) -> Group:
    rows = tuple(tuple(_times_to_target(line)) for line in lines)
    targets = {cell.target_top1 for line in lines for cell in line.recorded}
    known = ", ".join(f"{target:g}" for target in sorted(filter(None, targets)))
    meaning = f"seconds of training until validation top-1 reached the target ({known})"
    meaning += ", of the trials that did" if "/" in "".join(chain(*rows)) else ""
    return Group(title="target s", columns=headings, rows=rows, meaning=meaning)


def _times_to_target(line: Line) -> Iterator[str]:
    texts = _numbers(line, lambda cell: cell.median("time_to_top1_s"))
    for cell, text in zip(line.cells, texts, strict=True):
        if cell is None or not cell.ok or not cell.target_misses:
            yield text
        elif cell.target_misses == len(cell.ok):
            yield "missed"
        else:
            yield f"{text} ({len(cell.ok) - cell.target_misses}/{len(cell.ok)})"


def _step(lines: Sequence[Line], headings: Headings) -> Group:
    meaning = (
        "milliseconds of a training step: the median, and what nine of ten stay below, each step "
        "with the mean of its block (the steps of 0.1 s, or a single step that takes longer)"
    )
    rows = tuple(tuple(_step_times(line)) for line in lines)
    return Group(title="step ms p50/p90 by block", columns=headings, rows=rows, meaning=meaning)


def _step_times(line: Line) -> Iterator[str]:
    names = ("step_ms_p50", "step_ms_p90")
    values = [None if cell is None else cell.median(name) for cell in line.cells for name in names]
    texts = iter(alike(values))
    for middle, high in zip(texts, texts, strict=True):
        yield UNKNOWN if UNKNOWN in (middle, high) else f"{middle}/{high}"


def _outside(lines: Sequence[Line], headings: Headings) -> Group:
    meaning = (
        "share of a training step outside the framework's computation: feeding, copying, or the "
        "adapter"
    )
    rows = tuple(tuple(map(_outside_text, line.cells)) for line in lines)
    return Group(title="outside %", columns=headings, rows=rows, meaning=meaning)


def _outside_text(cell: Cell | None) -> str:
    value = None if cell is None else cell.median("outside_fraction")
    # Repeated measurements differ by a per cent or two.
    return UNKNOWN if value is None else f"{round(100 * value)}"


def _top1(lines: Sequence[Line], headings: Headings) -> Group:
    marks = {_mark(cell) for line in lines for cell in line.recorded}
    room = max(map(len, marks), default=0)
    rows = tuple(
        _with_status(line, tuple(_marked_top1(cell, room) for cell in line.cells)) for line in lines
    )
    meaning = "share of test images whose best guess is right"
    meaning += "; v: of validation images, there being no test" if "v" in "".join(marks) else ""
    meaning += "; !: implausible, see above" if "!" in "".join(marks) else ""
    return Group(title="test top-1", columns=headings, rows=rows, meaning=meaning)


def _parameters(lines: Sequence[Line], headings: Headings) -> Group:
    rows = tuple(_millions(line) for line in lines)
    meaning = "millions of values in the network, and of those that the optimizer updates"
    return Group(title="params (M)", columns=("all", "trainable"), rows=rows, meaning=meaning)


def _published(lines: Sequence[Line], headings: Headings) -> Group:
    rows = tuple(
        (share(line.recorded[0].published("top1")), *alike([line.recorded[0].published("epoch_s")]))
        for line in lines
    )
    meaning = "figures of the source that the benchmark reproduces, on its machine and data"
    return Group(title="published", columns=("top-1", "epoch s"), rows=rows, meaning=meaning)


def _images_per_s(cell: Cell) -> Number | None:
    return cell.median(speed_metric(cell))


def _numbers(line: Line, measure: Callable[[Cell], Number | None]) -> tuple[str, ...]:
    return tuple(alike([None if cell is None else measure(cell) for cell in line.cells]))


def _with_status(line: Line, texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        text if cell is None or cell.ok else STATUS_WORDS.get(cell.status, printable(cell.status))
        for cell, text in zip(line.cells, texts, strict=True)
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


def _millions(line: Line) -> tuple[str, ...]:
    """Return both counts, as far as all backends agree; a note tells where they do not."""
    values = [line.distinct("params"), line.distinct("trainable_params")]
    agreed = [known.pop() / 1e6 if len(known) == 1 else None for known in map(set, values)]
    texts = alike(agreed)
    return tuple(
        "differ" if len(known) > 1 else text for known, text in zip(values, texts, strict=True)
    )
