"""P5-CID: a T5 answers "user … bought …, what next?" with an identifier made from clusters.

Hua, Xu, Ge and Zhang, "How to Index Item IDs for Recommendation Foundation Models", SIGIR-AP 2023;
originals https://github.com/Wenyueh/LLM-RecSys-ID, commit 2200ad9 (MIT), and, by the same group,
https://github.com/agiresearch/OpenP5, commit 7f11038 (Apache-2.0). Items that the same users bought
share the first tokens of their identifiers: the co-occurrence graph of the training log is
clustered recursively. All tokens of a word, and so of an item, share a whole-word embedding.

What differs: wordings are our own, of the original's slots and orders; a pair of items weighs what
both orders together count (the released code lets one order overwrite the other); an epoch draws
one wording for every prefix; items that nobody has in training form a branch of their own, so that
no identifier begins another; whole words do not depend on what else is in a batch; histories are 5
long and epochs are selected by NDCG@5 on the suite's validation lists. All of it can be switched
but the wordings. On small machines a T5 from scratch stands in, and the tables say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn

from baselines.generative_recommendation.base import TASK, recommendations
from baselines.generative_recommendation.wordings import P5_CID, PromptStyle
from benchmark.data.dataset import RECOMMENDATION, UNKNOWN_USER, IntArray, LongArray
from benchmark.files import read_json, write_json
from benchmark.kit.decoding.identifier_system import CatalogueRanking
from benchmark.kit.decoding.ranking import LengthRule
from benchmark.kit.decoding.scoring_batches import ScoringBatchSize
from benchmark.kit.decoding.t5 import Encoded, encode
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.card import card
from benchmark.kit.identifiers.collaborative import Numbering, Unseen, collaborative_identifiers
from benchmark.kit.identifiers.spectral import CountRule
from benchmark.kit.identifiers.value import PADDING
from benchmark.kit.language_models.prompted import PromptedSystem
from benchmark.kit.language_models.seq2seq import Backbone, BackboneSettings, Seq2Seq
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.modules import load_state, save_state
from benchmark.kit.text.pieces import (
    IGNORED,
    NO_PIECE,
    assembled,
    assembled_lengths,
    assembled_rows,
    joined,
    labels_of,
    shuffled_by_length,
)
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.text.wordings import Wordings, column, listed, without_slots
from benchmark.kit.training import Batch, Instances, TrainingSettings, train
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import PretrainedPart, SystemConfig
from benchmark.systems.space import LEARNING_RATE, Choice, Real, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

Closing = Literal["last_word", "no_word"]
"""Which whole word the end of a prompt belongs to: the last one, as in all rows of an original's
batch but the longest, or number 0, as in the longest."""

WHOLE_WORDS = 512
"""Rows of the table of whole-word embeddings; a prompt has at most so many tokens."""


class P5Training(TrainingSettings):
    """The settings of the originals for Amazon data."""

    epochs: int = Field(default=20, ge=0)
    batch_size: int = Field(default=128, ge=1)
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    epsilon: float = Field(default=1e-6, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    """Of all weights: the originals mean to spare the norms, but not by the names they have."""
    schedule: Literal["constant", "linear", "cosine", "inverse-root", "plateau"] = "linear"
    gradient_clip: float | None = Field(default=1.0, gt=0)
    patience: int | None = Field(default=5, ge=1)
    """The original trains all epochs and keeps the best; its logs peak at epoch 4 to 7."""


class P5CIDConfig(SystemConfig):
    """The originals' settings for large Amazon categories."""

    backbone: BackboneSettings = BackboneSettings()
    """T5-small."""

    clusters: int = Field(default=20, ge=2)
    """Clusters that a cluster is split into; ``N``."""
    largest_cluster: int = Field(default=500, ge=2)
    """A cluster with more items is split again; ``M``, more than ``clusters``. Small catalogues
    are better served by 10 and 100."""
    co_occurrence: CountRule = "both_orders"
    """The weight of a pair of items; ``smaller_order`` is what the released code computes."""
    numbering: Numbering = "openp5"
    """The tokens of clusters and items; ``method1`` is the paper's."""
    unseen_items: Unseen = "branch"
    """Items without a training event: below a top cluster of their own, or, as in OpenP5, one
    token each, which may be another item's first."""

    history_length: int = Field(default=5, ge=1)
    """Items of a prompt; 20 in the originals."""
    prompts: PromptStyle = "instruction"
    """Sentences in ten wordings, or users and codes alone for small machines."""
    wordings_per_prefix: int = Field(default=1, ge=1)
    """Prompts of a training prefix in an epoch, of drawn wordings; OpenP5 has 3."""
    straightforward_prompts: int = Field(default=0, ge=0)
    """Prompts of a training target in an epoch that name the user and no item; OpenP5 has 3."""
    whole_words: bool = True
    """Whether whole-word embeddings are added to the token embeddings."""
    whole_word_deviation: float = Field(default=1.0, gt=0)
    """Standard deviation of the whole-word embeddings at the start."""
    closing: Closing = "last_word"
    """The whole word of a prompt's end."""

    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """The part of all steps in which the learning rate rises, unless ``training.warmup_steps``."""
    length_window: int = Field(default=16, ge=1)
    """Training batches that are sorted by length together; 1 leaves them as they are drawn."""
    scoring: Literal["beam", "exact"] = "beam"
    """``beam``: constrained beam search; what it drops ranks last. ``exact``: every candidate's
    likelihood."""
    beam_size: int = Field(default=30, ge=1)
    catalogue: CatalogueRanking = CatalogueRanking()
    """How the whole catalogue is ranked."""
    length_rule: LengthRule = "mean"
    """How identifiers of different lengths compare; the mean is the originals', and counts the
    tokens that all answers share."""
    scoring_batch_size: ScoringBatchSize = 32
    """Requests that are scored at once; "auto" for as many as fit into memory."""
    training: TrainingSettings = P5Training()

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.weight_decay": Choice((0.0, 1e-3, 1e-2, 1e-1)),
        "training.epochs": Whole(2, 20, log=True, is_budget=True),
        "warmup_share": Real(0.0, 0.2),
        "whole_words": Choice((True, False)),
    }

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The T5."""
        return (self.backbone.part(),)

    @model_validator(mode="after")
    def _clusters_fit(self) -> P5CIDConfig:
        if self.clusters >= self.largest_cluster:
            raise ValueError("largest_cluster must be larger than clusters")
        return self


# ----------------------------------------------------------------------------------------- prompts


class Prompts:
    """Prompts and answers as rows of pieces that were tokenised once.

    A piece is a literal of a wording, a user, an item or the comma between two items. ``tokens``
    are their tokens, and ``begins`` says of each token whether a whole word begins there.
    """

    def __init__(
        self, tokenizer: TextTokenizer, items: Sequence[str], users: int, style: PromptStyle
    ) -> None:
        sequential, straightforward = P5_CID[style]
        self.sequential, self.straightforward = len(sequential), len(straightforward)
        self.end, self.style = tokenizer.end, style
        self.wordings = Wordings(sequential + straightforward, 0, ("user", "history"))
        parts = [
            tokenizer.marked(texts)
            for texts in (
                self.wordings.literals,
                [","],
                user_texts(users),
                [item_text(one, style) for one in items],
            )
        ]
        sizes = np.cumsum([len(part) for part in parts])
        self.comma, self.first_user, self.first_item = sizes[0], sizes[1], sizes[2]
        self.tokens = joined(parts)
        begins = tokenizer.begins_word[self.tokens.ids]
        # A user is one word, and so is an item, however the tokenizer cuts their names.
        start_of_ids = self.tokens.offsets[self.first_user]
        begins[start_of_ids:] = False
        begins[self.tokens.offsets[self.first_user : -1]] = True
        self.begins = Tokens(begins.astype(np.int32), self.tokens.offsets, 0)

    def pieces(self, user: IntArray, items: IntArray, wording: LongArray) -> LongArray:
        """Prompts (prompts, pieces).

        Args:
            user: (prompts,); the unknown user 0 is not named.
            items: (prompts, length), 0 where padded; not read by straightforward wordings.
            wording: (prompts,), sequential wordings first.
        """
        user_piece = np.where(user != UNKNOWN_USER, self.first_user + user, NO_PIECE)
        history = listed(self.first_item, items, items > 0, self.comma)
        return self.wordings.filled(wording, {"user": user_piece[:, None], "history": history})

    def answers(self, items: NDArray[np.integer]) -> LongArray:
        """(items, 1) what is to be written."""
        return column(self.first_item, items)

    def inputs(self, pieces: LongArray, closing: Closing) -> Batch:
        """``input_ids``, ``attention_mask`` and ``whole_words``, (prompts, tokens) each."""
        ids, mask = assembled(self.tokens, pieces, self.end, WHOLE_WORDS)
        begins, _ = assembled(self.begins, pieces, 0, WHOLE_WORDS)
        words = whole_words(begins.bool(), mask, closing)
        return {"input_ids": ids, "attention_mask": mask, "whole_words": words}


def user_texts(number: int) -> list[str]:
    """The names of the users 0, 1, 2, …; no prompt holds the first one."""
    return [f"user_{user}" for user in range(number + 1)]


def item_text(identifier: str, style: str) -> str:
    """An item as prompts and answers name it."""
    return f"item_{identifier}" if style == "instruction" else identifier


def whole_words(begins: torch.Tensor, mask: torch.Tensor, closing: Closing) -> torch.Tensor:
    """The number of the word that each token belongs to, from 1, and 0 for padding.

    Args:
        begins: (prompts, tokens), true where a word begins.
        mask: (prompts, tokens), true at real tokens, the end included.
    """
    number = begins.long().cumsum(dim=1).clamp(max=WHOLE_WORDS - 1) * mask
    if closing == "no_word":
        number.scatter_(1, mask.sum(dim=1, keepdim=True) - 1, 0)
    return number


# ------------------------------------------------------------------------------------------- model


class P5(nn.Module):
    """A T5 whose encoder also reads which word each token belongs to."""

    def __init__(self, seq2seq: Seq2Seq, has_whole_words: bool, deviation: float) -> None:
        super().__init__()
        self.seq2seq = seq2seq
        self.whole_words: nn.Embedding | None = None
        if has_whole_words:
            self.whole_words = nn.Embedding(WHOLE_WORDS, seq2seq.t5.config.d_model)
            nn.init.normal_(self.whole_words.weight, std=deviation)

    def inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What the encoder reads, by the names of transformers."""
        if self.whole_words is None:
            return self.seq2seq.inputs(batch)
        vectors = self.whole_words(batch["whole_words"])
        return self.seq2seq.inputs(batch | {"input_vectors": vectors})

    def logits(self, batch: Batch) -> torch.Tensor:
        """(batch, target tokens, vocabulary), each position given the labels before it."""
        t5 = self.seq2seq.t5
        logits: torch.Tensor = t5(
            **self.inputs(batch),
            attention_mask=batch["attention_mask"],
            decoder_input_ids=t5._shift_right(batch["labels"]),
            use_cache=False,
        ).logits
        return logits

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch of :class:`PrefixPrompts`."""
        return mean_over_rows(self.logits(batch), batch["labels"])


def mean_over_rows(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, averaged over the tokens of each answer and then over the answers.

    Args:
        logits: (batch, tokens, vocabulary).
        labels: (batch, tokens), ``IGNORED`` where padded.
    """
    losses = F.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    tokens = (labels != IGNORED).sum(dim=1)
    return (losses.sum(dim=1) / tokens).mean()


