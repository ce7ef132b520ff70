"""CoPPS: a transformer over query and history; views of histories are told apart as a second task.

Dai, Liu, Dou, Wang, Liu, Long and Wen, "Contrastive Learning for User Sequence Representation in
Personalized Product Search", KDD 2023. No code of the authors is public, and of their method only
what the abstract says: three contrastive tasks, on augmented sequences, within and between the
sequences of users, with the help of a knowledge graph. This is the form in which frameworks for
joint search and recommendation run it as a baseline: TEM on their inputs (``joint_framework.py``)
and, in training, crop, mask and reorder views of the history as published in ``utils/sampler.py``
of https://github.com/E-qin/MAPS, commit e67d599, whose model class is not public.

Ours, since nothing is published: the contrastive loss (cross-entropy of cosines among the views of
the batch), its temperature and weight, and the ratios of the views, which are those usual for such
views. What differs from that routine: it is applied to the items of a history before they are
padded, not after; and only to histories of two items or more, since shorter ones have no views.
``knowledge_weight`` and ``between_weight`` add a reading of the abstract's other two tasks, off by
default.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from baselines.personalized_search.base import (
    TASK,
    HistoryConfig,
    ProductSearch,
    SearchInstances,
    SearchNetwork,
)
from baselines.personalized_search.joint_framework import HistoryNetwork
from benchmark.data.dataset import IntArray, Items, LongArray
from benchmark.kit.modules import as_long
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.systems.space import Real, SearchSpace
from benchmark.systems.view import TrainingView

CROP, MASK, REORDER = range(3)


class CoPPSTraining(TrainingSettings):
    """Adam with decay, in batches that are large because they hold the views' negatives."""

    batch_size: int = Field(default=512, ge=1)
    """Training searches an optimiser step."""
    weight_decay: float = Field(default=1e-5, ge=0)
    schedule: Literal["constant", "linear", "cosine", "inverse-root", "plateau"] = "plateau"
    patience: int | None = Field(default=5, ge=1)


class CoPPSConfig(HistoryConfig):
    """The sizes of the published command; ratios, temperature and weights are ours."""

    crop_ratio: float = Field(default=0.6, gt=0, le=1)
    """The share of a history's items that a crop keeps, rounded down."""
    mask_ratio: float = Field(default=0.3, ge=0, le=1)
    """The share that a mask hides, rounded down."""
    reorder_ratio: float = Field(default=0.6, ge=0, le=1)
    """The share that is shuffled, rounded down."""
    view_vector: Literal["query_state", "item_mean"] = "query_state"
    """What stands for a view: the encoder's state of the query in front of it, or the mean state of
    its items, encoded without the query."""
    temperature: float = Field(default=0.1, gt=0)
    """Cosines are divided by it."""
    contrastive_weight: float = Field(default=0.1, ge=0)
    """Weight of the loss on two views of the same history; 0 leaves it out."""
    same_query: Literal["negatives", "struck"] = "negatives"
    """Whether views of other users who asked the same query are told apart."""
    knowledge_weight: float = Field(default=0.0, ge=0)
    """Weight of the loss on a history and its copy with related items in it; our reading: 0.1."""
    replaced_share: float = Field(default=0.3, gt=0, le=1)
    """The share of items that such a copy replaces by items of the same category or brand."""
    between_weight: float = Field(default=0.0, ge=0)
    """Weight of the loss on histories of two users with the same query and choice; our reading:
    0.1."""
    training: TrainingSettings = CoPPSTraining()

    search_space: ClassVar[SearchSpace] = {
        **HistoryConfig.search_space,
        "contrastive_weight": Real(0.01, 1.0, log=True),
        "temperature": Real(0.05, 0.5, log=True),
    }

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the contrastive tasks that are on."""
        weights = {
            "within": self.contrastive_weight,
            "knowledge": self.knowledge_weight,
            "between": self.between_weight,
        }
        return {task: weight for task, weight in weights.items() if weight}


# ---------------------------------------------------------------------------------------- network


def contrastive_loss(
    first: torch.Tensor, second: torch.Tensor, temperature: float, struck: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of each view's partner among all other views, by cosine.

    Args:
        first, second: (rows, size) two views of each row.
        struck: (rows, rows) pairs of rows that are not told apart.
    """
    views = F.normalize(torch.cat([first, second]).float(), dim=1)  # (2 rows, size)
    logits = views @ views.T / temperature
    own = torch.arange(len(views), device=views.device)
    partner = own.roll(len(first))
    hidden = struck.repeat(2, 2)
    hidden[own, partner] = False
    hidden[own, own] = True
    return F.cross_entropy(logits.masked_fill(hidden, -torch.inf), partner)


