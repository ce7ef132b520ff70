"""What a model learns from, and what of it one step computes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.kit.training.micro_batches import ALONE, Limit, Process

Batch = dict[str, torch.Tensor]

Part = tuple[Batch, float]
"""Instances that are computed at once, and their share of the optimiser step's loss."""


def in_batches(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Rows (any,) cut into batches; the last one may be smaller."""
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


class Instances(ABC):
    """What a model learns from: ``len`` instances, made into batches by vectorised gathers."""

    builds_ahead: ClassVar[bool] = True
    """Whether another thread may build batches: false for what draws from global generators."""
    has_fixed_shapes: ClassVar[bool] = False
    """Whether :meth:`parts` can fill parts up to a few fixed shapes."""
    draws_for_all_processes: ClassVar[bool] = False
    """Whether :meth:`parts` draws for the whole step, so that each process must draw the same."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """The tensors of the instances at ``rows``; anything sampled is drawn from ``random``."""

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """The rows of each batch of one epoch: a fresh shuffle, the last batch may be smaller."""
        return in_batches(random.permutation(len(self)), batch_size)

    def steps(self, batch_size: int) -> int:
        """How many batches an epoch has; a schedule is laid out by it."""
        return math.ceil(len(self) / batch_size)

    def parts(
        self,
        rows: NDArray[np.int64],
        random: np.random.Generator,
        limit: Limit,
        process: Process = ALONE,
    ) -> list[Part]:
        """What ``process`` computes of the step at ``rows``, in parts within ``limit``.

        The loss of a step is the mean over processes of the sum of each one's parts by their
        shares.
        """
        own = process.own(rows)
        size = limit.instances or len(own)
        parts = [own[start : start + size] for start in range(0, len(own), size)]
        return [(self.batch(part, random), len(part) / len(own)) for part in parts]

    def probe(self, instances: int, inputs: int, targets: int) -> Batch:
        """A batch of so many instances whose prompts and targets have these lengths.

        Raises:
            BenchmarkError: batches are not made of prompts and targets.
        """
        raise BenchmarkError(
            "training.micro_batch_size: memory cannot cut this system's training instances "
            '("auto"); give a number here.'
        )
