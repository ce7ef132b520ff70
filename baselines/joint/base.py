"""What the joint systems share: negatives of both tasks, histories of search sessions, one loss.

A joint system learns from recommendation and search events at once and may read both histories of a
user: the items, and the searches with what was clicked. The contrast of queries with their clicked
items is UniSAR's and SESRec's alike. The originals fix a search's negatives in their data: the best
BM25 hits of its query. Here these are the items of the evaluation lists, so hard negatives are hits
behind the lists (:mod:`benchmark.kit.instances.hard_negatives`), and all negatives are drawn in
every step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from benchmark.data.dataset import IntArray
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.instances.negatives import Law, NegativeSampler
from benchmark.kit.training import Batch, Instances
from benchmark.protocol.requests import Events, TrainingExamples
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import (
    LEARNING_RATE,
    WEIGHT_DECAY,
    Choice,
    Real,
    SearchSpace,
    UntilPatience,
)
from benchmark.systems.view import TrainingView

TASKS = ("recommendation", "search")

PAIRS_AT_ONCE = 16_384
"""Pairs of a request and an item that a network looks at together when it ranks the catalogue."""


def tasks_with_events(view: TrainingView, tasks: Sequence[str] = TASKS) -> tuple[str, ...]:
    """Those of ``tasks`` that the view has training events of."""
    return tuple(task for task in tasks if task in view.tasks and len(view.examples(task)))


def logistic_loss(logits: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of logits (events, candidates) whose column 0 is the target."""
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1.0
    return F.binary_cross_entropy_with_logits(logits, labels)


SPACE: SearchSpace = {
    "training.learning_rate": LEARNING_RATE,
    "training.weight_decay": WEIGHT_DECAY,
    "training.epochs": UntilPatience(),
    "dropout": Real(0.0, 0.5),
    "recommendation_negatives": Choice(("protocol", "popularity", "uniform")),
}
"""What all systems of the family may be tuned in."""


# ------------------------------------------------------------------------------------- negatives


class JointNegativesConfig(SystemConfig):
    """How the negatives of the training events of both tasks are drawn, anew in every step."""

    negatives: int = Field(default=4, ge=1)
    """Negatives of each training event."""
    recommendation_negatives: Literal["protocol", "popularity", "uniform"] = "protocol"
    """``protocol``: by the law of the lists that are ranked. The originals' data has popular items,
    as the released lists do."""
    search_negatives: Literal["bm25", "popularity", "uniform"] = "bm25"
    """``bm25``: hits of the query that no evaluation list can hold, and popular items where there
    are too few. The originals' data has the best four hits instead."""
    bm25_pool: int = Field(default=200, ge=1)
    """BM25 negatives are drawn from the best so many of such hits."""


class Candidates:
    """Draws negatives for the training events of some tasks."""

    def __init__(
        self, view: TrainingView, config: JointNegativesConfig, tasks: Sequence[str] = TASKS
    ) -> None:
        self._number = config.negatives
        searches = len(view.examples("search")) if "search" in tasks else 0
        uses_hits = config.search_negatives == "bm25" and searches
        hits = HardNegatives(view, config.bm25_pool) if uses_hits else None
        laws: dict[str, Law] = {
            "recommendation": config.recommendation_negatives,
            "search": "uniform" if config.search_negatives == "uniform" else "popularity",
        }
        self._samplers = {task: NegativeSampler(view, task, laws[task], hits) for task in tasks}

    def of(self, examples: TrainingExamples, random: np.random.Generator) -> IntArray:
        """(events, 1 + negatives) items, the target in column 0."""
        hits = self._number if examples.task == "search" else 0
        sampler = self._samplers[examples.task]
        drawn = sampler.draw(examples.position, self._number, random, hits)
        return np.concatenate([examples.target[:, None], drawn], axis=1)


class TwoTaskInstances(Instances):
    """The training events of some tasks; every step takes its share of each.

    Rows are the recommendation events, then the search events; an epoch has each of them once.
    """

    def __init__(
        self, view: TrainingView, config: JointNegativesConfig, tasks: Sequence[str]
    ) -> None:
        self.examples = {task: view.examples(task) for task in tasks}
        self.candidates = Candidates(view, config, tasks)
        self._first = np.cumsum([0, *(len(examples) for examples in self.examples.values())])

    def __len__(self) -> int:
        return int(self._first[-1])

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """Shuffle the events of each task and deal them out; the tasks alternate in a batch."""
        steps = self.steps(batch_size)
        dealt = [
            np.array_split(start + random.permutation(stop - start), steps)
            for start, stop in pairwise(self._first)
        ]
        return [alternating(parts) for parts in zip(*dealt, strict=True)]

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """The tensors of the events at ``rows`` with negatives of their own."""
        chosen = {}
        for (task, examples), (start, stop) in zip(
            self.examples.items(), pairwise(self._first), strict=True
        ):
            own = examples.select(rows[(rows >= start) & (rows < stop)] - start)
            if len(own):
                chosen[task] = (own, self.candidates.of(own, random))
        return self.tensors(chosen, random)

    @abstractmethod
    def tensors(
        self, chosen: dict[str, tuple[TrainingExamples, IntArray]], random: np.random.Generator
    ) -> Batch:
        """The batch of some events of each task and their candidates, targets in column 0."""


