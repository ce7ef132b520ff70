"""The batches of a training as one process computes them: drawn, cut into parts, brought near."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.kit.training.ahead import built_ahead
from benchmark.kit.training.instances import Batch, Instances, Part
from benchmark.kit.training.micro_batches import Limit, Process
from benchmark.kit.training.settings import TrainingSettings
from benchmark.systems.contract import RunContext

BATCHES_AHEAD = 2
"""One that waits and one in the making, where a thread builds them."""


class Feed:
    """What a training computes next; draws hang on seed, name, step and process alone.

    Args:
        accelerator: an ``accelerate.Accelerator``, which says where this process computes.
        name: tells apart several trainings of one run.
    """

    def __init__(
        self,
        instances: Instances,
        settings: TrainingSettings,
        accelerator: Any,
        context: RunContext,
        name: str,
    ) -> None:
        self.instances, self.settings, self.accelerator = instances, settings, accelerator
        self.context, self.name = context, name

    def built(
        self, batches: list[NDArray[np.int64]], first: int, limit: Limit
    ) -> Generator[tuple[NDArray[np.int64], list[Part]], None, None]:
        """The rows of each batch with its parts, which are built ahead where that pays.

        Args:
            batches: (rows,) each, of all processes.
            first: the step of the first one.
            limit: of what is computed at once.
        """
        device = self.accelerator.device
        number = self.settings.batches_ahead
        if number is None:
            number = 0 if device.type == "cpu" else BATCHES_AHEAD
        if not self.instances.builds_ahead:
            number = 0

        card = torch.cuda.current_device() if device.type == "cuda" else None

        def build() -> Iterator[tuple[NDArray[np.int64], list[Part]]]:
            if card is not None:
                torch.cuda.set_device(card)  # a new thread begins with the first one
            for place, rows in enumerate(batches):
                parts = self._parts(rows, first + place, limit)
                yield rows, [(self._pinned(batch), share) for batch, share in parts]

        return built_ahead(build(), number)

    def _parts(self, rows: NDArray[np.int64], step: int, limit: Limit) -> list[Part]:
        """What this process computes of a batch."""
        process = Process(self.accelerator.process_index, self.accelerator.num_processes)
        drawn_by = 0 if self.instances.draws_for_all_processes else process.index
        random = self.context.random(self.name, "batch", step, drawn_by)
        return self.instances.parts(rows, random, limit, process)

    def _pinned(self, batch: Batch) -> Batch:
        """The batch in memory that an accelerator can read while others compute."""
        if self.accelerator.device.type != "cuda":
            return batch
        return {
            key: value.pin_memory() if value.device.type == "cpu" else value
            for key, value in batch.items()
        }

    def moved(self, batch: Batch) -> Batch:
        """The batch on the device."""
        device = self.accelerator.device
        return {key: value.to(device, non_blocking=True) for key, value in batch.items()}
