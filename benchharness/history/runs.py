"""Observations from recorded runs, and from the files of pytest-benchmark."""

from __future__ import annotations

import json
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
from benchharness.text import closest

# Speed of a cell: the first of these that it has.
SPEEDS = ("train_images_per_s", "feed_images_per_s")
# Statistics of pytest-benchmark, in seconds, and one in 1/s.
_STATISTICS = ("median", "min", "mean", "max", "q1", "q3")
_RATE = "ops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Column to show, None for each cell's speed, and of which cells; empty for all."""

    column: str | None = None
    benchmarks: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()

    def admits(self, benchmark: str, backend: str) -> bool:
        """Return whether a cell is to be shown."""
        return (not self.benchmarks or benchmark in self.benchmarks) and (
            not self.backends or backend in self.backends
        )


@dataclass(slots=True, kw_only=True)
class Observations:
    """What was read, and a line for each file that could not be."""

    readings: list[Observation] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)


# --- Recorded runs -------------------------------------------------------------------------------


def suite_folders(suite: str | None, results: Path) -> list[Path]:
    """Return the folder of a suite's runs, by its name, file or folder, or those of all suites.

    Raises:
        RunError: Nothing was recorded.
    """
    known = sorted(path for path in results.iterdir() if runs_of(path)) if results.is_dir() else []
    if suite is None and known:
        return known
    if suite is not None:
        for path in (results / _suite_name(Path(suite)), Path(suite)):
            if runs_of(path):
                return [path]
    names = [path.name for path in known]
    if near := closest(suite or "", names):
        hint = f"did you mean {near[0]}?"
    elif names:
        hint = f"{results} has: {', '.join(names)}"
    else:
        hint = "`benchharness run SUITE` makes one, and --storage reads pytest-benchmark's"
    raise RunError(f"{suite or results}: expected recorded runs of a suite, found none; {hint}")


def read_runs(folders: Sequence[Path], choice: Choice) -> Observations:
    """Return the observations of every run in the folders of some suites.

    Raises:
        SuiteError: There is no such column to compare.
    """
    names = list(SPEEDS) if choice.column is None else [choice.column]
    if any(name not in QUANTITIES for name in names):
        raise _unknown_column(names[0], list(QUANTITIES))
    result = Observations()
    for suite in folders:
        prefix = f"{suite.name}: " if len(folders) > 1 else ""
        for run in runs_of(suite):
            try:
                facts = run.read_run()
                records, damages = run.records()
            except RunError as error:
                result.damages += error.lines()
                continue
            found = facts.get("started", "nothing")
            try:
                when = _parse_time(str(found))
            except ValueError:
                result.damages.append(
                    f"{run.path}/run.json: started: expected a time, found {found}; it was left out"
                )
                continue
            result.damages += damages
            for cell in cells_of(records):
                if choice.admits(cell.benchmark, cell.backend):
                    result.readings += _observe_cell(run, facts, cell, names, prefix, when)
    return result


def _suite_name(path: Path) -> str:
    """Return the name that a suite's file states, or the name of any other path."""
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError):
        return path.name


def _observe_cell(
    run: RunFolder,
    facts: Mapping[str, Any],
    cell: Cell,
    names: Sequence[str],
    prefix: str,
    when: datetime,
) -> Iterator[Observation]:
    """Yield the observation of the first column that a cell has."""
    for quantity in map(QUANTITIES.__getitem__, names):
        values = cell.values(quantity.name)
        middle = cell.median(quantity.name)
        if middle is None or (quantity.kind != "accuracy" and min(values) <= 0):
            continue
        commit = facts.get("commit") or {}
        yield Observation(
            cell=prefix + cell.label,
            quantity=quantity,
            terms=_run_conditions(facts, cell),
            point=Point(
                run=run.name,
                when=when,
                value=middle,
                low=min(values),
                high=max(values),
                samples=len(values),
                commit=commit.get("id", ""),
                is_dirty=bool(commit.get("is_dirty")),
                versions=_run_versions(facts, cell),
            ),
        )
        return


def _run_conditions(facts: Mapping[str, Any], cell: Cell) -> Conditions:
    newest = cell.ok[-1]
    settings = newest["settings"]
    weights = facts.get("weights") or {}
    backend = ((facts.get("resolved") or {}).get("backend") or {}).get(cell.backend) or {}
    environment = facts.get("environment") or {}
    # Runs of earlier versions do not state their machine in one line.
    machine = (
        cell.machine
        or facts.get("machine")
        or _machine_line(
            cpu=environment.get("cpu"),
            cores=environment.get("cores"),
            accelerators=[gpu["name"] for gpu in environment.get("accelerators") or ()],
            architecture=environment.get("machine"),
            system=str(environment.get("system", "")).partition(" ")[0],
        )
    )
    # The slices of the dataset that a trial can have read.
    dataset = facts.get("dataset") or {}
    slices = dataset.get("slices") or [dataset]
    sizes = (settings.get("image_size"), None)
    fitting = [part for part in slices if part.get("image_size") in sizes] or slices
    digests = sorted({str(part.get("digest", "")) for part in fitting})
    counts = [str(newest.get(name)) for name in ("train_count", "test_count")]
    return Conditions(
        machine=machine,
        device=str(facts.get("device") or ""),
        data=" ".join([str(dataset.get("name", "")), *digests, *counts]),
        weights=str(weights.get("digest", "")) if "backbone" in settings else "",
        settings={**settings, **(backend.get("options") or {}), **(facts.get("variables") or {})},
    )


