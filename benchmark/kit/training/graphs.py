"""Losses as CUDA graphs: a step of a fixed shape is recorded once and replayed from then on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import nn

MOST_SHAPES = 256
"""Shapes that are recorded; torch's own limit of 8 would leave the others to plain execution."""


def what_graphs_lack() -> str:
    """What torch needs to compile for an accelerator and does not find here; empty if nothing."""
    if find_spec("triton") is None:
        return "Triton"
    compilers = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return "" if any(shutil.which(name) for name in compilers if name) else "C compiler"


def graphs_of(loss_module: nn.Module) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    """The loss of a batch, compiled by torch for each shape that it meets.

    Gradients must lie where they lay before a step (``zero_grad(set_to_none=False)``), since a
    replay adds to them there; they are made here, all zero.
    """
    import torch._dynamo

    limits = torch._dynamo.config
    name = "recompile_limit" if hasattr(limits, "recompile_limit") else "cache_size_limit"
    setattr(limits, name, max(getattr(limits, name), MOST_SHAPES))
    for weight in loss_module.parameters():
        if weight.requires_grad and weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    compiled = torch.compile(loss_module, mode="reduce-overhead", dynamic=False)

    def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        found: torch.Tensor = compiled(batch)
        return found.clone()  # a replay writes its result over that of the one before

    return loss
