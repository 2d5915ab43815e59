"""The effective settings, read back from the objects of JAX, Flax and Optax."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

import jax
import optax
from flax import nnx

from benchharness.api import Setting
from benchharness_jax.device import XLA_DETERMINISM
from benchharness_jax.layers import Chain
from benchharness_jax.optimizers import Rule, read_optimizer


def device_settings(device: jax.Device) -> dict[str, Setting]:
    """Return what holds for the whole process."""
    is_gpu = device.platform == "gpu"
    flags = os.environ.get("XLA_FLAGS", "")
    is_flagged = XLA_DETERMINISM in flags
    preallocates = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true").lower()
    return {
        "engine": "jax",
        "device": f"{device.platform}:{device.id}",
        "threads": len(os.sched_getaffinity(0)),
        "precision": _precision("float32"),
        "tf32": _has_tf32(),
        "layout": "channels_last",
        # Not a choice: step by step, JAX compiles every single operation.
        "compile": True,
        "deterministic": is_flagged or not is_gpu,
        "autotune": is_gpu and not is_flagged,
        "loader_workers": 0,
        "preallocation": is_gpu and preallocates not in ("false", "0"),
        **({"xla_flags": flags} if flags else {}),
    }


def network_settings(device: jax.Device, *, model: Chain) -> dict[str, Setting]:
    """Return what holds for the process and for a network that is computed."""
    dtypes = dict.fromkeys(
        layer.dtype.dtype.name
        for layer in _layers(model)
        if isinstance(layer, nnx.Conv | nnx.Linear)
    )
    settings = device_settings(device)
    return {**settings, "precision": ", ".join(map(_precision, dtypes)) or settings["precision"]}


def learning_settings(
    *,
    model: Chain,
    learnt: Collection[str],
    rule: Rule,
    state: optax.OptState,
    drawn: Collection[str],
) -> Mapping[str, Setting]:
    """Return what decides how a network learns: its rule, dropout and trainable layers.

    Args:
        model: The task's network.
        learnt: Names of the arrays that the optimizer moves.
        rule: The update rule.
        state: Of the rule, constants included.
        drawn: Names of the arrays that the framework has initialised by itself.
    """
    rates = [layer.rate for layer in _layers(model) if isinstance(layer, nnx.Dropout)]
    learning = {name.split("/")[0] for name in learnt}
    return {
        **{f"optimizer.{name}": value for name, value in read_optimizer(rule, state).items()},
        "dropout": ", ".join(str(float(rate)) for rate in rates),
        "trainable": ", ".join(name for name in model.names if name in learning),
        # Flax's layers keep no record of it; this is what Conv and Linear do (0.12).
        "initialiser": "lecun_normal" if drawn else "given",
    }


def _layers(model: Chain) -> list[object]:
    return [model.layers[name] for name in model.names]


def _precision(dtype: str) -> str:
    return "tf32" if dtype == "float32" and _has_tf32() else dtype


def _has_tf32() -> bool:
    return jax.config.jax_default_matmul_precision not in ("float32", "highest")