def _run_versions(facts: Mapping[str, Any], cell: Cell) -> dict[str, str]:
    environment = facts.get("environment") or {}
    # Of the backend's own environment, if it has one.
    own = (facts.get("environments") or {}).get(cell.backend) or {}
    packages, own_packages = environment.get("packages") or {}, own.get("packages") or {}
    drivers = {str(gpu.get("driver", "")) for gpu in environment.get("accelerators") or ()}
    return _known_versions(
        {
            **{name: own_packages.get(name, version) for name, version in packages.items()},
            **(cell.ok[-1].get("versions") or {}),
            "benchharness": facts.get("benchharness"),
            "python": own.get("python") or environment.get("python"),
            "system": environment.get("system"),
            "driver": ", ".join(sorted(filter(None, drivers))),
        }
    )


# --- Files of pytest-benchmark -------------------------------------------------------------------


def read_storage(folder: Path, choice: Choice, *, suite: str | None = None) -> Observations:
    """Return the observations of every JSON file that pytest-benchmark stored below a folder.

    Args:
        suite: Only this suite's cells; None for all that was timed.

    Raises:
        RunError: There is no such file.
        SuiteError: There is no such column to compare.
    """
    column = choice.column or "median"
    if column in QUANTITIES:
        quantity = QUANTITIES[column]
    elif column in (*_STATISTICS, _RATE):
        quantity = Quantity(name=column, kind="speed", is_rate=column == _RATE)
    else:
        raise _unknown_column(column, [*_STATISTICS, _RATE, *QUANTITIES])
    files = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    if not files:
        raise RunError(
            f"{folder}: expected files of pytest-benchmark, found none; "
            "pytest --benchmark-autosave makes one"
        )
    result = Observations()
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            result.readings += [
                observation
                for benchmark in content["benchmarks"]
                if _is_wanted(benchmark, choice, suite)
                for observation in _observe_benchmark(file, content, benchmark, quantity)
            ]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            result.damages.append(
                f"{file}: expected a file of pytest-benchmark, found: "
                f"{type(error).__name__}: {error}; it was left out"
            )
    return result


def _is_wanted(benchmark: Mapping[str, Any], choice: Choice, suite: str | None) -> bool:
    """Return whether to show a cell, or an ordinary test by the name of its function."""
    own = benchmark.get("extra_info") or {}
    name = str(own.get("benchmark") or benchmark["name"].partition("[")[0])
    # Samples of the side that a session compared with are those of other code.
    if own.get("side") == "A":
        return False
    return choice.admits(name, str(own.get("backend", ""))) and suite in (None, own.get("suite"))


def _observe_benchmark(
    file: Path, content: Mapping[str, Any], benchmark: Mapping[str, Any], quantity: Quantity
) -> Iterator[Observation]:
    stats, own = benchmark["stats"], benchmark.get("extra_info") or {}
    machine, commit = content["machine_info"], content.get("commit_info") or {}
    is_timing = quantity.name not in QUANTITIES
    value = stats.get(quantity.name) if is_timing else own.get(quantity.name)
    if value is None or (quantity.kind != "accuracy" and value <= 0):
        return
    low, high = (stats["q1"], stats["q3"]) if is_timing else (value, value)
    if quantity.name == _RATE:
        low, high = 1 / high, 1 / low
    cpu = machine.get("cpu") or {}
    # The host's name is left out: a rented machine has another one each time.
    machine_line = own.get("machine") or _machine_line(
        cpu=cpu.get("brand_raw") or machine.get("processor"),
        cores=cpu.get("count"),
        accelerators=[],
        architecture=machine.get("machine"),
        system=machine.get("system"),
    )
    versions = {
        **(own.get("versions") or {}),
        "benchharness": own.get("benchharness"),
        "python": machine.get("python_version"),
        "system": f"{machine.get('system', '')} {machine.get('release', '')}".strip(),
        "pytest-benchmark": content.get("version"),
    }
    commit_id = str(commit.get("id") or "")
    yield Observation(
        cell=str(benchmark["fullname"]),
        quantity=quantity,
        terms=Conditions(
            machine=str(machine_line),
            device=str(own.get("device") or ""),
            data=str((own.get("dataset") or {}).get("digest", "")),
            weights=str((own.get("weights") or {}).get("digest", "")),
            settings={**(own.get("settings") or {}), **(own.get("options") or {})},
        ),
        point=Point(
            run=file.stem,
            when=_parse_time(content["datetime"]),
            value=value,
            low=low,
            high=high,
            samples=int(stats["rounds"]) if is_timing else 1,
            commit="" if commit_id == "unknown" else commit_id,
            is_dirty=bool(commit.get("dirty")),
            versions=_known_versions(versions),
        ),
    )


# --- Both ----------------------------------------------------------------------------------------


def _parse_time(text: str) -> datetime:
    """Return a time of ISO 8601, of UTC if it states no zone."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _machine_line(
    *, cpu: Any, cores: Any, accelerators: Sequence[str], architecture: Any, system: Any
) -> str:
    return machine_label(
        {
            "cpu": cpu or "unknown processor",
            "cores": "?" if cores is None else cores,
            "quota": None,
            "accelerators": accelerators,
            "architecture": architecture or "",
            "system": system or "",
        }
    )


def _known_versions(versions: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(version) for name, version in versions.items() if version}


def _unknown_column(column: str, known: Sequence[str]) -> SuiteError:
    near = closest(column, known)
    problem = Problem(
        where="--column",
        expected=f"one of {', '.join(known)}",
        found=column,
        hint=f"did you mean {near[0]}?" if near else "",
    )
    return SuiteError("history", [problem])
