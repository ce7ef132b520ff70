"""TIGER: items as tuples of codes of their texts; a T5 writes the codes of the next item.

Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023; the authors published
no code. Written anew after the paper and the behaviour of two re-implementations,
https://github.com/EdoardoBotta/RQ-VAE-Recommender (commit 0e4ae0c, MIT) and
https://github.com/XiaoLongtaoo/TIGER (commit 8384d72, MIT). An RQ-VAE turns each item's text
embedding into three codes; a fourth one counts the items that share them. The input is a token of
the user and the codes of the history, oldest first, and nothing marks the end of the four codes.

What differs: texts are the data set's item texts, encoded by BGE instead of Sentence-T5, as in the
benchmark's comparison. Adagrad at a rate of 0.4 for the RQ-VAE and Adafactor at 0.01 for the T5 do
not carry over to other implementations; both are trained by AdamW at 0.001. Codes that no item uses
are restarted. Users share the user tokens by their number modulo, not by a hash of their name. Only
items among the candidates can be generated, and epochs are selected by NDCG@5 on the suite's
validation lists. It can start from a published T5, as the benchmark's comparison does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from baselines.encoders import BGE
from baselines.generative_recommendation.base import (
    LONGEST_TEXT,
    TASK,
    CodeGenerator,
    recommendations,
)
from benchmark.data.dataset import UNKNOWN_USER, IntArray, LongArray
from benchmark.kit.decoding.identifier_system import CatalogueRanking
from benchmark.kit.decoding.scoring_batches import ScoringBatchSize
from benchmark.kit.decoding.t5 import Encoded, encode
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.learned import LearnedIdentifiers
from benchmark.kit.identifiers.rqvae import RQVAEConfig, learn_identifiers
from benchmark.kit.language_models.seq2seq import BackboneSettings, Seq2Seq
from benchmark.kit.pretrained.finding import PUBLISHED
from benchmark.kit.text.encoders import encoder_part, text_vectors
from benchmark.kit.text.pieces import shuffled_by_length
from benchmark.kit.training import Batch, Instances, TrainingSettings, train
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, PretrainedPart, SystemConfig
from benchmark.systems.space import LEARNING_RATE, WEIGHT_DECAY, Real, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

PADDING_TOKEN = 0
"""Pads inputs and starts the decoder; codes and users come after it."""

BATCHES_SORTED_TOGETHER = 16


class TIGERConfig(SystemConfig):
    """The paper's sizes; see above for the optimisers."""

    backbone: BackboneSettings | None = None
    """A published T5 to start from, all but its token vectors; ``width`` to ``dropout`` are then
    its own. The paper's T5, of random weights, if absent."""
    encoder: str = PUBLISHED
    """Which sentence encoder: "published" for BGE and nothing else, "packaged" (MiniLM), "auto" for
    the former where it can be had and else the latter, a folder, or a hub name."""
    identifiers: RQVAEConfig = RQVAEConfig(
        sizes=(256, 256, 256),
        epsilons=(0.0, 0.0, 0.0),
        hidden_sizes=(512, 256, 128),
        latent_size=32,
        bias=False,
        initialisation="torch",
        reduction="sum",
        restart_unused=True,
        collisions="counter",
        warmup_epochs=0,
        training=TrainingSettings(
            epochs=20_000,
            batch_size=1024,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=1e-4,
            patience=None,
            validate_every=100,
        ),
    )
    """How texts become codes. With "counter" a last code makes identifiers distinct; without it,
    items may share one and tie."""
    user_tokens: int = Field(default=2000, ge=0)
    """Tokens that users share; 0 for none."""
    history_length: int = Field(default=20, ge=1)
    """The last items that are read."""

    width: int = Field(default=384, ge=1)
    """Of token vectors and hidden states. The paper says 128, but also about 13 million parameters,
    which its other sizes give at 384 only (13.4 million; at 128 they are 4.5 million)."""
    layers: int = Field(default=4, ge=1)
    """Layers of the encoder, and as many of the decoder."""
    heads: int = Field(default=6, ge=1)
    """Attention heads a layer."""
    head_width: int = Field(default=64, ge=1)
    """Of one head; heads times this need not be ``width``."""
    feed_forward: int = Field(default=1024, ge=1)
    """Hidden width of the feed-forward layers, which have ReLU."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """At T5's places."""

    scoring: Literal["beam", "exact"] = "beam"
    """Constrained beam search, which leaves candidates unranked, or the likelihood of each."""
    beam_size: int = Field(default=30, ge=1)
    """Prefixes that a beam search keeps."""
    catalogue: CatalogueRanking = CatalogueRanking()
    """How the whole catalogue is ranked."""
    scoring_batch_size: ScoringBatchSize = 64
    """Requests that are scored at once; "auto" for as many as fit into memory."""
    training: TrainingSettings = TrainingSettings(
        epochs=200,
        batch_size=256,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-4,
        schedule="flat-inverse-root",
        warmup_steps=10_000,
    )
    """A batch counts prefixes of users' histories. The rate stays for ``warmup_steps``, then falls
    with the root of the step."""

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.weight_decay": WEIGHT_DECAY,
        "training.epochs": Whole(4, 32, log=True, is_budget=True),
        "dropout": Real(0.0, 0.4),
    }

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The sentence encoder, and a published T5 if there is to be one."""
        encoder = encoder_part(self.encoder, BGE[0])
        return (encoder, self.backbone.part()) if self.backbone else (encoder,)


# ------------------------------------------------------------------------------------------- tokens


class Vocabulary:
    """Numbers of the tokens: padding, the codes of each level, the users.

    ``size`` counts all. ``of_item`` (items + 1, levels) are the tokens of each item's identifier,
    padding for item 0.
    """

    def __init__(self, identifiers: Identifiers, user_tokens: int) -> None:
        sizes = np.array(identifiers.sizes)
        first = 1 + np.cumsum(sizes) - sizes
        codes = identifiers.codes.astype(np.int64)
        self.of_item: LongArray = np.where(codes >= 0, codes + first, PADDING_TOKEN)
        self.first_user = 1 + int(sizes.sum())
        self.user_tokens = user_tokens
        self.size = self.first_user + user_tokens

    def inputs(self, users: IntArray, histories: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder reads: ids int64 and mask, both (rows, length of the longest).

        The unknown user 0 has no token, since training would not have touched it. Whoever has
        neither a token nor a history is a token of padding that is read.

        Args:
            users: (rows,).
            histories: (rows, items), oldest first, padded with 0 on the right.
        """
        longest = int((histories > 0).sum(axis=1).max(initial=0))
        ids = self.of_item[histories[:, :longest]].reshape(len(histories), -1)
        if self.user_tokens:
            token = self.first_user + users.astype(np.int64) % self.user_tokens
            user = np.where(users != UNKNOWN_USER, token, PADDING_TOKEN)
            ids = np.concatenate([user[:, None], ids], axis=1)
        elif not longest:
            ids = np.full((len(users), 1), PADDING_TOKEN)
        mask = ids != PADDING_TOKEN
        mask[~mask.any(axis=1), 0] = True
        return torch.from_numpy(ids), torch.from_numpy(mask)


