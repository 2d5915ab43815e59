"""The update rules of ``benchharness.api.Optimizer`` in Optax, there and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import jax.numpy as jnp
import numpy as np
import optax

from benchharness.api import Optimizer, Setting, UnsupportedError

_OURS = {
    "learning_rate": "lr",
    "b1": "beta_1",
    "b2": "beta_2",
    "eps": "epsilon",
    "decay": "rho",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
}
_OPTAX = {ours: theirs for theirs, ours in _OURS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An update rule of Optax, whose constants are kept in its state.

    Attributes:
        name: Of ours where the formula is; else Optax's, as ``optax.rmsprop``.
        transformation: What Optax gives.
        nesterov: Of stochastic gradient descent; None for the other rules.
    """

    name: str
    transformation: optax.GradientTransformation
    nesterov: bool | None = None


# Cached, so that trainings by the same rule share what is compiled.
@cache
def build_optimizer(*, optimizer: Optimizer) -> Rule:
    """Return the rule, every constant taken from the task.

    Twin note: Optax's AdamW is the stated formula, and its SGD and its RMSprop with epsilon
    outside the root are but for weight decay, which is decoupled here.
    """
    common = {"learning_rate": optimizer.lr, "weight_decay": optimizer.weight_decay}
    if optimizer.name == "adam":
        own = {"b1": optimizer.beta_1, "b2": optimizer.beta_2, "eps": optimizer.epsilon}
        return _rule("adam", optax.adamw, **common, **own)
    if optimizer.name == "sgd":
        own = {"momentum": optimizer.momentum or None, "nesterov": optimizer.nesterov}
        return _rule("sgd", sgd, **common, **own)
    return _rule("rmsprop", rmsprop, **common, decay=optimizer.rho, eps=optimizer.epsilon)


def build_native_optimizer(*, stated: Mapping[str, Setting]) -> Rule:
    """Return Optax's own optimizer: what the suite states, and its defaults for the rest.

    Twin note: where a suite states weight decay, Optax's users take AdamW, and add it to the
    gradients of other rules.

    Raises:
        UnsupportedError: The suite states no learning rate, and Optax has none of its own.
    """
    if "lr" not in stated:
        raise UnsupportedError(
            f"optimizer: Optax has no default learning rate for {stated['name']}; state lr, or "
            "leave jax out of the native track"
        )
    constants = {_OPTAX.get(key, key): value for key, value in stated.items() if key != "name"}
    name = str(stated["name"])
    has_decay = bool(constants.get("weight_decay"))
    if name == "adam":
        return _rule("adam", optax.adamw if has_decay else optax.adam, **constants)
    if has_decay:
        kind = {"sgd": coupled_sgd, "rmsprop": coupled_rmsprop}[name]
        return _rule(f"optax.{name}", kind, **constants)
    constants.pop("weight_decay", None)
    if name == "sgd":
        return _rule("sgd", optax.sgd, **constants)
    return _rule("optax.rmsprop", optax.rmsprop, **constants)


def read_optimizer(rule: Rule, state: optax.OptState) -> Mapping[str, Setting]:
    """Return the rule and the constants that it uses, by the names of ``Optimizer``.

    A rule that is none of the task's goes by Optax's name: RMSprop with epsilon inside the root,
    and rules with weight decay added to the gradients.
    """
    # Kept as float32; the shortest digits are those that were written.
    found = {
        _OURS[name]: float(str(np.float32(value)))
        for name, value in state.hyperparams.items()
        if name in _OURS
    }
    own = {} if rule.nesterov is None else {"momentum": 0.0, "nesterov": rule.nesterov}
    return {"name": rule.name, "weight_decay": 0.0, **own, **found}


def sgd(
    learning_rate: float, momentum: float | None, nesterov: bool, weight_decay: float
) -> optax.GradientTransformation:
    """Return stochastic gradient descent, its weight decay decoupled."""
    return optax.chain(
        optax.identity() if momentum is None else optax.trace(momentum, nesterov=nesterov),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def rmsprop(
    learning_rate: float, decay: float, eps: float, weight_decay: float
) -> optax.GradientTransformation:
    """Return RMSprop with epsilon outside the root, its weight decay decoupled."""
    return optax.chain(
        optax.scale_by_rms(decay, eps, eps_in_sqrt=False),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def coupled_sgd(
    learning_rate: float,
    weight_decay: float,
    momentum: float | None = None,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Return Optax's SGD on gradients to which the weight decay is added."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov),
    )


def coupled_rmsprop(
    learning_rate: float, weight_decay: float, decay: float = 0.9, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Return Optax's RMSprop on gradients to which the weight decay is added."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.rmsprop(learning_rate, decay, eps)
    )


def _rule(
    name: str, kind: Callable[..., optax.GradientTransformation], **constants: Setting
) -> Rule:
    injected = optax.inject_hyperparams(kind, hyperparam_dtype=jnp.float32)
    is_sgd = name.endswith("sgd")
    return Rule(
        name=name,
        transformation=injected(**constants),
        nesterov=bool(constants.get("nesterov", False)) if is_sgd else None,
    )
