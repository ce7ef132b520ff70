"""ProdSearch's query model, which its QEM and TEM share: words, tables and both losses.

After https://github.com/kepingbi/ProdSearch, commit 449335b (Apache-2.0), whose parameter names are
kept. A query is the projected mean of its words, an item a free vector. Item texts enter by a
second loss only, in which an item's vector predicts the words of its text against noise words.

What differs: the padding row of a table is the first one, not the last; the words are those of the
item text, since no protocol of this suite has reviews; an epoch has one row a training search, not
one a word; a step's words are drawn with replacement; epochs are selected on the suite's
validation lists (the original looks at the test set); BM25 negatives can be had besides uniform
ones.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.personalized_search.base import (
    ProductSearch,
    ProductSearchConfig,
    SearchInstances,
    SearchNetwork,
    as_false,
    as_true,
    initialise,
    mean_of_words,
)
from benchmark.data.dataset import IntArray
from benchmark.kit.modules import as_long
from benchmark.kit.text.words import PADDING_WORD, Vocabulary
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.systems.space import Real, SearchSpace
from benchmark.systems.view import TrainingView

_NOISE_POWER = 0.75  # noise words are drawn by their counts to this power


class ProdSearchTraining(TrainingSettings):
    """Adam with a constant rate and the original's epsilon and clipping."""

    batch_size: int = Field(default=384, ge=1)
    """Training searches an optimiser step."""
    epsilon: float = Field(default=1e-9, gt=0)
    gradient_clip: float | None = Field(default=5.0, gt=0)


class ProdSearchConfig(ProductSearchConfig):
    """The original's settings, but for a vector size of 64 and more epochs of fewer rows."""

    form: Literal["original", "joint_framework"] = "original"
    """ProdSearch's model, or that of frameworks for joint search and recommendation."""
    query_encoder: Literal["projection", "mean"] = "projection"
    """A layer with tanh on top of the mean of the words, or that mean itself. Original form."""
    similarity: Literal["product", "bias_product"] = "product"
    """The inner product, or a bias of the item added to it. Original form."""
    positive_weight: float = Field(default=1.0, gt=0)
    """Weight of the target in the search loss; each negative has 1. Original form."""
    embedding_deviation: float = Field(default=1.0, gt=0)
    """Standard deviation of the tables of items and words at the start. Original form."""
    word_loss_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss on the words of the target's text; 0 leaves it out. Original form."""
    words_per_step: int = Field(default=5, ge=1)
    """Words of the target's text that an instance predicts in a step."""
    negative_words: int = Field(default=5, ge=1)
    """Noise words for each of them."""
    minimum_word_count: int = Field(default=5, ge=1)
    """Occurrences in item texts that a word needs, unless a training query holds it."""
    item_words: int = Field(default=100, ge=1)
    """Words of an item text that are read, the first ones."""
    training: TrainingSettings = ProdSearchTraining()

    search_space: ClassVar[SearchSpace] = {
        **ProductSearchConfig.search_space,
        "embedding_deviation": Real(0.03, 1.0, log=True),
        "word_loss_weight": Real(0.0, 1.0),
        "positive_weight": Real(1.0, 5.0),
    }

    @property
    def has_word_loss(self) -> bool:
        """Whether item vectors are trained to predict words."""
        return self.form == "original" and self.word_loss_weight > 0


