"""The tables of a suite that say when something counts as worse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from benchharness.model.quantities import QUANTITIES, Quantity
from benchharness.suite.tables import Table

if TYPE_CHECKING:
    from benchharness.suite.file import SuiteFile

Threshold = Annotated[float, Field(gt=0, le=10)]
MINIMUM_PAIRS, MOST_PAIRS = 6, 20
# On a shared machine equal code differed by more than 5 % between two runs one time in three: a
# deviation of 5 %, of which two are this.
DRIFT = 0.1


def _described(quantity: Quantity) -> str:
    unit = "points of accuracy (0.02: 2 %)" if quantity.kind == "accuracy" else "a share"
    return f"How much worse {quantity.name} may get, {unit}."


if TYPE_CHECKING:
    ColumnName = str
    _Columns = Table
else:
    ColumnName = Literal[*QUANTITIES]
    _Columns = create_model(
        "_Columns",
        __base__=Table,
        **{
            name: (Threshold | None, Field(default=None, description=_described(quantity)))
            for name, quantity in QUANTITIES.items()
        },
    )


class Thresholds(_Columns):
    """When a difference counts: for every speed, and column by column."""

    threshold: Threshold | None = Field(
        default=None, description="How much slower counts, a share; of every speed not named here."
    )

    @property
    def by_column(self) -> Mapping[str, float]:
        """The thresholds that the table states, with those of speeds that it implies."""
        written: dict[str, Any] = self.model_dump(include=set(QUANTITIES), exclude_none=True)
        if self.threshold is None:
            return written
        speeds = [name for name, quantity in QUANTITIES.items() if quantity.kind == "speed"]
        return dict.fromkeys(speeds, self.threshold) | written


class Regression(Thresholds):
    """How `benchharness compare` judges this suite."""

    columns: tuple[ColumnName, ...] | None = Field(
        default=None,
        strict=False,
        min_length=1,
        json_schema_extra={"uniqueItems": True},
        description="What is compared, and has to be decided; absent: speeds, memory, accuracy.",
    )
    pairs: Annotated[int, Field(ge=MINIMUM_PAIRS, le=1000)] = Field(
        default=MOST_PAIRS, description="At most so many pairs of trials of each cell."
    )
    minutes: float | None = Field(
        default=None, gt=0, description="No new pairs after so many, once each cell has the fewest."
    )
    drift: float = Field(
        default=DRIFT,
        ge=0,
        le=10,
        description="How far equal code may differ in speed between two runs at different times, "
        "a share; 0 on a machine that nothing else disturbs.",
    )


def thresholds_of(suite: SuiteFile, *, profile: str | None, benchmark: str) -> dict[str, float]:
    """Return the thresholds stated for a benchmark, by column: what stands nearest to it wins."""
    found: dict[str, float] = {}
    tables: list[Thresholds | None] = [suite.regression]
    tables += [one.regression for one in suite.benchmark if one.name == benchmark]
    if profile is not None and benchmark in suite.profiles[profile].benchmark:
        tables.append(suite.profiles[profile].benchmark[benchmark].regression)
    for table in tables:
        found |= table.by_column if table else {}
    return found


def described(suite: SuiteFile, *, profile: str | None) -> dict[str, Any]:
    """Return all that a suite states of regressions, as JSON knows it."""
    table = suite.regression or Regression()
    return {
        "columns": list(table.columns) if table.columns else None,
        "drift": table.drift,
        "thresholds": {
            one.name: thresholds_of(suite, profile=profile, benchmark=one.name)
            for one in suite.benchmark
        },
    }
