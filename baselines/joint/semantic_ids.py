"""Joint semantic IDs: a T5 for both tasks on identifiers of a bi-encoder that learned both.

Penha et al., "Semantic IDs for Joint Generative Search and Recommendation", RecSys 2025 (arXiv
2508.10478), its method called "multi-task"; the authors published no code. One sentence encoder is
fine-tuned on pairs of both tasks (``benchmark.kit.text.bi_encoder``): queries with the items that
were chosen, and items that users chose together. Its item vectors are quantised by residual
k-means, and one T5 writes the codes of an item, for a query or after a history of codes. Sharing an
encoder of both tasks is all that makes the identifiers joint; the generator is told the task by its
prompt.

What the paper says and is kept: all-mpnet-base-v2 and its loss with negatives of the batch, one
space of identifiers for both tasks, residual k-means rather than an RQ-VAE (which it reports as
failing), FLAN-T5-base fine-tuned on both tasks. What differs, or was not known to us, who have the
paper from its abstract and what others write of it: three levels of 256 codes, learning rates,
epochs, batches, histories and the beam are the suite's, and so are the wordings; the k-means is
scikit-learn's, level by level, where theirs is faiss's; items that share their codes get free ones;
only items can be generated. On small machines a T5 from scratch and the packaged MiniLM stand in,
and the tables say so. There being no numbers of the original, the tests compare pairs, loss, codes,
prompts and scores with plain ones written there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from baselines.generative_recommendation.base import PromptedCodes
from benchmark.data.dataset import BEHAVIOURS, LongArray
from benchmark.errors import SystemFailure
from benchmark.kit.decoding.identifier_system import CatalogueRanking
from benchmark.kit.decoding.levels import EncodedPrompts
from benchmark.kit.decoding.scoring_batches import ScoringBatchSize
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.learned import LearnedIdentifiers
from benchmark.kit.identifiers.names import code_tokens, identifier_texts
from benchmark.kit.identifiers.rqvae import RQVAEConfig, learn_identifiers
from benchmark.kit.language_models.prompt_instances import TokenPairs
from benchmark.kit.language_models.seq2seq import Backbone, BackboneSettings
from benchmark.kit.language_models.tokenizer import TextTokenizer, texts_of
from benchmark.kit.pretrained.finding import PUBLISHED, find_encoder
from benchmark.kit.text.bi_encoder import BiEncoderSettings, joint_item_vectors
from benchmark.kit.text.encoders import encoder_part, own_pooling
from benchmark.kit.text.pieces import NO_PIECE, assembled_rows, joined, stacked
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.text.wordings import column
from benchmark.kit.training import TrainingSettings, train
from benchmark.protocol.requests import Events, Requests
from benchmark.systems.contract import PretrainedPart, SystemConfig
from benchmark.systems.space import LEARNING_RATE, Real, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

MPNET = ("sentence-transformers/all-mpnet-base-v2",)
"""What the bi-encoder starts from."""

PromptStyle = Literal["instruction", "short"]


class JointSemanticIDsConfig(SystemConfig):
    """The paper's models; where it is not known to us, the suite's settings of such systems."""

    text_encoder: str = PUBLISHED
    """Which sentence encoder: "published" for all-mpnet-base-v2 and nothing else, "packaged"
    (MiniLM), "auto" for the former where it can be had and else the latter, a folder, or a hub
    name."""
    bi_encoder: BiEncoderSettings = BiEncoderSettings(reach=5)
    """How the sentence encoder is fine-tuned on both tasks."""
    identifiers: RQVAEConfig = RQVAEConfig(
        quantiser="rq-kmeans",
        sizes=(256, 256, 256),
        epsilons=(0.0, 0.0, 0.0),
        collisions="assignment",
    )
    """How item vectors become codes; what an RQ-VAE alone has is without effect."""
    backbone: BackboneSettings = BackboneSettings(hub_name="google/flan-t5-base")
    """FLAN-T5-base."""
    prompts: PromptStyle = "instruction"
    """Sentences, or a few tokens for small machines."""
    history_length: int = Field(default=5, ge=1)
    """The last recommendation events of a prompt."""
    most_item_tokens: int = Field(default=256, ge=1)
    """Tokens of an item text, or a query, that the bi-encoder reads."""
    most_query_tokens: int = Field(default=64, ge=1)
    """Tokens of a query that the T5 reads."""
    scoring: Literal["beam", "exact"] = "beam"
    """``beam``: constrained beam search; what it drops ranks last. ``exact``: every candidate's
    likelihood."""
    beam_size: int = Field(default=30, ge=1)
    """Prefixes that a beam search keeps."""
    catalogue: CatalogueRanking = CatalogueRanking()
    """How the whole catalogue is ranked."""
    scoring_batch_size: ScoringBatchSize = 32
    """Requests that are scored at once; "auto" for as many as fit into memory."""
    warmup_share: float = Field(default=0.01, ge=0, lt=1)
    """The part of all steps in which the learning rate rises, unless ``training.warmup_steps``."""
    training: TrainingSettings = TrainingSettings(
        epochs=20,
        batch_size=256,
        micro_batch_size="auto",
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.01,
        schedule="cosine",
        gradient_clip=1.0,
        patience=None,
    )
    """A batch counts events of either task; an epoch has every one of both."""

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.epochs": Whole(2, 32, log=True, is_budget=True),
        "bi_encoder.training.learning_rate": Real(1e-5, 1e-3, log=True),
        "history_length": Whole(2, 20),
    }

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The T5 and the sentence encoder."""
        return (self.backbone.part(), encoder_part(self.text_encoder, MPNET[0]))


# ---------------------------------------------------------------------------------------- prompts

