"""GenSAR: one generative model for search and recommendation.

Shi et al., "Unified Generative Search and Recommendation", RecSys 2025 (arXiv 2504.05730); original
https://github.com/TengShi-RUC/GenSAR, commit bd1a126, without a licence, so this is written from a
description of what it computes; identifiers, histories, decoding and loss are pinned by its
numbers. Every item has two identifiers that share their first codes: a collaborative one, used
where the item was recommended, and a semantic one, used where it was searched. A T5 reads the
user's mixed history, and for search the query, and writes the identifier of the next item.

What differs: wordings are our own; prompts are put together from token arrays; pseudo-queries come
from a model fine-tuned on the search log, as the paper says (the released script reads one that is
not); an exact ranking by likelihood is offered beside the beam, which loses targets; scores are
sums of log-probabilities (all identifiers have one length, so the original's mean orders alike);
equal identifiers tie instead of counting as hits of each other; a search event is a session of its
own, as on Amazon. On small machines a T5 from scratch and a packaged sentence encoder stand in, and
the tables say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import Field

from benchmark.data.dataset import BEHAVIOURS, LongArray
from benchmark.kit.decoding.identifier_system import CatalogueRanking
from benchmark.kit.decoding.levels import EncodedPrompts
from benchmark.kit.decoding.scoring_batches import ScoringBatchSize
from benchmark.kit.identifiers.card import card
from benchmark.kit.identifiers.names import identifier_texts
from benchmark.kit.language_models.prompted import PromptedSystem
from benchmark.kit.language_models.pseudo_queries import (
    PseudoQueries,
    PseudoQuerySettings,
    pseudo_queries,
)
from benchmark.kit.language_models.seq2seq import Backbone, BackboneSettings
from benchmark.kit.language_models.tokenizer import texts_of
from benchmark.kit.pretrained.finding import PUBLISHED, find_encoder
from benchmark.kit.pretrained.model_folder import PretrainedFiles
from benchmark.kit.text.bi_encoder import BiEncoderSettings, joint_item_vectors
from benchmark.kit.text.encoders import (
    encoder_part,
    own_pooling,
    pretrained_text_encoder,
    text_vectors,
)
from benchmark.kit.text.pieces import assembled_rows
from benchmark.kit.training import TrainingSettings, train
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, PretrainedPart, SystemConfig
from benchmark.systems.provenance import code_fingerprint, library_versions
from benchmark.systems.space import LEARNING_RATE, Real, SearchSpace, Whole
from benchmark.systems.upstream import upstream
from benchmark.systems.view import Corpus, TrainingView, ValidationMetrics
from gensar.identifiers import JointIdentifierConfig, JointIdentifiers, learn_joint_identifiers
from gensar.prompts import (
    WORDINGS,
    HistoryOf,
    PieceTexts,
    Prompts,
    PromptStyle,
    code_names,
    cut_texts,
    tokens_of_identifiers,
)
from gensar.tasks import TaskInstances, TaskMix

COLLABORATIVE_SYSTEM = "unisar"
"""The system whose item vectors the collaborative identifiers are made of."""

BGE = ("BAAI/bge-base-en-v1.5", "BAAI/bge-base-zh-v1.5")
"""The sentence encoder of the semantic item vectors, English and Chinese."""

SCORING_FIELDS = frozenset({"scoring", "beam_size", "catalogue", "scoring_batch_size"})
"""What does not change the trained generator."""

_IDENTIFIERS = "identifiers"  # a folder


class GenSARTraining(TrainingSettings):
    """The original's settings on Amazon: 8 devices x 64 instances x 16 accumulated steps."""

    epochs: int = Field(default=200, ge=0)
    batch_size: int = Field(default=8192, ge=1)
    micro_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] | None = 64
    """It changes nothing but speed and memory; see ``GenSARConfig.loss_group_size``."""
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    """The paper says Adam; the released settings are AdamW's."""
    weight_decay: float = Field(default=1e-7, ge=0)
    schedule: Literal["constant", "linear", "cosine", "inverse-root", "plateau"] = "cosine"
    gradient_clip: float | None = Field(default=1.0, gt=0)
    patience: int | None = Field(default=None, ge=1)
    """The original trains all epochs and keeps the best one."""


