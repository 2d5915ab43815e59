"""Plan of a run: cells, and their trials in running order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchharness.model.cell import CellName
from benchharness.suite.file import DatasetSettings, Published, SuiteFile, Track
from benchharness.suite.settings import StrategySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell(CellName):
    """One benchmark at one point of its matrix, on one backend and one track.

    Attributes:
        settings: All settings; ``input`` is never None.
        published: Figures of another source to show beside ours.
        trials: How often it runs; where looks decide, how often before the first look.
        max_trials: How often it may run where looks decide; None where ``trials`` is all.
    """

    track: Track
    settings: StrategySettings
    published: Published | None
    trials: int
    max_trials: int | None = None

    @property
    def most(self) -> int:
        """How often it may run."""
        return self.max_trials or self.trials

    def as_dict(self) -> dict[str, Any]:
        """Return the cell as JSON knows it."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "settings": self.settings.model_dump(mode="json"),
            "published": self.published.model_dump(mode="json") if self.published else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One execution of a cell: its index, from 1, and a seed that equal indices share."""

    cell: PlannedCell
    index: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A suite as it will run.

    Attributes:
        cells: In running order; those of one track at one point of a matrix are adjacent.
        added: Benchmarks that were not requested, but train the heads of others.
        left_out: Benchmarks that run on none of the backends asked for.
        fileless: Benchmarks that read prepared images in the native track too, for their dataset
            has no image files.
        max_minutes: Of timing, after which no cell gets more than its first trials; None for no
            limit.
        takes_fewer: Whether a dataset with fewer images than the settings ask for will do.
    """

    suite: SuiteFile
    profile: str | None
    dataset: DatasetSettings
    cells: tuple[PlannedCell, ...]
    added: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    fileless: tuple[str, ...] = ()
    max_minutes: float | None = None
    takes_fewer: bool = False

    @property
    def dataset_path(self) -> Path | None:
        """The absolute path of the dataset that the suite names, None where it names none."""
        return self.suite.resolve_path(self.dataset.path) if self.dataset.path else None

    @property
    def most(self) -> int:
        """How many trials there may be in all."""
        return sum(cell.most for cell in self.cells)

    def lines(self) -> list[tuple[PlannedCell, ...]]:
        """Return the cells that are compared: those of each track at each matrix point."""
        return [
            tuple(cells)
            for _, cells in itertools.groupby(self.cells, key=lambda cell: cell.group_key)
        ]

    def trials(self) -> tuple[Trial, ...]:
        """Return the trials in running order, where looks decide those before the first look."""
        return tuple(
            trial
            for cells in self.lines()
            for index in range(1, cells[0].trials + 1)
            for trial in self.turn(cells, index)
        )

    def turn(self, cells: Sequence[PlannedCell], index: int) -> list[Trial]:
        """Return the trial of this index, from 1, of each cell of a line, in running order.

        Every other turn is reversed (A B, B A, ...), so that drift of the machine hits all alike.
        """
        ordered = cells if index % 2 else cells[::-1]
        seed = self.suite.seed + index - 1
        return [Trial(cell=cell, index=index, seed=seed) for cell in ordered]

    def fixed(self, trials: int | None = None) -> Plan:
        """Return the plan with so many trials of each cell, or the first, and no looks."""
        cells = tuple(
            replace(cell, trials=trials or cell.trials, max_trials=None) for cell in self.cells
        )
        return replace(self, cells=cells)

    def map_settings(self, change: Callable[[StrategySettings], StrategySettings]) -> Plan:
        """Return the plan with the settings of each cell replaced."""
        cells = tuple(replace(cell, settings=change(cell.settings)) for cell in self.cells)
        return replace(self, cells=cells)

    def as_dict(self) -> dict[str, Any]:
        """Return the resolved suite as JSON knows it; paths as written, for others to read."""
        suite = self.suite.model_dump(
            mode="json", include={"name", "title", "seed", "weights_fallback", "weights", "backend"}
        )
        return suite | {
            "file": self.suite.path.name,
            "profile": self.profile,
            "dataset": self.dataset.model_dump(mode="json"),
            "added": list(self.added),
            "left_out": list(self.left_out),
            "fileless": list(self.fileless),
            "cells": [cell.as_dict() for cell in self.cells],
            "regression": self.suite.regression_settings(profile=self.profile),
        }
