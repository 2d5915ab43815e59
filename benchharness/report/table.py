"""The report of a run: its content, as a table on a terminal or as text, and in Markdown."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from benchharness.measure.sanity import is_unbalanced
from benchharness.model.image_files import describe_conversions
from benchharness.report.metric_columns import STATUS_WORDS, ColumnGroup, groups_of
from benchharness.report.notes import notes_of, work_of
from benchharness.report.rows import Note, Row, backends_of, cores_of, printable, rows_of
from benchharness.report.summary import SummaryLine, summary_of
from benchharness.results.record import Record

# What rich puts between two columns of the box we use: a space, a bar, a space.
SEPARATOR = 3
NARROWEST_NAME = 18
MEDIANS = Note(label="numbers", text="medians over n trials that are ok; -: unknown, not measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a terminal, Markdown and a page show of a run, apart from charts.

    Attributes:
        run: As in run.json.
        records: The last of each trial.
        backends: Those with records, in the order of the run.
        rows: Of the table; none before a trial has finished.
        answers: Overall, then row by row.
    """

    run: Mapping[str, Any]
    records: Sequence[Record]
    backends: Sequence[str]
    rows: Sequence[Row]
    answers: Sequence[SummaryLine]

    @classmethod
    def of(cls, run: Mapping[str, Any], records: Sequence[Record]) -> Report:
        """Return the report of a run with its records, as ``RunFolder.records`` gives them."""
        backends = backends_of(run, records)
        rows = rows_of(records, backends, cores=cores_of(run))
        answers = summary_of(rows)
        return cls(run=run, records=records, backends=backends, rows=rows, answers=answers)

    @property
    def heading(self) -> str:
        """The suite's title, or its name."""
        return _heading(self.run)

    @property
    def setting(self) -> str:
        """Suite, profile, device and time."""
        return _setting(self.run)

    @property
    def inputs(self) -> str:
        """Where images and weights come from."""
        return inputs_text(self.run)

    @property
    def missing_trials(self) -> str:
        """That the run is not complete, and how to continue; else empty."""
        return missing_trials(self.run, self.records)

    @property
    def uses_substitutes(self) -> bool:
        """Whether the images are drawn or the pretrained weights random."""
        return uses_substitutes(self.run)

    @property
    def notes(self) -> list[Note]:
        """What a reader must know, what went wrong first."""
        return notes_of(self.run, self.rows)

    @property
    def legend(self) -> list[Note]:
        """What the numbers are, and what each benchmark did."""
        return [MEDIANS, *work_of(self.rows)]

    def groups(self, *, is_detailed: bool = False) -> list[ColumnGroup]:
        """Return the columns of the table, from left to right.

        Args:
            is_detailed: Whether there is room for measures that follow from others.
        """
        return groups_of(self.rows, self.backends, is_detailed=is_detailed) if self.rows else []


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsTable:
    """A report that fits itself to the terminal; rich asks it to.

    Where the width does not hold all measures, they continue in further tables below; backends
    leave each other's side only where a single measure would not fit otherwise.
    """

    report: Report

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield title, answers, tables, notes and legend for the width at hand."""
        report = self.report
        yield Text(report.heading, style="bold")
        for text, style in (
            (report.setting, ""),
            (report.inputs, "bold yellow" if report.uses_substitutes else ""),
            (report.missing_trials, "bold yellow"),
        ):
            if text:
                yield Text(text, style=style)
        if not report.rows:
            yield Text("no trial has finished")
            return
        yield from (Text(str(answer), style="bold") for answer in report.answers)
        yield Text()
        rows, groups = _fitting(report, options.max_width)
        for panel in _panels(rows, groups, options.max_width):
            yield _panel(rows, panel, options.max_width)
            yield Text()
        if notes := report.notes:
            yield _grid(notes, "yellow")
            yield Text()
        medians, *work = report.legend
        yield _grid([*work, *_meanings(groups), medians], "dim")


def results_table(run: Mapping[str, Any], records: Sequence[Record]) -> RenderableType:
    """Return the report of a run for ``rich`` to print.

    Args:
        run: As in run.json.
        records: The last of each trial, as ``RunFolder.records`` gives them.
    """
    return ResultsTable(report=Report.of(run, records))


def plain_text(run: Mapping[str, Any], records: Sequence[Record], *, width: int = 100) -> str:
    """Return the same as text without colours, ``width`` columns wide."""
    return as_text(results_table(run, records), width=width)


def as_text(content: RenderableType, *, width: int) -> str:
    """Return what rich prints, without colours and spaces at the ends of lines."""
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system=None,
        force_terminal=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(content)
    return "".join(f"{row.rstrip()}\n" for row in capture.get().splitlines())


def markdown(run: Mapping[str, Any], records: Sequence[Record]) -> str:
    """Return the report in Markdown, all measures side by side, with its notes below."""
    report = Report.of(run, records)
    above = (report.setting, report.inputs, report.missing_trials)
    parts = [f"### {escaped(report.heading)}", *map(escaped, above)]
    if report.rows:
        parts.append("\n".join(f"- {escaped(str(answer))}" for answer in report.answers))
        groups = report.groups()
        headings = [f"{group.title} {column}" for group in groups for column in group.columns]
        texts = [
            [row.label, *(text for group in groups for text in group.rows[index])]
            for index, row in enumerate(report.rows)
        ]
        alignment = "|".join(["", "---", *("---:" for _ in headings), ""])
        first, *rest = map(markdown_row, (["benchmark", *headings], *texts))
        parts.append("\n".join([first, alignment, *rest]))
        medians, *work = report.legend
        notes = [*report.notes, *work, *_meanings(groups), medians]
        parts.append("\n".join(f"- {escaped(f'{note.label}: {note.text}')}" for note in notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_row(texts: Sequence[str]) -> str:
    """Return a row of a table."""
    return "| " + " | ".join(escaped(text).strip() for text in texts) + " |"


def escaped(text: str) -> str:
    """Return text in which Markdown sees no markup."""
    for char in "\\|<*_[":
        text = text.replace(char, f"\\{char}")
    return text


def _fitting(report: Report, width: int) -> tuple[Sequence[Row], list[ColumnGroup]]:
    """Return rows and groups for a width: of all backends, or else a row for each."""
    groups = report.groups()
    widest = max((len(group.block()[0]) for group in groups), default=0)
    if len(report.backends) < 2 or NARROWEST_NAME + SEPARATOR + widest <= width:
        return report.rows, groups
    single = [part for row in report.rows for part in row.by_backend()]
    return single, groups_of(single, [""])


def _panels(
    rows: Sequence[Row], groups: Sequence[ColumnGroup], width: int
) -> list[list[ColumnGroup]]:
    """Return the groups of each table, as many side by side as the width holds."""
    panels: list[list[ColumnGroup]] = [[]]
    room = width - _name_width(rows, width)
    left = room
    for group in groups:
        needed = SEPARATOR + len(group.block()[0])
        if panels[-1] and needed > left:
            panels.append([])
            left = room
        panels[-1].append(group)
        left -= needed
    return panels


def _name_width(rows: Sequence[Row], width: int) -> int:
    longest = max(cell_len(text) for text in ("benchmark", *(row.label for row in rows)))
    return min(longest, max(NARROWEST_NAME, width * 28 // 100))


def _panel(rows: Sequence[Row], groups: Sequence[ColumnGroup], width: int) -> Table:
    table = Table(box=box.MINIMAL, show_edge=False, pad_edge=False, header_style="")
    name_width = _name_width(rows, width)
    table.add_column(Text("benchmark"), width=name_width, overflow="fold")
    blocks = [group.block() for group in groups]
    for heading, columns, *_ in blocks:
        table.add_column(Text(f"{heading}\n{columns}"), no_wrap=True)
    for index, row in enumerate(rows, start=2):
        table.add_row(Text(row.label), *(_coloured(block[index]) for block in blocks))
    return table


def _coloured(text: str) -> Text:
    coloured = Text(text)
    coloured.highlight_words(STATUS_WORDS.values(), "red")
    coloured.highlight_regex(r"\S+!", "yellow")
    return coloured


def _meanings(groups: Sequence[ColumnGroup]) -> list[Note]:
    return [Note(label=group.title, text=group.meaning) for group in groups]


def _grid(notes: Sequence[Note], style: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    for note in notes:
        grid.add_row(Text(note.label, style=style), Text(note.text, style=style))
    return grid


def _heading(run: Mapping[str, Any]) -> str:
    """Return the suite's title, or its name."""
    return printable(run.get("title") or run.get("suite") or "results")


