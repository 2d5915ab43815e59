"""Write the tables of events in docs/events.md, from the docstrings of the events.

python tools/document_events.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from benchharness.run.events import ORDER, OfTrial, TrialName

DOCUMENT = Path(__file__).parent.parent / "docs/events.md"
_HEADING = "## Every event\n"
_FIELD = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.M)


def main() -> None:
    """Replace everything below the heading."""
    kept, _ = DOCUMENT.read_text(encoding="utf-8").split(_HEADING)
    DOCUMENT.write_text(kept + _HEADING + tables(), encoding="utf-8")


def tables() -> str:
    """Return what stands below the heading."""
    parts = [_table("fields of every trial's event", TrialName, is_event=False)]
    parts += [_table(f"`{kind.kind}`", kind, is_event=True) for kind in ORDER]
    return "".join(parts)


def _table(title: str, kind: type, *, is_event: bool) -> str:
    described, _, fields = inspect.cleandoc(kind.__doc__ or "").partition("\n\nAttributes:\n")
    of_trial = " Has the fields of every trial's event, too." if issubclass(kind, OfTrial) else ""
    intro = f"{_joined(described)}{of_trial}\n\n" if is_event else ""
    rows = "".join(f"| `{name}` | {text} |\n" for name, text in _rows(fields))
    return f"\n### {title}\n\n{intro}| field | |\n|---|---|\n{rows}"


def _rows(fields: str) -> Iterator[tuple[str, str]]:
    for found in _FIELD.finditer(fields):
        yield found[1], _joined(found[2]).replace("|", "\\|").replace("``", "`")


def _joined(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


if __name__ == "__main__":
    main()
