"""Loading a plugin in a process of its own: what its module imports, and what its hook needs.

Started as ``python -m benchharness.testing.loading REQUEST``, a JSON object; prints another.
"""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from benchharness.api import Setting
from benchharness.errors import PluginError
from benchharness.plugins import find, requirements
from benchharness.subprocesses import python_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What loading a plugin did.

    Attributes:
        import_ms: Importing the module of the entry point, ``benchharness.api`` being there.
        imports: Packages of others that this brought along.
        needs: Packages of others that the hook imported when it was called, in that order.
        error: Name of the exception that the hook or the import ended with; empty for none.
        message: What it said.
    """

    import_ms: float = 0.0
    imports: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    error: str = ""
    message: str = ""


def observe_loading(
    name: str, *, options: Mapping[str, Setting], without: Sequence[str] = ()
) -> Loading:
    """Load a plugin as a worker does, and return what that did.

    Args:
        name: Of the installed plugin.
        options: For its hook.
        without: Packages that are to be missing.

    Raises:
        PluginError: No plugin of that name is installed, or loading it ends the process.
    """
    request = json.dumps(
        {"module": find(name).module, "name": name, "options": dict(options), "without": without}
    )
    return _observe(request)


@functools.cache
def _observe(request: str) -> Loading:
    done = subprocess.run(
        [sys.executable, "-m", "benchharness.testing.loading", request],
        capture_output=True,
        text=True,
        check=False,
        env=python_environment(),
    )
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not last:
        raise PluginError(
            f"backend {json.loads(request)['name']}: loading it ended the process with exit code "
            f"{done.returncode}: {done.stderr.strip().rpartition(chr(10))[2]}"
        )
    found = json.loads(last)
    return Loading(**found | {key: tuple(found[key]) for key in ("imports", "needs")})


def framework_of(name: str, needs: Sequence[str]) -> str:
    """Return what a plugin needs in one name: what it requires itself, else what came first.

    Args:
        name: Of the installed plugin.
        needs: Packages that its hook imported.
    """
    required = {package for package, _ in requirements(find(name))}
    return next((need for need in needs if need in required), needs[0] if needs else "")


class Absence(MetaPathFinder):
    """Lets packages be missing that are installed."""

    def __init__(self, packages: Collection[str]) -> None:
        self._packages = frozenset(packages)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say of the missing packages what Python says where nothing is installed."""
        if name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main(request: Mapping[str, Any]) -> Loading:
    """Import the requested module, call its hook, and return what happened."""
    # What the reference and the core bring along is here wherever benchharness is.
    for name in ("benchharness.hookspecs", "benchharness.testing.plugin", "packaging.requirements"):
        importlib.import_module(name)
    own = request["module"].partition(".")[0]
    sys.meta_path.insert(0, Absence(request["without"]))
    before, found = _packages(own), Loading()
    began_s = time.perf_counter()
    try:
        importlib.import_module(request["module"])
    except Exception as error:
        return Loading(error=type(error).__name__, message=str(error))
    import_ms = 1000 * (time.perf_counter() - began_s)
    imported = _packages(own)
    try:
        _load(request)
    except Exception as error:
        found = Loading(error=type(error).__name__, message=str(error))
    return Loading(
        import_ms=import_ms,
        imports=tuple(name for name in imported if name not in before),
        needs=tuple(name for name in _packages(own) if name not in imported),
        error=found.error,
        message=found.message,
    )


def _load(request: Mapping[str, Any]) -> None:
    from benchharness.plugins import load_backend

    load_backend(request["name"], options=request["options"])


def _packages(own: str) -> list[str]:
    """Return the packages in memory that are neither Python's, nor ours, nor the plugin's own.

    In the order in which they were imported.
    """
    tops = dict.fromkeys(name.partition(".")[0] for name in list(sys.modules))
    left_out = sys.stdlib_module_names | {own, "benchharness"}
    # Compiled helpers and the names of scripts are nobody's packages.
    return [name for name in tops if name not in left_out and not name.startswith("_")]


if __name__ == "__main__":
    print("\n" + json.dumps(asdict(main(json.loads(sys.argv[1])))))
