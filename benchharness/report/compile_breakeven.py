"""Break-even of compiling: the steps after which a compiled training has gained what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from benchharness.measure.sequential import Rule, rule_for
from benchharness.report.pairs import Pair
from benchharness.report.rows import Note, Row, cell_label
from benchharness.report.summary import format_ci, times_text
from benchharness.results.cells import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """A compiled cell beside the one that differs from it in compiling alone.

    Attributes:
        compiled_step_s: Seconds of a step of training, all epochs taken together.
        plain_step_s: Likewise, not compiled.
        compiled_s: Seconds of the first steps, compiling included.
        plain_s: Likewise, not compiled.
        steps_per_epoch: Steps of one pass over the training images.
    """

    compiled_step_s: float
    plain_step_s: float
    compiled_s: float
    plain_s: float
    steps_per_epoch: int

    @property
    def steps(self) -> int | None:
        """Steps after which both have taken as long; None where the compiled one never gains."""
        saved_s = self.plain_step_s - self.compiled_step_s
        if saved_s <= 0:
            return None
        return max(math.ceil((self.compiled_s - self.plain_s) / saved_s), 0)

    def __str__(self) -> str:
        """Return what was measured, and when it pays."""
        measured = (
            f"a step takes {self.compiled_step_s * 1000:.3g} ms instead of "
            f"{self.plain_step_s * 1000:.3g}, the first steps with compiling "
            f"{self.compiled_s:.3g} s instead of {self.plain_s:.3g}"
        )
        if self.steps is None:
            return f"{measured}: compiling never pays"
        epochs, seconds = self.steps / self.steps_per_epoch, self.steps * self.compiled_step_s
        return (
            f"{measured}: compiling pays after {self.steps:,} steps "
            f"({epochs:,.3g} epochs, {seconds:,.3g} s of training)"
        )


def breakeven_notes(rows: Sequence[Row]) -> Iterator[Note]:
    """Yield a note for every compiled cell whose run holds its uncompiled twin too."""
    cells = [(row, cell) for row in rows for cell in row.recorded if cell.ok]
    twins = [
        (row, Pair(compiled, plain, (compiled, plain)))
        for (row, compiled), (_, plain) in product(cells, cells)
        if _are_twins(compiled, plain)
    ]
    speeds = [speed for _, pair in twins if (speed := pair.speed())]
    rule = rule_for(speeds, comparisons=max(len(twins), 1))
    for row, pair in twins:
        if break_even := break_even_of(pair.ours, pair.theirs):
            text = f"{cell_label(row, pair.ours)}: {break_even}{_doubt(pair, rule)}"
            yield Note(label="compiled", text=text)


def break_even_of(compiled: Cell, plain: Cell) -> BreakEven | None:
    """Return when compiling pays; None where a figure is missing, as for feeding."""
    steps_per_epoch = _steps_per_epoch(compiled)
    known = [cell.median(name) for cell in (compiled, plain) for name in ("epoch_s", "compile_s")]
    if steps_per_epoch is None or None in known or compiled.strategy == "dataset":
        return None
    epoch_s, compiled_s, plain_epoch_s, plain_s = (float(value or 0.0) for value in known)
    return BreakEven(
        compiled_step_s=epoch_s / steps_per_epoch,
        plain_step_s=plain_epoch_s / steps_per_epoch,
        compiled_s=compiled_s,
        plain_s=plain_s,
        steps_per_epoch=steps_per_epoch,
    )


def _are_twins(compiled: Cell, plain: Cell) -> bool:
    """Whether the first was compiled, the second was not, and all else is alike.

    By what the frameworks tell of themselves: some compile whether asked or not.
    """
    is_compiled = [
        (cell.ok[-1].get("effective") or {}).get("compile") for cell in (compiled, plain)
    ]
    return is_compiled == [True, False] and _rest(compiled) == _rest(plain)


def _rest(cell: Cell) -> tuple[object, ...]:
    trial = cell.ok[-1]
    settings = {name: value for name, value in trial["settings"].items() if name != "compile"}
    effective = trial.get("effective") or {}
    return cell.benchmark, cell.track, settings, effective.get("engine"), trial.get("versions")


def _steps_per_epoch(cell: Cell) -> int | None:
    trial = cell.ok[-1]
    images, batch_size = trial.get("train_count"), trial["settings"].get("batch_size")
    return math.ceil(images / batch_size) if images and batch_size else None


def _doubt(pair: Pair, rule: Rule) -> str:
    """Return how sure the gain is, where it is not."""
    speed = pair.speed()
    # Medians are over all trials, those included that have no partner.
    is_disturbed = bool(pair.ours.disturbed or pair.theirs.disturbed)
    if speed is None or (not is_disturbed and rule.verdict(speed) in ("faster", "slower")):
        return ""
    why = format_ci(speed, is_disturbed=is_disturbed)
    return f"; not sure: {times_text(speed)}x as fast ({why})"
