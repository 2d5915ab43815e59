"""Groups of columns that belong together: one measure, the backends side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchharness.measure.sanity import flags
from benchharness.report.lines import Line, printable
from benchharness.report.numbers import UNKNOWN, aligned, alike, share
from benchharness.results.cells import Cell, Number

GAP = "  "
STATUS_WORDS = {
    "failed": "failed",
    "timeout": "timed out",
    "oom": "no memory",
    "diverged": "diverged",
    "skipped": "skipped",
}

Texts = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One measure.

    Attributes:
        title: Over all of its columns.
        columns: Headings; a single empty one where the title says it all.
        rows: For each line of the table the text of each column.
        meaning: For the legend.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    meaning: str

    @property
    def is_empty(self) -> bool:
        """Whether no line has anything to say here."""
        return all(text == UNKNOWN for row in self.rows for text in row)

    def block(self) -> list[str]:
        """Return heading and rows as text of one width, columns aligned.

        The first two lines are the title and the columns; the second is empty when the only
        column has no heading.
        """
        columns = [
            aligned([heading, *texts])
            for heading, texts in zip(self.columns, zip(*self.rows, strict=True), strict=True)
        ]
        body = [GAP.join(texts) for texts in zip(*columns, strict=True)]
        width = max(len(self.title), len(body[0]))
        return [self.title.center(width), *(text.rjust(width) for text in body)]


def groups_of(lines: Sequence[Line], backends: Sequence[str]) -> list[Group]:
    """Return the groups that have something to show, from left to right.

    Args:
        lines: At least one.
        backends: Headings of the lines' cells.
    """
    headings = tuple(map(printable, backends))
    makers: list[Callable[[Sequence[Line], tuple[str, ...]], Group]] = [
        _speed,
        _epoch,
        _total,
        _top1,
        _parameters,
        _published,
    ]
    groups = (make(lines, headings) for make in makers)
    return [group for group in groups if not group.is_empty]


def shown_top1(cell: Cell) -> Number | None:
    """Return the test top-1, or the validation top-1 where there is no test."""
    test = cell.median("test_top1")
    return cell.median("validation_top1") if test is None else test


def _speed(lines: Sequence[Line], headings: tuple[str, ...]) -> Group:
    meaning = (
        "training images per second of training; for `dataset`, images brought to the device; "
        "for `bottleneck`, stored features through the head"
    )
    rows = [_with_status(line, _numbers(line, _images_per_s)) for line in lines]
    return Group(title="images/s", columns=headings, rows=tuple(rows), meaning=meaning)


def _epoch(lines: Sequence[Line], headings: tuple[str, ...]) -> Group:
    rows = tuple(_numbers(line, lambda cell: cell.median("epoch_s")) for line in lines)
    meaning = "seconds of one pass over the training images, evaluation excluded"
    return Group(title="epoch s", columns=headings, rows=rows, meaning=meaning)


def _total(lines: Sequence[Line], headings: tuple[str, ...]) -> Group:
    rows = tuple(_numbers(line, lambda cell: cell.median("wall_s")) for line in lines)
    meaning = "seconds of a whole trial: import, building, compiling, training, evaluation"
    return Group(title="total s", columns=headings, rows=rows, meaning=meaning)


def _top1(lines: Sequence[Line], headings: tuple[str, ...]) -> Group:
    marks = {_mark(cell) for line in lines for cell in line.recorded}
    room = max(map(len, marks), default=0)
    rows = tuple(
        _with_status(line, tuple(_marked_top1(cell, room) for cell in line.cells)) for line in lines
    )
    meaning = "share of test images whose best guess is right"
    meaning += "; v: of validation images, there being no test" if "v" in "".join(marks) else ""
    meaning += "; !: implausible, see above" if "!" in "".join(marks) else ""
    return Group(title="test top-1", columns=headings, rows=rows, meaning=meaning)


def _parameters(lines: Sequence[Line], headings: tuple[str, ...]) -> Group:
    rows = tuple(_millions(line) for line in lines)
    meaning = "millions of values in the network, and of those that the optimizer updates"
    return Group(title="params (M)", columns=("all", "trainable"), rows=rows, meaning=meaning)


def _published(lines: Sequence[Line], headings: tuple[str, ...]) -> Group:
    rows = tuple(
        (share(line.recorded[0].published("top1")), *alike([line.recorded[0].published("epoch_s")]))
        for line in lines
    )
    meaning = "figures of the source that the benchmark reproduces, on its machine and data"
    return Group(title="published", columns=("top-1", "epoch s"), rows=rows, meaning=meaning)


def _images_per_s(cell: Cell) -> Number | None:
    train = cell.median("train_images_per_s")
    return cell.median("feed_images_per_s") if train is None else train


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
    is_flagged = any(flags(trial) for trial in cell.trials)
    return "v" * is_validation + "!" * is_flagged


def _millions(line: Line) -> tuple[str, ...]:
    """Return both counts, as far as all backends agree; a note tells where they do not."""
    values = [line.distinct("params"), line.distinct("trainable_params")]
    agreed = [known.pop() / 1e6 if len(known) == 1 else None for known in map(set, values)]
    texts = alike(agreed)
    return tuple(
        "differ" if len(known) > 1 else text for known, text in zip(values, texts, strict=True)
    )
