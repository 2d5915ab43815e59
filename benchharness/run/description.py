"""What run.json says: the suite as resolved, and all that a stranger must know to judge the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchharness import __version__
from benchharness.errors import PluginError
from benchharness.measure.git import describe_commit
from benchharness.measure.gpu import Accelerator
from benchharness.measure.machine import describe_environment, fingerprint, machine_label
from benchharness.plugins import code_digest, distribution, find, installed, requirements
from benchharness.run import messages
from benchharness.run.inputs import RunInputs
from benchharness.run.process.executor import LocalExecutor
from benchharness.run.requests import backend_plugin
from benchharness.suite.plan import Plan

_PACKAGES = ("benchharness", "numpy", "pandas", "pillow", "safetensors")
_SHOWN = 12


def describe_run(
    plan: Plan,
    materials: RunInputs,
    *,
    started: datetime,
    device: str,
    accelerators: Sequence[Accelerator],
    elsewhere: Mapping[str, LocalExecutor],
    environments: Mapping[str, Any],
    variables: Mapping[str, str],
    asked: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the contents of run.json.

    Args:
        plan: What will run.
        materials: What it reads, prepared.
        started: When the run began.
        device: Its name.
        accelerators: Of the machine.
        elsewhere: Executors of backends whose code is not what this process would import.
        environments: Of the backends that have an interpreter of their own.
        variables: Of the workers' environment, those that are part of what is measured.
        asked: What of the request a later one has to repeat, to go on with the run; None where
            none can.
    """
    backends = dict.fromkeys(cell.backend for cell in plan.cells)
    plugins = {name: backend_plugin(plan, name)[0] for name in backends}
    packages = [*_PACKAGES, *{_package(plugin) for plugin in plugins.values()} - {""}]
    return {
        "format": 1,
        "benchharness": __version__,
        "suite": plan.suite.name,
        "title": messages.title(plan, materials.facts),
        "profile": plan.profile,
        "device": device,
        "machine": machine_label(fingerprint()),
        "commit": describe_commit(Path.cwd()),
        "started": started.isoformat(timespec="seconds"),
        "backends": list(backends),
        "dataset": materials.describe_dataset(),
        "weights": materials.describe_weights(),
        "environment": describe_environment(accelerators, packages=packages),
        "environments": dict(environments),
        "variables": dict(variables),
        **({} if asked is None else {"asked": dict(asked)}),
        "code": {
            name: elsewhere[name].code if name in elsewhere else _code(plugin)
            for name, plugin in plugins.items()
        },
        "resolved": plan.as_dict(),
    }


def _code(plugin: str) -> str:
    """Return which code does a backend's work, on which versions, in words."""
    try:
        entry = find(plugin)
    except PluginError:
        return "not installed"
    versions = ", ".join(f"{name} {version}" for name, version in requirements(entry))
    return f"{distribution(entry)} with {versions}; code {code_digest(entry)[:_SHOWN]}"


def _package(plugin: str) -> str:
    """Return the distribution that a plugin came with; empty where it is not installed."""
    entry = installed().get(plugin)
    return entry.dist.name if entry and entry.dist else ""