def _setting(run: Mapping[str, Any]) -> str:
    """Return suite, profile, device and time, as far as known."""
    parts = (
        ("suite ", run.get("suite")),
        ("profile ", run.get("profile")),
        ("", run.get("device")),
        ("", run.get("started")),
    )
    return " | ".join(f"{word}{printable(value)}" for word, value in parts if value)


def inputs_text(run: Mapping[str, Any]) -> str:
    """Return where images and weights come from; drawn and random ones are called so."""
    dataset, weights = run.get("dataset") or {}, run.get("weights") or {}
    parts = []
    if dataset:
        parts.append(f"data: {_dataset(dataset)}")
    if weights:
        origin = "random" if weights.get("is_random") else printable(weights.get("origin", ""))
        parts.append(f"weights: {origin}")
    return ", ".join(parts)


def missing_trials(run: Mapping[str, Any], records: Sequence[Record]) -> str:
    """Return that a run is not complete, and how to continue; empty where it is, or unknown."""
    resolved = run.get("resolved") or {}
    cells = resolved.get("cells", ())
    planned = sum(cell.get("trials", 0) for cell in cells)
    # A comparison decides by itself how many there are.
    if "asked" not in run:
        return ""
    if len(records) < planned:
        missing = f"{len(records)} of {planned} trials"
    elif any(cell.get("max_trials") for cell in cells) and "looks" not in run:
        missing = f"{len(records)} trials, ended before a look found them enough"
    else:
        return ""
    file = printable(resolved.get("file", "SUITE"))
    return f"NOT COMPLETE: {missing}; benchharness run {file} --resume does the rest"


def uses_substitutes(run: Mapping[str, Any]) -> bool:
    """Whether the images are drawn or the pretrained weights random."""
    is_drawn = not (run.get("dataset") or {}).get("is_real", True)
    return is_drawn or bool((run.get("weights") or {}).get("is_random"))


def _dataset(dataset: Mapping[str, Any]) -> str:
    if not dataset.get("is_real", True):
        return "drawn pictures"
    name, origin = printable(dataset.get("name", "")), printable(dataset.get("origin", ""))
    notes = [origin] if origin and origin != name else []
    if converted := dataset.get("converted"):
        notes.append(f"converted while decoding: {printable(describe_conversions(converted))}")
    if leaks := (dataset.get("leaks") or {}).get("count"):
        images = "image also occurs" if leaks == 1 else "images also occur"
        notes.append(f"{leaks:,} test {images} in the training set (data leakage)")
    share = dataset.get("majority_share")
    if share and is_unbalanced(share, classes=len(dataset.get("classes", ()))):
        notes.append(
            f"always guessing the largest class is right on {share:.2f} of the test images"
        )
    return f"{name} ({'; '.join(notes)})" if notes else name
