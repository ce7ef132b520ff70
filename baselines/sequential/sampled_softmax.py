"""What systems share that are trained by a softmax over the next item and sampled others.

Training instances are users: the latest items, each the target of the one before, with negatives
drawn for every target, or once a step for all of them. As in the originals of these systems,
negatives are uniform and with replacement, whatever the protocol's lists leave out: items of the
user's own history are among them, and a loss decides what becomes of a draw that hits its target.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from baselines.sequential.base import TASK
from benchmark.kit.instances.sequences import padded_right, sequence_windows
from benchmark.kit.modules import as_long
from benchmark.kit.training import Batch, Instances
from benchmark.protocol.histories import Padding
from benchmark.systems.view import TrainingView

Negatives = Literal["position", "shared"]
"""Drawn for every position, or one set a step that all positions share."""


class SampledSequences(Instances):
    """One instance a user: the latest items, each the target of the one before.

    Batches have ``items`` and ``targets`` (batch, length), padded with 0 on one side, ``times``
    (batch, length), the seconds since 1970 of the items, ``target_times`` (batch, length) those of
    the targets, and ``negatives``: (targets, number) in the order of the real targets, or (number,)
    where they are shared.

    Args:
        length: the most targets of a user.
        number: of negatives.
        drawn_from: the items that negatives are drawn from.
        trims: whether slots that are padding in the whole batch are left out.
    """

    def __init__(
        self,
        view: TrainingView,
        length: int,
        number: int,
        drawn_from: NDArray[np.integer],
        *,
        padding: Padding = "left",
        negatives: Negatives = "position",
        trims: bool = True,
    ) -> None:
        windows = sequence_windows(view, length + 1, TASK, last_only=True)
        items = windows.items(view.log, np.arange(len(windows)))  # (users, length + 1)
        times = np.where(windows.rows >= 0, view.log.timestamp[np.maximum(windows.rows, 0)], 0)
        # A user's first item has nothing before it, so it is no target.
        targets = np.where(windows.is_target[:, 1:] & (items[:, :-1] > 0), items[:, 1:], 0)
        keep = targets.any(axis=1)
        self.items, self.targets = items[keep, :-1], targets[keep]
        self.times = times[keep, :-1]
        self.target_times = np.where(self.items > 0, times[keep, 1:], 0)
        self.rows_of_items = items[keep]
        self.number, self.drawn_from, self.padding = number, drawn_from, padding
        self.negatives, self.trims = negatives, trims

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather users, then draw."""
        items, targets = self.items[rows], self.targets[rows]
        columns = {
            "items": items,
            "targets": targets,
            "times": self.times[rows],
            "target_times": self.target_times[rows],
        }
        longest = int((items > 0).sum(axis=1).max()) if self.trims else items.shape[1]
        columns = {name: column[:, -longest:] for name, column in columns.items()}
        if self.padding == "right":
            # Times and targets stand where their items do.
            count = (columns["items"] > 0).sum(axis=1)
            columns = {name: padded_right(column, count) for name, column in columns.items()}
        batch = {name: as_long(column) for name, column in columns.items()}
        real = columns["targets"][columns["targets"] > 0]
        batch["negatives"] = as_long(self.draw(columns["items"], real, random))
        return batch

    def draw(
        self,
        items: NDArray[np.integer],
        targets: NDArray[np.integer],
        random: np.random.Generator,
    ) -> NDArray[np.integer]:
        """Negatives for ``targets`` (targets,) of histories ``items`` (batch, length)."""
        shape = (len(targets), self.number) if self.negatives == "position" else (self.number,)
        drawn: NDArray[np.integer] = random.choice(self.drawn_from, size=shape)
        return drawn


PRODUCTS_FOR_A_GATHER = 64
"""A gathered vector costs about as much as so many columns of a matrix product: on one CPU core, of
width 64 with gradients, 256 of 12,101 and of 24,000 items lie on either side."""


def products(states: torch.Tensor, table: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(rows, number) products of ``states`` (rows, dim) with rows of ``table`` (items, dim).

    Args:
        chosen: (rows, number) for each state, or (number,) the same for all.
    """
    if chosen.dim() == 1:
        return states @ F.embedding(chosen, table).T
    if len(table) <= chosen.shape[1] * PRODUCTS_FOR_A_GATHER:
        return (states @ table.T).gather(1, chosen)
    return torch.einsum("rd,rnd->rn", states, F.embedding(chosen, table))
