"""Trackers: observers that log a run to MLflow, TensorBoard or Weights & Biases, when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec

from benchharness.errors import Problem, SuiteError
from benchharness.plugins import DISABLED_VAR, disabled
from benchharness.text import did_you_mean, join_or

# Names of the trackers, with commas between them; inherited by every process of ours.
VARIABLE = "BENCHHARNESS_LOG_TO"
# Each is also the name of the package that it writes with, and of the extra that brings it.
TRACKERS = ("mlflow", "tensorboard", "wandb")


def requested() -> tuple[str, ...]:
    """Return the trackers that the environment asks for, each once, installed or not."""
    names = map(str.strip, os.environ.get(VARIABLE, "").split(","))
    return tuple(dict.fromkeys(filter(None, names)))


def problems(names: Iterable[str], *, where: str) -> list[Problem]:
    """Return what is wrong with the requested trackers, such as not installed; imports none."""
    unusable = []
    for name in names:
        hint = ""
        if name not in TRACKERS:
            expected, found, hint = join_or(TRACKERS), f'"{name}"', did_you_mean(name, TRACKERS)
        elif name in disabled():
            expected = f"the plugin {name}"
            found = f"it disabled by --no-plugin or {DISABLED_VAR}"
        # A folder of that name, such as wandb makes where it is used, is a package without a file.
        elif (spec := find_spec(name)) is None or spec.origin is None:
            expected, found = f"the package {name} to be installed", "none"
            hint = f'pip install "benchharness[{name}]"'
        else:
            continue
        unusable.append(Problem(where=where, expected=expected, found=found, hint=hint))
    return unusable


def require_usable() -> None:
    """Raise a SuiteError that names every tracker in ``VARIABLE`` that cannot be used."""
    if unusable := problems(requested(), where=VARIABLE):
        raise SuiteError("environment", unusable)
