"""QEM: a query is the projected mean of its words, an item a free vector, the score their product.

Named as a baseline by Ai, Hill, Vishwanathan and Croft, "A Zero Attention Model for Personalized
Product Search", CIKM 2019; in the form of https://github.com/kepingbi/ProdSearch, commit 449335b
(Apache-2.0), whose parameter names are kept. It knows no user and no history. Item texts enter by a
second loss only, in which an item's vector predicts the words of its text against noise words.

What differs: the padding row of a table is the first one, not the last; the words are those of the
item text, since no protocol of this suite has reviews; an epoch has one row a training search, not
one a word; a step's words are drawn with replacement; epochs are selected on the suite's
validation lists (the original looks at the test set); BM25 negatives can be had besides uniform
ones. ``form="joint_framework"`` is the model as frameworks for joint search and recommendation
build it, after the input modules of https://github.com/TengShi-RUC/UniSAR, commit 1a14a24: smaller
tables, a layer with tanh for items too, a mean over all pairs as the loss, and no word loss. No
class of that framework's QEM is public; that its score is this inner product is inferred.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import nn

from benchmark.data.dataset import IntArray
from benchmark.errors import SystemFailure
from benchmark.kit.modules import TorchSystem
from benchmark.kit.negatives import NegativeSampler
from benchmark.kit.training import Batch, Instances, TrainingSettings, train
from benchmark.kit.words import (
    FIRST_WORD,
    PADDING_WORD,
    UNKNOWN_WORD,
    TextWords,
    Vocabulary,
    training_queries,
)
from benchmark.protocol.negatives import Exclusions
from benchmark.protocol.requests import Events, Requests
from benchmark.retrieval import make_engine
from benchmark.systems.contract import SystemConfig
from benchmark.systems.view import Corpus, TrainingView

TASK = "search"

_NOISE_POWER = 0.75  # noise words are drawn by their counts to this power
_SCORE_STEP = 1e-4  # BM25 scores that are nearer than this count as tied
_VOCABULARY = "vocabulary.json"


class ProductSearchTraining(TrainingSettings):
    """Adam with a constant rate and the original's epsilon and clipping."""

    batch_size: int = Field(default=384, ge=1)
    """Training searches an optimiser step."""
    epsilon: float = Field(default=1e-9, gt=0)
    gradient_clip: float | None = Field(default=5.0, gt=0)


