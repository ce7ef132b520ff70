"""What a training step asks of the machine: kernels, host time and floating-point operations.

A kernel is an operation of torch that computes; views and other changes of shape launch none. Host
time is that of a T5 of the same layers whose vectors are so short that computing takes next to
nothing: what is left is what the host does before an accelerator could start. Operations are
counted in the full model. None of the three needs an accelerator, and none is a time on one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmark.kit.language_models.seq2seq import ScratchSize, Seq2Seq
from benchmark.kit.training import Batch, TrainingSettings
from benchmark.kit.training.micro_batches import PartCosts, measured_costs
from benchmark.kit.training.optimizers import make_optimizer

SMALL = ScratchSize()
"""The sizes of T5-small."""

NARROW = ScratchSize(width=8, heads=8, head_width=1, feed_forward=8)
"""As many layers and heads."""

H200_BYTES = 139 << 30
"""Memory of one H200, of which parts are reckoned where there is none."""

TOKENS = 33_126  # of T5-small's table with four levels of codes for two kinds

CLIPPED = TrainingSettings(optimizer="adamw", gradient_clip=1.0)


_LAUNCH_NOTHING = {
    getattr(torch.ops.aten, name)
    for name in ("detach", "_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty")
}


class KernelCounter(TorchDispatchMode):
    """Counts operations that compute."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count and go on."""
        returns = func._schema.returns
        is_view = bool(returns) and all(
            one.alias_info is not None and not one.alias_info.is_write for one in returns
        )
        if not is_view and func.overloadpacket not in _LAUNCH_NOTHING:
            self.kernels += 1
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Passes:
    """A forward and backward pass over a part, and an update of the weights."""

    kernels: int
    update_kernels: int
    host_seconds: float
    update_host_seconds: float


def prompts_of(instances: int, inputs: int, targets: int, device: str = "cpu") -> Batch:
    """A batch of these lengths, whose content does not matter."""
    return {
        "input_ids": torch.full((instances, inputs), 5, device=device),
        "attention_mask": torch.ones((instances, inputs), dtype=torch.bool, device=device),
        "labels": torch.full((instances, targets), 7, device=device),
        "weights": torch.full((instances,), 1.0 / (instances * targets), device=device),
    }


def measured_passes(repeats: int = 20) -> Passes:
    """Those of a T5 of T5-small's layers, on the CPU; the least of several repeats."""
    torch.manual_seed(0)
    model = Seq2Seq.of_size(NARROW, 64).train()
    optimizer = make_optimizer(model.parameters(), CLIPPED)
    batch = prompts_of(2, 4, 2)

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    kernels = [_kernels(lambda: model(batch).backward()), _kernels(update)]
    optimizer.zero_grad()
    passes, updates = [], []
    for _ in range(repeats):
        passes.append(_seconds(lambda: model(batch).backward()))
        updates.append(_seconds(update))
        optimizer.zero_grad()
    return Passes(kernels[0], kernels[1], min(passes), min(updates))


def _kernels(work: Callable[[], object]) -> int:
    with KernelCounter() as counter:
        work()
    return counter.kernels


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def costs_of(size: ScratchSize = SMALL, tokens: int = TOKENS) -> PartCosts:
    """Bytes that an instance of a T5 of this size keeps for its backward pass."""
    model = Seq2Seq.of_size(size, tokens).train()
    return measured_costs(model, lambda *shape: model(prompts_of(*shape)))


@cache
def operations(inputs: int, targets: int, tokens: int = TOKENS) -> float:
    """Floating-point operations of forward and backward of one instance of T5-small.

    Counted once for each shape, since a whole T5 is made for it.
    """
    model = Seq2Seq.of_size(SMALL, tokens).train()
    with FlopCounterMode(display=False) as counter:
        model(prompts_of(2, inputs, targets)).backward()
    return counter.get_total_flops() / 2
