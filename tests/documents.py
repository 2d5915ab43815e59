"""The code blocks of the documentation, and what running a command of theirs means here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(?P<language>[a-z]+)(?P<kind> [a-z]+)?\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        kind: The word after the language, for example ``fragment``; empty for none.
        line: Where it begins, from 1.
    """

    document: Path
    line: int
    language: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}-{self.line}"

    def commands(self) -> Iterator[str]:
        """Yield the command lines of a shell block, comments left out."""
        for line in self.text.replace("\\\n", " ").splitlines():
            command = shlex.join(shlex.split(line, comments=True))
            if command:
                yield command


def blocks(*languages: str) -> list[Block]:
    """Return every block in one of the languages, in all documents."""
    return [
        Block(
            document=document,
            line=text.count("\n", 0, found.start()) + 1,
            language=found["language"],
            kind=(found["kind"] or "").strip(),
            text=found["text"],
        )
        for document in DOCUMENTS
        for text in [document.read_text(encoding="utf-8")]
        for found in BLOCK.finditer(text)
        if found["language"] in languages
    ]


def commands_of(program: str) -> list[str]:
    """Return the documented command lines of a program, each once."""
    found = [line for block in blocks("sh") for line in block.commands()]
    return list(dict.fromkeys(line for line in found if shlex.split(line)[0] == program))
