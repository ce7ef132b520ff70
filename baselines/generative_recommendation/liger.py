"""LIGER: a T5 that writes the codes of the next item and points at its text vector.

Yang et al., "Unifying Generative and Dense Retrieval for Sequential Recommendation", 2024. Written
anew after the behaviour of https://github.com/facebookresearch/liger (commit b6ccc37, CC BY-NC
4.0). The encoder reads the codes of the history, each with its item's projected text vector; the
decoder writes codes as TIGER's does, and the state of the last token is compared with the projected
text vectors of all items. The best written items, and those that nobody has chosen in training,
are ranked by that comparison.

What differs: texts are the data set's item texts, encoded by BGE instead of Sentence-T5; there is
no user token; histories are not cut together with what is held out, so positions that are read are
trained; the quantiser learns from all items with a training event; only items can be written, where
the original scores what is no item as item 1; in a list the other candidates follow, by the same
comparison; and epochs are selected on the suite's validation lists. A user without a history is one
token of padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.encoders import BGE
from baselines.generative_recommendation.base import (
    LONGEST_TEXT,
    TASK,
    CodeGenerator,
    recommendations,
)
from baselines.generative_recommendation.tiger import Vocabulary
from baselines.sequential.base import Prefixes
from benchmark.data.dataset import LongArray
from benchmark.files import sha256_of_arrays
from benchmark.kit.decoding.identifier_system import CatalogueRanking, beam_over
from benchmark.kit.decoding.ranking import candidate_scores, catalogue_scores
from benchmark.kit.decoding.scoring_batches import ScoringBatchSize
from benchmark.kit.decoding.t5 import Encoded, encode
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.learning import standardised
from benchmark.kit.identifiers.moving import MovingConfig, ResidualPerceptron, learn_moving_codes
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.kit.modules import as_long, load_state, save_state
from benchmark.kit.pretrained.finding import PUBLISHED
from benchmark.kit.text.encoders import encoder_part, text_vectors
from benchmark.kit.training import Batch, TrainingSettings, train
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, PretrainedPart, SystemConfig
from benchmark.systems.space import DROPOUT, LEARNING_RATE, Choice, Real, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

NORM_EPSILON = 1e-8
INITIAL_FACTOR = 0.02
"""Of all weights of the T5 but its token vectors, whose deviation is 1."""

LOGIT_OF_THE_UNCHOSEN = -100.0
"""In training, of items without a training event."""


class LIGERConfig(SystemConfig):
    """The values in force in the released script."""

    encoder: str = PUBLISHED
    """Which sentence encoder: "published" for BGE and nothing else, "packaged" (MiniLM), "auto" for
    the former where it can be had and else the latter, a folder, or a hub name."""
    identifiers: MovingConfig = MovingConfig(
        hidden_sizes=(768, 512, 256),
        latent_size=128,
        dropout=0.1,
        initialisation="torch",
        kmeans_iterations=None,
        collisions="counter",
        warmup_epochs=0,
        training=TrainingSettings(
            epochs=8000,
            batch_size=2048,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=0.1,
            gradient_clip=1.0,
            patience=None,
            validate_every=0,
        ),
    )
    """How texts become codes."""
    history_length: int = Field(default=20, ge=1)
    """The last items that are read."""
    width: int = Field(default=128, ge=1)
    """Of token vectors and hidden states."""
    layers: int = Field(default=6, ge=1)
    """Layers of the encoder."""
    decoder_layers: int = Field(default=6, ge=1)
    heads: int = Field(default=6, ge=1)
    head_width: int = Field(default=64, ge=1)
    feed_forward: int = Field(default=1024, ge=1)
    """Hidden width of the feed-forward layers, which have ReLU."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """At T5's places, and in the projection of text vectors."""
    input_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Of the sums that the encoder reads."""
    projection_sizes: tuple[int, ...] = (768, 512, 256)
    """Hidden widths between text vectors and token vectors."""
    temperature: float = Field(default=0.07, gt=0)
    """What cosines are divided by."""
    token_weight: float = Field(default=1.0, ge=0)
    """Of the loss of the codes."""
    dense_weight: float = Field(default=1.0, ge=0)
    """Of the loss of the comparison with text vectors."""
    ranks_by: Literal["hybrid", "dense", "generative"] = "hybrid"
    """Both heads, or one of them."""
    proposals: int = Field(default=20, ge=1)
    """Items that the decoder proposes to the hybrid."""
    scoring: Literal["beam", "exact"] = "exact"
    """How the decoder finds its best items: by a beam, or by the likelihood of each."""
    beam_size: int = Field(default=100, ge=1)
    """Prefixes that a beam search keeps."""
    catalogue: CatalogueRanking = CatalogueRanking()
    """How the decoder ranks the whole catalogue."""
    scoring_batch_size: ScoringBatchSize = 64
    """Requests that are scored at once; "auto" for as many as fit into memory."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """The part of all steps in which the learning rate rises."""
    training: TrainingSettings = TrainingSettings(
        epochs=390,
        batch_size=256,
        optimizer="adamw",
        learning_rate=3e-4,
        weight_decay=0.035,
        schedule="cosine",
        gradient_clip=1.0,
        validate_every=10,
        patience=5,
    )
    """A batch counts prefixes. The original trains for 200,000 steps, which these epochs are on
    Amazon Beauty, and waits for 50 epochs."""

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.weight_decay": Real(1e-3, 0.1, log=True),
        "training.epochs": Whole(4, 32, log=True, is_budget=True),
        "dropout": DROPOUT,
        "temperature": Choice((0.03, 0.05, 0.07, 0.1)),
    }

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The sentence encoder."""
        return (encoder_part(self.encoder, BGE[0]),)


