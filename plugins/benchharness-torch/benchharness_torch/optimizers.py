"""The update rules of ``benchharness.api.Optimizer`` in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from benchharness.api import Optimizer


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
        keep = 1 - optimizer.lr * optimizer.weight_decay
        rule.register_step_pre_hook(lambda *_: _decay(params, keep))
    return rule


@torch.no_grad()
def _decay(parameters: list[torch.nn.Parameter], keep: float) -> None:
    torch._foreach_mul_(parameters, keep)
