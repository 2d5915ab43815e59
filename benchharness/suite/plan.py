"""What a run will do: cells, and their trials in running order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchharness.suite.file import DatasetSettings, Published, SuiteFile, Track
from benchharness.suite.regression import described
from benchharness.suite.settings import StrategySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One benchmark at one point of its matrix, on one backend and one track.

    Attributes:
        matrix: The settings that the benchmark varies, as written; empty when none.
        settings: All settings; ``input`` is never None.
        published: Figures of another source to show beside ours.
        trials: How often it runs.
    """

    benchmark: str
    strategy: str
    backend: str
    track: Track
    matrix: Mapping[str, Any]
    settings: StrategySettings
    published: Published | None
    trials: int

    def as_dict(self) -> dict[str, Any]:
        """Return the cell as JSON knows it."""
        return {
            "benchmark": self.benchmark,
            "strategy": self.strategy,
            "backend": self.backend,
            "track": self.track,
            "matrix": dict(self.matrix),
            "settings": self.settings.model_dump(mode="json"),
            "published": self.published.model_dump(mode="json") if self.published else None,
            "trials": self.trials,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One execution of a cell.

    Attributes:
        index: From 1.
        seed: Equal for equal indices, whatever the cell.
    """

    cell: Cell
    index: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A suite as it will run.

    Attributes:
        profile: The name of the profile; None for none.
        dataset: Under the profile.
        cells: In running order; those of one track at one point of a matrix stand together.
        added: Benchmarks nobody asked for, which others take their heads from.
        left_out: Benchmarks that run on none of the backends asked for.
        fileless: Benchmarks that read prepared images in the native track too, for their dataset
            has no image files.
    """

    suite: SuiteFile
    profile: str | None
    dataset: DatasetSettings
    cells: tuple[Cell, ...]
    added: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    fileless: tuple[str, ...] = ()

    @property
    def dataset_path(self) -> Path | None:
        """The absolute path of the dataset that the suite names, None where it names none."""
        return self.suite.beside(self.dataset.path) if self.dataset.path else None

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in running order.

        In each track at each point of a matrix the backends take turns, and every other turn is
        reversed (A B, B A, ...), so that drift of the machine hits all alike.
        """
        ordered: list[Trial] = []
        for _, group in itertools.groupby(self.cells, key=rivalry):
            cells = list(group)
            for index in range(1, cells[0].trials + 1):
                turn = cells if index % 2 else reversed(cells)
                seed = self.suite.seed + index - 1
                ordered += [Trial(cell=cell, index=index, seed=seed) for cell in turn]
        return tuple(ordered)

    def settled(self, settle: Callable[[StrategySettings], StrategySettings]) -> Plan:
        """Return the plan with the settings of each cell replaced."""
        cells = tuple(replace(cell, settings=settle(cell.settings)) for cell in self.cells)
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
            "regression": described(self.suite, profile=self.profile),
        }


def rivalry(cell: Cell) -> tuple[str, Mapping[str, Any], Track]:
    """Return what cells have in common that are held against each other."""
    return cell.benchmark, cell.matrix, cell.track
