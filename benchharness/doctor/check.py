"""What was found on a machine: each thing well, worth a warning or missing, with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Mark = Literal["ok", "warn", "missing"]
_GB, _MB = 1e9, 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        mark: ``missing`` for what the suite cannot do without, ``warn`` for what is worth knowing.
        remedy: What to do about it; empty where there is nothing to do.
    """

    mark: Mark
    subject: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Findings that belong together."""

    title: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All findings, for people and for programs.

    Attributes:
        title: What was looked at, in a line.
        facts: The same in numbers, JSON-able.
    """

    title: str
    sections: tuple[Section, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_able(self) -> bool:
        """Whether nothing is missing."""
        return not any(self.count("missing"))

    def count(self, mark: Mark) -> Iterator[Finding]:
        """Yield the findings with a mark."""
        return (one for section in self.sections for one in section.findings if one.mark == mark)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "format": 1,
            "title": self.title,
            "is_able": self.is_able,
            "sections": [asdict(section) for section in self.sections],
            **self.facts,
        }


def size(count: float) -> str:
    """Return bytes in words."""
    return f"{count / _GB:.1f} GB" if count >= _GB / 2 else f"{count / _MB:.0f} MB"
