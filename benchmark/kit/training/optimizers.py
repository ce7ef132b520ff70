"""Optimisers and learning rates of the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from benchmark.kit.training.settings import TrainingSettings


def make_optimizer(
    groups: Iterable[nn.Parameter] | Iterable[dict[str, Any]], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """The optimiser of these weights, fused where :func:`is_fused` says so; Adagrad never is."""
    common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    given: list[Any] = list(groups)
    if settings.optimizer == "adagrad":
        return torch.optim.Adagrad(given, eps=settings.epsilon, **common)
    weights = list(chain.from_iterable(g["params"] if isinstance(g, dict) else [g] for g in given))
    common["fused"] = is_fused(weights)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(given, **common)
    common |= {"betas": settings.betas, "eps": settings.epsilon}
    if settings.optimizer == "adam":
        return torch.optim.Adam(given, **common)
    return torch.optim.AdamW(given, **common)


def decay_groups(
    model: nn.Module, decays: Callable[[str], bool] = lambda name: "bias" not in name
) -> list[dict[str, Any]]:
    """The parameters in two groups of an optimiser: those that decay, and those that do not.

    Args:
        decays: says of a parameter's name whether it does; all but the biases if absent.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[decays(name)].append(parameter)
    return [{"params": groups[True]}, {"params": groups[False], "weight_decay": 0.0}]


def is_fused(weights: Iterable[torch.Tensor]) -> bool:
    """Whether one pass over the weights takes the place of one an operation.

    It needs real weights on one kind of device. It is faster, and on a CPU it takes square roots as
    IEEE 754 has them; the operation on whole tensors is Intel's, which differs between processors
    in the last bit.
    """
    kinds = {(weight.device.type, weight.is_complex()) for weight in weights}
    return len(kinds) == 1 and not any(is_complex for _, is_complex in kinds)


def make_schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps: int) -> Any:
    """What sets the learning rate of each of so many steps."""
    if settings.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            mode="max",
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
            min_lr=settings.plateau_minimum,
        )

    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(settings, step, steps)
    )


def rate_factor(settings: TrainingSettings, step: int, steps: int) -> float:
    """The share of the learning rate that holds at a step, counted from 0, of ``steps``."""
    warmup = settings.warmup_steps
    if step < warmup:
        return 1.0 if settings.schedule == "flat-inverse-root" else (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if settings.schedule == "linear":
        return max(0.0, 1.0 - done)
    if settings.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    if settings.schedule in ("inverse-root", "flat-inverse-root"):
        return math.sqrt(max(1, warmup) / (step + 1))
    return 1.0
