"""Losses as CUDA graphs: a step of a fixed shape is recorded once and replayed from then on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from benchmark.errors import BenchmarkError
from benchmark.kit.training.instances import Batch, Instances
from benchmark.kit.training.settings import TrainingSettings
from benchmark.systems.contract import RunContext

MOST_SHAPES = 256
"""Shapes that are recorded; torch's own limit of 8 would leave the others to plain execution."""


def graphs_if_possible(
    loss_module: nn.Module,
    instances: Instances,
    settings: TrainingSettings,
    accelerator: Any,
    context: RunContext,
) -> Callable[[Batch], torch.Tensor] | None:
    """The loss as graphs, one for each shape; None where it is computed step by step.

    Raises:
        BenchmarkError: graphs are asked for, but the instances come in any shape.
    """
    if not settings.compiled:
        return None
    if not instances.has_fixed_shapes:
        raise BenchmarkError(
            "training.compiled: this system's training instances come in any shape, so that graphs "
            "of them cannot be used again; set it to false here."
        )
    if not _has_graphs(accelerator.device) or accelerator.num_processes > 1:
        return None
    missing = what_graphs_lack()
    if missing:
        context.logger.warning(
            "training.compiled: there is no %s here, so each step is computed as without graphs.",
            missing,
        )
        return None
    return graphs_of(loss_module)


def _has_graphs(device: torch.device) -> bool:
    return device.type == "cuda"


def what_graphs_lack() -> str:
    """What torch needs to compile for an accelerator and does not find here; empty if nothing."""
    if find_spec("triton") is None:
        return "Triton"
    compilers = (os.environ.get("CC", ""), "cc", "gcc", "clang")
    return "" if any(shutil.which(name) for name in compilers if name) else "C compiler"


def graphs_of(loss_module: nn.Module) -> Callable[[Batch], torch.Tensor]:
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

    def loss(batch: Batch) -> torch.Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        found: torch.Tensor = compiled(batch)
        return found.clone()  # a replay writes its result over that of the one before

    return loss
