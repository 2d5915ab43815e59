"""The results of a run, answers before the table: for a terminal, a text file or Markdown."""

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

from benchharness.report import title
from benchharness.report.column_groups import Group
from benchharness.report.metric_columns import STATUS_WORDS, groups_of
from benchharness.report.notes import busy_of, notes_of
from benchharness.report.rows import Line, Note, backends_of, cores_of, lines_of
from benchharness.report.stops import stops_of
from benchharness.report.summary import answers_of
from benchharness.report.work import work_of
from benchharness.results.record import Record

# What rich puts between two columns of the box we use: a space, a bar, a space.
SEPARATOR = 3
NARROWEST_NAME = 18
MEDIANS = Note(label="numbers", text="medians over n trials that are ok; -: unknown, not measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsTable:
    """A table that fits itself to the terminal; rich asks it to.

    Where the width does not hold all measures, they continue in further tables below; backends
    leave each other's side only where a single measure would not fit otherwise.
    """

    run: Mapping[str, Any]
    lines: tuple[Line, ...]
    backends: tuple[str, ...]
    lacking: str = ""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield title, answers, tables, notes and legend for the width at hand."""
        yield from _title(self.run, self.lacking)
        if not self.lines:
            yield Text("no trial has finished")
            return
        yield from (Text(answer, style="bold") for answer in answers_of(self.lines))
        yield Text()
        lines, groups = _fitting(self.lines, self.backends, options.max_width)
        for panel in _panels(lines, groups, options.max_width):
            yield _panel(lines, panel, options.max_width)
            yield Text()
        notes = [*notes_of(self.lines), *busy_of(self.run, self.lines), *stops_of(self.run)]
        if notes:
            yield _remarks(notes, "yellow")
            yield Text()
        yield _remarks([*work_of(self.lines), *_legend(groups)], "dim")


def results_table(run: Mapping[str, Any], records: Sequence[Record]) -> RenderableType:
    """Return the table of a run for ``rich`` to print.

    Args:
        run: As in run.json.
        records: The last of each trial, as ``RunFolder.records`` gives them.
    """
    backends = backends_of(run, records)
    return ResultsTable(
        run=run,
        lines=tuple(lines_of(records, backends, cores=cores_of(run))),
        backends=tuple(backends),
        lacking=title.lacking(run, records),
    )


def plain_text(run: Mapping[str, Any], records: Sequence[Record], *, width: int = 100) -> str:
    """Return the table as text without colours.

    Args:
        run: As in run.json.
        records: The last of each trial.
        width: Columns of text.
    """
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system=None,
        force_terminal=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(results_table(run, records))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def markdown(run: Mapping[str, Any], records: Sequence[Record]) -> str:
    """Return the table in Markdown, all measures side by side, with its notes below."""
    parts = [f"### {_escaped(title.heading(run))}", _escaped(title.setting(run))]
    parts += [_escaped(title.inputs(run)), _escaped(title.lacking(run, records))]
    backends = backends_of(run, records)
    if lines := lines_of(records, backends, cores=cores_of(run)):
        parts.append("\n".join(f"- {_escaped(answer)}" for answer in answers_of(lines)))
        groups = groups_of(lines, backends)
        parts.append("\n".join(_markdown_rows(lines, groups)))
        notes = [
            *notes_of(lines),
            *busy_of(run, lines),
            *stops_of(run),
            *work_of(lines),
            *_legend(groups),
        ]
        parts.append("\n".join(f"- {_escaped(f'{note.label}: {note.text}')}" for note in notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(run: Mapping[str, Any], lacking: str) -> Iterator[Text]:
    yield Text(title.heading(run), style="bold")
    for text, style in (
        (title.setting(run), ""),
        (title.inputs(run), "bold yellow" if title.uses_substitutes(run) else ""),
        (lacking, "bold yellow"),
    ):
        if text:
            yield Text(text, style=style)


def _fitting(
    lines: Sequence[Line], backends: Sequence[str], width: int
) -> tuple[list[Line], list[Group]]:
    groups = groups_of(lines, backends)
    widest = max((len(group.block()[0]) for group in groups), default=0)
    if len(backends) < 2 or NARROWEST_NAME + SEPARATOR + widest <= width:
        return list(lines), groups
    single = [part for line in lines for part in line.by_backend()]
    return single, groups_of(single, [""])


def _panels(lines: Sequence[Line], groups: Sequence[Group], width: int) -> list[list[Group]]:
    """Return the groups of each table, as many side by side as the width holds."""
    panels: list[list[Group]] = [[]]
    room = width - _name_width(lines, width)
    left = room
    for group in groups:
        needed = SEPARATOR + len(group.block()[0])
        if panels[-1] and needed > left:
            panels.append([])
            left = room
        panels[-1].append(group)
        left -= needed
    return panels


def _name_width(lines: Sequence[Line], width: int) -> int:
    longest = max(cell_len(text) for text in ("benchmark", *(line.label for line in lines)))
    return min(longest, max(NARROWEST_NAME, width * 28 // 100))


def _panel(lines: Sequence[Line], groups: Sequence[Group], width: int) -> Table:
    table = Table(box=box.MINIMAL, show_edge=False, pad_edge=False, header_style="")
    name_width = _name_width(lines, width)
    table.add_column(Text("benchmark"), width=name_width, overflow="fold")
    blocks = [group.block() for group in groups]
    for heading, columns, *_ in blocks:
        table.add_column(Text(f"{heading}\n{columns}"), no_wrap=True)
    for index, line in enumerate(lines, start=2):
        table.add_row(Text(line.label), *(_coloured(block[index]) for block in blocks))
    return table


def _coloured(text: str) -> Text:
    coloured = Text(text)
    coloured.highlight_words(STATUS_WORDS.values(), "red")
    coloured.highlight_regex(r"\S+!", "yellow")
    return coloured


def _legend(groups: Sequence[Group]) -> list[Note]:
    return [*(Note(label=group.title, text=group.meaning) for group in groups), MEDIANS]


def _remarks(notes: Sequence[Note], style: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    for note in notes:
        grid.add_row(Text(note.label, style=style), Text(note.text, style=style))
    return grid


def _markdown_rows(lines: Sequence[Line], groups: Sequence[Group]) -> Iterator[str]:
    headings = [f"{group.title} {column}" for group in groups for column in group.columns]
    yield _markdown_row(["benchmark", *headings])
    yield "|".join(["", "---", *("---:" for _ in headings), ""])
    for index, line in enumerate(lines):
        yield _markdown_row([line.label, *(text for group in groups for text in group.rows[index])])


def _markdown_row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(text).strip() for text in texts) + " |"


def _escaped(text: str) -> str:
    for char in "\\|<*_[":
        text = text.replace(char, f"\\{char}")
    return text
