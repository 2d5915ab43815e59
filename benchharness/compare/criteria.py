"""What is compared, and how much worse counts: as the suite states, and the user beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchharness.errors import Problem, SuiteError
from benchharness.model.quantities import QUANTITIES, USUAL, Quantity
from benchharness.suite.file import DRIFT
from benchharness.text import quote, suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What counts as worse.

    Attributes:
        columns: Compared, in this order.
        is_chosen: Whether somebody named them: then each of them has to be decided.
        stated: Thresholds by benchmark and column, where the suite states one.
        asked: Thresholds by column that the user asks for; they win.
        drift: How far equal code may differ in speed between two runs, a share.
    """

    columns: tuple[str, ...] = USUAL
    is_chosen: bool = False
    stated: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    asked: Mapping[str, float] = field(default_factory=dict)
    drift: float = DRIFT

    @classmethod
    def of(
        cls,
        described: Mapping[str, Any],
        *,
        columns: Sequence[str] = (),
        thresholds: Mapping[str, float],
    ) -> Criteria:
        """Return the criteria of a suite.

        Args:
            described: What it says of regressions, as in ``resolved`` of run.json; may be empty.
            columns: To compare in place of the suite's; empty for those.
            thresholds: That the user asks for, by column.
        """
        chosen = tuple(dict.fromkeys(columns)) or tuple(described.get("columns") or ())
        # Who asks for a threshold wants to know about it.
        beside = [name for name in thresholds if name not in USUAL and not chosen]
        usual = (*USUAL, *(name for name in beside if QUANTITIES[name].kind != "speed"))
        return cls(
            columns=chosen or usual,
            is_chosen=bool(chosen),
            stated=described.get("thresholds") or {},
            asked=thresholds,
            drift=described.get("drift", DRIFT),
        )

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What is compared."""
        return tuple(QUANTITIES[name] for name in self.columns)

    @property
    def targets(self) -> tuple[Quantity, ...]:
        """Columns whose missed targets are counted: those compared, or all where nobody chose."""
        quantities = self.quantities if self.is_chosen else tuple(QUANTITIES.values())
        return tuple(quantity for quantity in quantities if quantity.target)

    @property
    def is_extraction_compared(self) -> bool:
        """Whether features have to be extracted anew in each trial."""
        return "extract_images_per_s" in self.columns

    def threshold(self, benchmark: str, column: str, *, drift: float = 0.0) -> float:
        """Return how much worse counts.

        Args:
            benchmark: Name.
            column: To compare.
            drift: How far equal code may differ in speed for another reason than the code. Where
                nobody states a threshold it is twice that at least: with less, equal code would
                hardly ever be called the same.
        """
        quantity = QUANTITIES[column]
        usual = quantity.threshold
        if quantity.kind == "speed":
            usual = max(usual, 2 * drift)
        return self.stated_threshold(benchmark, column) or usual

    def stated_threshold(self, benchmark: str, column: str) -> float | None:
        """Return how much worse counts as the user or else the suite says; None for no word."""
        return self.asked.get(column) or self.stated.get(benchmark, {}).get(column)

    def is_required(self, quantity: Quantity) -> bool:
        """Return whether it has to be decided: what somebody named, and what is not just watched.

        Of alternatives one has to be, which is not asked here.

        Args:
            quantity: One of ``quantities``.
        """
        return self.is_chosen or not quantity.is_watched


def read_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Return the thresholds of the command line by column.

    Args:
        texts: ``5%`` or ``0.05`` for every speed, ``COLUMN=2%`` for one column.

    Raises:
        SuiteError: One is not understood; all are named.
    """
    found: dict[str, float] = {}
    named: dict[str, float] = {}
    problems: list[Problem] = []
    for text in texts:
        column, sign, value = text.rpartition("=")
        share = _share(value)
        if share is None:
            problems.append(
                Problem(where="--threshold", expected="a share above 0 as 5%", found=quote(text))
            )
        elif sign:
            problems += unknown_columns([column], option="--threshold")
            named[column] = share
        else:
            found |= {
                name: share for name, quantity in QUANTITIES.items() if quantity.kind == "speed"
            }
    if problems:
        raise SuiteError("command line", problems)
    return found | named


def unknown_columns(names: Sequence[str], *, option: str) -> list[Problem]:
    """Return a problem for each name that is no column to compare."""
    return [
        Problem(
            where=option,
            expected="a column that can be compared",
            found=quote(name),
            hint=suggest(name, QUANTITIES),
        )
        for name in names
        if name not in QUANTITIES
    ]


def _share(text: str) -> float | None:
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        return None
    return share if 0 < share <= 10 else None
