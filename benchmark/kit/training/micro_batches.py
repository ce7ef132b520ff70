"""How the instances of an optimiser step are computed in parts that fit into memory.

A loss that is a mean over tokens gives each task a weight that depends on which instances are
averaged together, so parts that are cut by length would change what is learned. Here the two are
kept apart: the groups whose tokens are averaged are drawn at random, an instance carries the weight
of its group (:func:`loss_weights`), and parts are then cut in any way at all (:func:`cuts`). The
gradient of a step is the same whatever the parts, but for rounding.

How many instances fit is not tried out but computed, so that a run does the same each time: what a
T5 keeps for its backward pass is a polynomial in the lengths of prompt and target, whose six
coefficients are read off a few small forward passes (:func:`measured_costs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmark.data.dataset import LongArray
from benchmark.errors import SystemFailure

AUTO: Literal["auto"] = "auto"
"""The value of ``micro_batch_size`` that stands for as many instances as fit."""

ROOM_ON_CPU = 2 << 30
"""Bytes that the kept tensors of a part may have on a CPU. A larger part gains nothing there."""

SHARE_OF_DEVICE = 0.6
"""Of an accelerator's memory without weights and optimiser, the part that kept tensors may have.
The rest is for what a backward pass has for a moment only (in a T5-small 8 to 12 % of what is kept,
and what does not grow with the instances) and for what the allocator leaves unused."""

BYTES_A_WEIGHT = 16
"""Weight, gradient and Adam's two moments in single precision."""

FILLER = -1
"""A row that only fills a part up to a fixed shape."""

_PROBED = ((8, 4), (16, 4), (24, 4), (8, 8), (8, 12), (16, 8))
"""Lengths of prompt and target of the small passes: as many as there are coefficients."""

_LADDER = np.array([8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048])
"""Lengths that fixed shapes have."""


@dataclass(frozen=True)
class PartCosts:
    """Bytes that an instance keeps: coefficients of 1, i, i², o, o² and io for lengths i and o."""

    coefficients: tuple[float, ...]

    def of(self, inputs: LongArray, targets: LongArray) -> NDArray[np.float64]:
        """(instances,) bytes for prompts and targets of these lengths, (instances,) each."""
        costs: NDArray[np.float64] = _terms(inputs, targets) @ np.array(self.coefficients)
        return costs


