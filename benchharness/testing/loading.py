"""Loading of a plugin in a process of its own: what its module imports and its hook needs."""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint
from types import ModuleType

from benchharness.api import Setting
from benchharness.errors import PluginError, RunError
from benchharness.plugins import find, load_backend, requirements
from benchharness.worker.progress import Channel
from benchharness.worker.request import WorkerRequest, run_in_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Effects of loading a plugin.

    Attributes:
        import_ms: Processor time of importing the entry point's module, ``benchharness.api`` being
            there.
        imports: Packages of others that this brought along.
        needs: Packages of others that the hook imported when it was called, in that order.
        error: Name of the exception that the hook or the import ended with; empty for none.
        message: What it said.
    """

    import_ms: float = 0.0
    imports: Sequence[str] = ()
    needs: Sequence[str] = ()
    error: str = ""
    message: str = ""


def observe_loading(
    name: str, *, options: Mapping[str, Setting], without: Sequence[str] = ()
) -> Loading:
    """Load an installed plugin as a worker does, where the packages ``without`` are missing.

    Raises:
        PluginError: No plugin of that name is installed, or loading it ends the process.
    """
    return _observe(name, find(name).module, tuple(options.items()), tuple(without))


@functools.cache
def _observe(
    name: str, module: str, options: tuple[tuple[str, Setting], ...], without: tuple[str, ...]
) -> Loading:
    arguments = {"module": module, "without": without}
    request = WorkerRequest(job="load", plugin=name, options=dict(options), arguments=arguments)
    try:
        events = run_in_worker(request)
    except RunError as error:
        raise PluginError(f"backend {name}: loading it {error}") from error
    return next(Loading(**event["loading"]) for event in events if event["event"] == "loaded")


def framework_of(entry: EntryPoint, needs: Sequence[str]) -> str:
    """Return the one name for what a plugin needs: what it requires itself, else the first."""
    required = {package for package, _ in requirements(entry)}
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


def run_job(request: WorkerRequest, channel: Channel) -> None:
    """Import the plugin's module, call its hook, and report what happened."""
    channel.emit({"event": "loaded", "loading": asdict(_load(request))})


def _load(request: WorkerRequest) -> Loading:
    # What the reference and the core bring along is here wherever benchharness is.
    for name in ("benchharness.hookspecs", "benchharness.testing.plugin", "packaging.requirements"):
        importlib.import_module(name)
    module = request.arguments["module"]
    package = module.partition(".")[0]
    sys.meta_path.insert(0, Absence(request.arguments["without"]))
    before, error, message = _packages(package), "", ""
    # Waiting for a core is no cost of the import.
    began_s = time.process_time()
    try:
        importlib.import_module(module)
    except Exception as failure:
        return Loading(error=type(failure).__name__, message=str(failure))
    import_ms = 1000 * (time.process_time() - began_s)
    imported = _packages(package)
    try:
        load_backend(request.plugin, options=request.options)
    except Exception as failure:
        error, message = type(failure).__name__, str(failure)
    return Loading(
        import_ms=import_ms,
        imports=[name for name in imported if name not in before],
        needs=[name for name in _packages(package) if name not in imported],
        error=error,
        message=message,
    )


def _packages(own: str) -> list[str]:
    """Return the packages in memory that are neither Python's, ours nor the plugin's, in order."""
    tops = dict.fromkeys(name.partition(".")[0] for name in list(sys.modules))
    left_out = sys.stdlib_module_names | {own, "benchharness"}
    # Compiled helpers and the names of scripts are nobody's packages.
    return [name for name in tops if name not in left_out and not name.startswith("_")]
