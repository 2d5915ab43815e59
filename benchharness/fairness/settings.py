"""Effective settings: held against what the core states, and against one another.

Settings are plain mappings in the vocabulary of ``Work.settings``. Some decide the work: which
numbers come out. The others decide only how fast: ``layout``, ``threads``, ``compile``,
``engine``, ``autotune``, ``loader_workers`` and whatever a framework adds in its own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from benchharness.model.network import Dropout
from benchharness.model.task import Optimizer, Task
from benchharness.model.work import Setting

# Constants that each rule's formula has; the others are not part of the work.
_CONSTANTS = {
    "sgd": ("lr", "momentum", "nesterov", "weight_decay"),
    "adam": ("lr", "beta_1", "beta_2", "epsilon", "weight_decay"),
    "rmsprop": ("lr", "rho", "epsilon", "weight_decay"),
}
_DECIDES_WORK = frozenset({"precision", "tf32", "dropout", "trainable", "initialiser"})
# Frameworks keep their constants in float32, which rounds by 6e-8 of them.
_SAME_WITHIN = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDifference:
    """One setting in which backends differ; its values by backend, None where not reported."""

    setting: str
    values: Mapping[str, Setting]
    decides_work: bool


def stated(task: Task) -> dict[str, Setting]:
    """Return what the core states in a task, in the vocabulary of ``Work.settings``.

    Only what applies: without a network there is no arithmetic of one, and nothing learns without
    an optimizer.
    """
    execution = task.execution
    has_tf32 = execution.precision == "tf32"
    common: dict[str, Setting] = {"tf32": has_tf32, "layout": execution.layout}
    if not task.network.layers:
        return common
    common["precision"] = execution.precision
    # Some frameworks compile whether asked or not, and tell; only who asks must get it.
    common |= {"compile": True} if execution.compile else {}
    return common if task.optimizer is None else common | learning_settings(task, task.optimizer)


def deviations(effective: Mapping[str, Setting], stated: Mapping[str, Setting]) -> tuple[str, ...]:
    """Return a sentence for each stated setting that a backend reports otherwise, or not at all."""

    def shown(value: Setting) -> str:
        return "nothing" if value in ("", None) else str(value)

    return tuple(
        f"{name}: {shown(effective[name]) if name in effective else 'not reported'}"
        f" instead of {shown(wanted)}"
        for name, wanted in stated.items()
        if name not in effective or not _is_same(effective[name], wanted)
    )


def differences(by_backend: Mapping[str, Mapping[str, Setting]]) -> list[SettingDifference]:
    """Return every setting in which backends differ, those that decide the work first."""
    names = dict.fromkeys(name for settings in by_backend.values() for name in settings)
    differing = []
    for name in names:
        values = {backend: settings.get(name) for backend, settings in by_backend.items()}
        if not all(_is_same(a, b) for a, b in pairwise(values.values())):
            work = decides_work(name)
            differing.append(SettingDifference(setting=name, values=values, decides_work=work))
    return sorted(differing, key=lambda difference: not difference.decides_work)


def decides_work(setting: str) -> bool:
    """Return whether a setting decides which numbers come out, not only how fast."""
    return setting in _DECIDES_WORK or setting.split(".")[0] == "optimizer"


def learning_settings(task: Task, optimizer: Optimizer) -> dict[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers."""
    rates = [layer.rate for layer in task.network.layers if isinstance(layer, Dropout)]
    learning = [name for name in task.network.learning_layers() if name in task.trainable]
    names = ("name", *_CONSTANTS[optimizer.name])
    return {
        **{f"optimizer.{name}": getattr(optimizer, name) for name in names},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(learning),
        "initialiser": "given",
    }


def _is_same(a: Setting, b: Setting) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        # True is 1 to Python, and is another setting.
        return type(a) is type(b) and a == b
    if isinstance(a, str) is not isinstance(b, str):
        return False
    numbers_a, numbers_b = _numbers(a), _numbers(b)
    if numbers_a is None or numbers_b is None:
        return a == b
    return len(numbers_a) == len(numbers_b) and all(
        abs(x - y) <= _SAME_WITHIN * max(abs(x), abs(y))
        for x, y in zip(numbers_a, numbers_b, strict=True)
    )


def _numbers(value: Setting) -> list[float] | None:
    """Return a setting's numbers, also those of a text like ``0.3, 0.5``; None for other texts."""
    if isinstance(value, int | float):
        return [float(value)]
    try:
        return [float(word) for word in str(value).split(", ")]
    except ValueError:
        return None
