"""What query-to-identifier systems share: a T5 that reads a query and writes an item's identifier.

Neither user nor history is read, so each distinct query is encoded once and each pair of a query
and an item is decoded once (``benchmark.kit.decoding.query_ranking``). Candidates are ranked by a
beam search over their own identifiers, as the published systems rank a corpus, or exactly. Where
identifiers differ in length, the mean over their tokens ranks, end included: it is what the
originals' library does, and is one field of the configuration.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from baselines.encoders import BGE, bge_or_stand_in
from benchmark.data.dataset import IntArray, LongArray
from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.files import read_json, write_array, write_json
from benchmark.kit.decoding.identifier_system import CatalogueRanking, beam_over, ranking_by
from benchmark.kit.decoding.query_ranking import QueryRanking
from benchmark.kit.decoding.ranking import LengthRule
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.card import card
from benchmark.kit.language_models.pseudo_queries import (
    PseudoQueries,
    PseudoQuerySettings,
    pseudo_queries,
)
from benchmark.kit.language_models.seq2seq import Backbone, BackboneSettings
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.pretrained.finding import PUBLISHED
from benchmark.kit.text.encoders import encoder_part, text_vectors
from benchmark.kit.text.pieces import NO_TOKEN, assembled, assembled_rows, joined
from benchmark.kit.text.tokens import Tokens
from benchmark.protocol.requests import Requests, TrainingExamples
from benchmark.systems.contract import FloatArray, PretrainedPart, System, SystemConfig
from benchmark.systems.view import Corpus, TrainingView

TASK = "search"

RealPairs = Literal["distinct", "every_event", "none"]
"""The (query, item) pairs of the training log: once each, once an event, or not at all."""

_BACKBONE, _TARGETS, _FACTS = "backbone", "targets.npy", "identifiers.json"


class RetrievalConfig(SystemConfig):
    """Base of the ``Config`` of these systems."""

    backbone: BackboneSettings = BackboneSettings()
    """T5-small, where the originals have T5-base."""
    pseudo_queries: PseudoQuerySettings = PseudoQuerySettings()
    """The model that writes queries for items; shared by all systems with the same settings."""
    queries_per_item: int = Field(default=10, ge=0)
    """Of an item's written queries, the first so many are learned."""

    scoring: Literal["beam", "exact"] = "beam"
    """``beam``: constrained beam search; what it drops ranks last. ``exact``: every candidate's
    likelihood."""
    beam_size: int = Field(default=30, ge=1)
    length_rule: LengthRule = "mean"
    """How identifiers of different lengths compare."""
    catalogue: CatalogueRanking = CatalogueRanking()
    """How the whole catalogue is ranked."""
    pairs_at_once: int = Field(default=4096, ge=1)
    """Pairs of a query and an identifier that are decoded together."""

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The T5, and the writer of pseudo-queries where they are learned."""
        own = (self.backbone.part(),)
        return (*own, self.pseudo_queries.backbone.part()) if self.queries_per_item else own


class VectorRetrievalConfig(RetrievalConfig):
    """Base of the ``Config`` of those whose identifiers come from item vectors."""

    encoder: str = PUBLISHED
    """Which sentence encoder: "published" for BGE and nothing else, "packaged" (MiniLM), "auto" for
    the former where it can be had and else the latter, a folder, or a hub name."""
    most_item_tokens: int = Field(default=256, ge=1)
    """Tokens of an item text that the sentence encoder reads."""

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """Those of all these systems, and the sentence encoder."""
        return (*super().pretrained_parts(), encoder_part(self.encoder, BGE[0]))


class QueryToIdentifier(System):
    """A backbone and the identifiers of all items as its tokens.

    After ``fit`` or ``load`` there are ``backbone`` and ``targets`` (number_of_items + 1, tokens),
    what the model is to write for each item, padded with -1.
    """

    config: Any
    reads_query_texts = True

    backbone: Backbone
    targets: LongArray
    encoder_stand_in: str = ""
    card_figures: Mapping[str, float] = MappingProxyType({})
    _ranking: QueryRanking | None = None

    # ------------------------------------------------------------------------------- learning

    def training_searches(self, view: TrainingView) -> TrainingExamples:
        """The searches of the training log.

        Raises:
            SystemFailure: there are none.
        """
        examples = view.examples(TASK)
        if not len(examples):
            raise SystemFailure("there are no search events to learn from.")
        return examples

    def written_queries(self, view: TrainingView) -> PseudoQueries:
        """The pseudo-queries of all items; none if none are learned."""
        if self.config.queries_per_item == 0:
            return PseudoQueries.none(view.corpus.number_of_items)
        return pseudo_queries(self.context, view, self.config.pseudo_queries)

    def all_pairs(
        self, view: TrainingView, queries: PseudoQueries
    ) -> tuple[Tokens, LongArray, LongArray]:
        """Queries of the training log, then written ones, with the items that answer them.

        Returns:
            Tokens of queries; which of them is asked, and for which item, (pairs,) each.
        """
        config, searches, real = self.config, view.examples(TASK), view.corpus.queries.text
        asked, clicked = real_pairs(searches.query, searches.target, config.real_pairs)
        written, about = written_pairs(queries, config.queries_per_item)
        tokens = joined([self.query_tokens(real), self.query_tokens(queries.texts)])
        row = np.concatenate([asked, len(real) + written])
        return tokens, row, np.concatenate([clicked, about])

    def item_vectors(self, corpus: Corpus) -> FloatArray:
        """(number_of_items, dim) vectors of the item texts, of length one.

        The configuration is a :class:`VectorRetrievalConfig`.
        """
        encoder, self.encoder_stand_in = bge_or_stand_in(
            self.config.encoder, "item identifiers are made", self.context
        )
        most = self.config.most_item_tokens
        vectors = text_vectors(self.context, encoder, corpus.items.text[1:], "", most)
        return np.array(vectors)

    def note_prefixes(self, view: TrainingView) -> None:
        """Keep what the training log says of the identifiers, for :meth:`identifier_quality`."""
        self.card_figures = card(self.identifiers(), view)

    def validated(self, view: TrainingView) -> Any:
        """The validation metrics of the model as it is now."""
        self._ranking = None
        return view.validate(self, (TASK,))

    # -------------------------------------------------------------------------------- ranking

    @abstractmethod
    def query_tokens(self, queries: Sequence[str]) -> Tokens:
        """The tokens of query texts, without their end."""

    def make_inputs(self, corpus: Corpus) -> None:
        """Tokenise the queries; called when ``backbone`` and ``targets`` are there."""
        self._queries = self.query_tokens(corpus.queries.text)
        self._ranking = None

    def _inputs(self, queries: Tokens, query: LongArray) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = assembled(queries, query[:, None], self.backbone.tokenizer.end)
        return ids.to(self.context.device), mask.to(self.context.device)

    def writer(self) -> Any:
        """The model that writes identifiers, as :class:`QueryRanking` reads it."""
        return self.backbone.writer()

    def score(self, requests: Requests) -> FloatArray:
        """Log-probabilities of the candidates' identifiers; -inf for what the beam dropped."""
        with self._ranking_of(requests) as ranking:
            return ranking.score(requests.query, requests.candidates)

    def score_all_items(self, requests: Requests) -> FloatArray:
        """The same of all items; -inf for what a beam over the catalogue did not reach."""
        with self._ranking_of(requests) as ranking:
            return ranking.score_all(requests.query, beam_over(self.targets, self.config))

    def ranking_of_all_items(self) -> str:
        """The beam, if there is one."""
        return ranking_by(beam_over(self.targets, self.config))

    @contextmanager
    def _ranking_of(self, requests: Requests) -> Iterator[QueryRanking]:
        """The ranking, which reads the new queries of the requests too as long as this lasts."""
        ranking = self._made_ranking()
        if not requests.new_queries:
            yield ranking
            return
        known = ranking.inputs
        queries = joined([self._queries, self.query_tokens(requests.new_queries)])
        ranking.inputs = partial(self._inputs, queries)
        try:
            yield ranking
        finally:  # the next requests may have other texts of these numbers
            ranking.inputs = known
            ranking.forget_from(len(self._queries))

    def _made_ranking(self) -> QueryRanking:
        """The ranking by the model as it is, with what it knows already."""
        self.backbone.model.eval()
        if self._ranking is None:
            config = self.config
            self._ranking = QueryRanking(
                self.writer(),
                partial(self._inputs, self._queries),
                self.targets,
                beam_size=config.beam_size if config.scoring == "beam" else None,
                length_rule=config.length_rule,
                pairs_at_once=config.pairs_at_once,
                precision=self.context.precision,
            )
        return self._ranking

    # ---------------------------------------------------------------------------------- files

    def save(self, folder: Path) -> None:
        """Write the backbone and the identifiers."""
        self.backbone.save(folder / _BACKBONE)
        write_array(folder / _TARGETS, self.targets)
        facts = {"encoder_stand_in": self.encoder_stand_in, "card": dict(self.card_figures)}
        write_json(folder / _FACTS, facts)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote; identifiers are not made again."""
        self.backbone = Backbone.load(folder / _BACKBONE, self.context.device)
        try:
            self.targets = np.load(folder / _TARGETS, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BenchmarkError(f"{folder / _TARGETS}: is not readable ({error}).") from None
        facts = read_json(folder / _FACTS)
        self.encoder_stand_in, self.card_figures = facts["encoder_stand_in"], facts["card"]
        self.make_inputs(corpus)

    # ----------------------------------------------------------------------------- what it is

    def identifiers(self) -> Identifiers:
        """The identifiers whose codes are the tokens that occur at each level."""
        return identifiers_of_tokens(self.targets, self.backbone.tokenizer.end)

    def identifier_quality(self) -> dict[str, dict[str, float]]:
        """Distinctness of the identifiers, use of tokens by level, and what prefixes stand for."""
        return {self.config.docid: {**self.identifiers().report().as_json(), **self.card_figures}}

    def number_of_parameters(self) -> int:
        """Weights of the T5."""
        return sum(weight.numel() for weight in self.backbone.model.parameters())

    def stand_ins(self) -> tuple[str, ...]:
        """What stands in for the T5, the writer of queries and the sentence encoder."""
        sentences = [self.config.backbone.stand_in(), self.encoder_stand_in]
        if self.config.queries_per_item:
            written_by = self.config.pseudo_queries.backbone.stand_in()
            sentences.append(f"Pseudo-queries: {written_by}" if written_by else "")
        return tuple(sentence for sentence in sentences if sentence)


# ------------------------------------------------------------------------------------- identifiers


def identifier_tokens(identifiers: Identifiers) -> list[str]:
    """A token for each code of each level."""
    return [
        f"<{level}_{code}>"
        for level, size in enumerate(identifiers.sizes, start=1)
        for code in range(size)
    ]


def targets_of_codes(
    identifiers: Identifiers, tokenizer: TextTokenizer, end: int | None = None
) -> LongArray:
    """(number_of_items + 1, tokens) identifiers as token ids, -1 padded; row 0 has none.

    Args:
        tokenizer: has the tokens of :func:`identifier_tokens`.
        end: what closes each identifier, if anything.
    """
    ids = tokenizer.marked(identifier_tokens(identifiers)).ids.astype(np.int64)
    first_of_level = np.cumsum([0, *identifiers.sizes])[:-1]
    codes = identifiers.codes.astype(np.int64)
    place = np.where(codes >= 0, codes + first_of_level, 0)
    targets = np.where(codes >= 0, ids[place], NO_TOKEN)
    if end is None:
        return targets
    closed = np.pad(targets, ((0, 0), (0, 1)), constant_values=NO_TOKEN)
    rows = np.arange(1, len(closed))
    closed[rows, identifiers.lengths[1:]] = end
    return closed


def targets_of_texts(tokens: Tokens, end: int) -> LongArray:
    """The same of texts of the items 1, 2, …."""
    rows = assembled_rows(tokens, np.arange(len(tokens))[:, None], end)
    return np.concatenate([np.full((1, rows.shape[1]), NO_TOKEN), rows])


def identifiers_of_tokens(targets: NDArray[np.integer], end: int) -> Identifiers:
    """Identifiers whose codes are the tokens that occur at each level, without the end."""
    codes = np.full(targets.shape, NO_TOKEN, dtype=np.int32)
    sizes = []
    for level, column in enumerate(targets.T):
        is_code = (column != NO_TOKEN) & (column != end)
        occurring, code = np.unique(column[is_code], return_inverse=True)
        codes[is_code, level] = code
        sizes.append(len(occurring))
    levels = sum(size > 0 for size in sizes)
    return Identifiers(codes[:, :levels], tuple(sizes[:levels]))


# ------------------------------------------------------------------------------------------- pairs


def written_pairs(queries: PseudoQueries, most: int) -> tuple[LongArray, LongArray]:
    """The first ``most`` queries of every item, as places in ``queries.texts``, and the items."""
    counts = np.minimum(queries.counts, most)
    items = np.repeat(np.arange(len(counts)), counts)
    inner = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)
    return queries.numbers[queries.offsets[items] + inner].astype(np.int64), items


def real_pairs(query: IntArray, item: IntArray, which: RealPairs) -> tuple[LongArray, LongArray]:
    """Queries and items of training searches (events,), as ``which`` says."""
    pairs = np.stack([query, item], axis=1).astype(np.int64)
    if which == "none":
        pairs = pairs[:0]
    elif which == "distinct":
        pairs = np.unique(pairs, axis=0)
    return pairs[:, 0], pairs[:, 1]
