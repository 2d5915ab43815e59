"""Readings from pytest-benchmark's storage: files of our plugin's cells, and ordinary ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchharness.errors import RunError
from benchharness.history.history import Conditions, Observation, Point
from benchharness.history.runs import Choice, Found, as_time, unknown_column
from benchharness.measure.machine import machine_label
from benchharness.model.quantities import QUANTITIES, Quantity

STORAGE = Path(".benchmarks")
# Statistics of pytest-benchmark, all of them seconds but the last.
_STATISTICS = ("median", "min", "mean", "max", "q1", "q3")
_DEFAULT, _RATE = "median", "ops"


def read_storage(folder: Path, choice: Choice, *, suite: str | None = None) -> Found:
    """Return the readings of every JSON file that pytest-benchmark has stored below a folder.

    Args:
        suite: Only this suite's cells; None for all that was timed.

    Raises:
        RunError: There is no such file.
        SuiteError: No column can be compared under that name.
    """
    quantity = _quantity(choice.column or _DEFAULT)
    files = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    if not files:
        raise RunError(
            f"{folder}: expected files of pytest-benchmark, found none; "
            "pytest --benchmark-autosave makes one"
        )
    found = Found()
    for file in files:
        try:
            found.readings += _readings(file, quantity, choice, suite)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            found.damages.append(
                f"{file}: expected a file of pytest-benchmark, found: "
                f"{type(error).__name__}: {error}; it was left out"
            )
    return found


def _quantity(column: str) -> Quantity:
    if column in QUANTITIES:
        return QUANTITIES[column]
    if column in (*_STATISTICS, _RATE):
        return Quantity(name=column, kind="speed", is_rate=column == _RATE)
    raise unknown_column(column, [*_STATISTICS, _RATE, *QUANTITIES])


def _readings(
    file: Path, quantity: Quantity, choice: Choice, suite: str | None
) -> list[Observation]:
    content = json.loads(file.read_text(encoding="utf-8"))
    return [
        reading
        for benchmark in content["benchmarks"]
        if _is_wanted(benchmark, choice, suite)
        for reading in _reading(file, content, benchmark, quantity)
    ]


def _is_wanted(benchmark: Mapping[str, Any], choice: Choice, suite: str | None) -> bool:
    """Return whether a cell or an ordinary test was asked for; a test's function is its name."""
    own = benchmark.get("extra_info") or {}
    name = str(own.get("benchmark") or benchmark["name"].partition("[")[0])
    return choice.admits(name, str(own.get("backend", ""))) and suite in (None, own.get("suite"))


def _reading(
    file: Path, content: Mapping[str, Any], benchmark: Mapping[str, Any], quantity: Quantity
) -> Iterator[Observation]:
    stats, own = benchmark["stats"], benchmark.get("extra_info") or {}
    is_timing = quantity.name not in QUANTITIES
    value = stats.get(quantity.name) if is_timing else own.get(quantity.name)
    if value is None or (quantity.kind != "accuracy" and value <= 0):
        return
    low, high = _quartiles(stats, quantity) if is_timing else (value, value)
    commit = content.get("commit_info") or {}
    identity = str(commit.get("id") or "")
    yield Observation(
        cell=str(benchmark["fullname"]),
        quantity=quantity,
        terms=_terms(content["machine_info"], own),
        point=Point(
            run=file.stem,
            when=as_time(content["datetime"]),
            value=value,
            low=low,
            high=high,
            samples=int(stats["rounds"]) if is_timing else 1,
            commit="" if identity == "unknown" else identity,
            is_dirty=bool(commit.get("dirty")),
            versions=_versions(content, own),
        ),
    )


def _quartiles(stats: Mapping[str, Any], quantity: Quantity) -> tuple[float, float]:
    if quantity.name == _RATE:
        return 1 / stats["q3"], 1 / stats["q1"]
    return stats["q1"], stats["q3"]


def _terms(machine: Mapping[str, Any], own: Mapping[str, Any]) -> Conditions:
    return Conditions(
        machine=str(own.get("machine") or _machine(machine)),
        device=str(own.get("device") or ""),
        data=str((own.get("dataset") or {}).get("digest", "")),
        weights=str((own.get("weights") or {}).get("digest", "")),
        settings={**(own.get("settings") or {}), **(own.get("options") or {})},
    )


def _machine(machine: Mapping[str, Any]) -> str:
    """Return the machine of a file on one line, as far as such a file tells it.

    The host's name is left out: a rented machine has another one each time.
    """
    cpu = machine.get("cpu") or {}
    return machine_label(
        {
            "cpu": cpu.get("brand_raw") or machine.get("processor") or "unknown processor",
            "cores": cpu.get("count", "?"),
            "quota": None,
            "accelerators": [],
            "architecture": machine.get("machine", ""),
            "system": machine.get("system", ""),
        }
    )


def _versions(content: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    machine = content["machine_info"]
    known = {
        **(own.get("versions") or {}),
        "benchharness": own.get("benchharness"),
        "python": machine.get("python_version"),
        "system": f"{machine.get('system', '')} {machine.get('release', '')}".strip(),
        "pytest-benchmark": content.get("version"),
    }
    return {name: str(version) for name, version in known.items() if version}