class QEMConfig(SystemConfig):
    """The original's settings, but for a vector size of 64 and more epochs of fewer rows."""

    form: Literal["original", "joint_framework"] = "original"
    """ProdSearch's model, or that of frameworks for joint search and recommendation."""
    embedding_size: int = Field(default=64, ge=1)
    """Dimensions of the vectors whose product is the score."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
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
    query_words: int = Field(default=50, ge=1)
    """Words of a query that are read, the first ones."""
    uniform_negatives: int = Field(default=5, ge=1)
    """Negatives of an instance drawn uniformly from all items but the target, anew each time."""
    bm25_negatives: int = Field(default=0, ge=0)
    """Negatives drawn from the BM25 hits of the query. Where it has none, they are uniform too."""
    bm25_ranks: tuple[int, int] = (100, 300)
    """Between which BM25 ranks such hits lie; what evaluation lists hold comes before the first."""
    bm25_analyser: str = "english"
    """How texts become BM25's terms; a key of ``benchmark.retrieval.ANALYSERS``."""
    word_size: int = Field(default=32, ge=1)
    """Dimensions of the word table of the form "joint_framework"."""
    item_size: int = Field(default=32, ge=1)
    """Dimensions of the item table of the form "joint_framework"."""
    training: TrainingSettings = ProductSearchTraining()

    @field_validator("bm25_ranks")
    @classmethod
    def _ranks_rise(cls, ranks: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= ranks[0] < ranks[1]:
            raise ValueError("the first rank must be at least 1 and below the last")
        return ranks

    @property
    def has_word_loss(self) -> bool:
        """Whether item vectors are trained to predict words."""
        return self.form == "original" and self.word_loss_weight > 0


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


def silence_unknown_words(table: nn.Embedding) -> None:
    """Unknown words add nothing: no training query has one, so their vector is never trained."""
    with torch.no_grad():
        table.weight[UNKNOWN_WORD] = 0.0


class SearchNetwork(nn.Module):
    """What both forms are: queries and items as vectors, and a score for any pair of them."""

    @abstractmethod
    def query_vectors(self, words: torch.Tensor) -> torch.Tensor:
        """Query words (queries, words) as vectors (queries, size)."""

    def user_vectors(self, words: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """What items are compared with: (batch, size) of words (batch, words).

        Args:
            history: (batch, length) items of the user; here they have no say.
        """
        return self.query_vectors(words)

    @abstractmethod
    def scores(self, vectors: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Scores (batch, items) of ``items`` (batch, items) for user vectors (batch, size)."""

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch of :class:`SearchInstances`."""

    def _target_and_negative_scores(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch,) and (batch, negatives)."""
        vectors = self.user_vectors(batch["queries"], batch["history"])
        items = torch.cat([batch["targets"][:, None], batch["negatives"]], dim=1)
        scores = self.scores(vectors, items)
        return scores[:, 0], scores[:, 1:]


class QueryProjection(nn.Module):
    """Dropout, a layer and tanh on the mean of a query's words: (queries, size) → the same."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.f_W = nn.Linear(size, size)

    def forward(self, mean: torch.Tensor) -> torch.Tensor:
        """Project the mean."""
        return torch.tanh(self.f_W(self.dropout(mean)))


class OriginalNetwork(SearchNetwork):
    """ProdSearch's query model. Item 0 and word 0 are padding, word 1 stands for unknown words."""

    def __init__(self, number_of_items: int, word_rows: int, config: QEMConfig) -> None:
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
        silence_unknown_words(self.word_embeddings)

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

    def loss(self, batch: Batch) -> torch.Tensor:
        """Search loss, and the weighted word loss."""
        loss = self.search_loss(batch)
        if self.config.has_word_loss:
            loss = loss + self.config.word_loss_weight * self.word_loss(batch)
        return loss

    def search_loss(self, batch: Batch) -> torch.Tensor:
        """Binary cross-entropy, summed over target and negatives, mean over the batch."""
        target, negatives = self._target_and_negative_scores(batch)
        summed = _as_true(target) * self.config.positive_weight + _as_false(negatives).sum(dim=1)
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
        summed = _as_true(target) + _as_false(noise).sum(dim=2)  # (batch, words)
        is_word = words != PADDING_WORD
        return ((summed * is_word).sum(dim=1) / is_word.sum(dim=1).clamp(min=1)).mean()


def _as_true(scores: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of scores that should be high, each for itself."""
    return F.softplus(-scores)


def _as_false(scores: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of scores that should be low, each for itself."""
    return F.softplus(scores)


class WordMean(nn.Module):
    """The mean word vector of a text: (texts, words) → (texts, word_size)."""

    def __init__(self, word_rows: int, word_size: int) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(word_rows, word_size, padding_idx=PADDING_WORD)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Average what is no padding."""
        return mean_of_words(self.word_embedding, words)


class QueryFeature(nn.Module):
    """A layer with tanh on the mean word vector: (queries, words) → (queries, size)."""

    def __init__(self, word_rows: int, config: QEMConfig) -> None:
        super().__init__()
        self.query_encoder = WordMean(word_rows, config.word_size)
        self.query_trans = nn.Linear(config.word_size, config.embedding_size)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Encode queries."""
        return torch.tanh(self.query_trans(self.query_encoder(words)))


class ItemFeature(nn.Module):
    """A layer with tanh on the item's vector: items (...) → (..., size), zeros for item 0."""

    def __init__(self, number_of_items: int, config: QEMConfig) -> None:
        super().__init__()
        self.item_id_emb = nn.Embedding(number_of_items + 1, config.item_size, padding_idx=0)
        self.item_trans = nn.Linear(config.item_size, config.embedding_size)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Look up items."""
        return torch.tanh(self.item_trans(self.item_id_emb(items))) * (items > 0)[..., None]


class JointFrameworkNetwork(SearchNetwork):
    """The query model on the input modules of a joint search and recommendation framework."""

    def __init__(self, number_of_items: int, word_rows: int, config: QEMConfig) -> None:
        super().__init__()
        self.query_feat = QueryFeature(word_rows, config)
        self.item_feat = ItemFeature(number_of_items, config)
        initialise(self)
        silence_unknown_words(self.query_feat.query_encoder.word_embedding)

    def query_vectors(self, words: torch.Tensor) -> torch.Tensor:
        """(queries, size) in (-1, 1)."""
        return self.query_feat(words)

    def scores(self, vectors: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Inner products: the logits, of which the framework takes the sigmoid."""
        return torch.einsum("bd,bnd->bn", vectors, self.item_feat(items))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Binary cross-entropy, mean over all pairs of the batch."""
        target, negatives = self._target_and_negative_scores(batch)
        return torch.cat([_as_true(target)[:, None], _as_false(negatives)], dim=1).mean()


# ------------------------------------------------------------------------------------ instances


class TextWordSampler:
    """Draws words of the targets' texts, and noise words by their counts in training."""

    def __init__(self, words: TextWords, targets: IntArray, config: QEMConfig) -> None:
        known = words.items >= FIRST_WORD
        order = np.argsort(~known, axis=1, kind="stable")
        self.count = known.sum(axis=1)  # (items + 1,)
        self.words = np.where(  # (items + 1, words), known words first, then padding
            np.arange(known.shape[1])[None, :] < self.count[:, None],
            np.take_along_axis(words.items, order, axis=1),
            PADDING_WORD,
        )
        self.words_per_step, self.negative_words = config.words_per_step, config.negative_words
        # A text counts once a training event of its item, as reviews do.
        events = np.bincount(targets, minlength=len(known))
        counts = np.bincount(
            words.items[known],
            weights=np.repeat(events, self.count),
            minlength=words.vocabulary.number_of_ids,
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


class DeepHits:
    """BM25 hits of the training queries, deeper than evaluation lists reach.

    Left out are hits whose score ties with one before the first rank, since ties may be broken
    otherwise there, and items that a training search of the same query led to.
    """

    def __init__(self, view: TrainingView, config: QEMConfig) -> None:
        first, last = config.bm25_ranks
        queries, log = training_queries(view), view.log
        texts = [view.corpus.queries.text[number] for number in queries]
        engine = make_engine("sparse", view.corpus.items.text, analyser=config.bm25_analyser)
        hits = engine.search(texts, last)
        known = Exclusions.of_pairs(log.query, log.item, view.corpus.number_of_items)
        level = np.round(hits.scores.astype(np.float64) / _SCORE_STEP)
        usable = (hits.documents > 0) & (level < level[:, [first - 1]])
        usable &= ~known.contains(queries[:, None], np.maximum(hits.documents, 0))
        order = np.argsort(~usable, axis=1, kind="stable")
        self.hits = np.take_along_axis(hits.documents, order, axis=1)  # usable ones first
        self.count = usable.sum(axis=1)
        self.row_of = np.zeros(view.corpus.number_of_queries + 1, dtype=np.int64)
        self.row_of[queries] = np.arange(len(queries))

    def draw(self, query: IntArray, number: int, random: np.random.Generator) -> IntArray:
        """(events, number) items, possibly repeated; 0 for a query without such hits.

        Args:
            query: (events,) training queries.
        """
        row = self.row_of[query]
        count = self.count[row][:, None]
        place = (random.random((len(query), number)) * count).astype(np.int64)
        return np.where(count > 0, self.hits[row[:, None], place], 0).astype(np.int32)


class SearchInstances(Instances):
    """One instance a training search.

    Batches have ``queries`` (batch, query words), ``history`` (batch, history length), ``targets``
    (batch,), ``negatives`` (batch, negatives) and, for the word loss, ``words`` (batch, words) and
    ``negative_words`` (batch, words, noise words).
    """

    def __init__(self, view: TrainingView, words: TextWords, system: ProductSearch) -> None:
        config: QEMConfig = system.config
        self.examples = view.examples(TASK)
        self.words, self.system = words, system
        # The user's other items stay in, as in the original: what was bought once is no target.
        self.uniform = NegativeSampler(view, exclude="target")
        self.number, self.number_of_hits = config.uniform_negatives, config.bm25_negatives
        self.hits = DeepHits(view, config) if config.bm25_negatives else None
        self.sampler = (
            TextWordSampler(words, self.examples.target, config) if config.has_word_loss else None
        )

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather searches; draw their negatives and words."""
        chosen = self.examples.select(rows)
        target = chosen.target
        negatives = self.uniform.draw(
            chosen.user, target, self.number + self.number_of_hits, random
        )
        if self.hits is not None:
            hits = self.hits.draw(chosen.query, self.number_of_hits, random)
            negatives[:, self.number :] = np.where(hits > 0, hits, negatives[:, self.number :])
        batch = {
            "queries": _as_long(self.words.queries[chosen.query]),
            "history": _as_long(self.system.history_items(chosen)),
            "targets": _as_long(target),
            "negatives": _as_long(negatives),
        }
        if self.sampler is not None:
            words, noise = self.sampler.draw(target, random)
            batch["words"], batch["negative_words"] = _as_long(words), _as_long(noise)
        return batch


def _as_long(values: NDArray[np.integer]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))


# --------------------------------------------------------------------------------------- system


class ProductSearch(TorchSystem):
    """What QEM and TEM share: words, training on searches, and scoring by one product."""

    model: SearchNetwork
    words: TextWords

    @abstractmethod
    def network(self, number_of_items: int, word_rows: int) -> SearchNetwork:
        """A freshly initialised network of the configuration's form."""

    def history_items(self, events: Events) -> IntArray:
        """The items that each event may know of the user, (events, length) padded on the right."""
        return np.zeros((len(events), 0), dtype=np.int32)

    def build(self, corpus: Corpus) -> SearchNetwork:
        """The network for the words at hand."""
        return self.network(corpus.number_of_items, self.words.vocabulary.number_of_ids)

    def fit(self, view: TrainingView) -> None:
        """Train on searches; keep the weights of the best validation."""
        if TASK not in view.tasks:
            raise SystemFailure(f"{type(self).__name__} learns from searches, and there are none.")
        config: QEMConfig = self.config
        self.words = TextWords.of_view(
            view, minimum_count=config.minimum_word_count, **self._longest_texts()
        )
        instances = SearchInstances(view, self.words, self)
        self.model = network = cast(SearchNetwork, self.seeded_build(view.corpus))
        train(
            network,
            instances,
            network.loss,
            config.training,
            self.context,
            lambda: view.validate(self, (TASK,)),
        )

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """One vector a request, one product a candidate."""
        vectors = self.model.user_vectors(
            _as_long(self.words.queries[requests.query]).to(self.device),
            _as_long(self.history_items(requests)).to(self.device),
        )
        return self.model.scores(vectors, _as_long(requests.candidates).to(self.device))

    def save(self, folder: Path) -> None:
        """Write the weights and the vocabulary."""
        super().save(folder)
        self.words.vocabulary.save(folder / _VOCABULARY)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read the vocabulary, encode the corpus, and read the weights."""
        vocabulary = Vocabulary.load(folder / _VOCABULARY)
        self.words = TextWords.of_corpus(vocabulary, corpus, **self._longest_texts())
        super().load(folder, corpus)

    def _longest_texts(self) -> dict[str, int]:
        config: QEMConfig = self.config
        return {"longest_item": config.item_words, "longest_query": config.query_words}


class QEM(ProductSearch):
    """The query embedding model: users with the same query get the same ranking."""

    Config = QEMConfig

    def network(self, number_of_items: int, word_rows: int) -> SearchNetwork:
        """One of the two forms."""
        kind: Any = {"original": OriginalNetwork, "joint_framework": JointFrameworkNetwork}
        return kind[self.config.form](number_of_items, word_rows, self.config)
