"""JSR: one item table, a retrieval network and a recommendation network, one joint loss.

Zamani and Croft, "Joint Modeling and Optimization of Search and Recommendation", DESIRES 2018
(arXiv 1807.05631), a framework rather than an architecture; the authors published no code, so all
of this is a stand-in for theirs. What the paper and a later one by its first author state is kept:
both tasks share the items, each has layers of its own on top, the user is an id alone, and the sum
of both losses is minimised. From there it is our reading: a query is the average of its words by a
learned importance, a query or user is multiplied with the item entry by entry, and a feed-forward
network makes the product a score. The point-wise logistic loss is the default, as in the other
joint systems here; ``loss="hinge"`` is the pairwise one that is remembered from the paper. Neither
history nor, unless asked for (``item_text``), item text is read, and search knows no user.

Weight decay is for items, users and the recommendation network. The words, the search network and
all biases have none: a query's vector is multiplied with the item's, and decayed to nothing it
leaves scores that tell no item from another. Vectors that training never reads, those of new users
and of words beyond the length of every query, are the mean of the others, in validation too. The
model of the same name of WSDM 2020 is another one, and not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.joint.base import (
    PAIRS_AT_ONCE,
    SPACE,
    TASKS,
    JointNegativesConfig,
    JointSystem,
    TwoTaskInstances,
    logistic_loss,
    untrained,
)
from benchmark.data.dataset import IntArray
from benchmark.kit.modules import as_long
from benchmark.kit.text.words import PADDING_WORD, QueryWords, Vocabulary, training_queries
from benchmark.kit.training import Batch, TrainingSettings
from benchmark.kit.training.optimizers import decay_groups
from benchmark.protocol.requests import Requests, TrainingExamples
from benchmark.systems.space import Choice, Real, SearchSpace
from benchmark.systems.view import Corpus, TrainingView, ValidationMetrics


class JSRTraining(TrainingSettings):
    """Ours: the paper gives only ranges of its search for settings."""

    batch_size: int = Field(default=1024, ge=1)
    """Events of both tasks together an optimiser step, in the proportion of their numbers."""
    weight_decay: float = Field(default=1e-5, ge=0)
    schedule: Literal["constant", "linear", "cosine", "plateau"] = "plateau"
    patience: int | None = Field(default=5, ge=1)


class JSRConfig(JointNegativesConfig):
    """Sizes and weights; ours, since the paper's are not known."""

    embedding_size: int = Field(default=64, ge=1)
    """Dimensions of items, users and words."""
    hidden_sizes: tuple[int, ...] = (64, 32)
    """Widths of the hidden layers of each task's network."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """After each hidden layer."""
    embedding_deviation: float | None = Field(default=None, gt=0)
    """Standard deviation of the tables at the start; 1 / ``embedding_size`` if absent."""
    item_text: bool = False
    """Whether the average of its text's words is added to an item's vector."""
    item_words: int = Field(default=100, ge=1)
    """Words of an item text that are read, the first ones. With ``item_text``."""
    query_words: int = Field(default=50, ge=1)
    """Words of a query that are read, the first ones."""
    loss: Literal["logistic", "hinge"] = "logistic"
    """Point-wise over target and negatives, or over pairs of the two with a margin of 1."""
    search_weight: float = Field(default=1.0, ge=0)
    """Weight of the search loss beside the recommendation loss."""
    training: TrainingSettings = JSRTraining()

    search_space: ClassVar[SearchSpace] = {
        **SPACE,
        "search_negatives": Choice(("bm25", "popularity", "uniform")),
        "search_weight": Real(0.1, 10.0, log=True),
    }


class TextEncoder(nn.Module):
    """The average of word vectors, weighted by a softmax of the words' global importance."""

    def __init__(self, word_rows: int, size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(word_rows, size)
        self.importance = nn.Parameter(torch.zeros(word_rows))

    def attention(self, words: torch.Tensor) -> torch.Tensor:
        """The weight of each word, (texts, words); zero at padding, all zero without a word."""
        is_word = words != PADDING_WORD
        mask = is_word | ~is_word.any(dim=-1, keepdim=True)
        logits = self.importance[words].masked_fill(~mask, -torch.inf)
        return logits.softmax(dim=-1) * is_word

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Word ids (texts, words), 0 where there is none → (texts, size)."""
        return torch.einsum("tw,twd->td", self.attention(words), self.words(words))


class TaskNetwork(nn.Module):
    """From the product of two vectors to a score: ReLU layers and a linear one."""

    def __init__(self, size: int, hidden_sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        widths = (size, *hidden_sizes, 1)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, asking: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Users or queries (batch, size), items (batch, candidates, size) → (batch, candidates)."""
        hidden = asking[:, None] * items
        for layer in self.layers[:-1]:
            hidden = self.dropout(torch.relu(layer(hidden)))
        return self.layers[-1](hidden).squeeze(-1)


class JSRNetwork(nn.Module):
    """The shared tables and both tasks' networks.

    Args:
        item_rows, user_rows, word_rows: sizes of the tables; item 0 and word 0 are padding.
        item_texts: (item_rows, words) word ids; items are ids alone if absent.
    """

    item_texts: torch.Tensor | None

    def __init__(
        self,
        config: JSRConfig,
        item_rows: int,
        user_rows: int,
        word_rows: int,
        item_texts: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        size = config.embedding_size
        self.items = nn.Embedding(item_rows, size)
        self.users = nn.Embedding(user_rows, size)
        self.texts = TextEncoder(word_rows, size)
        self.networks = nn.ModuleDict(
            {task: TaskNetwork(size, config.hidden_sizes, config.dropout) for task in TASKS}
        )
        self.register_buffer("item_texts", item_texts, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=config.embedding_deviation or 1 / size)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def encode_items(self, items: torch.Tensor) -> torch.Tensor:
        """Item ids of any shape → (…, size)."""
        vectors = self.items(items)
        if self.item_texts is None:
            return vectors
        distinct, place = items.unique(return_inverse=True)
        return vectors + F.embedding(place, self.texts(self.item_texts[distinct]))

    def recommendation_scores(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Users (batch,) and candidates (batch, candidates) → logits (batch, candidates)."""
        return self.networks["recommendation"](self.users(users), self.encode_items(items))

    def search_scores(self, words: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Query words (batch, words) and candidates (batch, candidates) → logits like these."""
        return self.networks["search"](self.texts(words), self.encode_items(items))

    @torch.no_grad()
    def replace_untrained(self, users: torch.Tensor, words: torch.Tensor) -> None:
        """Give every user and word but those the mean of the vectors of those; ids (any,)."""
        for table, trained in ((self.users.weight, users), (self.texts.words.weight, words)):
            if len(trained):
                table[untrained(table, trained)] = table[trained].mean(dim=0)


def hinge_loss(logits: torch.Tensor) -> torch.Tensor:
    """How much the targets, in column 0, lack of a lead of 1 over each negative, on average."""
    return torch.relu(1.0 - (logits[:, :1] - logits[:, 1:])).mean()


LOSSES = {"logistic": logistic_loss, "hinge": hinge_loss}


class JSRInstances(TwoTaskInstances):
    """Rows of user or query, target and negatives."""

    def __init__(
        self, view: TrainingView, config: JSRConfig, tasks: Sequence[str], words: QueryWords
    ) -> None:
        super().__init__(view, config, tasks)
        self.words = words

    def tensors(
        self, chosen: dict[str, tuple[TrainingExamples, IntArray]], random: np.random.Generator
    ) -> Batch:
        """``recommendation`` and ``search`` (events, candidates), ``users``, ``words``."""
        batch = {task: as_long(candidates) for task, (_, candidates) in chosen.items()}
        if "recommendation" in chosen:
            batch["users"] = as_long(chosen["recommendation"][0].user)
        if "search" in chosen:
            batch["words"] = as_long(self.words.ids[chosen["search"][0].query])
        return batch


class JSR(JointSystem):
    """Both tasks by one set of tables, trained on both in every step."""

    Config = JSRConfig
    config: JSRConfig
    model: JSRNetwork
    item_texts: IntArray | None

    def build(self, corpus: Corpus) -> JSRNetwork:
        """The network for the vocabulary at hand."""
        config = self.config
        self.item_texts = None
        if config.item_text:
            self.item_texts = self.vocabulary.encode(corpus.items.text, config.item_words)
        return JSRNetwork(
            config,
            item_rows=corpus.number_of_items + 1,
            user_rows=corpus.number_of_users + 1,
            word_rows=self.vocabulary.number_of_ids,
            item_texts=None if self.item_texts is None else as_long(self.item_texts),
        )

    def vocabulary_of(self, view: TrainingView) -> Vocabulary:
        """The words of the training queries and, if they are read, of the item texts."""
        return Vocabulary.of_view(view, reads_items=self.config.item_text)

    def instances(self, view: TrainingView) -> JSRInstances:
        """Events of both tasks."""
        return JSRInstances(view, self.config, self.trained_tasks(view), self.words)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All decay but the words, the search network and the biases."""
        return decay_groups(
            self.model,
            lambda name: (
                not (name.startswith(("texts.", "networks.search.")) or name.endswith("bias"))
            ),
        )

    def fit(self, view: TrainingView) -> None:
        """Train both networks, then give what training never read a vector."""
        super().fit(view)
        self._replace_untrained(view)

    def validate(self, view: TrainingView, tasks: tuple[str, ...]) -> ValidationMetrics:
        """Validate with the vectors that will be scored with; training reads none of the others."""
        self._replace_untrained(view)
        return super().validate(view, tasks)

    def _replace_untrained(self, view: TrainingView) -> None:
        words = self.words.ids[training_queries(view)].ravel()
        if self.item_texts is not None:
            words = np.concatenate([words, self.item_texts.ravel()])
        self.model.replace_untrained(
            users=self.on_device(np.unique(view.examples("recommendation").user)),
            words=self.on_device(np.unique(words[words != PADDING_WORD])),
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """The recommendation loss plus the weighted search loss, of the tasks in the batch."""
        loss = LOSSES[self.config.loss]
        parts = []
        if "recommendation" in batch:
            scores = self.model.recommendation_scores(batch["users"], batch["recommendation"])
            parts.append(loss(scores))
        if "search" in batch:
            scores = self.model.search_scores(batch["words"], batch["search"])
            parts.append(self.config.search_weight * loss(scores))
        return torch.stack(parts).sum()

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """A user or query is encoded once and multiplied with all candidates."""
        candidates = self.on_device(requests.candidates)
        if requests.task == "recommendation":
            users = self.on_device(requests.user)
            return self.model.recommendation_scores(users, candidates)
        return self.model.search_scores(self._words_of(requests.query, requests), candidates)

    def _words_of(self, queries: NDArray[np.integer], requests: Requests) -> torch.Tensor:
        """The word ids (queries, words) of some queries of the requests."""
        return self.on_device(self.words.of(queries, requests.new_queries))

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """A user or query that asks more than once is multiplied with the catalogue once."""
        is_search = requests.task == "search"
        asking, place = np.unique(
            requests.query if is_search else requests.user, return_inverse=True
        )
        model, network = self.model, self.model.networks[requests.task]
        vectors = (
            model.texts(self._words_of(asking, requests))
            if is_search
            else model.users(self.on_device(asking))
        )
        every = torch.arange(requests.number_of_items + 1, device=self.device)
        items = model.encode_items(every)  # (items + 1, size)
        some = items.split(max(1, PAIRS_AT_ONCE // len(vectors)))
        scores = torch.cat([network(vectors, part[None]) for part in some], dim=1)
        return scores[self.on_device(place)]

    def stand_ins(self) -> tuple[str, ...]:
        """The authors published no code and, to us, no architecture; and what it does not read."""
        return (
            "JSR has no public original: the networks are ours, after the framework's idea.",
            "JSR reads no history: a user is an id alone, and search knows no user.",
        )
