"""Findings of a verification: what does not follow, and what could not be checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchharness.errors import Problem

# Sums of the same seconds in another order differ by less.
_ROUNDING = 1e-9
# What a file from elsewhere may make of a check.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(slots=True)
class Findings:
    """All findings on a run.

    Attributes:
        figures: How many figures were compared.
        unchecked: What could not be checked and why, each once.
    """

    found: list[Problem] = field(default_factory=list)
    figures: int = 0
    unchecked: dict[str, None] = field(default_factory=dict)

    def add(self, where: str, expected: object, found: object) -> None:
        """Add a finding."""
        self.found.append(Problem(where=where, expected=_words(expected), found=_words(found)))

    def compare(self, where: str, expected: Any, found: Any, *, within: float = _ROUNDING) -> None:
        """Add a finding unless two values are the same, numbers within a share of their size."""
        self.figures += 1
        if not is_same(expected, found, within=within):
            self.add(where, expected, found)

    def skip(self, what: str) -> None:
        """Note what is not checked."""
        self.unchecked[what] = None

    @contextmanager
    def reading(self, where: str) -> Iterator[None]:
        """Make a finding of what a malformed file raises in the block."""
        try:
            yield
        except _MALFORMED as error:
            problem = f"{type(error).__name__}: {error}"
            self.add(where, "the fields that benchharness writes", problem)

    def as_dict(self) -> dict[str, Any]:
        """Return the findings as JSON knows them."""
        return {
            "format": 1,
            "figures": self.figures,
            "findings": [
                {"where": problem.where, "expected": problem.expected, "found": problem.found}
                for problem in self.found
            ],
            "not_checked": list(self.unchecked),
        }


def is_same(expected: Any, found: Any, *, within: float = _ROUNDING) -> bool:
    """Return whether two values of JSON are the same, numbers within a share of their size."""
    numbers = (int, float)
    are_numbers = isinstance(expected, numbers) and isinstance(found, numbers)
    if are_numbers and not isinstance(expected, bool) and not isinstance(found, bool):
        return math.isclose(expected, found, rel_tol=within, abs_tol=_ROUNDING)
    # True is 1 to Python.
    return type(expected) is type(found) and bool(expected == found)


def _words(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    return repr(value) if isinstance(value, float) else str(value)
