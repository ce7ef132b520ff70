"""What the joint systems share: events of both tasks with negatives, one loss, one way to rank.

A joint system learns from recommendation and search events at once and may read both histories of a
user (``histories.py``); its network's common parts are in ``layers.py``. The originals fix a
search's negatives in their data: the best BM25 hits of its query. Here these are the items of the
evaluation lists, so hard negatives are hits behind the lists
(:mod:`benchmark.kit.instances.hard_negatives`), and all negatives are drawn in every step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from benchmark.data.dataset import IntArray, LongArray
from benchmark.errors import SystemFailure
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.instances.negatives import Law, NegativeSampler
from benchmark.kit.modules import as_long
from benchmark.kit.text.word_system import TrainedWordSystem
from benchmark.kit.text.words import training_queries
from benchmark.kit.training import Batch, Instances
from benchmark.protocol.requests import Requests, TrainingExamples
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


class JointSystem(TrainedWordSystem):
    """A system of one network for both tasks, trained on both in every step."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that this configuration ranks for."""
        return TASKS

    def tasks_of(self, view: TrainingView) -> tuple[str, ...]:
        """Those of them that the view has training events of."""
        return tuple(task for task in self.tasks if task in view.tasks and len(view.examples(task)))

    def trained_tasks(self, view: TrainingView) -> tuple[str, ...]:
        """Those that the view has training events of."""
        tasks = self.tasks_of(view)
        if not tasks:
            name = type(self).__name__
            raise SystemFailure(f"{name}: the view has no training event of any task.")
        return tasks


def logistic_loss(logits: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of logits (events, candidates) whose column 0 is the target."""
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1.0
    return F.binary_cross_entropy_with_logits(logits, labels)


def logits_of_all(
    logits_of: Callable[[torch.Tensor], torch.Tensor], requests: Requests, device: torch.device
) -> torch.Tensor:
    """Logits (requests, number_of_items + 1) of the catalogue, computed some items at a time.

    Args:
        logits_of: gives those of candidates, ids (requests, some items), for these requests.
    """
    every = torch.arange(requests.number_of_items + 1, device=device)
    some = every.split(max(1, PAIRS_AT_ONCE // len(requests)))
    return torch.cat([logits_of(part.expand(len(requests), -1)) for part in some], dim=1)


@torch.no_grad()
def silence_untrained(table: torch.Tensor, trained: NDArray[np.integer]) -> None:
    """Set the rows of ``table`` (ids, size) to zero but for those of the ids ``trained`` (any,)."""
    table[untrained(table, as_long(np.unique(trained)))] = 0.0


def untrained(table: torch.Tensor, trained: torch.Tensor) -> torch.Tensor:
    """Which rows of ``table`` (ids, size) are of none of the ids ``trained`` (any,), (ids,)."""
    others = torch.ones(len(table), dtype=torch.bool, device=table.device)
    others[trained] = False
    return others


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


class ContrastingInstances(TwoTaskInstances):
    """:class:`TwoTaskInstances` of a system that contrasts queries with their clicked items.

    Args:
        contrasted: how many items, and queries, a step contrasts with those of the histories.
    """

    def __init__(
        self,
        view: TrainingView,
        config: JointNegativesConfig,
        tasks: Sequence[str],
        contrasted: int,
    ) -> None:
        super().__init__(view, config, tasks)
        self.number_of_items = view.corpus.number_of_items
        self.trained_queries = training_queries(view)
        self._contrasted = contrasted

    def contrast(self, random: np.random.Generator) -> tuple[LongArray, IntArray]:
        """Distinct items of the catalogue, and distinct queries of training, for one step."""
        items = 1 + random.permutation(self.number_of_items)[: self._contrasted]
        return items, random.permutation(self.trained_queries)[: self._contrasted]


def alternating(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The arrays in one, each spread evenly, so that any stretch of it holds its share of each."""
    places = [(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in parts]
    return np.concatenate(parts)[np.argsort(np.concatenate(places), kind="stable")]
