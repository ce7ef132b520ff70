"""What the personalised search systems share: training on searches, and scoring by one product.

Each of them maps a query, and perhaps the user's history, to a vector; the inner product with an
item's vector is the score. Each is trained on the training searches, one instance a search, with
uniform negatives and, if asked for, BM25 negatives of ranks that no evaluation list reaches, and is
selected on the suite's validation lists.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn

from benchmark.data.dataset import IntArray
from benchmark.errors import SystemFailure
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.modules import as_long
from benchmark.kit.text.word_system import TrainedWordSystem
from benchmark.kit.text.words import PADDING_WORD
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.kit.training.optimizers import decay_groups
from benchmark.protocol.requests import Events, Requests
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import (
    LEARNING_RATE,
    WEIGHT_DECAY,
    Real,
    SearchSpace,
    UntilPatience,
    Whole,
)
from benchmark.systems.view import Corpus, TrainingView

TASK = "search"


class ProductSearchConfig(SystemConfig):
    """Base of the ``Config`` of the family's systems."""

    embedding_size: int = Field(default=64, ge=1)
    """Dimensions of the vectors whose product is the score."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    query_words: int = Field(default=50, ge=1)
    """Words of a query that are read, the first ones."""
    uniform_negatives: int = Field(default=5, ge=1)
    """Negatives of an instance drawn uniformly from all items but the target, anew each time."""
    bm25_negatives: int = Field(default=0, ge=0)
    """Negatives drawn from the BM25 hits of the query. Where it has none, they are uniform too."""
    bm25_pool: int = Field(default=200, ge=1)
    """Such hits are the best so many of those that no evaluation list can hold."""
    word_size: int = Field(default=32, ge=1)
    """Dimensions of the word table in the form of joint frameworks."""
    item_size: int = Field(default=32, ge=1)
    """Dimensions of the item table in the form of joint frameworks."""
    training: TrainingSettings = TrainingSettings()

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.weight_decay": WEIGHT_DECAY,
        "training.epochs": UntilPatience(),
        "dropout": Real(0.0, 0.5),
        "uniform_negatives": Whole(2, 20, log=True),
        "bm25_negatives": Whole(0, 5),
    }


class HistoryConfig(ProductSearchConfig):
    """The fields of systems whose transformer reads the query and the user's history."""

    history_length: int = Field(default=5, ge=1)
    """How many of the user's latest events the model reads."""
    history_of: Literal["recommendation", "search", "both"] = "recommendation"
    """Which events these are: purchases outside search, clicks on search results, or both."""
    layers: int = Field(default=1, ge=1)
    heads: int = Field(default=2, ge=1)
    """Attention heads; they divide ``embedding_size``."""
    feed_forward_size: int = Field(default=64, ge=1)
    """Width of the layer between."""

    @model_validator(mode="after")
    def _heads_divide_the_size(self) -> HistoryConfig:
        if self.embedding_size % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the size {self.embedding_size}")
        return self


# ------------------------------------------------------------------------------------- networks


def mean_of_words(table: nn.Embedding, words: torch.Tensor) -> torch.Tensor:
    """The mean vector (texts, size) of word ids (texts, words); zeros for a text without words."""
    return F.embedding_bag(words, table.weight, mode="mean", padding_idx=PADDING_WORD)


