"""Carrying out checks of the contract one by one, without a session of pytest."""

from __future__ import annotations

import inspect
import itertools
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from benchharness.api import Backend, Execution, UnsupportedError
from benchharness.testing.assertions import Clause
from benchharness.testing.tasks import learn, make_batches, make_network, make_task, small_cnn

Outcome = Literal["kept", "broken", "refused"]
KINDS = ("feed", "extract", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one check went.

    Attributes:
        check: Its name, and in brackets what it was given.
        outcome: ``refused`` where the backend says that it cannot, or nothing can be asked.
        reason: Why it is not kept; else empty.
    """

    check: str
    outcome: Outcome
    reason: str = ""


def examine(contract: Clause, check: str, **fixtures: object) -> Iterator[Finding]:
    """Yield how a check goes, once for each set of its parameters.

    Args:
        contract: Whose check it is.
        check: Name of the method.
        fixtures: By name; what the method does not ask for is left out.
    """
    method = getattr(contract, check)
    wanted = inspect.signature(method).parameters
    given = {name: value for name, value in fixtures.items() if name in wanted}
    for label, parameters in _parameters(method):
        name = f"{check}[{label}]" if label else check
        package = _package(given["backend"]) if "backend" in given else ""
        outcome, reason = _run_trials(method, {**given, **parameters}, package=package)
        yield Finding(check=name, outcome=outcome, reason=reason)


def offered(backend: Backend, execution: Execution, *, is_tried: bool) -> Mapping[str, str]:
    """Return each kind of work with what is against it; empty for nothing.

    Args:
        is_tried: Whether a little of the work is done, or only begun.
    """
    refusals: dict[str, str] = {}
    for kind in KINDS:
        try:
            _try(backend, kind, execution, is_tried=is_tried)
        except UnsupportedError as refusal:
            refusals[kind] = str(refusal)
        except Exception as error:
            refusals[kind] = _told(error, package=_package(backend))
        else:
            refusals[kind] = ""
    return refusals


def _try(backend: Backend, kind: str, execution: Execution, *, is_tried: bool) -> None:
    """Do a little work of a kind, or none."""
    batches = make_batches() if is_tried else []
    if kind == "feed":
        task = make_task(make_network(), optimizer=None, execution=execution)
        backend.feed(task).feed(batches, after_step=lambda: None)
    elif kind == "extract":
        list(backend.extract(make_task(small_cnn(), execution=execution)).extract(batches))
    else:
        learn(backend.train(make_task(small_cnn(), execution=execution)), *([batches] * is_tried))


def _run_trials(method: Any, given: Mapping[str, object], *, package: str) -> tuple[Outcome, str]:
    try:
        method(**given)
    except pytest.skip.Exception as skipped:
        return "refused", str(skipped).removeprefix("refused, as the contract allows: ")
    except (AssertionError, pytest.fail.Exception) as failure:
        return "broken", str(failure).strip() or "an assertion failed"
    except Exception as error:
        return "broken", _told(error, package=package)
    return "kept", ""


def _package(backend: object) -> str:
    """Return the package that a backend's class is in."""
    return type(backend).__module__.partition(".")[0]


def _told(error: Exception, *, package: str) -> str:
    """Return an exception with the last line of the plugin's own that it came through."""
    text = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    places = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] == package
    ]
    return f"{text} ({places[-1]})" if places else text


def _parameters(method: Any) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield a label and the parameters of each case, as pytest's ``parametrize`` states them."""
    marks = [mark for mark in getattr(method, "pytestmark", ()) if mark.name == "parametrize"]
    for cases in itertools.product(*map(_cases, marks)):
        label = "-".join(text for text, _ in cases)
        yield label, {name: value for _, given in cases for name, value in given.items()}


def _cases(mark: pytest.Mark) -> list[tuple[str, dict[str, object]]]:
    names, values = mark.args
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = [(value,) if len(names) == 1 else tuple(value) for value in values]
    labels = list(mark.kwargs.get("ids") or ["-".join(map(str, row)) for row in rows])
    return [
        (label, dict(zip(names, row, strict=True))) for label, row in zip(labels, rows, strict=True)
    ]
