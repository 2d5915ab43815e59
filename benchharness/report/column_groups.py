"""Groups of columns that belong together: one measure, the backends side by side."""

from __future__ import annotations

from dataclasses import dataclass

from benchharness.report.numbers import UNKNOWN, aligned

GAP = "  "


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