class QueryProjection(nn.Module):
    """Dropout, a layer and tanh on the mean of a query's words: (queries, size) → the same."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.f_W = nn.Linear(size, size)

    def forward(self, mean: torch.Tensor) -> torch.Tensor:
        """Project the mean."""
        return torch.tanh(self.f_W(self.dropout(mean)))


class ProdSearchNetwork(SearchNetwork):
    """Tables, query encoder, scores and losses; what a user vector is, subclasses say."""

    def __init__(self, number_of_items: int, word_rows: int, config: ProdSearchConfig) -> None:
        super().__init__()
        self.config = config
        size = config.embedding_size
        self.product_emb = nn.Embedding(number_of_items + 1, size, padding_idx=0)
        self.word_embeddings = nn.Embedding(word_rows, size, padding_idx=PADDING_WORD)
        # Parameters exist only where something trains them.
        self.product_bias = self._bias(number_of_items + 1, config.similarity == "bias_product")
        self.word_bias = self._bias(word_rows, config.has_word_loss)
        self.query_encoder = (
            QueryProjection(size, config.dropout)
            if config.query_encoder == "projection"
            else nn.Dropout(config.dropout)
        )
        initialise(self, config.embedding_deviation)

    @staticmethod
    def _bias(rows: int, is_used: bool) -> nn.Parameter | None:
        return nn.Parameter(torch.zeros(rows)) if is_used else None

    def query_vectors(self, words: torch.Tensor) -> torch.Tensor:
        """(queries, size) in (-1, 1)."""
        return self.query_encoder(mean_of_words(self.word_embeddings, words))

    def scores(self, vectors: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Inner products, and the items' biases where there are any."""
        scores = torch.einsum("bd,bnd->bn", vectors, self.product_emb(items))
        return scores if self.product_bias is None else scores + self.product_bias[items]

    def scores_of_all(self, vectors: torch.Tensor) -> torch.Tensor:
        """The same with the table of all items."""
        return F.linear(vectors, self.product_emb.weight, self.product_bias)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Search loss, and the weighted word loss."""
        loss = self.search_loss(batch)
        if self.config.has_word_loss:
            loss = loss + self.config.word_loss_weight * self.word_loss(batch)
        return loss

    def search_loss(self, batch: Batch) -> torch.Tensor:
        """Binary cross-entropy, summed over target and negatives, mean over the batch."""
        target, negatives = self.target_and_negative_scores(batch)
        summed = as_true(target) * self.config.positive_weight + as_false(negatives).sum(dim=1)
        return summed.mean()

    def word_loss(self, batch: Batch) -> torch.Tensor:
        """How badly items predict the words of their texts: mean over the words, then the batch.

        ``batch["words"]`` is (batch, words) with padding, ``batch["negative_words"]`` (batch,
        words, noise words).
        """
        items, words = self.product_emb(batch["targets"]), batch["words"]
        target = torch.einsum("bd,bwd->bw", items, self.word_embeddings(words))
        noise_vectors = self.word_embeddings(batch["negative_words"])  # (batch, words, noise, size)
        noise = torch.einsum("bd,bwnd->bwn", items, noise_vectors)
        if self.word_bias is not None:
            target = target + self.word_bias[words]
            noise = noise + self.word_bias[batch["negative_words"]]
        summed = as_true(target) + as_false(noise).sum(dim=2)  # (batch, words)
        is_word = words != PADDING_WORD
        return ((summed * is_word).sum(dim=1) / is_word.sum(dim=1).clamp(min=1)).mean()


class TextWordSampler:
    """Draws words of the targets' texts, and noise words by their counts in training.

    Args:
        item_words: (items + 1, words), padded on the right.
        number_of_ids: of the vocabulary.
        targets: (events,) those of training.
    """

    def __init__(
        self,
        item_words: IntArray,
        number_of_ids: int,
        targets: IntArray,
        config: ProdSearchConfig,
    ) -> None:
        is_word = item_words != PADDING_WORD
        self.words, self.count = item_words, is_word.sum(axis=1)  # (items + 1,)
        self.words_per_step, self.negative_words = config.words_per_step, config.negative_words
        # A text counts once a training event of its item, as reviews do.
        events = np.bincount(targets, minlength=len(item_words))
        counts = np.bincount(
            item_words[is_word],
            weights=np.repeat(events, self.count),
            minlength=number_of_ids,
        )
        self.cumulative = np.cumsum(counts**_NOISE_POWER)

    def draw(self, targets: IntArray, random: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Words (events, words_per_step) and noise (events, words_per_step, negative_words).

        A text of no known word has only padding.

        Args:
            targets: (events,).
        """
        shape = (len(targets), self.words_per_step)
        place = random.random(shape) * self.count[targets][:, None]
        words = self.words[targets[:, None], place.astype(np.int64)]
        drawn = random.random((*shape, self.negative_words)) * self.cumulative[-1]
        noise = np.searchsorted(self.cumulative, drawn, side="right")
        # The product may round up to the total, and the total may be zero.
        return words, np.minimum(noise, len(self.cumulative) - 1).astype(np.int32)


class WordInstances(SearchInstances):
    """Searches with ``words`` (batch, words) and ``negative_words`` (batch, words, noise words)."""

    def __init__(self, view: TrainingView, system: ProdSearch) -> None:
        super().__init__(view, system)
        config: ProdSearchConfig = system.config
        item_words = system.vocabulary.encode(view.corpus.items.text, config.item_words)
        self.sampler = TextWordSampler(
            item_words, system.vocabulary.number_of_ids, self.examples.target, config
        )

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather searches; draw their negatives and words."""
        batch = super().batch(rows, random)
        words, noise = self.sampler.draw(self.examples.target[rows], random)
        return batch | {"words": as_long(words), "negative_words": as_long(noise)}


class ProdSearch(ProductSearch):
    """What QEM and TEM share besides: the words of item texts."""

    def instances(self, view: TrainingView) -> Instances:
        """Searches, with words of the target's text for the word loss."""
        config: ProdSearchConfig = self.config
        return WordInstances(view, self) if config.has_word_loss else SearchInstances(view, self)

    def vocabulary_of(self, view: TrainingView) -> Vocabulary:
        """The words of the training queries and, for the word loss, the texts' frequent ones."""
        config: ProdSearchConfig = self.config
        if not config.has_word_loss:
            return super().vocabulary_of(view)
        return Vocabulary.of_view(view, reads_items=True, minimum_count=config.minimum_word_count)
