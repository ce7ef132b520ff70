"""How systems that write identifiers rank candidates, and the whole catalogue.

A list is ranked by a constrained beam or by exact likelihoods (``benchmark.kit.decoding.ranking``),
as the configuration's ``scoring`` says. The catalogue is ranked the same way: by a beam over the
tree of all identifiers, as wide as :class:`CatalogueRanking` says and never less than that of
lists, or exactly while the catalogue is small enough. Cut-offs deeper than the beam need a wider
one. The encoder runs once a request. Scores are log-probabilities in both views, so two items that
neither beam dropped stand in one order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from benchmark.data.dataset import LongArray
from benchmark.kit.decoding.levels import EncodedPrompts
from benchmark.kit.decoding.ranking import LengthRule, candidate_scores, catalogue_scores
from benchmark.kit.decoding.scoring_batches import batches_of
from benchmark.kit.decoding.trie import CatalogueTrie
from benchmark.kit.precision import autocast
from benchmark.kit.text.pieces import NO_TOKEN
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, System

Scoring = Literal["beam", "exact"]


class CatalogueRanking(BaseModel):
    """How the catalogue is ranked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    beam_size: int = Field(default=100, ge=1)
    """Identifiers that a beam over the catalogue returns, if the beam of lists is not wider."""
    exact_up_to: int = Field(default=20_000, ge=0)
    """With exact scoring, a catalogue of at most so many items is scored exactly, a larger one by
    the beam."""

    def beam_over(self, items: int, scoring: Scoring, beam_of_lists: int) -> int | None:
        """The beam that ranks so many items; None ranks them exactly."""
        if scoring == "exact" and items <= self.exact_up_to:
            return None
        return max(self.beam_size, beam_of_lists)


def ranking_by(beam_size: int | None) -> str:
    """How tables call it."""
    return "" if beam_size is None else f"a beam of {beam_size} identifiers"


def catalogue_of(targets: NDArray[np.integer]) -> CatalogueTrie:
    """The tree of identifiers (items + 1, tokens), without that of the padding item 0."""
    tokens = targets.copy()
    tokens[0] = NO_TOKEN
    return CatalogueTrie.of(tokens)


class _Settings(Protocol):
    """What the ``Config`` of these systems holds."""

    @property
    def scoring(self) -> Scoring: ...
    @property
    def beam_size(self) -> int: ...
    @property
    def catalogue(self) -> CatalogueRanking: ...


def beam_over(targets: NDArray[np.integer], settings: _Settings) -> int | None:
    """The beam that ranks all items of ``targets`` (items + 1, tokens); None ranks exactly."""
    ranking = settings.catalogue
    return ranking.beam_over(len(targets) - 1, settings.scoring, settings.beam_size)


class IdentifierSystem(System):
    """A language model that reads a request and writes the identifier of an item.

    Its ``Config`` has ``scoring``, ``beam_size``, ``catalogue``, a :class:`CatalogueRanking`, and
    ``scoring_batch_size``.
    """

    tasks: ClassVar[tuple[str, ...]]
    """The tasks that it ranks for."""

    config: Any

    _catalogues: dict[str, tuple[LongArray, CatalogueTrie]] | None = None

    @abstractmethod
    def writer(self) -> Any:
        """The network as the decoding engine reads it, in evaluation mode."""

    @abstractmethod
    def targets_of(self, task: str) -> LongArray:
        """(items + 1, tokens) the identifier of each item as it is written, padded with -1."""

    @abstractmethod
    def encoded(self, requests: Requests) -> Iterator[tuple[LongArray, EncodedPrompts]]:
        """Encoded prompts of batches of requests, each with its rows."""

    @property
    def length_rule(self) -> LengthRule:
        """How identifiers of different lengths compare."""
        return "sum"

    def score(self, requests: Requests) -> FloatArray:
        """The log-probability of each candidate's identifier; -inf for what the beam dropped."""
        config = self.config
        return self.ranked(requests, config.beam_size if config.scoring == "beam" else None)

    def ranked(self, requests: Requests, beam_size: int | None) -> FloatArray:
        """Scores (requests, candidates) by a beam of this size, or exactly if there is none."""
        scores = np.empty(requests.candidates.shape, dtype=np.float32)
        targets, writer = self.targets_of(requests.task), self.writer()
        with self._in_precision():
            for rows, encoded in self.encoded(requests):
                tokens = targets[requests.candidates[rows]]
                found = candidate_scores(writer, encoded, tokens, beam_size, self.length_rule)
                scores[rows] = found.cpu().numpy()
        return scores

    def score_all_items(self, requests: Requests) -> FloatArray:
        """The same of all items; -inf for what a beam over the catalogue did not reach."""
        targets, writer = self.targets_of(requests.task), self.writer()
        beam_size, catalogue = beam_over(targets, self.config), self._catalogue(requests.task)
        scores = np.empty((len(requests), len(targets)), dtype=np.float32)
        with self._in_precision():
            for rows, encoded in self.encoded(requests):
                found = catalogue_scores(writer, encoded, catalogue, beam_size, self.length_rule)
                scores[rows] = found.cpu().numpy()
        return scores

    def batches(self, requests: Requests, tokens: LongArray) -> Iterator[LongArray]:
        """Rows of requests whose prompts have so many ``tokens`` (requests,), in batches."""
        targets, config = self.targets_of(requests.task), self.config
        beam_size = beam_over(targets, config) or config.beam_size
        return batches_of(
            config.scoring_batch_size,
            tokens.astype(np.int64),
            self.writer(),
            nodes=max(requests.candidates.shape[1], beam_size),
            depth=targets.shape[1],
            codes=len(np.unique(targets)),
        )

    @contextmanager
    def _in_precision(self) -> Iterator[None]:
        """Encoder and decoder without gradients, in the run's precision."""
        context = self.context
        with torch.inference_mode(), autocast(context.precision, context.device):
            yield

    def ranking_of_all_items(self) -> str:
        """The beam, if there is one."""
        return ranking_by(beam_over(self.targets_of(self.tasks[0]), self.config))

    def _catalogue(self, task: str) -> CatalogueTrie:
        """The tree of all identifiers, made once for each array of them."""
        targets, kept = self.targets_of(task), dict(self._catalogues or {})
        if task not in kept or kept[task][0] is not targets:
            kept[task] = targets, catalogue_of(targets)
            self._catalogues = kept
        return kept[task][1]