# --------------------------------------------------------------------------------------- instances


class PrefixPrompts(Instances):
    """Every training event with its history, in drawn wordings.

    An event without a history is asked for by straightforward prompts alone.
    """

    def __init__(self, view: TrainingView, prompts: Prompts, config: P5CIDConfig) -> None:
        examples = view.examples(TASK)
        self.prompts, self.config = prompts, config
        self.users, self.targets = examples.user, examples.target
        self.items = examples.history(config.history_length, TASK).items
        events = np.arange(len(examples))
        with_history = events[(self.items > 0).any(axis=1)]
        self.events = np.concatenate(
            [
                np.repeat(with_history, config.wordings_per_prefix),
                np.repeat(events, config.straightforward_prompts),
            ]
        )
        sequential = len(with_history) * config.wordings_per_prefix
        self.is_sequential = np.arange(len(self.events)) < sequential
        of_item = prompts.tokens.lengths[prompts.first_item :]
        self.lengths = of_item[self.items[self.events]].sum(axis=1) * self.is_sequential

    def __len__(self) -> int:
        return len(self.events)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[LongArray]:
        """A fresh shuffle, sorted by length within windows."""
        return shuffled_by_length(self.lengths, batch_size, random, self.config.length_window)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Draw the wordings and put the prompts together."""
        prompts, events = self.prompts, self.events[rows]
        wording = np.where(
            self.is_sequential[rows],
            random.integers(prompts.sequential, size=len(rows)),
            prompts.sequential + random.integers(prompts.straightforward, size=len(rows)),
        )
        pieces = prompts.pieces(self.users[events], self.items[events], wording)
        answers = assembled(prompts.tokens, prompts.answers(self.targets[events]), prompts.end)
        return prompts.inputs(pieces, self.config.closing) | {"labels": labels_of(*answers)}


# -------------------------------------------------------------------------------------- the system


class P5CID(PromptedSystem):
    """Identifiers from clusters, a T5, and prompts that name user and history.

    After ``fit`` or ``load`` there are ``model``, ``identifiers`` and ``prompts``.
    """

    Config = P5CIDConfig
    config: P5CIDConfig
    tasks = (TASK,)

    model: P5
    identifiers: Identifiers
    names: list[str]
    figures: dict[str, float]
    prompts: Prompts
    targets: LongArray

    def fit(self, view: TrainingView) -> None:
        """Cluster the training log, then train on all its prefixes."""
        recommendations(view)
        config, corpus = self.config, view.corpus
        index = view.log.index_of(RECOMMENDATION)
        seed = int(self.context.random("clusters").integers(2**31))
        self.identifiers, self.names = collaborative_identifiers(
            view.log.item[index.positions], index.offsets, corpus.number_of_items, config, seed
        )
        self.figures = card(self.identifiers, view)
        wordings = [without_slots(one) for part in P5_CID[config.prompts] for one in part]
        texts = [*wordings, "item_ ,", *user_texts(corpus.number_of_users)]
        self.backbone = Backbone.make(config.backbone, texts, self.names, self.context)
        self._make_model()
        self._make_prompts(corpus)
        instances = PrefixPrompts(view, self.prompts, config)
        settings = config.training.with_warmup(config.warmup_share, instances)
        train(
            self.model,
            instances,
            self.model,
            settings,
            self.context,
            lambda: view.validate(self, (TASK,)),
        )

    def _make_model(self) -> None:
        config = self.config
        model = P5(self.backbone.model, config.whole_words, config.whole_word_deviation)
        self.model = model.to(self.context.device)

    def _make_prompts(self, corpus: Corpus) -> None:
        texts = [
            "".join(self.names[code] for code in row if code != PADDING)
            for row in self.identifiers.codes.tolist()
        ]
        users, style = corpus.number_of_users, self.config.prompts
        self.prompts = Prompts(self.backbone.tokenizer, texts, users, style)
        items = self.prompts.answers(np.arange(corpus.number_of_items + 1))
        self.targets = assembled_rows(self.prompts.tokens, items, self.prompts.end)

    def writer(self) -> Any:
        """The T5; whole words enter its inputs only."""
        self.model.eval()
        return super().writer()

    def targets_of(self, task: str) -> LongArray:
        """The names of all items, each with its end."""
        return self.targets

    @property
    def length_rule(self) -> LengthRule:
        """The configured one."""
        return self.config.length_rule

    def encoded(self, requests: Requests) -> Iterator[tuple[LongArray, Encoded]]:
        """Prompts in the first wording, those of similar length together."""
        config, t5 = self.config, self.writer()
        items = requests.history(config.history_length, TASK).items
        pieces = self.prompts.pieces(requests.user, items, np.zeros(len(items), dtype=np.int64))
        sizes = assembled_lengths(self.prompts.tokens, pieces)
        for rows in self.batches(requests, sizes):
            batch = {
                name: values.to(self.context.device)
                for name, values in self.prompts.inputs(pieces[rows], config.closing).items()
            }
            with torch.inference_mode():
                states = encode(t5, self.model.inputs(batch), batch["attention_mask"])
            yield rows, states

    def save(self, folder: Path) -> None:
        """Write the T5, the whole-word embeddings and the identifiers."""
        super().save(folder)
        self.identifiers.save(folder / _IDENTIFIERS)
        write_json(folder / _NAMES, self.names)
        write_json(folder / _FIGURES, self.figures)
        if self.model.whole_words is not None:
            save_state(self.model.whole_words.state_dict(), folder / _WHOLE_WORDS)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote; nothing is clustered again."""
        super().load(folder, corpus)
        self.identifiers = Identifiers.load(folder / _IDENTIFIERS)
        self.names = read_json(folder / _NAMES)
        self.figures = read_json(folder / _FIGURES)
        self._make_model()
        if self.model.whole_words is not None:
            state = load_state(folder / _WHOLE_WORDS, self.context.device)
            self.model.whole_words.load_state_dict(state)
        self._make_prompts(corpus)

    def identifier_quality(self) -> dict[str, dict[str, float]]:
        """Distinctness, use of the tokens, which all levels share, and what prefixes stand for."""
        return {"collaborative": {**self.identifiers.report().as_json(), **self.figures}}

    def number_of_parameters(self) -> int:
        """Weights of the T5 and the whole-word embeddings."""
        return sum(weight.numel() for weight in self.model.parameters())

    def stand_ins(self) -> tuple[str, ...]:
        """What stands in for the pretrained T5."""
        sentence = self.config.backbone.stand_in()
        return (sentence,) if sentence else ()


_IDENTIFIERS = "identifiers"  # a folder
_NAMES, _WHOLE_WORDS = "tokens.json", "whole_words.safetensors"
_FIGURES = "figures.json"