LITERALS: dict[PromptStyle, tuple[str, str, str, str]] = {
    "instruction": (
        "A user chose these items, the oldest first:",
        "Write the item that the user chooses next.",
        "A user searches for this:",
        "Write the item that answers the search.",
    ),
    "short": ("", "", "find", ""),
}
"""What stands before and after a history, and before and after a query."""


class Prompts:
    """Literals, identifiers and queries, tokenised once; a prompt is a row of their numbers.

    ``tokens`` are the four literals, the identifiers of all items, and the queries.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        identifiers: Identifiers,
        queries: Sequence[str],
        style: PromptStyle,
        most_query_tokens: int,
    ) -> None:
        self.end = tokenizer.end
        literals = LITERALS[style]
        texts = identifier_texts(identifiers)
        self._first_item, self._first_query = len(literals), len(literals) + len(texts)
        self.tokens: Tokens = joined(
            [
                tokenizer(literals),
                tokenizer.marked(texts),
                tokenizer(queries, most_query_tokens),
            ]
        )

    def of_events(self, events: Events, history_length: int) -> LongArray:
        """What is read for recommendations or searches, (events, pieces), -1 for none.

        Args:
            events: of one task; queries beyond those of the corpus are in ``tokens`` too.
        """
        if events.task == "search":
            return self._between(2, column(self._first_query, events.query))
        items = events.history(history_length, "recommendation").items.astype(np.int64)
        return self._between(0, np.where(items > 0, self._first_item + items, NO_PIECE))

    def _between(self, before: int, middle: LongArray) -> LongArray:
        """``middle`` (events, pieces) between two literals."""
        sides = np.full((len(middle), 1), before, dtype=np.int64)
        return np.concatenate([sides, middle, sides + 1], axis=1)

    def items(self, items: LongArray) -> LongArray:
        """(items, 1) the pieces of their identifiers."""
        return column(self._first_item, items)

    def targets(self) -> LongArray:
        """(items + 1, tokens) the identifier of each item and the end, -1 after it."""
        every = np.arange(self._first_query - self._first_item)
        return assembled_rows(self.tokens, self.items(every), self.end)


def training_pairs(
    view: TrainingView, prompts: Prompts, config: JointSemanticIDsConfig
) -> TokenPairs:
    """Every training event of both tasks as a prompt and the identifier of its item.

    A recommendation without an item before it is none.

    Raises:
        SystemFailure: there are no events to learn from.
    """
    inputs, targets = [], []
    for task in BEHAVIOURS:
        events = view.examples(task)
        pieces = prompts.of_events(events, config.history_length)
        kept = (pieces[:, 1:-1] != NO_PIECE).any(axis=1)
        inputs.append(pieces[kept])
        targets.append(prompts.items(events.target[kept]))
    if not sum(len(part) for part in inputs):
        raise SystemFailure("there are neither searches nor histories to learn from.")
    return TokenPairs(prompts.tokens, stacked(inputs), np.concatenate(targets), prompts.end)


# -------------------------------------------------------------------------------------- the system


class JointSemanticIDs(PromptedCodes):
    """Identifiers of the jointly trained bi-encoder, and one T5 that writes them for both tasks."""

    Config = JointSemanticIDsConfig
    config: JointSemanticIDsConfig
    tasks = tuple(BEHAVIOURS)
    reads_query_texts = True

    prompts: Prompts

    def fit(self, view: TrainingView) -> None:
        """Fine-tune the bi-encoder, quantise its item vectors, then train the T5 on both tasks."""
        config = self.config
        self._make_identifiers(view)
        words = [*texts_of(view), *LITERALS[config.prompts]]
        added = code_tokens(identifier_texts(self.identifiers))
        self.backbone = Backbone.make(config.backbone, words, added, self.context)
        self.make_prompts(view.corpus)
        instances = training_pairs(view, self.prompts, config)
        settings = config.training.with_warmup(config.warmup_share, instances)
        model = self.backbone.model
        train(model, instances, model, settings, self.context, lambda: view.validate(self))

    def _make_identifiers(self, view: TrainingView) -> None:
        """An artifact, so that another generator on the same identifiers shares them."""
        config, context = self.config, self.context
        files = find_encoder(config.text_encoder, MPNET[0])
        self.encoder_stand_in = files.stand_in(MPNET, "the bi-encoder starts")

        def learn() -> LearnedIdentifiers:
            vectors = joint_item_vectors(
                view, files, own_pooling(files), config.bi_encoder, config.most_item_tokens, context
            )
            return learn_identifiers(vectors, config.identifiers, context)

        determined_by = {
            "view": view.fingerprint,
            "encoder": files.sha256,
            "most_item_tokens": config.most_item_tokens,
            "bi_encoder": config.bi_encoder.model_dump(mode="json"),
            "settings": config.identifiers.model_dump(mode="json"),
        }
        self.take_codes("identifiers", view, determined_by, learn)

    def make_prompts(self, corpus: Corpus) -> None:
        """Tokenise literals, identifiers and queries."""
        config, tokenizer = self.config, self.backbone.tokenizer
        self.prompts = Prompts(
            tokenizer,
            self.identifiers,
            corpus.queries.text,
            config.prompts,
            config.most_query_tokens,
        )
        self._targets = self.prompts.targets()

    def encoded(self, requests: Requests) -> Iterator[tuple[LongArray, EncodedPrompts]]:
        """Prompts of either task."""
        config, tokens = self.config, self.prompts.tokens
        if requests.new_queries:
            new = self.backbone.tokenizer(requests.new_queries, config.most_query_tokens)
            tokens = joined([tokens, new])
        pieces = self.prompts.of_events(requests, config.history_length)
        return self.read(requests, tokens, pieces)