class Prefixes(Instances):
    """One instance a training event of users who bought something before: history and next item.

    Batches hold prefixes of similar length: ``input_ids``, ``attention_mask`` (batch, tokens of the
    longest) and ``labels`` (batch, levels).
    """

    def __init__(self, view: TrainingView, vocabulary: Vocabulary, history_length: int) -> None:
        examples = view.examples(TASK)
        history = examples.history(history_length, TASK, padding="right")
        follows = history.count > 0
        self.histories, self.lengths = history.items[follows], history.count[follows]
        self.users, self.targets = examples.user[follows], examples.target[follows]
        self.vocabulary = vocabulary

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """A fresh shuffle, sorted by length within windows of some batches."""
        lengths = self.lengths.astype(np.int64)
        return shuffled_by_length(lengths, batch_size, random, BATCHES_SORTED_TOGETHER)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather; nothing is drawn."""
        ids, mask = self.vocabulary.inputs(self.users[rows], self.histories[rows])
        labels = torch.from_numpy(self.vocabulary.of_item[self.targets[rows]])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


# ------------------------------------------------------------------------------------- the system


class TIGER(CodeGenerator):
    """The generative recommender. After ``fit`` or ``load`` there are ``identifiers`` and a T5."""

    Config: ClassVar[type[TIGERConfig]] = TIGERConfig
    config: TIGERConfig

    vocabulary: Vocabulary
    model: Seq2Seq

    def fit(self, view: TrainingView) -> None:
        """Learn the identifiers of all items, then to write the next one after every prefix."""
        recommendations(view)
        self._make_identifiers(view)
        self._make_model()
        instances = Prefixes(view, self.vocabulary, self.config.history_length)
        train(
            self.model,
            instances,
            self.loss,
            self.training_settings(instances),
            self.context,
            lambda: view.validate(self, (TASK,)),
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy of the codes of the next items."""
        loss: torch.Tensor = self.model(batch)
        return loss

    def training_settings(self, instances: Instances) -> TrainingSettings:
        """How the T5 is trained on these instances."""
        return self.config.training

    def vocabulary_of(self, identifiers: Identifiers) -> Vocabulary:
        """The tokens of inputs and targets."""
        return Vocabulary(identifiers, self.config.user_tokens)

    def learned(self, vectors: FloatArray, view: TrainingView) -> LearnedIdentifiers:
        """Identifiers of the items whose text vectors are (items, dim)."""
        return learn_identifiers(vectors, self.config.identifiers, self.context)

    def learned_from(self, view: TrainingView) -> dict[str, Any]:
        """What determines identifiers beside the texts, their encoder and the settings."""
        return {}

    def _make_identifiers(self, view: TrainingView) -> None:
        encoder = self.bge(self.config.encoder, "item identifiers are learned")
        corpus = view.corpus

        def learn() -> LearnedIdentifiers:
            vectors = text_vectors(self.context, encoder, corpus.items.text, "", LONGEST_TEXT)
            return self.learned(np.array(vectors[1:]), view)

        determined_by = {
            "texts": corpus.fingerprint,
            "encoder": encoder.sha256,
            "settings": self.config.identifiers.model_dump(mode="json"),
            **self.learned_from(view),
        }
        self.take_codes("identifiers", view, determined_by, learn)

    def _make_model(self) -> None:
        config = self.config
        self.vocabulary = self.vocabulary_of(self.identifiers)
        torch.manual_seed(int(self.context.random("initialisation").integers(2**62)))
        if config.backbone is None:
            model = self._own_network()
        elif (files := config.backbone.find()) is None:
            model = Seq2Seq.of_size(config.backbone.scratch, self.vocabulary.size)
        else:
            model = Seq2Seq.of_files(files)
            model.renew_tokens(self.vocabulary.size)
        self.model = model.to(self.context.device)

    def _own_network(self) -> Seq2Seq:
        config = self.config
        return Seq2Seq.of_config(
            {
                "vocab_size": self.vocabulary.size,
                "d_model": config.width,
                "d_kv": config.head_width,
                "d_ff": config.feed_forward,
                "num_layers": config.layers,
                "num_heads": config.heads,
                "dropout_rate": config.dropout,
                "pad_token_id": PADDING_TOKEN,
                "decoder_start_token_id": PADDING_TOKEN,
            }
        )

    def targets_of(self, task: str) -> LongArray:
        """The codes of all items."""
        return self.vocabulary.of_item

    def encoded(self, requests: Requests) -> Iterator[tuple[LongArray, Encoded]]:
        """Histories, those of similar length together."""
        device = self.context.device
        for rows, items in self.histories(requests):
            ids, mask = self.vocabulary.inputs(requests.user[rows], items)
            with torch.inference_mode():
                states = encode(self.writer(), {"input_ids": ids.to(device)}, mask.to(device))
            yield rows, states

    def save(self, folder: Path) -> None:
        """Write identifiers and weights."""
        self.save_codes(folder)
        self.model.save(folder)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote; no text is encoded again."""
        self.load_codes(folder)
        self.vocabulary = self.vocabulary_of(self.identifiers)
        self.model = Seq2Seq.load(folder, self.context.device)

    def stand_ins(self) -> tuple[str, ...]:
        """What stands in for the sentence encoder and the T5 that were meant."""
        backbone = self.config.backbone.stand_in() if self.config.backbone else ""
        return (*super().stand_ins(), backbone) if backbone else super().stand_ins()
