"""Readings from our own records: every run of a suite, cell by cell."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchharness.errors import Problem, RunError, SuiteError
from benchharness.history.history import Conditions, Observation, Point
from benchharness.measure.machine import machine_label
from benchharness.model.quantities import QUANTITIES, Quantity
from benchharness.results.cells import Cell, cells_of
from benchharness.results.run_folder import RunFolder, runs_of

# What tells a cell's speed, the first that it has.
SPEEDS = ("train_images_per_s", "feed_images_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the user wants to see.

    Attributes:
        column: None for each cell's speed.
        benchmarks: None but these; empty for all.
        backends: None but these; empty for all.
    """

    column: str | None = None
    benchmarks: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()

    def admits(self, benchmark: str, backend: str) -> bool:
        """Return whether a cell is wanted."""
        return (not self.benchmarks or benchmark in self.benchmarks) and (
            not self.backends or backend in self.backends
        )


@dataclass(slots=True, kw_only=True)
class Found:
    """What was read, and what could not be."""

    readings: list[Observation] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)


def read_runs(folders: Sequence[Path], choice: Choice) -> Found:
    """Return the readings of every run in the folders of some suites.

    Raises:
        SuiteError: No column can be compared under that name.
    """
    quantities = _quantities(choice.column)
    found = Found()
    for suite in folders:
        prefix = f"{suite.name}: " if len(folders) > 1 else ""
        for run in runs_of(suite):
            try:
                facts = run.read_run()
                records, damages = run.records()
            except RunError as error:
                found.damages += error.lines()
                continue
            found.damages += damages
            for cell in cells_of(records):
                if choice.admits(cell.benchmark, cell.backend):
                    found.readings += _readings(run, facts, cell, quantities, prefix)
    return found


def suite_folders(suite: str | None, results: Path) -> list[Path]:
    """Return the folders of a suite's runs, or of all suites that have any.

    Args:
        suite: Its name, its file or its folder; None for all.

    Raises:
        RunError: Nothing was recorded.
    """
    known = sorted(path for path in results.iterdir() if runs_of(path)) if results.is_dir() else []
    if suite is None and known:
        return known
    if suite is not None:
        for path in (results / _name(Path(suite)), Path(suite)):
            if runs_of(path):
                return [path]
    names = ", ".join(path.name for path in known)
    near = difflib.get_close_matches(suite or "", [path.name for path in known], n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; {results} has: {names}" if names else ""
    raise RunError(
        f"{suite or results}: expected recorded runs of a suite, found none"
        + (hint or "; `benchharness run SUITE` makes one, and --storage reads pytest-benchmark's")
    )


def as_time(text: str) -> datetime:
    """Return a time of ISO 8601, of UTC where it names no zone.

    Raises:
        ValueError: It is none.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _name(path: Path) -> str:
    """Return the name of a suite's file as the file has it, or of whatever else as it is."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError):
        return path.name


def _quantities(column: str | None) -> list[Quantity]:
    if column is None:
        return [QUANTITIES[name] for name in SPEEDS]
    if column in QUANTITIES:
        return [QUANTITIES[column]]
    raise unknown_column(column, list(QUANTITIES))


def unknown_column(column: str, known: Sequence[str]) -> SuiteError:
    """Return the refusal of a column."""
    near = difflib.get_close_matches(column, known, n=1)
    return SuiteError(
        "history",
        [
            Problem(
                where="--column",
                expected=f"one of {', '.join(known)}",
                found=column,
                hint=f"did you mean {near[0]}?" if near else "",
            )
        ],
    )


def _readings(
    run: RunFolder,
    facts: Mapping[str, Any],
    cell: Cell,
    quantities: Sequence[Quantity],
    prefix: str,
) -> Iterator[Observation]:
    """Yield the reading of the first quantity that a cell knows; none where it knows none."""
    for quantity in quantities:
        values = cell.values(quantity.name)
        middle = cell.median(quantity.name)
        if middle is None or (quantity.kind != "accuracy" and min(values) <= 0):
            continue
        commit = facts.get("commit") or {}
        yield Observation(
            cell=prefix + cell.label,
            quantity=quantity,
            terms=_terms(facts, cell),
            point=Point(
                run=run.name,
                when=as_time(str(facts["started"])),
                value=middle,
                low=min(values),
                high=max(values),
                samples=len(values),
                commit=commit.get("id", ""),
                is_dirty=bool(commit.get("is_dirty")),
                versions=_versions(facts, cell),
            ),
        )
        return


def _terms(facts: Mapping[str, Any], cell: Cell) -> Conditions:
    newest = cell.ok[-1]
    weights = facts.get("weights") or {}
    options = ((facts.get("resolved") or {}).get("backend") or {}).get(cell.backend) or {}
    return Conditions(
        machine=facts.get("machine") or _machine(facts),
        device=str(facts.get("device") or ""),
        data=_data(facts.get("dataset") or {}, newest),
        weights=str(weights.get("digest", "")) if "backbone" in newest["settings"] else "",
        settings={
            **newest["settings"],
            **(options.get("options") or {}),
            **(facts.get("variables") or {}),
        },
    )


def _data(dataset: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Return the digests of the slices that a trial can have read."""
    size = record["settings"].get("image_size")
    slices = dataset.get("slices") or [dataset]
    fitting = [part for part in slices if part.get("image_size") in (size, None)] or slices
    digests = sorted({str(part.get("digest", "")) for part in fitting})
    counts = [str(record.get(name)) for name in ("train_count", "test_count")]
    return " ".join([str(dataset.get("name", "")), *digests, *counts])


def _machine(facts: Mapping[str, Any]) -> str:
    """Return the machine of a run that was recorded before runs told it themselves."""
    environment = facts.get("environment") or {}
    return machine_label(
        {
            "cpu": environment.get("cpu", "unknown processor"),
            "cores": environment.get("cores", "?"),
            "quota": None,
            "accelerators": [one["name"] for one in environment.get("accelerators") or ()],
            "architecture": environment.get("machine", ""),
            "system": str(environment.get("system", "")).partition(" ")[0],
        }
    )


def _versions(facts: Mapping[str, Any], cell: Cell) -> dict[str, str]:
    environment = facts.get("environment") or {}
    own = (facts.get("environments") or {}).get(cell.backend) or {}
    apart = own.get("packages") or {}
    drivers = {str(one.get("driver", "")) for one in environment.get("accelerators") or ()}
    known = {
        **(environment.get("packages") or {}),
        **{name: apart[name] for name in environment.get("packages") or {} if name in apart},
        **(cell.ok[-1].get("versions") or {}),
        "benchharness": facts.get("benchharness"),
        "python": own.get("python") or environment.get("python"),
        "system": environment.get("system"),
        "driver": ", ".join(sorted(filter(None, drivers))),
    }
    return {name: str(version) for name, version in known.items() if version}
