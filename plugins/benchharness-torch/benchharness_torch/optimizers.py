"""The update rules of ``benchharness.api.Optimizer`` in PyTorch, there and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from benchharness.api import Optimizer, Setting


def build_optimizer(
    *, optimizer: Optimizer, parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimizer, every constant taken from the task.

    Twin note: PyTorch's Adam and RMSprop are the stated formulas, Keras's are not. PyTorch's SGD
    and RMSprop couple weight decay to the gradient; here it is decoupled.
    """
    params = list(parameters)
    if optimizer.name == "adam":
        return torch.optim.AdamW(
            params,
            lr=optimizer.lr,
            betas=(optimizer.beta_1, optimizer.beta_2),
            eps=optimizer.epsilon,
            weight_decay=optimizer.weight_decay,
            fused=True,
        )
    if optimizer.name == "sgd":
        rule: torch.optim.Optimizer = torch.optim.SGD(
            params,
            lr=optimizer.lr,
            momentum=optimizer.momentum,
            nesterov=optimizer.nesterov,
            fused=True,
        )
    else:
        rule = torch.optim.RMSprop(
            params, lr=optimizer.lr, alpha=optimizer.rho, eps=optimizer.epsilon
        )
    if optimizer.weight_decay:
        for group in rule.param_groups:
            group["own_weight_decay"] = optimizer.weight_decay
        rule.register_step_pre_hook(_decay)
    return rule


def build_native_optimizer(
    *, stated: Mapping[str, Setting], parameters: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Return PyTorch's own optimizer: what the suite states, and its defaults for the rest.

    Twin note: PyTorch's Adam couples weight decay to the gradient, so where a suite states one,
    its users take AdamW.
    """
    constants = dict(stated)
    name = constants.pop("name")
    betas = constants.pop("beta_1", 0.9), constants.pop("beta_2", 0.999)
    own_names = {"rho": "alpha", "epsilon": "eps"}
    options = {own_names.get(key, key): value for key, value in constants.items()}
    if name == "adam":
        kind = torch.optim.AdamW if "weight_decay" in options else torch.optim.Adam
        return kind(list(parameters), betas=betas, **options)
    kind = torch.optim.SGD if name == "sgd" else torch.optim.RMSprop
    return kind(list(parameters), **options)


def read_optimizer(optimizer: torch.optim.Optimizer) -> Mapping[str, Setting]:
    """Return the rule and the constants that it uses, by the names of ``Optimizer``.

    A rule that is none of the task's goes by the name of its class: SGD and RMSprop with PyTorch's
    own weight decay, which is coupled, and Adam.
    """
    group = optimizer.param_groups[0]
    decay = group.get("own_weight_decay", group["weight_decay"])
    is_coupled = group["weight_decay"] != 0
    common = {"lr": group["lr"], "weight_decay": float(decay)}
    match optimizer:
        case torch.optim.Adam() | torch.optim.AdamW():
            beta_1, beta_2 = group["betas"]
            own = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": group["eps"]}
            is_ours = isinstance(optimizer, torch.optim.AdamW)
            return {"name": "adam" if is_ours else "Adam", **common, **own}
        case torch.optim.SGD():
            own = {"momentum": group["momentum"], "nesterov": group["nesterov"]}
            return {"name": "SGD" if is_coupled else "sgd", **common, **own}
        case torch.optim.RMSprop():
            own = {"rho": group["alpha"], "epsilon": group["eps"]}
            return {"name": "RMSprop" if is_coupled else "rmsprop", **common, **own}
    return {"name": type(optimizer).__name__, **common}


@torch.no_grad()
def _decay(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
    for group in optimizer.param_groups:
        keep = 1 - group["lr"] * group["own_weight_decay"]
        torch._foreach_mul_(group["params"], keep)