def _terms(inputs: LongArray, targets: LongArray) -> NDArray[np.float64]:
    i, o = np.asarray(inputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    return np.stack([np.ones_like(i), i, i * i, o, o * o, i * o], axis=-1)


@dataclass(frozen=True)
class Limit:
    """What a part may hold: a number of instances, or bytes of kept tensors by ``costs``.

    With ``fixed_shapes`` a part has one of few shapes, so that a graph of it can be used again.
    """

    instances: int | None = None
    room: float | None = None
    costs: PartCosts | None = None
    fixed_shapes: bool = False

    def halved(self) -> Limit:
        """Half of its room, after a part did not fit; one instance a part is the least."""
        return replace(self, room=None if self.room is None else self.room / 2)

    def most(self, inputs: LongArray, targets: LongArray) -> LongArray:
        """(shapes,) instances, at least one, that a part of each pair of lengths may have."""
        unbounded = np.iinfo(np.int64).max
        most = np.full(len(inputs), unbounded if self.instances is None else self.instances)
        if self.costs is not None and self.room is not None:
            fitting = self.room / np.maximum(self.costs.of(inputs, targets), 1.0)
            most = np.minimum(most, fitting.astype(np.int64))
        if self.fixed_shapes:
            most = np.where(most >= 8, most // 8 * 8, most)
        found: LongArray = np.maximum(most, 1)
        return found


@dataclass(frozen=True)
class Process:
    """One of several processes that share each step: ``index`` of ``number``."""

    index: int = 0
    number: int = 1

    def own(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of a step's ``rows`` that it computes; all, where there is not one for each."""
        return rows[self.index :: self.number] if len(rows) >= self.number else rows


ALONE = Process()
"""The only one."""


@dataclass(frozen=True)
class Cut:
    """A part: its rows, the lengths to which its prompts and targets are filled up, its size.

    ``size`` exceeds the number of rows where a fixed shape is filled up with no instance.
    """

    rows: LongArray
    inputs: int
    targets: int
    size: int


def cuts(inputs: LongArray, targets: LongArray, limit: Limit) -> Iterator[Cut]:
    """Cut instances into parts of similar lengths, the shortest first.

    Args:
        inputs: (instances,) tokens of each prompt.
        targets: (instances,) tokens of each target.
        limit: of each part; without any there is one part.
    """
    order = np.argsort(inputs + targets, kind="stable")
    start = 0
    while start < len(order):
        left = order[start:]
        longest = [np.maximum.accumulate(lengths[left]) for lengths in (inputs, targets)]
        if limit.fixed_shapes:
            longest = [_on_ladder(lengths) for lengths in longest]
        # Lengths grow with the rows that are taken, and what fits falls.
        most = limit.most(longest[0], longest[1])
        taken = max(1, int((np.arange(1, len(left) + 1) <= most).sum()))
        shape = int(longest[0][taken - 1]), int(longest[1][taken - 1])
        size = taken
        if limit.fixed_shapes:
            size = min(int(most[taken - 1]), _rounded_up(len(order)))
        yield Cut(left[:taken], *shape, max(size, taken))
        start += taken


def _on_ladder(lengths: LongArray) -> LongArray:
    place = np.searchsorted(_LADDER, lengths)
    inside = _LADDER[np.minimum(place, len(_LADDER) - 1)]
    beyond = -(-lengths // _LADDER[-1]) * _LADDER[-1]
    on_ladder: LongArray = np.where(place < len(_LADDER), inside, beyond)
    return on_ladder


def _rounded_up(number: int) -> int:
    return -(-number // 8) * 8


def loss_weights(
    targets: LongArray, group_size: int | None, random: np.random.Generator
) -> NDArray[np.float32]:
    """(instances,) the weight of each target token, so that the sum over all is a mean of means.

    The instances are divided at random into groups; a group counts by its instances, and within it
    every token alike. That is what the mean over shuffled micro-batches of that size is.

    Args:
        targets: (instances,) tokens of each target.
        group_size: instances of a group; all are one group if absent.
        random: what groups are drawn from.
    """
    number = len(targets)
    size = min(group_size or number, number)
    order = random.permutation(number) if size < number else np.arange(number)
    group = np.empty(number, dtype=np.int64)
    group[order] = np.arange(number) // size
    tokens = np.bincount(group, weights=targets)
    instances = np.bincount(group)
    weights = (instances / number / np.maximum(tokens, 1))[group]
    return weights.astype(np.float32)


# --------------------------------------------------------------------------------------- measuring


def kept_bytes(forward: Callable[[], torch.Tensor], weights: Iterable[torch.Tensor]) -> int:
    """Bytes of the distinct tensors that ``forward`` keeps for a backward pass, ``weights`` apart.

    The same on every device.
    """
    known = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()  # as long as the graph lives no memory is used twice
    total = sum(kept.values())
    del loss
    return total


def measured_costs(model: nn.Module, forward: Callable[[int, int, int], torch.Tensor]) -> PartCosts:
    """The costs of ``model``, from passes over one instance and over two.

    Args:
        model: its weights are not counted.
        forward: the loss of so many instances with prompts and targets of these lengths.
    """
    weights = list(model.parameters())

    def bytes_of(number: int, inputs: int, targets: int) -> int:
        return kept_bytes(lambda: forward(number, inputs, targets), weights)

    measured = [bytes_of(2, *shape) - bytes_of(1, *shape) for shape in _PROBED]
    probed = np.array(_PROBED)
    terms = _terms(probed[:, 0], probed[:, 1])
    return PartCosts(tuple(float(value) for value in np.linalg.solve(terms, measured)))


def room_for_parts(model: nn.Module, device: torch.device) -> float:
    """Bytes that kept tensors may have on ``device``, from its size and not from what is free.

    Raises:
        SystemFailure: weights and optimiser leave nothing.
    """
    if device.type != "cuda":
        return float(ROOM_ON_CPU)
    return room_of(torch.cuda.get_device_properties(device).total_memory, model)


def room_of(device_bytes: int, model: nn.Module) -> float:
    """The same for a device of so many bytes."""
    weights = sum(weight.numel() for weight in model.parameters())
    room = SHARE_OF_DEVICE * (device_bytes - BYTES_A_WEIGHT * weights)
    if room <= 0:
        raise SystemFailure("its weights and their optimiser do not fit into the device's memory.")
    return room
