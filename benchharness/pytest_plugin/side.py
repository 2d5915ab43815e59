"""Plugin of the pytest process of one side: one test, whose blocks of steps wait for their turn."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import pytest

# Of the environment: a JSON object of what the session that compares states.
VARIABLE = "BENCHHARNESS_SIDE"


class Turns:
    """The side's end of two pipes: it waits for its turn, and reports what it has timed."""

    def __init__(self, orders: IO[str], answers: IO[str]) -> None:
        self._orders, self._answers = orders, answers

    def wait(self) -> bool:
        """Return True when it is this side's turn, and False when no more is wanted."""
        return bool(self._orders.readline())

    def report(self, **facts: Any) -> None:
        """Report facts to the session that compares."""
        self._answers.write(json.dumps(facts) + "\n")
        self._answers.flush()


TURNS = pytest.StashKey[Turns]()


class EndReport:
    """Reports how the test has ended."""

    def __init__(self, turns: Turns, files: Path) -> None:
        self._turns, self._files = turns, files
        self._skipped = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the reason for which the test is skipped."""
        if report.skipped and isinstance(report.longrepr, tuple):
            self._skipped = report.longrepr[2]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Report it."""
        foreign = foreign_package(self._files)
        self._turns.report(code=int(exitstatus), foreign=foreign, skipped=self._skipped)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Take over the options of the session that compares, before anything is configured."""
    stated = json.loads(os.environ.pop(VARIABLE))
    vars(config.option).update(stated["options"])
    turns = Turns(os.fdopen(stated["orders"]), os.fdopen(stated["answers"], "w"))
    config.stash[TURNS] = turns
    config.pluginmanager.register(EndReport(turns, Path(stated["files"]).resolve()))


def foreign_package(files: Path) -> str:
    """Return a package of a working tree that was imported from elsewhere; empty for none."""
    for name, module in [*sys.modules.items()]:
        origin = getattr(module, "__file__", None)
        if "." in name or not origin or Path(origin).resolve().is_relative_to(files):
            continue
        if any((folder / name / "__init__.py").exists() for folder in (files, files / "src")):
            return f"{name}: expected it to be imported from {files}, found {origin}"
    return ""
