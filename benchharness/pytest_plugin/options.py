"""Options of a pytest session for suites: command line, and ini keys of the same meaning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from benchharness.errors import RunError

if TYPE_CHECKING:
    from benchharness.pytest_plugin.suites import SuiteCollector
    from benchharness.run.options import RunOptions

Proof = Literal["no", "yes", "required"]
PREFIX = "benchharness"
# Those that were collected.
SUITES = pytest.StashKey[list["SuiteCollector"]]()
UNCOMPARED = "--against: nothing is compared: benchmarks are disabled"
_OPTION = re.compile(r": --(?=profile|backend|trials|data|device)")
# Options with a value: name, metavar, help, type of the ini key.
_VALUES: tuple[tuple[str, str, str, Literal["args"] | None], ...] = (
    ("profile", "NAME", "Profile of the suites.", None),
    ("backend", "NAME", "Only this backend (repeatable).", "args"),
    ("trials", "N", "Trials per cell.", None),
    ("data", "DIR", "Folder of the dataset.", "args"),
    ("device", "NAME", "auto, cpu or cuda:N.", None),
    ("results", "DIR", "Folder for the records of runs.", "args"),
    ("timeout", "S", "Kill a trial that reports no progress for this many seconds.", None),
)
_NUMBERS = {"trials": int, "timeout": float}


class UncomparedWarning(pytest.PytestWarning):
    """Nothing is compared, although ``--against`` asks for it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options and ini keys."""
    group = parser.getgroup(PREFIX, "suites of benchharness")
    for name, metavar, text, kind in _VALUES:
        group.addoption(
            f"--{PREFIX}-{name}",
            metavar=metavar,
            action="append" if name == "backend" else "store",
            help=text,
            type=_NUMBERS.get(name),
        )
        parser.addini(f"{PREFIX}_{name}", text, type=kind, default=[] if kind else None)
    for flag, value, text in (
        ("no-proof", "no", "Do not prove that the backends do the same work."),
        ("require-proof", "required", "Fail cells that are not proven to do the same work."),
    ):
        group.addoption(
            f"--{PREFIX}-{flag}",
            dest=f"{PREFIX}_proof",
            action="store_const",
            const=value,
            help=text,
        )
    parser.addini(f"{PREFIX}_proof", "no, yes or required.", default=None)
    group.addoption(
        "--against",
        metavar="SIDE",
        help="Run each cell, and each step of fixture benchharness, in turn with another side "
        "(rev:main; for suites also backend:NAME), and fail it if it got worse.",
    )
    group.addoption(
        "--against-threshold",
        metavar="SHARE",
        action="append",
        default=[],
        help="With --against: how much worse counts, 10%% or COLUMN=2%% (repeatable).",
    )
    group.addoption(
        "--against-strict",
        action="store_true",
        help="With --against: also fail a cell that stays undecided.",
    )


def against(config: pytest.Config) -> str | None:
    """Return the side that the session compares with; None for an ordinary session."""
    target: str | None = config.getoption("against", None)
    return target


def request_of(config: pytest.Config, suite: Path) -> RunOptions:
    """Return the session's request for one suite."""
    from benchharness.run.options import RunOptions

    return RunOptions(
        suite=suite,
        profile=_value(config, "profile"),
        backends=tuple(_value(config, "backend")),
        trials=_value(config, "trials"),
        data=_folder(config, "data"),
        device=_value(config, "device") or "auto",
        results=_folder(config, "results") or config.invocation_params.dir / "results",
        timeout_s=_value(config, "timeout"),
        # A required proof is checked cell by cell; `run` would refuse the suite as a whole.
        proof="no" if proof(config) == "no" else "yes",
    )


def proof(config: pytest.Config) -> Proof:
    """Return whether equal work is to be proven."""
    word: Proof = _value(config, "proof") or "yes"
    if word not in get_args(Proof):
        raise _invalid("proof", f"one of {', '.join(get_args(Proof))}", word)
    return word


def with_our_options(line: str) -> str:
    """Return an error with the options of ``benchharness run`` named as they are here."""
    return _OPTION.sub(f": --{PREFIX}-", line)


def _value(config: pytest.Config, name: str) -> Any:
    """Return the option of the command line, else the ini key."""
    option = config.getoption(f"{PREFIX}_{name}", None)
    if option is not None:
        return option
    value = config.getini(f"{PREFIX}_{name}")
    try:
        return _NUMBERS[name](value) if value is not None and name in _NUMBERS else value
    except ValueError:
        raise _invalid(name, "a number", value) from None


def _folder(config: pytest.Config, name: str) -> Path | None:
    """Return a folder: relative to where pytest was called, or to the ini file that names it."""
    from benchharness.files import expanded

    value = _value(config, name)
    if isinstance(value, str):
        return config.invocation_params.dir / expanded(value)
    if len(value) > 1:
        raise _invalid(name, "one folder, in quotes where it has blanks", " ".join(value))
    home = config.inipath.parent if config.inipath else config.invocation_params.dir
    return home / expanded(value[0]) if value else None


def _invalid(name: str, expected: str, value: str) -> RunError:
    return RunError(f"ini file: {PREFIX}_{name}: expected {expected}, found {value!r}")
