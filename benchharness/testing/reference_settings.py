"""What the reference backend says of itself, in the words of ``Work.settings``."""

from __future__ import annotations

from collections.abc import Mapping

from benchharness.api import Dropout, Setting, Task
from benchharness.fairness.settings import optimizer_settings
from benchharness.testing.reference_rules import Rule


def work_settings(dtype: str) -> dict[str, Setting]:
    """Return what holds for all work; the number of threads is the BLAS library's own.

    Args:
        dtype: What NumPy computes in. The precision is float32 either way: inputs, weights and
            results are, and float64 between them only rounds less.
    """
    return {
        "engine": "numpy",
        "device": "cpu",
        "dtype": dtype,
        "precision": "float32",
        "tf32": False,
        "layout": "channels_last",
        "compile": False,
        "deterministic": True,
        "loader_workers": 0,
    }


def network_settings(task: Task, *, rule: Rule) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers."""
    rates = [layer.rate for layer in task.network.layers if isinstance(layer, Dropout)]
    learning = [name for name in task.network.learning_layers() if name in task.trainable]
    return {
        **optimizer_settings(rule.optimizer),
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(learning),
        "initialiser": "given",
    }
