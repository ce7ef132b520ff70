"""Accelerate as a run asks for it (device, precision, trackers), and what it is given to wrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmark.kit.precision import mixed_precision
from benchmark.kit.training.instances import Batch
from benchmark.systems.contract import RunContext


def accelerator_of(context: RunContext) -> Any:
    """An ``accelerate.Accelerator`` for the device, the precision and the trackers of a run."""
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    if context.device.startswith("cuda:"):
        # accelerate knows no number outside of torchrun: it takes torch's current device.
        torch.cuda.set_device(context.device)
    # accelerate keeps its precision for the life of a process; runs in one process may differ.
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(
        cpu=context.device == "cpu",
        mixed_precision=mixed_precision(context.precision),
        log_with=list(context.trackers) or None,
        project_dir=str(context.folder) if context.trackers else None,
        # Stages and task mixtures leave weights of a model unused in some steps.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


class LossModule(nn.Module):
    """Model and loss as one module, so that autocast and data parallelism wrap both."""

    def __init__(self, model: nn.Module, loss: Callable[[Batch], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch."""
        return self._loss(batch)