class CoPPSNetwork(HistoryNetwork):
    """The encoder, and the losses on views of what it reads."""

    def __init__(self, number_of_items: int, word_rows: int, config: CoPPSConfig) -> None:
        super().__init__(number_of_items, word_rows, config)
        self.config = config

    def view_vectors(self, words: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """What is compared of views: (views, size) of histories (views, length) after queries."""
        if self.config.view_vector == "query_state":
            return self.user_vectors(words, history)
        states = self.item_states(history)
        is_real = (history > 0)[..., None]
        return (states * is_real).sum(dim=1) / is_real.sum(dim=1).clamp(min=1)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The search loss and those of the contrastive tasks, for :class:`ViewInstances`.

        Without views a task's loss is zero.
        """
        losses = {"search": self.search_loss(batch)}
        for task in self.config.weights:
            rows = batch[f"{task}/rows"]
            if not len(rows):
                losses[task] = torch.zeros_like(losses["search"])
                continue
            words = batch["queries"][rows]
            first, second = (
                self.view_vectors(words, batch[f"{task}/{view}"]) for view in ("first", "second")
            )
            struck = batch[f"{task}/struck"]
            losses[task] = contrastive_loss(first, second, self.config.temperature, struck)
        return losses

    def loss(self, batch: Batch) -> torch.Tensor:
        """The search loss and the weighted contrastive ones."""
        losses = self.losses(batch)
        loss = losses["search"]
        for task, weight in self.config.weights.items():
            loss = loss + weight * losses[task]
        return loss


# ------------------------------------------------------------------------------------------ views


@dataclass(frozen=True)
class Augmentation:
    """Crops, masks and reorders histories of two items or more, each a third of the time."""

    crop_ratio: float
    mask_ratio: float
    reorder_ratio: float

    def __call__(
        self, history: NDArray[np.integer], random: np.random.Generator
    ) -> NDArray[np.integer]:
        """A random view of each history (rows, length), padded on the right like it."""
        kind = random.integers(3, size=len(history))
        free = np.count_nonzero(history, axis=1) - self.widths(history, kind)
        return self.views(history, kind, random.integers(free + 1), random.random(history.shape))

    def widths(self, history: NDArray[np.integer], kind: LongArray) -> LongArray:
        """How many items of each history (rows,) are kept, hidden or shuffled."""
        ratios = np.array([self.crop_ratio, self.mask_ratio, self.reorder_ratio])
        widths: LongArray = np.floor(np.count_nonzero(history, axis=1) * ratios[kind]).astype(int)
        return widths

    def views(
        self,
        history: NDArray[np.integer],
        kind: LongArray,
        start: LongArray,
        keys: NDArray[np.float64],
    ) -> NDArray[np.integer]:
        """The views of histories (rows, length) that the draws decide on.

        Args:
            kind: (rows,) CROP, MASK or REORDER.
            start: (rows,) where the window of a crop or a reordering begins.
            keys: (rows, length) from 0 up to 1: the window is sorted by them, and the items of the
                lowest ones are hidden.
        """
        place = np.arange(history.shape[1])[None, :]
        width, start = self.widths(history, kind)[:, None], start[:, None]
        moved = np.take_along_axis(history, np.minimum(start + place, place.max()), axis=1)
        cropped = np.where(place < width, moved, 0)
        rank = np.argsort(np.argsort(np.where(history > 0, keys, 1.0), axis=1), axis=1)
        masked = np.where(rank < width, 0, history)
        in_window = (start <= place) & (place < start + width)
        order = np.argsort(np.where(in_window, start + keys, place), axis=1)
        reordered = np.take_along_axis(history, order, axis=1)
        return np.select(
            [kind[:, None] == CROP, kind[:, None] == MASK], [cropped, masked], reordered
        )


class SharedKeys:
    """Which of the members 0 … number - 1 share a key, and a random one that does.

    Args:
        member, key: (pairs,) who has which key; a member may have several, or none.
    """

    def __init__(self, member: NDArray[np.integer], key: NDArray[np.integer], number: int) -> None:
        _, key, size = np.unique(key, return_inverse=True, return_counts=True)
        order = np.argsort(key, kind="stable")
        order = order[size[key[order]] > 1]
        self.member, key = member[order], key[order]
        self.size = size[key]  # (pairs of shared keys,), as are the next ones
        self.first = np.searchsorted(key, key)
        self.by_member = np.argsort(self.member, kind="stable")
        self.count = np.bincount(self.member, minlength=number)
        self.offset = np.cumsum(self.count) - self.count

    def other(self, members: NDArray[np.integer], random: np.random.Generator) -> LongArray:
        """For each member another one with a key of its own, or itself where there is none.

        Args:
            members: any shape, which is also that of the result.
        """
        others = members.astype(np.int64)
        found = self.count[members] > 0
        lucky = members[found]
        pair = self.by_member[self.offset[lucky] + random.integers(self.count[lucky])]
        place = pair - self.first[pair] + random.integers(1, self.size[pair])
        others[found] = self.member[self.first[pair] + place % self.size[pair]]
        return others


def related_items(items: Items) -> SharedKeys:
    """Items related by the last level of a category path, or by a brand: the knowledge graph."""
    labels = [
        (number, label)
        for number, (brand, paths) in enumerate(zip(items.brand, items.categories, strict=True))
        for label in {("brand", brand), *(("category", path[-1]) for path in paths if path)}
        if label[1]
    ]
    numbers: dict[tuple[str, str], int] = {}
    return SharedKeys(
        np.array([number for number, _ in labels], dtype=np.int64),
        np.array([numbers.setdefault(label, len(numbers)) for _, label in labels], dtype=np.int64),
        len(items) + 1,
    )


class ViewInstances(SearchInstances):
    """Searches, with two views of a history for each contrastive task that is on.

    For a task these are ``first`` and ``second`` (rows, history length), ``rows`` (rows,), the
    places in the batch that have such views, and ``struck`` (rows, rows), each after ``task/``.
    """

    def __init__(self, view: TrainingView, system: CoPPS) -> None:
        super().__init__(view, system)
        self.config = config = system.config
        self.augmentation = Augmentation(config.crop_ratio, config.mask_ratio, config.reorder_ratio)
        self.items = view.corpus.items
        self.choice = self.examples.query.astype(np.int64) * (len(self.items) + 1)
        self.choice += self.examples.target

    @cached_property
    def related(self) -> SharedKeys:
        """The items' relations."""
        return related_items(self.items)

    @cached_property
    def same_choice(self) -> SharedKeys:
        """The searches by query and chosen item."""
        return SharedKeys(np.arange(len(self)), self.choice, len(self))

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather searches; draw their negatives, then their views."""
        batch = super().batch(rows, random)
        history = self.system.history_items(self.examples.select(rows))
        makers = {
            "within": self._augmented,
            "knowledge": self._with_related_items,
            "between": self._of_others,
        }
        for task in self.config.weights:
            has_views, first, second = makers[task](rows, history, random)
            places = np.flatnonzero(has_views)
            batch[f"{task}/rows"] = as_long(places)
            batch[f"{task}/first"] = as_long(first[places])
            batch[f"{task}/second"] = as_long(second[places])
            batch[f"{task}/struck"] = torch.from_numpy(self._struck(rows[places], task))
        return batch

    def _augmented(
        self, rows: LongArray, history: IntArray, random: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.integer], NDArray[np.integer]]:
        """Two views of histories that are long enough; which rows have them, (rows,)."""
        first, second = (self.augmentation(history, random) for _ in range(2))
        return np.count_nonzero(history, axis=1) > 1, first, second

    def _with_related_items(
        self, rows: LongArray, history: IntArray, random: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.integer], NDArray[np.integer]]:
        """Histories, and copies with at least one related item instead of their own."""
        share = self.config.replaced_share * np.count_nonzero(history, axis=1)
        keys = np.where(history > 0, random.random(history.shape), 1.0)
        rank = np.argsort(np.argsort(keys, axis=1), axis=1)
        chosen = (rank < np.maximum(np.floor(share), 1)[:, None]) & (history > 0)
        copies = np.where(chosen, self.related.other(history, random), history).astype(np.int32)
        return (copies != history).any(axis=1), history, copies

    def _of_others(
        self, rows: LongArray, history: IntArray, random: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.integer], NDArray[np.integer]]:
        """Histories, and those of other users who chose the same item after the same query."""
        others = self.examples.select(self.same_choice.other(rows, random))
        second = self.system.history_items(others)
        has_both = history.any(axis=1) & second.any(axis=1)
        return has_both & (others.user != self.examples.user[rows]), history, second

    def _struck(self, rows: LongArray, task: str) -> NDArray[np.bool_]:
        """(rows, rows): pairs of one user are not told apart, nor are possible partners."""
        struck = _are_equal(self.examples.user[rows])
        if self.config.same_query == "struck":
            struck |= _are_equal(self.examples.query[rows])
        if task == "between":
            struck |= _are_equal(self.choice[rows])
        return struck


def _are_equal(values: NDArray[np.integer]) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = values[:, None] == values[None, :]
    return equal


# ----------------------------------------------------------------------------------------- system


class CoPPS(ProductSearch):
    """Product search with contrastive views of the history; scoring needs none of these."""

    Config = CoPPSConfig
    config: CoPPSConfig

    def network(self, number_of_items: int, word_rows: int) -> SearchNetwork:
        """The encoder and its losses."""
        return CoPPSNetwork(number_of_items, word_rows, self.config)

    def instances(self, view: TrainingView) -> Instances:
        """Searches and views."""
        length = np.count_nonzero(self.history_items(view.examples(TASK)), axis=1)
        self.context.logger.info(
            "%d of %d training searches have a history of two items or more, hence views.",
            np.count_nonzero(length > 1),
            len(length),
        )
        return ViewInstances(view, self)

    def stand_ins(self) -> tuple[str, ...]:
        """The authors' method is known by its abstract only."""
        return (
            "CoPPS: its authors published no code; this is TEM as joint frameworks build it, with "
            "views cropped, masked and reordered as one of them does, and a contrastive loss of "
            "ours.",
        )