class GenSARConfig(SystemConfig):
    """The released settings on Amazon; where the appendix differs, the preset ``paper`` has its.

    Ablations are values of these fields.
    """

    backbone: BackboneSettings = BackboneSettings()
    """T5-small."""
    identifiers: JointIdentifierConfig = JointIdentifierConfig()
    """The quantiser of both kinds of item vectors."""
    bi_encoder: BiEncoderSettings = BiEncoderSettings()
    """How the text encoder is fine-tuned for identifiers of the mode ``bi_encoder``."""
    swaps_identifiers: bool = False
    """A control: semantic identifiers for recommendation, collaborative ones for search."""
    text_encoder: str = PUBLISHED
    """Which sentence encoder: "published" for BGE and nothing else, "packaged" (MiniLM), "auto" for
    the former where it can be had and else the latter, a folder, or a hub name."""
    collaborative_vectors: Literal["item", "id"] = "item"
    """Which item vectors of the trained UniSAR: the item's, or those of its id alone."""
    pseudo_queries: PseudoQuerySettings = PseudoQuerySettings()
    tasks: TaskMix = TaskMix()
    """Samples an epoch of each training task; 0 leaves one out."""
    prompts: PromptStyle = "instruction"
    """Full sentences in ten wordings a family, or a few tokens for small machines."""
    marks_behaviour: bool = True
    """Whether behaviour tokens stand before items and queries, in histories and targets."""
    history_of: HistoryOf = "both"
    """Whether histories hold recommendation events, searches or both."""
    recommendation_history: int = Field(default=5, ge=1)
    """The most recommendation events of a history ..."""
    search_history: int = Field(default=5, ge=1)
    """... and the most searches, counted apart."""
    most_item_tokens: int = Field(default=256, ge=1)
    """Tokens of an item text that are read or written."""
    most_query_tokens: int = Field(default=64, ge=1)
    """Tokens of a query."""
    most_tokens: int = Field(default=2048, ge=1)
    """Tokens of a prompt or a target."""
    length_window: int = Field(default=1, ge=1)
    """Training batches that are sorted by length together, which saves padding where batches are
    small, but makes the weight of tasks differ among them; 1 leaves them as they are drawn."""
    loss_group_size: int | None = Field(default=64, ge=1)
    """Instances, chosen at random from a batch, whose tokens are averaged; the loss is the mean of
    these averages. The original's are those that a device computes at once, so tasks weigh as much
    as there. One average over the batch if absent."""
    warmup_share: float = Field(default=0.01, ge=0, lt=1)
    """The part of all steps in which the learning rate rises."""
    scoring: Literal["beam", "exact"] = "beam"
    """``beam``: constrained beam search, the paper's; what it drops has no rank. ``exact``: the
    likelihood of every candidate. Both rank with one trained generator."""
    beam_size: int = Field(default=30, ge=1)
    catalogue: CatalogueRanking = CatalogueRanking()
    """How the whole catalogue is ranked."""
    scoring_batch_size: ScoringBatchSize = 32
    """Requests that are scored at once; "auto" for as many as fit into memory."""
    validation_beam_size: int | None = Field(default=30, ge=1)
    """The beam that the best epoch is chosen with, whatever ``scoring`` is; exact if absent."""
    training: TrainingSettings = GenSARTraining()

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.epochs": Whole(2, 32, log=True, is_budget=True),
        "warmup_share": Real(0.0, 0.2),
        "recommendation_history": Whole(2, 10),
        "search_history": Whole(1, 10),
    }

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The T5, the sentence encoder, and the writer of pseudo-queries where they are learned."""
        parts = (self.backbone.part(), encoder_part(self.text_encoder, BGE[0]))
        return (*parts, self.pseudo_queries.backbone.part()) if self.tasks.pseudo_query else parts


class _HasItemEmbeddings(Protocol):
    def item_embeddings(self, source: str) -> FloatArray: ...


@dataclass(frozen=True)
class _Ranked:
    """A way to score, as validation wants it."""

    score: Callable[[Requests], FloatArray]


class GenSAR(PromptedSystem):
    """Joint identifiers, a T5, and prompts of both tasks.

    After ``fit`` or ``load`` there are ``backbone``, ``identifiers`` and ``prompts``.
    """

    Config = GenSARConfig
    config: GenSARConfig
    tasks = tuple(BEHAVIOURS)
    reads_query_texts = True

    identifiers: JointIdentifiers
    prompts: Prompts

    # ------------------------------------------------------------------------------ learning

    def fit(self, view: TrainingView) -> None:
        """Train the generator, or take the one that another scoring of it has trained."""
        folder = self.context.artifacts.get(
            "generator", self._determined_by(view), lambda folder: self._train(view, folder)
        )
        self.load(folder, view.corpus)

    def _determined_by(self, view: TrainingView) -> dict[str, Any]:
        config = self.config
        return {
            "configuration": config.model_dump(mode="json", exclude=set(SCORING_FIELDS)),
            "backbone": config.backbone.identity(),
            "pseudo_queries": self._writer_identity(),
            **self._surroundings(view),
            "code": self.context.code,
        }

    def _writer_identity(self) -> dict[str, Any] | None:
        """What names the model that writes pseudo-queries, if any are learned."""
        config = self.config
        return config.pseudo_queries.backbone.identity() if config.tasks.pseudo_query else None

    def _surroundings(self, view: TrainingView) -> dict[str, Any]:
        """What every artifact of this system depends on, besides configuration and code."""
        context = self.context
        return {
            "text_encoder": self._text_encoder_files().sha256,
            "upstream": dict(context.upstream),
            "view": view.fingerprint,
            "seed": context.seed,
            "device": torch.device(context.device).type,
            "precision": context.precision,
            "libraries": library_versions(),
        }

    def _train(self, view: TrainingView, folder: Path) -> None:
        config = self.config
        self.identifiers = self._joint_identifiers(view)
        queries = self._pseudo_queries(view)
        added = tokens_of_identifiers(*self._identifier_texts(), config.marks_behaviour)
        words = [*texts_of(view), *WORDINGS[config.prompts].words()]
        self.backbone = Backbone.make(config.backbone, words, added, self.context)
        self._make_prompts(view.corpus, view.corpus.items.text, queries.texts)
        instances = TaskInstances(
            view,
            self.prompts,
            config.tasks,
            queries,
            most_tokens=config.most_tokens,
            window=config.length_window,
            loss_group_size=config.loss_group_size,
        )
        settings = config.training.with_warmup(config.warmup_share, instances)
        model = self.backbone.model
        train(model, instances, model, settings, self.context, lambda: self._validate(view))
        self.save(folder)

    def _validate(self, view: TrainingView) -> ValidationMetrics:
        beam_size = self.config.validation_beam_size
        return view.validate(_Ranked(lambda requests: self.ranked(requests, beam_size)))

    def _joint_identifiers(self, view: TrainingView) -> JointIdentifiers:
        """Both identifiers of all items: an artifact, so that other training tasks share it."""
        config, context = self.config, self.context

        def build(folder: Path) -> None:
            vectors = self._semantic_vectors(view), self._collaborative_vectors(view)
            learned = learn_joint_identifiers(*vectors, config.identifiers, context)
            for kind, figures in learned.report.items():
                figures |= card(learned.of_kind(kind), view)
            learned.save(folder)

        determined_by = {
            "configuration": config.identifiers.model_dump(mode="json"),
            "bi_encoder": config.bi_encoder.model_dump(mode="json")
            if config.identifiers.mode == "bi_encoder"
            else None,
            "vectors": [config.collaborative_vectors, config.most_item_tokens],
            **self._surroundings(view),
            "code": [
                code_fingerprint(module)
                for module in (
                    learn_joint_identifiers.__module__,
                    joint_item_vectors.__module__,
                    card.__module__,
                )
            ],
        }
        return JointIdentifiers.load(
            context.artifacts.get("joint-identifiers", determined_by, build)
        )

    def _semantic_vectors(self, view: TrainingView) -> FloatArray:
        """(number_of_items, dim) vectors of the item texts."""
        config, files = self.config, self._text_encoder_files()
        pooling = "cls" if files.name in BGE else own_pooling(files)
        most = config.most_item_tokens
        if config.identifiers.mode == "bi_encoder":
            return joint_item_vectors(view, files, pooling, config.bi_encoder, most, self.context)
        encoder = pretrained_text_encoder(files, pooling, self.context.device)
        texts = view.corpus.items.text[1:]
        return np.array(text_vectors(self.context, encoder, texts, "", most))

    def _text_encoder_files(self) -> PretrainedFiles:
        return find_encoder(self.config.text_encoder, BGE[0])

    def _collaborative_vectors(self, view: TrainingView) -> FloatArray:
        """(number_of_items, dim) item vectors of the trained UniSAR; zeros if none are needed."""
        if self.config.identifiers.mode in ("semantic_only", "bi_encoder"):
            return np.zeros((view.corpus.number_of_items, 1), dtype=np.float32)
        fitted: Any = upstream(self.context, view, COLLABORATIVE_SYSTEM)
        source: _HasItemEmbeddings = fitted
        return source.item_embeddings(self.config.collaborative_vectors)[1:]

    def _pseudo_queries(self, view: TrainingView) -> PseudoQueries:
        if self.config.tasks.pseudo_query == 0:
            return PseudoQueries.none(view.corpus.number_of_items)
        return pseudo_queries(self.context, view, self.config.pseudo_queries)

    # -------------------------------------------------------------------------------- prompts

    def _identifier_texts(self) -> tuple[list[str], list[str]]:
        """The semantic and the collaborative identifiers of all items as text."""
        semantic, collaborative = self.identifiers.semantic, self.identifiers.collaborative
        shared = self.config.identifiers.number_of_shared_levels
        if shared == len(self.config.identifiers.sizes):
            shared = semantic.levels  # a level that only tells items apart is shared like the rest
        return (
            identifier_texts(semantic, code_names(shared, "semantic", semantic.levels)),
            identifier_texts(
                collaborative, code_names(shared, "collaborate", collaborative.levels)
            ),
        )

    def _make_prompts(
        self, corpus: Corpus, item_texts: Sequence[str] = (), queries: Sequence[str] = ()
    ) -> None:
        """Tokenise all pieces. Scoring needs neither item texts nor pseudo-queries."""
        config, tokenizer = self.config, self.backbone.tokenizer
        semantic, collaborative = self._identifier_texts()
        if config.swaps_identifiers:
            semantic, collaborative = collaborative, semantic
        texts = PieceTexts(
            collaborative=collaborative,
            semantic=semantic,
            queries=cut_texts(tokenizer, corpus.queries.text, config.most_query_tokens),
            item_texts=cut_texts(tokenizer, item_texts, config.most_item_tokens),
            pseudo_queries=cut_texts(tokenizer, queries, config.most_query_tokens),
        )
        self.prompts = Prompts(
            tokenizer,
            texts,
            config.prompts,
            marks_behaviour=config.marks_behaviour,
            history_of=config.history_of,
            recommendation_history=config.recommendation_history,
            search_history=config.search_history,
        )
        items = np.arange(corpus.number_of_items + 1)
        self._targets = {
            task: assembled_rows(self.prompts.tokens, pieces, self.prompts.end)
            for task, pieces in (
                ("recommendation", self.prompts.clicked(items)),
                ("search", self.prompts.found(items)),
            )
        }

    def prompt_pieces(self, requests: Requests, prompts: Prompts) -> LongArray:
        """The prompts of requests in the first wording, as piece numbers (requests, pieces)."""
        first = np.zeros(len(requests), dtype=np.int64)
        history = prompts.history(requests)
        if requests.task == "search":
            return prompts.search_prompt(history, prompts.asked(requests.query), first, first)
        return prompts.recommend.pieces(first, history)

    # -------------------------------------------------------------------------------- ranking

    def targets_of(self, task: str) -> LongArray:
        """The identifiers of all items for this task, each with its end."""
        return self._targets[task]

    def encoded(self, requests: Requests) -> Iterator[tuple[LongArray, EncodedPrompts]]:
        """Prompts in the first wording."""
        config = self.config
        prompts = self.prompts.with_queries(requests.new_queries, config.most_query_tokens)
        pieces = self.prompt_pieces(requests, prompts)
        return self.read(requests, prompts.tokens, pieces, config.most_tokens)

    # ---------------------------------------------------------------------------------- files

    def save(self, folder: Path) -> None:
        """Write the backbone and both identifiers."""
        super().save(folder)
        self.identifiers.save(folder / _IDENTIFIERS)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote, and tokenise what prompts are made of."""
        super().load(folder, corpus)
        self.identifiers = JointIdentifiers.load(folder / _IDENTIFIERS)
        self._make_prompts(corpus)

    # ----------------------------------------------------------------------------- what it is

    def identifier_quality(self) -> dict[str, dict[str, float]]:
        """Collisions and use of codes of both kinds of identifiers."""
        return self.identifiers.report

    def stand_ins(self) -> tuple[str, ...]:
        """What stands in for the pretrained T5, the sentence encoder and the query writer."""
        config = self.config
        encoder = self._text_encoder_files().stand_in(BGE)
        sentences = [config.backbone.stand_in(), encoder]
        if config.tasks.pseudo_query != 0:
            sentences.append(config.pseudo_queries.backbone.stand_in())
        return tuple(sentence for sentence in sentences if sentence)


class GenSARExactConfig(GenSARConfig):
    """The same with exact likelihoods."""

    scoring: Literal["beam", "exact"] = "exact"


class GenSARExact(GenSAR):
    """GenSAR's generator, each candidate ranked by the likelihood of its identifier."""

    Config = GenSARExactConfig
    config: GenSARExactConfig
