"""What the sequential systems share: instances from the log, training, and scoring of histories.

A sequential system is a network that maps a user's last items to scores. Each of them reads the
items of recommendation events only, is trained by the suite's loop, is selected on the suite's
validation lists, and falls back to training popularity for a user without a history, whom the
originals cannot score at all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.instances.sequences import padded_right, sequence_windows
from benchmark.kit.modules import as_long
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.kit.training.system import TrainedSystem
from benchmark.protocol.histories import Padding
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import LEARNING_RATE, SearchSpace, UntilPatience
from benchmark.systems.view import Corpus, TrainingView

TASK = "recommendation"


class SequentialTraining(TrainingSettings):
    """RecBole's training settings: Adam 1e-3, no decay, at most 300 epochs, patience 10."""

    epochs: int = Field(default=300, ge=0)
    batch_size: int = Field(default=2048, ge=1)
    """Targets an optimiser step, in both modes of ``training_instances``."""


class SequentialConfig(SystemConfig):
    """Base of the sequential systems' ``Config``."""

    history_length: int = Field(default=50, ge=1)
    """How many of the user's latest items the network reads."""
    training: TrainingSettings = SequentialTraining()

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.epochs": UntilPatience(),
    }


class SequentialModule(nn.Module):
    """A network, and the item counts that answer where there is no history to read.

    The counts are a buffer, so they are saved with the weights: shape (number_of_items + 1,).
    """

    popularity: torch.Tensor

    def __init__(self, network: nn.Module, number_of_items: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("popularity", torch.zeros(number_of_items + 1))


@dataclass(frozen=True)
class Asked:
    """Requests as a network reads them.

    ``items`` (batch, history_length) are padded with 0 on the system's side; ``lengths`` (batch,)
    count the real ones; ``users`` (batch,) are 0 where unknown. ``times`` (batch, history_length)
    and ``asked_at`` (batch,) are seconds since 1970, of the items, 0 where padded, and of the
    requests.
    """

    items: torch.Tensor
    lengths: torch.Tensor
    users: torch.Tensor
    times: torch.Tensor
    asked_at: torch.Tensor


class HistorySystem(TrainedSystem):
    """Learns from recommendation events, and is selected on them."""

    def trained_tasks(self, view: TrainingView) -> tuple[str, ...]:
        """Recommendation."""
        return (TASK,)


class SequentialSystem(HistorySystem):
    """Scores by :meth:`candidate_scores`, and by popularity where there is no history."""

    model: SequentialModule
    padding: Padding = "right"
    reads_empty_histories: ClassVar[bool] = False
    """Whether the network answers where there is no history, in place of popularity."""

    @abstractmethod
    def network(self, corpus: Corpus) -> nn.Module:
        """A freshly initialised network."""

    @abstractmethod
    def candidate_scores(self, asked: Asked, candidates: torch.Tensor) -> torch.Tensor:
        """Scores (batch, candidates) of ``candidates`` (batch, candidates)."""

    @abstractmethod
    def scores_of_all(self, asked: Asked) -> torch.Tensor:
        """Scores (batch, number_of_items + 1) of the catalogue."""

    def build(self, corpus: Corpus) -> SequentialModule:
        """The network with a place for the item counts."""
        return SequentialModule(self.network(corpus), corpus.number_of_items)

    def prepare(self, view: TrainingView) -> None:
        """Count the items of the training events."""
        bought = view.log.item[view.log.recommendation.positions]
        counts = np.bincount(bought, minlength=view.corpus.number_of_items + 1)
        self.model.popularity.copy_(torch.from_numpy(counts))

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """Popularity where the history is empty, the network elsewhere."""
        candidates = self.on_device(requests.candidates)
        return self._by_network_where_it_can(
            requests,
            self.model.popularity[candidates],  # (batch, candidates)
            lambda rows, asked: self.candidate_scores(asked, candidates[rows]),
        )

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """The same of all items; a history is encoded once."""
        return self._by_network_where_it_can(
            requests,
            self.model.popularity.repeat(len(requests), 1),  # (batch, items + 1)
            lambda rows, asked: self.scores_of_all(asked),
        )

    def _by_network_where_it_can(
        self,
        requests: Requests,
        scores: torch.Tensor,
        network: Callable[[torch.Tensor, Asked], torch.Tensor],
    ) -> torch.Tensor:
        """``scores`` with the rows that the network can answer replaced by its own."""
        history = requests.history(self.config.history_length, TASK, self.padding)
        can = (history.count > 0) | self.reads_empty_histories
        rows = np.flatnonzero(can)
        if len(rows):
            chosen = self.on_device(rows)
            asked = Asked(
                items=self.on_device(history.items[rows]),
                lengths=self.on_device(history.count[rows]),
                users=self.on_device(requests.user[rows]),
                times=self.on_device(history.timestamps[rows]),
                asked_at=self.on_device(requests.timestamp[rows]),
            )
            scores[chosen] = network(chosen, asked).to(scores.dtype)
        return scores


class Prefixes(Instances):
    """One instance a training event: the history that the event may see, and its item.

    Events without a visible item before them are no instances. Batches have ``users`` (batch,),
    ``items`` (batch, length) padded on the right, ``lengths`` (batch,), ``targets`` (batch,) and,
    with a sampler, ``negatives`` (batch,).
    """

    def __init__(
        self, view: TrainingView, length: int, negatives: NegativeSampler | None = None
    ) -> None:
        examples = view.examples(TASK)
        self.examples = examples.select(examples.history(1, TASK).count > 0)
        self.length = length
        self.negatives = negatives

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Cut the histories of the chosen events."""
        chosen = self.examples.select(rows)
        history = chosen.history(self.length, TASK, "right")
        batch = {
            "users": as_long(chosen.user),
            "items": as_long(history.items),
            "lengths": as_long(history.count),
            "targets": as_long(chosen.target),
        }
        if self.negatives is not None:
            drawn = self.negatives.draw(chosen.position, 1, random)
            batch["negatives"] = as_long(drawn[:, 0])
        return batch


class LastPositionTargets(Prefixes):
    """:class:`Prefixes` as inputs and targets by position: only the last position has a target.

    Batches have ``items``, ``targets`` and, with a sampler, ``negatives``, all (batch, length), 0
    where there is none; ``length`` is that of the batch's longest history.
    """

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Place target and negative under the last real item of each row."""
        flat = super().batch(rows, random)
        longest = int(flat["lengths"].max())
        batch = {"items": flat["items"][:, :longest]}
        last = flat["lengths"][:, None] - 1
        for name in ("targets", "negatives"):
            if name in flat:
                placed = torch.zeros_like(batch["items"])
                batch[name] = placed.scatter_(1, last, flat[name][:, None])
        return batch


class AllPositionTargets(Instances):
    """One instance a window of a user's items: every position is trained, as in the originals.

    The loss of a position is that of its prefix, except that a window forgets what stands before
    it, and that events of one instant may see each other. Batches are those of
    :class:`LastPositionTargets`. A batch is filled with windows until it holds ``batch_size``
    targets, so that a step learns from as many targets as with one instance a prefix.
    """

    def __init__(
        self, view: TrainingView, length: int, negatives: NegativeSampler | None = None
    ) -> None:
        windows = sequence_windows(view, length + 1, TASK)
        items = windows.items(view.log, np.arange(len(windows)))
        targets = np.where(windows.is_target, items, 0)
        count = (items > 0).sum(axis=1)
        items, targets, rows = (
            padded_right(column, count) for column in (items, targets, windows.rows)
        )
        keep = targets[:, 1:].any(axis=1)
        self.items, self.targets = items[keep, :-1], targets[keep, 1:]  # (windows, length)
        self.events = rows[keep, 1:]
        self.targets_of_window = np.count_nonzero(self.targets, axis=1)
        self.negatives = negatives

    def __len__(self) -> int:
        return len(self.items)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """Shuffle the windows, then cut where another ``batch_size`` targets are full."""
        order = random.permutation(len(self))
        batch_of = (np.cumsum(self.targets_of_window[order]) - 1) // batch_size
        return np.split(order, np.flatnonzero(np.diff(batch_of)) + 1)

    def steps(self, batch_size: int) -> int:
        """The batches of an epoch."""
        return -(-int(self.targets_of_window.sum()) // batch_size)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather windows."""
        items, targets = self.items[rows], self.targets[rows]
        longest = int((items > 0).sum(axis=1).max())
        batch = {"items": as_long(items[:, :longest]), "targets": as_long(targets[:, :longest])}
        if self.negatives is not None:
            row, column = np.nonzero(targets)
            drawn = np.zeros_like(targets)
            events = self.events[rows[row], column]
            drawn[row, column] = self.negatives.draw(events, 1, random)[:, 0]
            batch["negatives"] = as_long(drawn[:, :longest])
        return batch
