"""Resumption of a run: its recorded options and setup, which have to be those of now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness import __version__
from benchharness.errors import PluginError, Problem, RunError, SuiteError
from benchharness.measure.git import describe_commit
from benchharness.measure.machine import describe_environment, machine_kind, recorded_variables
from benchharness.plugins import (
    code_digest,
    distribution,
    find,
    installed,
    package_digest,
    requirements,
)
from benchharness.results.record import without_nan
from benchharness.results.run_folder import RunFolder, find_run, runs_of
from benchharness.run import messages
from benchharness.run.inputs import RunInputs
from benchharness.run.options import RunOptions
from benchharness.run.requests import backend_plugin

if TYPE_CHECKING:
    from benchharness.run.session import Session

SUCCESS = ("ok", "skipped")
# Options, with their flags, that decide which trials there are, and when looks end them.
_FIXED = {
    "profile": "profile",
    "backends": "backend",
    "benchmarks": "benchmark",
    "trials": "trials",
    "max_trials": "max-trials",
    "tracks": "track",
    "device": "device",
    "proof": "proof",
}
_START_NEW = "start a new run: leave out --resume"
_PACKAGES = ("benchharness", "numpy", "pandas", "pillow", "safetensors")
_CODE_DIGITS = 12


def run_to_resume(options: RunOptions, *, suite: str) -> RunFolder | None:
    """Return the run to resume; None where the suite has none yet, and none was named.

    A RunError where there is no such run, or it is one of another suite.
    """
    if options.resume is None:
        return None
    if options.resume == Path():
        found = next(reversed(runs_of(options.results / suite)), None)
        if found is None and options.only_failed:
            raise RunError(
                f"{options.results / suite}: expected a run whose failed trials to repeat, found "
                "none; name its folder with --results or --resume"
            )
        return found
    folder = find_run(options.resume, options.results)
    recorded = folder.read_run().get("suite")
    if recorded != suite:
        raise RunError(
            f"{folder.path}: expected a run of suite {suite}, found one of {recorded}; name its "
            "suite, or another run"
        )
    return folder


def recorded_options(options: RunOptions) -> dict[str, Any]:
    """Return the options that a resumed run has to repeat, JSON-able."""
    values = {name: getattr(options, name) for name in _FIXED}
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def restore_options(options: RunOptions, folder: RunFolder) -> RunOptions:
    """Return options as a run was started with; raise a SuiteError that names all that differ."""
    run = folder.read_run()
    if "merged" in run:
        names = ", ".join(source["name"] for source in run["merged"])
        problem = Problem(
            where="merged",
            expected="a run of one session",
            found=f"one merged from {names}",
            hint="resume one of these on its machine, and merge again",
        )
        raise SuiteError(str(folder.path / "run.json"), [problem])
    if "asked" not in run or "code" not in run:
        problem = Problem(
            where="format",
            expected="a run that records its options",
            found="one of an earlier version of benchharness",
            hint=_START_NEW,
        )
        raise SuiteError(str(folder.path / "run.json"), [problem])
    # The profile that was chosen, whatever was asked: weights may have become available since.
    before = {"max_trials": None, **run["asked"], "profile": run["profile"]}
    now, defaults = map(recorded_options, (options, RunOptions(suite=options.suite)))
    problems = [
        Problem(
            where=f"--{flag}",
            expected=f"{_words(before[name])}, as when the run began",
            found=_words(now[name]),
            hint=f"leave it out, or {_START_NEW}",
        )
        for name, flag in _FIXED.items()
        if now[name] not in (defaults[name], before[name])
    ]
    if problems:
        raise SuiteError(str(folder.path), problems)
    restored: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in before.items()
    }
    return replace(options, **restored)


def describe_run(
    session: Session, inputs: RunInputs, *, started: datetime, is_resumable: bool
) -> dict[str, Any]:
    """Return the contents of run.json: the resolved suite and the setup, options if resumable."""
    plan, executors = inputs.plan, session.executors
    plugins = {cell.backend: backend_plugin(plan, cell.backend)[0] for cell in plan.cells}
    entries = [installed().get(plugin) for plugin in plugins.values()]
    packages = {entry.dist.name for entry in entries if entry and entry.dist}
    return {
        "format": 1,
        "benchharness": __version__,
        "core": f"code {package_digest('benchharness')[:_CODE_DIGITS]}",
        "suite": plan.suite.name,
        "title": messages.title(plan, inputs.dataset),
        "profile": plan.profile,
        "device": session.device.name,
        "machine": machine_kind(session.places.environment),
        "commit": describe_commit(Path.cwd()),
        "started": started.isoformat(timespec="seconds"),
        "backends": list(plugins),
        "dataset": inputs.describe_dataset(),
        "weights": inputs.describe_weights(),
        "environment": describe_environment(session.accelerators, packages=[*_PACKAGES, *packages]),
        "environments": {
            name: interpreter.as_dict() for name, interpreter in session.interpreters.items()
        },
        "variables": recorded_variables(session.places.environment),
        **({"asked": recorded_options(session.options)} if is_resumable else {}),
        "code": {
            name: executors[name].code if name in executors else _code(plugin)
            for name, plugin in plugins.items()
        },
        "resolved": plan.as_dict(),
    }


def _code(plugin: str) -> str:
    """Return a plugin's distribution, the versions it runs on and the digest of its code."""
    try:
        entry = find(plugin)
    except PluginError:
        return "not installed"
    versions = ", ".join(f"{name} {version}" for name, version in requirements(entry))
    return f"{distribution(entry)} with {versions}; code {code_digest(entry)[:_CODE_DIGITS]}"