def initialise(module: nn.Module, deviation: float | None = None) -> None:
    """Xavier normal layers without bias; tables from N(0, deviation²), or Xavier normal as well."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_normal_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            if deviation is None:
                nn.init.xavier_normal_(part.weight)
            else:
                nn.init.normal_(part.weight, std=deviation)
            if part.padding_idx is not None:
                with torch.no_grad():
                    part.weight[part.padding_idx] = 0.0


class SearchNetwork(nn.Module):
    """What all of them are: requests and items as vectors, and a score for any pair of them."""

    @abstractmethod
    def user_vectors(self, words: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """What items are compared with: (batch, size) of query words (batch, words).

        Args:
            history: (batch, length) items of the user, oldest first, padded on the right.
        """

    @abstractmethod
    def scores(self, vectors: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Scores (batch, items) of ``items`` (batch, items) for user vectors (batch, size)."""

    @abstractmethod
    def scores_of_all(self, vectors: torch.Tensor) -> torch.Tensor:
        """Scores (batch, number_of_items + 1) of the catalogue for user vectors (batch, size)."""

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch of the system's instances."""

    def target_and_negative_scores(
        self, batch: Batch, vectors: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch,) and (batch, negatives).

        Args:
            vectors: (batch, size) the user vectors, if they are there already.
        """
        if vectors is None:
            vectors = self.user_vectors(batch["queries"], batch["history"])
        items = torch.cat([batch["targets"][:, None], batch["negatives"]], dim=1)
        scores = self.scores(vectors, items)
        return scores[:, 0], scores[:, 1:]


def real_slots(history: torch.Tensor) -> torch.Tensor:
    """Which slots of query and history (batch, 1 + length) are no padding; the query never is."""
    return F.pad(history > 0, (1, 0), value=True)


def as_true(scores: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of scores that should be high, each for itself."""
    return F.softplus(-scores)


def as_false(scores: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of scores that should be low, each for itself."""
    return F.softplus(scores)


# ------------------------------------------------------------------------------------ instances


class SearchInstances(Instances):
    """One instance a training search.

    Batches have ``queries`` (batch, query words), ``history`` (batch, history length), ``targets``
    (batch,) and ``negatives`` (batch, negatives).
    """

    def __init__(self, view: TrainingView, system: ProductSearch) -> None:
        config: ProductSearchConfig = system.config
        self.examples = view.examples(TASK)
        self.system = system
        self.number, self.number_of_hits = config.uniform_negatives, config.bm25_negatives
        hits = HardNegatives(view, config.bm25_pool) if config.bm25_negatives else None
        self.negatives = NegativeSampler(view, TASK, hits=hits)

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather searches; draw their negatives."""
        chosen = self.examples.select(rows)
        number = self.number + self.number_of_hits
        negatives = self.negatives.draw(chosen.position, number, random, self.number_of_hits)
        return {
            "queries": as_long(self.system.words.ids[chosen.query]),
            "history": as_long(self.system.history_items(chosen)),
            "targets": as_long(chosen.target),
            "negatives": as_long(negatives),
        }


# --------------------------------------------------------------------------------------- system


class ProductSearch(TrainedWordSystem):
    """Base of the family's systems."""

    model: SearchNetwork

    @abstractmethod
    def network(self, number_of_items: int, word_rows: int) -> SearchNetwork:
        """A freshly initialised network. Item 0 and word 0 are padding."""

    def instances(self, view: TrainingView) -> Instances:
        """What the network's loss is computed on."""
        return SearchInstances(view, self)

    def history_items(self, events: Events) -> IntArray:
        """The items that each event may know of the user, (events, length) padded on the right."""
        config = self.config
        if not isinstance(config, HistoryConfig):
            return np.zeros((len(events), 0), dtype=np.int32)
        behaviour = None if config.history_of == "both" else config.history_of
        return events.history(config.history_length, behaviour, "right").items

    def build(self, corpus: Corpus) -> SearchNetwork:
        """The network for the words at hand."""
        return self.network(corpus.number_of_items, self.vocabulary.number_of_ids)

    def trained_tasks(self, view: TrainingView) -> tuple[str, ...]:
        """Search, if there are any."""
        if TASK not in view.tasks:
            raise SystemFailure(f"{type(self).__name__} learns from searches, and there are none.")
        return (TASK,)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The network's."""
        return self.model.loss(batch)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All but the biases decay."""
        return decay_groups(self.model)

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """One vector a request, one product a candidate."""
        candidates = self.on_device(requests.candidates)
        return self.model.scores(self._user_vectors(requests), candidates)

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """One vector a request, one product with those of all items."""
        return self.model.scores_of_all(self._user_vectors(requests))

    def _user_vectors(self, requests: Requests) -> torch.Tensor:
        words = self.words.of(requests.query, requests.new_queries)
        return self.model.user_vectors(
            self.on_device(words),
            self.on_device(self.history_items(requests)),
        )
