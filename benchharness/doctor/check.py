"""Checks of a machine: each ok, worth a warning or missing something, with its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["ok", "warn", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Result of one check.

    Attributes:
        mark: ``missing`` for what the suite needs and lacks, ``warn`` for what is worth knowing.
        remedy: Empty where nothing is to be done.
    """

    mark: Severity
    subject: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Checks that belong together."""

    title: str
    findings: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All checks, for people and for programs.

    Attributes:
        title: The suite and the device, in a line.
        facts: The same in numbers, JSON-able.
    """

    title: str
    sections: tuple[Section, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_able(self) -> bool:
        """Whether nothing is missing."""
        return not self.marked("missing")

    def marked(self, mark: Severity) -> list[Check]:
        """Return the checks with a mark."""
        checks = (check for section in self.sections for check in section.findings)
        return [check for check in checks if check.mark == mark]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "format": 1,
            "title": self.title,
            "is_able": self.is_able,
            "sections": [asdict(section) for section in self.sections],
            **self.facts,
        }
