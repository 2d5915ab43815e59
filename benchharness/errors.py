"""Errors that a user can correct: where, what was expected, what was found, and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BenchError(Exception):
    """Root of every error a user can correct; the command line prints it without a traceback."""

    def lines(self) -> list[str]:
        """Return the message as one line per problem."""
        return [str(self)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error in a request.

    Attributes:
        where: Path of the key, for example ``benchmark "bottleneck": batch_size``.
        expected: What would have been accepted.
        found: The value there.
        hint: The remedy, for example the nearest spelling; empty where none is known.
    """

    where: str
    expected: str
    found: str
    hint: str = ""

    def __str__(self) -> str:
        """Return the problem on one line."""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.where}: expected {self.expected}, found {self.found}{hint}"


class SuiteError(BenchError):
    """The request cannot be understood: the suite file or the options beside it."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return one line per problem, each beginning with its file."""
        return [f"{self.source}: {problem}" for problem in self.problems]


class PluginError(BenchError):
    """A backend is absent, too old, or breaks the contract."""


class UnsupportedError(BenchError):
    """A backend cannot honour a setting; its cell is skipped with this reason.

    Never substitute something similar: the reader would compare two different works.
    """


class DatasetError(BenchError):
    """Images are missing, unreadable or inconsistent."""


class AbsentError(DatasetError):
    """A dataset is nowhere on this machine, and cannot be downloaded."""


class WeightsError(BenchError):
    """Pretrained weights are missing, of another shape, or not what their digest says."""


class FetchError(BenchError):
    """A published file cannot be downloaded, or is not what was published."""


class RunError(BenchError):
    """A run could not be carried out or recorded."""


class CancelledError(RunError):
    """A trial was ended before its end, since nobody waits for it any longer."""
