"""Plugin of the pytest process of one side: one test, whose blocks of steps wait for their turn."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import IO, Any

import pytest

# Of the environment: a JSON object of what the session that compares states.
VARIABLE = "BENCHHARNESS_SIDE"
# Key of a path in it.
_PATH = "__path__"


class Turns:
    """The side's end of two pipes: it waits for its turn, and reports what it has timed.

    As a plugin it reports how the test has ended.

    Args:
        places: Folders of the side: its files, its pytest root among them, and the repository's
            own top.
    """

    def __init__(self, orders: IO[str], answers: IO[str], places: Sequence[Path]) -> None:
        self._orders, self._answers, self._places = orders, answers, places
        self._is_begun, self._skipped = False, ""

    def begin(self, *, rounds: int) -> bool:
        """Report how many rounds are to be timed; False for a second timing, which has no turns."""
        if self._is_begun:
            return False
        self._is_begun = True
        self.report(rounds=rounds)
        self.wait()
        return True

    def wait(self) -> bool:
        """Return True when it is this side's turn, and False when no more is wanted."""
        return bool(self._orders.readline())

    def report(self, **facts: Any) -> None:
        """Report facts to the session that compares."""
        self._answers.write(json.dumps(facts) + "\n")
        self._answers.flush()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the reason for which the test is skipped."""
        if report.skipped and isinstance(report.longrepr, tuple):
            self._skipped = report.longrepr[2]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Report how it ended, and whether it has run the side's files."""
        foreign = foreign_package(*self._places)
        self.report(code=int(exitstatus), foreign=foreign, skipped=self._skipped)


TURNS = pytest.StashKey[Turns]()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Take over the options of the session that compares, before anything is configured."""
    stated = json.loads(os.environ.pop(VARIABLE), object_hook=with_paths)
    vars(config.option).update(stated["options"])
    orders, answers = os.fdopen(stated["orders"]), os.fdopen(stated["answers"], "w")
    config.stash[TURNS] = Turns(orders, answers, stated["places"])
    config.pluginmanager.register(config.stash[TURNS])


def path_as_json(value: object) -> dict[str, str]:
    """Return a path as JSON knows it; a TypeError for anything else."""
    if isinstance(value, PurePath):
        return {_PATH: str(value)}
    raise TypeError(f"{type(value).__name__} is no path")


def with_paths(value: dict[str, Any]) -> Any:
    """Return an object of JSON, or the path that it stands for."""
    return Path(value[_PATH]) if value.keys() == {_PATH} else value


def foreign_package(files: Path, root: Path, top: Path) -> str:
    """Return a package of a working tree that was imported from elsewhere; empty for none."""
    files, root, top = files.resolve(), root.resolve(), top.resolve()
    folders = [files, files / "src", root, root / "src"]
    for name, module in [*sys.modules.items()]:
        origin = getattr(module, "__file__", None)
        if "." in name or not origin:
            continue
        path = Path(origin).resolve()
        if path.is_relative_to(files):
            continue
        # Of the other side's files, or installed although the side has it.
        is_other = path.is_relative_to(top) and not path.is_relative_to(sys.prefix)
        if is_other or any((folder / name / "__init__.py").exists() for folder in folders):
            return f"{name}: expected it to be imported from {files}, found {origin}"
    return ""