def check_same_setup(folder: RunFolder, now: Mapping[str, Any], *, is_here: bool) -> None:
    """Refuse a run whose run.json would differ now; the SuiteError names all that differs.

    The machine counts where the trials run on it (``is_here``).
    """
    names = ("benchharness", "device", *(["machine"] if is_here else []))
    problems = [
        Problem(where=where, expected=f"{before}, as in the run", found=found, hint=_START_NEW)
        for where, before, found in setup_differences(folder.read_run(), now, names=names)
    ]
    if problems:
        raise SuiteError(str(folder.path), problems)


def setup_differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, names: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Return where two run.json differ, and both values, of what decides the outcome of a trial.

    ``names`` are plain entries that have to be equal too.
    """
    before, now = (json.loads(json.dumps(without_nan(run))) for run in (before, now))
    # Runs of earlier versions recorded no variables, which says nothing of those there were.
    variables = before.get("variables", now["variables"])
    pairs = [(name, before[name], now[name]) for name in names]
    if "core" in before and "core" in now:
        # Earlier versions recorded no digest of their own code.
        pairs.append(("code of benchharness", before["core"], now["core"]))
    pairs += [
        (f"backend {backend}", before["code"].get(backend), now["code"].get(backend))
        for backend in {**before["code"], **now["code"]}
    ]
    pairs += [
        (name, variables.get(name), now["variables"].get(name))
        for name in sorted({*variables, *now["variables"]})
    ]
    pairs += [
        (word, _input_label(before[name] or {}), _input_label(now[name] or {}))
        for name, word in (("dataset", "data"), ("weights", "weights"))
        if (before[name] or {}).get("digest") != (now[name] or {}).get("digest")
    ]
    resolved = (_decisive(run["resolved"]) for run in (before, now))
    pairs += _first_difference(*resolved, where="suite")
    return [(where, _words(a), _words(b)) for where, a, b in pairs if a != b]


def _decisive(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a resolved suite what decides the outcome of trials that finish."""
    kept = {key: value for key, value in resolved.items() if key not in ("title", "regression")}
    cells = [
        {**cell, "settings": {**cell["settings"], "time_limit_s": None}} for cell in kept["cells"]
    ]
    return {**kept, "cells": cells}


def _first_difference(old: Any, new: Any, *, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the first difference of two JSON values, if any."""
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [(f".{key}", old.get(key), new.get(key)) for key in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = [(f"[{index}]", *pair) for index, pair in enumerate(zip(old, new, strict=True))]
    else:
        if old != new:
            yield where, old, new
        return
    for part, a, b in parts:
        if a != b:
            yield from _first_difference(a, b, where=f"{where}{part}")
            return


def _input_label(described: Mapping[str, Any]) -> str:
    name = described.get("name") or described.get("origin") or "none"
    return f"{name} ({described.get('digest') or 'no digest'})"


def _words(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries" if len(value) > 9 else ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
