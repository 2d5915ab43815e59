"""Going on with a run: which one is meant, what was asked of it, whether it is still the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchharness.errors import Problem, RunError, SuiteError
from benchharness.results.record import without_nan
from benchharness.results.store import RunFolder, find_run, runs_of

if TYPE_CHECKING:
    from benchharness.run.session import Request

# What decides which trials there are, and what a look at them asks for (its level depends on how
# many there may be); the rest may be another each time.
_DECISIVE = (
    "profile",
    "backends",
    "benchmarks",
    "trials",
    "max_trials",
    "tracks",
    "device",
    "proof",
)
_START_NEW = "begin a run of its own: leave out --resume"


def asked(request: Request) -> dict[str, Any]:
    """Return what of a request a later one has to repeat, JSON-able."""
    return {name: _plain(getattr(request, name)) for name in _DECISIVE}


def run_to_resume(request: Request, *, suite: str) -> RunFolder | None:
    """Return the run that is to go on; None where the suite has none yet, and none was named.

    Raises:
        RunError: There is no such run, or it is one of another suite.
    """
    if request.resume is None:
        return None
    if request.resume == Path():
        return next(reversed(runs_of(request.results / suite)), None)
    folder = find_run(request.resume, request.results)
    recorded = folder.read_run().get("suite")
    if recorded != suite:
        raise RunError(
            f"{folder.path}: expected a run of suite {suite}, found one of {recorded}; name its "
            "suite, or another run"
        )
    return folder


def restore_options(request: Request, folder: RunFolder) -> Request:
    """Return a request with what was asked of a run when it began.

    Raises:
        SuiteError: Something else is asked of it now; every such option is named.
    """
    run = folder.read_run()
    if "asked" not in run or "code" not in run:
        problem = Problem(
            where="format",
            expected="a run that tells what was asked of it",
            found="one of an earlier version of benchharness",
            hint=_START_NEW,
        )
        raise SuiteError(str(folder.path / "run.json"), [problem])
    # Not what was asked but what was decided: weights may have come since.
    before = {"max_trials": None, **run["asked"], "profile": run["profile"]}
    defaults = {field.name: field.default for field in fields(request)}
    now = asked(request)
    problems = [
        Problem(
            where=f"--{_option(name)}",
            expected=f"{_words(before[name])}, as when the run began",
            found=_words(now[name]),
            hint=f"leave it out, or {_START_NEW}",
        )
        for name in _DECISIVE
        if now[name] not in (_plain(defaults[name]), before[name])
    ]
    if problems:
        raise SuiteError(str(folder.path), problems)
    restored: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in before.items()
    }
    return replace(request, **restored)


def check_same_setup(folder: RunFolder, now: Mapping[str, Any]) -> None:
    """Refuse to add trials to a run that others of another kind would stand in.

    Args:
        folder: Of the run.
        now: What ``run.json`` would say of a run that began now.

    Raises:
        SuiteError: Machine, device, code, suite, data or weights are not those of the run; each
            that is not is named.
    """
    before = folder.read_run()
    problems = list(_differences(before, json.loads(json.dumps(without_nan(now)))))
    if problems:
        raise SuiteError(str(folder.path), problems)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Problem]:
    for name in ("benchharness", "machine", "device"):
        if before[name] != now[name]:
            yield _problem(name, before[name], now[name])
    for backend in dict.fromkeys([*before["code"], *now["code"]]):
        one, other = before["code"].get(backend), now["code"].get(backend)
        if one != other:
            yield _problem(f"backend {backend}", one, other)
    # Runs of before recorded none, which says nothing of what there were.
    variables = before.get("variables", now["variables"])
    for name in sorted({*variables, *now["variables"]}):
        if variables.get(name) != now["variables"].get(name):
            yield _problem(name, variables.get(name), now["variables"].get(name))
    for name, word in (("dataset", "data"), ("weights", "weights")):
        one, other = before[name] or {}, now[name] or {}
        if one.get("digest") != other.get("digest"):
            yield _problem(word, _material(one), _material(other))
    if (found := _first_difference(before["resolved"], now["resolved"])) is not None:
        where, one, other = found
        yield _problem(f"suite{where}", one, other)


def _first_difference(one: Any, other: Any, where: str = "") -> tuple[str, Any, Any] | None:
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(f".{key}", one.get(key), other.get(key)) for key in {**one, **other}]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"[{place}]", *pair) for place, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else (where, one, other)
    found = (_first_difference(a, b, f"{where}{part}") for part, a, b in pairs)
    return next((one for one in found if one is not None), None)


def _problem(where: str, before: Any, now: Any) -> Problem:
    return Problem(
        where=where, expected=f"{_words(before)}, as in the run", found=_words(now), hint=_START_NEW
    )


def _material(described: Mapping[str, Any]) -> str:
    name = described.get("name") or described.get("origin") or "none"
    return f"{name} ({described.get('digest') or 'no digest'})"


def _words(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries" if len(value) > 9 else ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _option(name: str) -> str:
    return {"backends": "backend", "benchmarks": "benchmark", "tracks": "track"}.get(
        name, name.replace("_", "-")
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
