"""What a pytest session may ask of suites: options of the command line, and their ini keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest

from benchharness.errors import RunError

if TYPE_CHECKING:
    from benchharness.run.options import RunOptions

T = TypeVar("T")
Proof = Literal["no", "yes", "required"]
PREFIX = "benchharness"
_OPTION = re.compile(r": --(?=profile|backend|trials|data|device)")


def add_options(parser: pytest.Parser) -> None:
    """Add our options; each of them but the flags has an ini key of the same meaning."""
    group = parser.getgroup(PREFIX, "suites of benchharness")
    group.addoption("--benchharness-profile", metavar="NAME", help="Profile of the suites.")
    group.addoption(
        "--benchharness-backend",
        metavar="NAME",
        action="append",
        help="Only this backend; may be repeated.",
    )
    group.addoption("--benchharness-trials", metavar="N", type=int, help="Trials per cell.")
    group.addoption("--benchharness-data", metavar="DIR", help="Folder of the dataset.")
    group.addoption("--benchharness-device", metavar="NAME", help="auto, cpu or cuda:N.")
    group.addoption("--benchharness-results", metavar="DIR", help="Where runs are recorded.")
    group.addoption(
        "--benchharness-timeout",
        metavar="S",
        type=float,
        help="Seconds that a trial may give no sign of life.",
    )
    group.addoption(
        "--benchharness-no-proof",
        dest="benchharness_proof",
        action="store_const",
        const="no",
        help="Do not prove that the backends do the same work.",
    )
    group.addoption(
        "--benchharness-require-proof",
        dest="benchharness_proof",
        action="store_const",
        const="required",
        help="Fail what is not proven to be the same work.",
    )
    group.addoption(
        "--benchharness-allow-new",
        action="store_true",
        default=None,
        help="With --benchmark-compare-fail: cells that the baseline lacks are told, not failed.",
    )
    _add_keys(parser)


def _add_keys(parser: pytest.Parser) -> None:
    parser.addini("benchharness_profile", "Profile of the suites.", default=None)
    parser.addini("benchharness_backend", "Only these backends.", type="args", default=[])
    parser.addini("benchharness_trials", "Trials per cell.", default=None)
    parser.addini("benchharness_data", "Folder of the dataset.", type="args", default=[])
    parser.addini("benchharness_device", "auto, cpu or cuda:N.", default=None)
    parser.addini("benchharness_results", "Where runs are recorded.", type="args", default=[])
    parser.addini(
        "benchharness_timeout", "Seconds that a trial may give no sign of life.", default=None
    )
    parser.addini("benchharness_proof", "no, yes or required.", default=None)
    parser.addini(
        "benchharness_allow_new",
        "Cells that the baseline lacks are told, not failed.",
        type="bool",
        default=False,
    )


def request_of(config: pytest.Config, suite: Path) -> RunOptions:
    """Return what the session asks of one suite.

    Raises:
        RunError: A value of an ini key is not what it takes.
    """
    from benchharness.run.options import RunOptions

    return RunOptions(
        suite=suite,
        profile=_asked(config, "profile"),
        backends=backends(config),
        trials=_number(config, "trials", int),
        data=_folder(config, "data"),
        device=_asked(config, "device") or "auto",
        results=_folder(config, "results") or config.invocation_params.dir / "results",
        timeout_s=_number(config, "timeout", float),
        # What is required is judged cell by cell, where the suite would be refused as a whole.
        proof="no" if proof(config) == "no" else "yes",
    )


def backends(config: pytest.Config) -> tuple[str, ...]:
    """Return the backends that the session is limited to; empty for no limit."""
    return tuple(_asked(config, "backend"))


def proof(config: pytest.Config) -> Proof:
    """Return whether the same work is to be proven."""
    return _known(_asked(config, "proof") or "yes", ("no", "yes", "required"))


def allows_new(config: pytest.Config) -> bool:
    """Return whether a cell may be compared that the baseline lacks."""
    return bool(_asked(config, "allow_new"))


def in_our_words(line: str) -> str:
    """Return an error with the options of ``benchharness run`` called as they are here."""
    return _OPTION.sub(f": --{PREFIX}-", line)


def _asked(config: pytest.Config, name: str) -> Any:
    """Return the option of the command line, else the ini key."""
    option = config.getoption(f"{PREFIX}_{name}", None)
    return config.getini(f"{PREFIX}_{name}") if option is None else option


def _folder(config: pytest.Config, name: str) -> Path | None:
    """Return a folder: relative to where pytest was called, one of an ini file to that file."""
    from benchharness.files import expanded

    found = _asked(config, name)
    if isinstance(found, str):
        return config.invocation_params.dir / expanded(found)
    if len(found) > 1:
        raise _refusal(name, "one folder, in quotes where it has blanks", " ".join(found))
    home = config.inipath.parent if config.inipath else config.invocation_params.dir
    return home / expanded(found[0]) if found else None


def _number(config: pytest.Config, name: str, kind: Callable[[str], T]) -> T | None:
    found = _asked(config, name)
    try:
        return None if found is None else kind(found)
    except ValueError:
        raise _refusal(name, "a number", found) from None


def _known(text: str, known: tuple[Proof, ...]) -> Proof:
    for word in known:
        if text == word:
            return word
    raise _refusal("proof", f"one of {', '.join(known)}", text)


def _refusal(name: str, expected: str, found: str) -> RunError:
    return RunError(f"ini file: {PREFIX}_{name}: expected {expected}, found {found!r}")