class LIGERModel(nn.Module):
    """The T5 and its dense head. ``trained`` (items + 1,) says which items have training events.

    ``text`` (items + 1, text dim) are the standardised text vectors, ``tokens`` (items + 1, levels)
    the tokens of the identifiers; row 0 is padding and zero in both.
    """

    text: torch.Tensor
    tokens: torch.Tensor
    trained: torch.Tensor

    def __init__(self, identifiers: Identifiers, text_dim: int, config: LIGERConfig) -> None:
        super().__init__()
        self.config = config
        vocabulary = Vocabulary(identifiers, user_tokens=0)
        rows = vocabulary.size + 1  # the last one is an end that is never written
        self.t5 = Seq2Seq.of_config(
            {
                "vocab_size": rows,
                "d_model": config.width,
                "d_kv": config.head_width,
                "d_ff": config.feed_forward,
                "num_layers": config.layers,
                "num_decoder_layers": config.decoder_layers,
                "num_heads": config.heads,
                "dropout_rate": config.dropout,
                "layer_norm_epsilon": NORM_EPSILON,
                "initializer_factor": INITIAL_FACTOR,
                "eos_token_id": rows - 1,
            }
        ).t5
        nn.init.normal_(self.t5.shared.weight)
        widths = (text_dim, *config.projection_sizes, config.width)
        self.emb_proj = ResidualPerceptron(widths, config.dropout, NORM_EPSILON)
        self.pos_embedding = nn.Embedding(config.history_length, config.width)
        self.semantic_pos = nn.Embedding(identifiers.levels, config.width)
        self.input_embed_layernorm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.input_dropout = nn.Dropout(config.input_dropout)
        items = len(identifiers.codes)
        self.register_buffer("text", torch.zeros(items, text_dim))
        self.register_buffer("trained", torch.zeros(items, dtype=torch.bool))
        self.of_item = vocabulary.of_item
        self.register_buffer("tokens", as_long(self.of_item), persistent=False)

    def inputs(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder reads of items (batch, length): vectors (batch, tokens, width), mask."""
        levels = self.tokens.shape[1]
        tokens = self.tokens[items].flatten(1)
        # Repeated before it is projected, so that each copy has a dropout of its own.
        vectors = self.emb_proj(self.text[items].repeat_interleave(levels, dim=1))
        slot = torch.arange(tokens.shape[1], device=items.device)
        places = self.pos_embedding(slot // levels) + self.semantic_pos(slot % levels)
        summed = self.t5.shared(tokens) + vectors + places
        mask = tokens > 0
        mask[:, 0] = True  # a history of nothing is one token of padding
        return self.input_dropout(self.input_embed_layernorm(summed)), mask

    def encode(self, items: torch.Tensor) -> Encoded:
        """Encoder states of items (batch, length), padded with 0 on the right."""
        vectors, mask = self.inputs(items)
        return encode(self.t5, {"inputs_embeds": vectors}, mask)

    def item_vectors(self) -> torch.Tensor:
        """(items + 1, width), of length one."""
        return F.normalize(self.emb_proj(self.text), dim=-1)

    def cosines(self, encoded: Encoded, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, items + 1) of the last states with item vectors, over the temperature."""
        last = encoded.mask.sum(dim=1) - 1
        states = encoded.states[torch.arange(len(last), device=last.device), last].float()
        return F.normalize(states, dim=-1) @ vectors.T / self.config.temperature

    def forward(self, batch: Batch) -> torch.Tensor:
        """The weighted sum of both losses."""
        tokens, dense = self.losses(batch)
        return self.config.token_weight * tokens + self.config.dense_weight * dense

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean cross-entropies of the codes of the targets, and of the targets among all items."""
        items, targets = batch["items"][:, : int(batch["lengths"].max())], batch["targets"]
        encoded = self.encode(items)
        labels = self.tokens[targets]
        logits = self.token_logits(encoded, labels)
        cosines = self.cosines(encoded, self.item_vectors())
        known = cosines.masked_fill(~self.trained, LOGIT_OF_THE_UNCHOSEN)
        return (
            F.cross_entropy(logits.flatten(0, 1), labels.flatten()),
            F.cross_entropy(known[:, 1:], targets - 1),
        )

    def token_logits(self, encoded: Encoded, labels: torch.Tensor) -> torch.Tensor:
        """(batch, levels, vocabulary) of what is written, given ``labels`` (batch, levels)."""
        logits: torch.Tensor = self.t5(
            encoder_outputs=(encoded.states,),
            attention_mask=encoded.mask.long(),
            labels=labels,
            use_cache=False,
        ).logits
        return logits


def proposed(
    written: torch.Tensor, items: torch.Tensor, cold: torch.Tensor, number: int
) -> torch.Tensor:
    """Which candidates are ranked first, (batch, candidates): the best written, and cold ones.

    Args:
        written: (batch, candidates) log-probabilities; -inf for what was not written.
        items: (batch, candidates), in which an item may stand more than once.
        cold: (items + 1,) who is proposed in any case.
        number: of different written items; those that tie with the last are among them.
    """
    order = items.argsort(dim=1, stable=True)
    in_order = items.gather(1, order)
    once = written.gather(1, order)
    once[:, 1:].masked_fill_(in_order[:, 1:] == in_order[:, :-1], -torch.inf)
    worst = once.topk(min(number, once.shape[1]), dim=1).values[:, -1:]
    return ((written >= worst) & (written > -torch.inf)) | cold[items]


class LIGER(CodeGenerator):
    """The unified recommender."""

    Config = LIGERConfig
    config: LIGERConfig
    model: LIGERModel

    def fit(self, view: TrainingView) -> None:
        """Learn the identifiers, then both heads after every prefix."""
        recommendations(view)
        config, context = self.config, self.context
        text, trained = self._make_identifiers(view)
        torch.manual_seed(int(context.random("initialisation").integers(2**62)))
        self.model = LIGERModel(self.identifiers, text.shape[1], config)
        self.model.text[1:] = torch.from_numpy(text)
        self.model.trained[1:] = torch.from_numpy(trained)
        self.model.to(context.device)
        instances = Prefixes(view, config.history_length)
        settings = config.training.with_warmup(config.warmup_share, instances)
        train(
            self.model,
            instances,
            self.model,
            settings,
            context,
            lambda: view.validate(self, (TASK,)),
        )

    def _make_identifiers(self, view: TrainingView) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Set ``identifiers``; returns standardised text vectors, and who has training events."""
        config, context = self.config, self.context
        encoder = self.bge(config.encoder, "item texts become vectors")
        vectors = text_vectors(context, encoder, view.corpus.items.text, "", LONGEST_TEXT)
        text = standardised(np.array(vectors[1:]))
        trained = np.bincount(view.log.item, minlength=len(text) + 1)[1:] > 0

        determined_by = {
            "texts": view.corpus.fingerprint,
            "encoder": encoder.sha256,
            "settings": config.identifiers.model_dump(mode="json"),
            "learned_from": sha256_of_arrays([trained]),
        }
        self.take_codes(
            "moving-codes",
            view,
            determined_by,
            lambda: learn_moving_codes(text, trained, config.identifiers, context),
        )
        return text, trained

    def targets_of(self, task: str) -> LongArray:
        """The codes of all items."""
        return self.model.of_item

    def encoded(self, requests: Requests) -> Iterator[tuple[LongArray, Encoded]]:
        """Histories, those of similar length together."""
        for rows, items in self.histories(requests):
            yield rows, self.model.encode(as_long(items).to(self.context.device))

    def score(self, requests: Requests) -> FloatArray:
        """By either head or by both; of both, who is not proposed comes last."""
        scores = np.empty(requests.candidates.shape, dtype=np.float32)
        config, writer = self.config, self.writer()
        beam_size = config.beam_size if config.scoring == "beam" else None
        with self._in_precision():
            vectors = self.model.item_vectors()
            for rows, encoded in self.encoded(requests):
                items = as_long(requests.candidates[rows]).to(self.context.device)
                found = self.model.cosines(encoded, vectors).gather(1, items)
                if config.ranks_by != "dense":
                    tokens = self.targets_of(TASK)[requests.candidates[rows]]
                    written = candidate_scores(writer, encoded, tokens, beam_size, "sum")
                    # A cosine is at most 1, so nobody who is moved down by 4 passes another.
                    down = found - 4 / config.temperature
                    found = self._by_both(found, down, written, items)
                scores[rows] = found.cpu().numpy()
        return scores

    def score_all_items(self, requests: Requests) -> FloatArray:
        """The same of all items; of both heads, who is not proposed is left out."""
        config, writer = self.config, self.writer()
        beam_size, catalogue = beam_over(self.targets_of(TASK), config), self._catalogue(TASK)
        every = torch.arange(len(self.model.tokens), device=self.context.device)
        scores = np.empty((len(requests), len(every)), dtype=np.float32)
        with self._in_precision():
            vectors = self.model.item_vectors()
            for rows, encoded in self.encoded(requests):
                found = self.model.cosines(encoded, vectors)
                if config.ranks_by != "dense":
                    written = catalogue_scores(writer, encoded, catalogue, beam_size, "sum")
                    nowhere = torch.full_like(found, -torch.inf)
                    items = every.expand(len(found), -1)
                    found = self._by_both(found, nowhere, written, items)
                scores[rows] = found.cpu().numpy()
        return scores

    def _by_both(
        self,
        cosines: torch.Tensor,
        others: torch.Tensor,
        written: torch.Tensor,
        items: torch.Tensor,
    ) -> torch.Tensor:
        """What was written, or the cosines of who is proposed and ``others`` of who is not."""
        if self.config.ranks_by == "generative":
            return written
        cold = ~self.model.trained
        cold[0] = False
        return torch.where(proposed(written, items, cold, self.config.proposals), cosines, others)

    def ranking_of_all_items(self) -> str:
        """The proposals, or the beam, if there are any."""
        if self.config.ranks_by == "dense":
            return ""
        if self.config.ranks_by == "generative":
            return super().ranking_of_all_items()
        return f"{self.config.proposals} proposals and the items without a training event"

    def save(self, folder: Path) -> None:
        """Write identifiers and weights."""
        self.save_codes(folder)
        save_state(self.model.state_dict(), folder / _WEIGHTS)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote; no text is encoded again."""
        self.load_codes(folder)
        state = load_state(folder / _WEIGHTS, self.context.device)
        model = LIGERModel(self.identifiers, state["text"].shape[1], self.config)
        model.load_state_dict(state)
        self.model = model.to(self.context.device)


_WEIGHTS = "model.safetensors"
