"""The report of a run: its content, and its table on a terminal or as text."""

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
from benchharness.report.notes import notes_of, work_of
from benchharness.report.rows import (
    STATUS_WORDS,
    ColumnGroup,
    Note,
    Row,
    backends_of,
    cores_of,
    groups_of,
    printable,
    rows_of,
)
from benchharness.report.summary import SummaryLine, summary_of
from benchharness.results.record import Record

# What rich puts between two columns of the box we use: a space, a bar, a space.
SEPARATOR = 3
NARROWEST_NAME = 18
_INDENT = "  "
MEDIANS = Note("numbers", "medians over n trials that are ok; -: not measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a terminal, Markdown and a page show of a run, apart from charts.

    Attributes:
        run: As in run.json.
        records: The last of each trial.
        heading: The suite's title, or its name.
        setting: Suite, profile, device and time, as far as known.
        inputs: Where images and weights come from.
        missing_trials: That the run is not complete, and how to continue; else empty.
        uses_substitutes: Whether the images are drawn or the pretrained weights random.
    """

    run: Mapping[str, Any]
    records: Sequence[Record]
    heading: str
    setting: str
    inputs: str
    missing_trials: str
    uses_substitutes: bool
    backends: Sequence[str]
    rows: Sequence[Row]
    answers: Sequence[SummaryLine]
    notes: Sequence[Note]

    @classmethod
    def of(cls, run: Mapping[str, Any], records: Sequence[Record]) -> Report:
        """Return the report of a run with its records, as ``RunFolder.records`` gives them."""
        words = {"suite": "suite ", "profile": "profile ", "device": "", "started": ""}
        known = ((word, run.get(name)) for name, word in words.items())
        is_drawn = not (run.get("dataset") or {}).get("is_real", True)
        backends = backends_of(run, records)
        rows = rows_of(records, backends, cores=cores_of(run))
        return cls(
            run=run,
            records=records,
            heading=printable(run.get("title") or run.get("suite") or "results"),
            setting=" | ".join(f"{word}{printable(value)}" for word, value in known if value),
            inputs=inputs_text(run),
            missing_trials=missing_trials(run, records),
            uses_substitutes=is_drawn or bool((run.get("weights") or {}).get("is_random")),
            backends=backends,
            rows=rows,
            answers=summary_of(rows),
            notes=notes_of(run, rows),
        )

    def groups(self, *, is_detailed: bool = False) -> list[ColumnGroup]:
        """Return the columns of the table, from left to right."""
        return groups_of(self.rows, self.backends, is_detailed=is_detailed)

    def legend(self, groups: Sequence[ColumnGroup]) -> list[Note]:
        """Return what each benchmark did, and what the columns that are shown mean."""
        meanings = [Note(group.title, group.meaning) for group in groups]
        return [*work_of(self.rows), *meanings, MEDIANS]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield title, answers, tables, notes and legend for the width at hand.

        Where the width does not hold all measures, they continue in further tables below; backends
        leave each other's side only where a single measure would not fit otherwise.
        """
        yield Text(self.heading, style="bold")
        for text, style in (
            (self.setting, ""),
            (self.inputs, "bold yellow" if self.uses_substitutes else ""),
            (self.missing_trials, "bold yellow"),
        ):
            if text:
                yield Text(text, style=style)
        if not self.rows:
            yield Text("no trial has finished")
            return
        for answer in self.answers:
            yield from _hanging(answer, console, options.max_width)
        yield Text()
        rows, groups = self.rows, self.groups()
        widest = max((len(group.block()[0]) for group in groups), default=0)
        if len(self.backends) > 1 and NARROWEST_NAME + SEPARATOR + widest > options.max_width:
            rows = [part for row in self.rows for part in row.by_backend()]
            groups = groups_of(rows, [""])
        for table in _tables(rows, groups, options.max_width):
            yield table
            yield Text()
        if self.notes:
            yield _grid(self.notes, "yellow")
            yield Text()
        yield _grid(self.legend(groups), "dim")


def _hanging(answer: SummaryLine, console: Console, width: int) -> Iterator[Text]:
    """Yield an answer's lines: its claim, and each further clause on lines of its own below it."""
    first, *rest = answer.said, *answer.beside
    clauses = [Text(f"{answer.subject}: {first}", style="bold"), *map(Text, rest)]
    for clause in clauses[:-1]:
        clause.append(";")
    wrapped = [line for clause in clauses for line in clause.wrap(console, width - len(_INDENT))]
    for line in wrapped:
        line.rstrip()
    yield wrapped[0]
    yield from (Text(_INDENT).append_text(line) for line in wrapped[1:])


def results_table(run: Mapping[str, Any], records: Sequence[Record]) -> RenderableType:
    """Return the report of a run for ``rich`` to print."""
    return Report.of(run, records)


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


def inputs_text(run: Mapping[str, Any]) -> str:
    """Return where images and weights come from; drawn and random ones are called so."""
    dataset, weights = run.get("dataset") or {}, run.get("weights") or {}
    parts = [f"data: {_dataset(dataset)}"] if dataset else []
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


def _tables(rows: Sequence[Row], groups: Sequence[ColumnGroup], width: int) -> Iterator[Table]:
    """Yield tables with as many groups side by side as the width holds."""
    longest = max(cell_len(text) for text in ("benchmark", *(row.label for row in rows)))
    name_width = min(longest, max(NARROWEST_NAME, width * 28 // 100))
    panels: list[list[list[str]]] = [[]]
    left = width - name_width
    for block in (group.block() for group in groups):
        needed = SEPARATOR + len(block[0])
        if panels[-1] and needed > left:
            panels.append([])
            left = width - name_width
        panels[-1].append(block)
        left -= needed
    for panel in panels:
        table = Table(box=box.MINIMAL, show_edge=False, pad_edge=False, header_style="")
        table.add_column(Text("benchmark"), width=name_width, overflow="fold")
        for title, headings, *_ in panel:
            table.add_column(Text(f"{title}\n{headings}"), no_wrap=True)
        for index, row in enumerate(rows, start=2):
            table.add_row(Text(row.label), *(_coloured(block[index]) for block in panel))
        yield table


def _coloured(text: str) -> Text:
    coloured = Text(text)
    coloured.highlight_words(STATUS_WORDS.values(), "red")
    coloured.highlight_regex(r"\S+!", "yellow")
    return coloured


def _grid(notes: Sequence[Note], style: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    for note in notes:
        grid.add_row(*(Text(text, style=style) for text in note))
    return grid
