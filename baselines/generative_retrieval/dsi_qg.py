"""DSI-QG: a T5 maps a query to an item's identifier, and learns it from generated queries.

Zhuang, Ren, Shou, Pei, Gong, Zuccon and Jiang, "Bridging the Gap Between Indexing and Retrieval for
Differentiable Search Index with Query Generation", arXiv 2206.10128; original
https://github.com/ArvinZhuang/DSI-QG, commit 3aa020e (MIT). Items are learned through queries that
a model writes for them, so that learning looks like searching; their texts are not read.
Identifiers are numbers in random order, written in decimal and cut by T5's own tokenizer, as in the
original, or the structured ones of DSI (Tay et al., NeurIPS 2022) by hierarchical k-means, with a
token of its own for each code.

What differs: the real pairs of the training log are learned as well, since every other system
learns from them (``real_pairs: none`` is the original); queries are not filtered by a
cross-encoder, as in the released main pipeline; T5-small; a schedule in epochs. The original's
search knows all numbers and drops those of no item afterwards; here only the candidates' can be
written. Where presets ask for stand-ins, the tables name them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from baselines.generative_retrieval.base import (
    QueryToIdentifier,
    RealPairs,
    VectorRetrievalConfig,
    identifier_tokens,
    targets_of_codes,
    targets_of_texts,
)
from benchmark.data.dataset import LongArray
from benchmark.kit.identifiers.hierarchical import STARTS, structured_identifiers
from benchmark.kit.language_models.prompt_instances import TokenPairs
from benchmark.kit.language_models.seq2seq import Backbone
from benchmark.kit.language_models.tokenizer import texts_of
from benchmark.kit.text.pieces import NO_TOKEN, joined, tokens_of_rows
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.training import TrainingSettings, train
from benchmark.systems.space import LEARNING_RATE, Choice, SearchSpace, Whole
from benchmark.systems.view import TrainingView


class DSIQGTraining(TrainingSettings):
    """The original's learning rate, batch and schedule; it counts a million steps, not epochs."""

    epochs: int = Field(default=30, ge=0)
    batch_size: int = Field(default=256, ge=1)
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    learning_rate: float = Field(default=5e-4, gt=0)
    schedule: Literal["constant", "linear", "cosine", "inverse-root", "plateau"] = "linear"
    gradient_clip: float | None = Field(default=1.0, gt=0)
    patience: int | None = Field(default=5, ge=1)


class DSIQGConfig(VectorRetrievalConfig):
    """The original's settings but for the backbone's size and the schedule's length."""

    docid: Literal["numeric", "semantic"] = "numeric"
    """Numbers in random order, or paths of hierarchical k-means over item vectors."""
    clusters: int = Field(default=10, ge=2)
    """Of ``semantic``: clusters that a cluster is split into ..."""
    largest_cluster: int = Field(default=100, ge=1)
    """... if it has more items than this."""
    kmeans_starts: int = Field(default=STARTS, ge=1)
    """Of ``semantic``: k-means runs of which the best is kept."""

    real_pairs: RealPairs = "distinct"
    """The suite's addition to the generated queries."""
    most_query_tokens: int = Field(default=32, ge=2)
    """Tokens of a query, the end included."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """The part of all steps in which the learning rate rises, unless ``training.warmup_steps``."""
    training: TrainingSettings = DSIQGTraining()

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.epochs": Whole(4, 48, log=True, is_budget=True),
        "queries_per_item": Whole(1, 10),
        "real_pairs": Choice(("distinct", "every_event")),
    }


class DSIQG(QueryToIdentifier):
    """Generated and real queries to identifiers."""

    Config = DSIQGConfig
    config: DSIQGConfig

    def fit(self, view: TrainingView) -> None:
        """Give every item its identifier, then learn all pairs."""
        config, corpus = self.config, view.corpus
        self.training_searches(view)
        queries = self.written_queries(view)
        if config.docid == "numeric":
            self._make_numeric(view)
        else:
            self._make_semantic(view)
        self.make_inputs(corpus)
        self.note_prefixes(view)

        end = self.backbone.tokenizer.end
        asked, row, item = self.all_pairs(view, queries)
        answers = tokens_of_rows(without_last(self.targets), asked.padding)
        pairs = TokenPairs(
            tokens=joined([asked, answers]),
            inputs=row[:, None],
            targets=len(asked) + item[:, None],
            end=end,
        )
        settings = config.training.with_warmup(config.warmup_share, pairs)
        model = self.backbone.model
        train(model, pairs, model, settings, self.context, lambda: self.validated(view))
        self.make_inputs(corpus)

    def _make_numeric(self, view: TrainingView) -> None:
        """Numbers 0, 1, … in random order, as the tokenizer of the backbone cuts them."""
        numbers = self.context.random("numbers").permutation(view.corpus.number_of_items)
        texts = [str(number) for number in numbers.tolist()]
        self.backbone = Backbone.make(
            self.config.backbone, [*texts_of(view), *texts], (), self.context
        )
        tokenizer = self.backbone.tokenizer
        self.targets = targets_of_texts(tokenizer(texts), tokenizer.end)

    def _make_semantic(self, view: TrainingView) -> None:
        """Paths of hierarchical k-means, a token for each code of each level."""
        config = self.config
        identifiers = structured_identifiers(
            self.item_vectors(view.corpus),
            config.clusters,
            config.largest_cluster,
            self.context.random("clusters"),
            config.kmeans_starts,
        )
        names = identifier_tokens(identifiers)
        self.backbone = Backbone.make(config.backbone, texts_of(view), names, self.context)
        tokenizer = self.backbone.tokenizer
        self.targets = targets_of_codes(identifiers, tokenizer, tokenizer.end)

    def query_tokens(self, queries: Sequence[str]) -> Tokens:
        """The queries without a prompt."""
        most = self.config.most_query_tokens - 1
        return self.backbone.tokenizer(queries, most)


def without_last(targets: LongArray) -> LongArray:
    """Identifiers (items + 1, tokens), padded with -1, without the end of each."""
    lengths = np.count_nonzero(targets != NO_TOKEN, axis=1)
    kept = np.arange(targets.shape[1]) < lengths[:, None] - 1
    return np.where(kept, targets, NO_TOKEN)