def alternating(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The arrays in one, each spread evenly, so that any stretch of it holds its share of each."""
    places = [(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in parts]
    return np.concatenate(parts)[np.argsort(np.concatenate(places), kind="stable")]


# ------------------------------------------------------------------------------------- histories


class JointHistoryConfig(JointNegativesConfig):
    """How much of both histories is read."""

    recommendation_history: int = Field(default=30, ge=1)
    """How many of the user's latest recommendation events are read."""
    search_history: int = Field(default=30, ge=1)
    """How many of the user's latest search sessions are read."""
    session_items: int = Field(default=1, ge=1)
    """Clicked items a search session. 1 makes every search event a session of its own; with more,
    the events of one search are one session, of which the first clicks are kept."""


class HistoryWindow(NamedTuple):
    """What a network reads of a history: both lists padded on the right, and when they happened.

    Shapes: ``items`` and ``item_times`` (events, recommendation length), ``queries`` and
    ``session_times`` (events, search length), ``clicks`` (events, search length, session_items).
    Times are seconds since 1970, infinite at padding.
    """

    items: IntArray
    queries: IntArray
    clicks: IntArray
    item_times: NDArray[np.float64]
    session_times: NDArray[np.float64]


def history_window(events: Events, config: JointHistoryConfig) -> HistoryWindow:
    """Cut the latest recommendation events and the latest search sessions of many events.

    Columns that are padding for all of these events are left out, but for the first one.
    """
    bought = events.history(config.recommendation_history, "recommendation", "right")
    searched = events.history(config.search_history * config.session_items, "search")
    number, length = searched.items.shape
    starts = searched.mask.copy()
    if config.session_items > 1:
        starts[:, 1:] &= (searched.sessions[:, 1:] != searched.sessions[:, :-1]) | (
            ~searched.mask[:, :-1]
        )
    ordinal: NDArray[np.int64] = np.cumsum(starts, axis=1)  # counted from 1
    first = 1 + np.maximum(ordinal[:, -1:] - config.search_history, 0)  # the latest ones remain
    session = ordinal - first
    columns = np.broadcast_to(np.arange(length), (number, length))
    within = columns - np.maximum.accumulate(np.where(starts, columns, 0), axis=1)
    row, column = np.nonzero(searched.mask & (session >= 0) & (within < config.session_items))
    place = session[row, column]
    clicks = np.zeros((number, config.search_history, config.session_items), dtype=np.int32)
    clicks[row, place, within[row, column]] = searched.items[row, column]
    queries = np.zeros((number, config.search_history), dtype=np.int32)
    times = np.full((number, config.search_history), np.inf)
    row, column = np.nonzero(starts & (session >= 0))
    queries[row, session[row, column]] = searched.queries[row, column]
    times[row, session[row, column]] = searched.timestamps[row, column]
    bought_times = np.where(bought.mask, bought.timestamps.astype(np.float64), np.inf)
    longest = max(1, int(bought.count.max(initial=0)))
    most = max(1, int(np.count_nonzero(np.isfinite(times), axis=1).max(initial=0)))
    return HistoryWindow(
        items=bought.items[:, :longest],
        queries=queries[:, :most],
        clicks=clicks[:, :most],
        item_times=bought_times[:, :longest],
        session_times=times[:, :most],
    )


# --------------------------------------------------------------------------------------- modules


def encode_once(
    encode: Callable[[torch.Tensor], torch.Tensor], ids: torch.Tensor, rows: int
) -> torch.Tensor:
    """``encode(ids)`` for ids of any shape, computed once an id where that is less work.

    Args:
        encode: maps ids of any shape to (…, size).
        rows: how many ids there are.
    """
    if ids.numel() <= rows:
        return encode(ids)
    return F.embedding(ids, encode(torch.arange(rows, device=ids.device)))


@dataclass(frozen=True)
class Attribute:
    """A categorical attribute of items or users: a value for every id, shape (ids,)."""

    name: str
    values: torch.Tensor
    number_of_values: int
    size: int  # width of its table


class QueryItemContrast(nn.Module):
    """InfoNCE between queries and clicked items in both directions, one bilinear form for both."""

    def __init__(self, size: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, size))
        self.temperature = nn.Parameter(torch.tensor(temperature))
        nn.init.xavier_normal_(self.weight)

    def forward(
        self,
        queries: torch.Tensor,
        items: torch.Tensor,
        pairs: torch.Tensor,
        negative_queries: torch.Tensor,
        negative_items: torch.Tensor,
    ) -> torch.Tensor:
        """The loss of each pair, (pairs,).

        Args:
            queries, items: (rows, size), each distinct one once.
            pairs: (2, pairs): row of the query and row of the clicked item.
            negative_queries, negative_items: (negatives, size), contrasted with every pair.
        """
        query, item = pairs
        to_items = self._directed(queries, query, items, item, negative_items)
        to_queries = self._directed(items, item, queries, query, negative_queries)
        return 0.5 * (to_items + to_queries)

    def _directed(
        self,
        sources: torch.Tensor,
        source: torch.Tensor,
        targets: torch.Tensor,
        target: torch.Tensor,
        negatives: torch.Tensor,
    ) -> torch.Tensor:
        """Cross-entropy (pairs,) of the target among the negatives.

        The sum over the negatives depends on the source alone, so it is taken once a source.
        """
        asked, place = source.unique(return_inverse=True)
        projected = F.embedding(asked, sources) @ self.weight  # (sources, size)
        against = (torch.tanh(projected @ negatives.T) / self.temperature).logsumexp(dim=1)
        product = (F.embedding(place, projected) * F.embedding(target, targets)).sum(dim=-1)
        positive = torch.tanh(product) / self.temperature
        return torch.logaddexp(positive, F.embedding(place, against[:, None])[:, 0]) - positive
