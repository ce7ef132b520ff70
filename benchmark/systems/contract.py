"""The contract between harness and system: ``fit`` on a training view, ``score`` requests.

A system never sees the target of a request, nor, while it is fitted and selected, a test event:
neither is in what it is handed, private attributes included. A held-out event stands only in the
histories of requests for what came after it. The promise is about what a system is handed: it does
not stop one that walks the interpreter's own objects (the lists of the garbage collector, the
frames of its callers) or reads the data set's files from disk. Systems run in the process that
holds the targets, so read the code of those that you do not trust. Of other systems a system sees
those that its row of the catalogue declares. To add one, subclass :class:`System`, give it a
``Config`` whose defaults are the paper's values, and add a row to the catalogue.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from benchmark.data.dataset import IntArray
from benchmark.errors import BenchmarkError, quoted
from benchmark.overrides import merged
from benchmark.protocol.all_items import admitted, best_items, blocks, scores_in_blocks
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.requests import Requests
from benchmark.randomness import stable_random
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.precisions import SINGLE_PRECISION
from benchmark.systems.scores import checked_scores_of_all
from benchmark.systems.space import SearchSpace
from benchmark.systems.view import Corpus, TrainingView, ValidationMetrics

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class PretrainedPart:
    """A pretrained model that a configuration asks for.

    ``find`` returns its files, downloading them if need be, or raises ``BenchmarkError`` with the
    reason why they cannot be had; a part that something may stand in for always has files.
    """

    name: str
    find: Callable[[], object]


class SystemConfig(BaseModel):
    """Base of every system's ``Config``: typed, frozen, and strict about unknown keys.

    A mapping given for a part, such as ``training``, changes that part's defaults in this system;
    what it does not name stays, in parts of parts too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    search_space: ClassVar[SearchSpace] = {}
    """What ``python -m benchmark.tune`` may choose; empty where there is nothing to train."""

    @model_validator(mode="before")
    @classmethod
    def _parts_keep_their_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        parts = {
            name: merged(field.default.model_dump(), values[name])
            for name, field in cls.model_fields.items()
            if isinstance(field.default, BaseModel) and isinstance(values.get(name), Mapping)
        }
        return {**values, **parts}

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The pretrained models that a run needs; they are found before its first job starts."""
        return ()


@dataclass(frozen=True)
class RunContext:
    """Where and how a system runs. ``folder`` is the system's own place for checkpoints.

    ``code`` is a hash of the system's code, for artifacts that hold something trained; ``upstream``
    holds the configurations of the systems that it builds on, by name. ``identity`` is that of the
    job whose checkpoints ``folder`` holds.
    """

    seed: int
    folder: Path
    artifacts: ArtifactStore
    device: str = "cpu"
    precision: str = SINGLE_PRECISION  # one of PRECISIONS
    threads: int = 2
    trackers: tuple[str, ...] = ()  # accelerate's names, such as "tensorboard"
    code: str = ""
    identity: str = ""
    upstream: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("benchmark"))
    progress: Callable[[str], None] = lambda message: None  # one short line of what goes on
    # Told of each validation by the suite's one metric; what it raises ends the training.
    validated: Callable[[ValidationMetrics], None] = lambda metrics: None

    def random(self, *purpose: str | int) -> np.random.Generator:
        """A generator that depends on the seed and the purpose only, not on what ran before."""
        return stable_random(self.seed, *purpose)


class System(ABC):
    """One ranked system. Subclasses set ``Config`` and implement what is abstract.

    They may override :meth:`score_all_items`, to rank the whole catalogue faster than list by list.
    """

    Config: ClassVar[type[SystemConfig]] = SystemConfig

    reads_query_texts: ClassVar[bool] = False
    """Whether a query counts by its text, so that one that the data set lacks can be asked too
    (``requests.new_queries``). :meth:`recommend` hands such requests to no other system."""

    def __init__(self, config: Any, context: RunContext) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    def fit(self, view: TrainingView) -> None:
        """Learn from the training view; goes on from a checkpoint in ``context.folder``."""

    @abstractmethod
    def score(self, requests: Requests) -> FloatArray:
        """Score every candidate, higher is better.

        Returns:
            (requests, candidates) float32. Finite, or -inf for a candidate that a beam pruned. A
            score may depend on a candidate and on its list as a set, never on its column.
        """

    def score_all_items(self, requests: Requests) -> FloatArray:
        """Score the whole catalogue, higher is better; here by :meth:`score`, block by block.

        Args:
            requests: without candidates.

        Returns:
            (requests, items + 1) float32, column ``i`` the score of item ``i``, column 0 nobody's.
            Finite, or -inf for an item that a beam did not reach. Two items that are not pruned
            stand in the same order as in a list that holds both.
        """
        return scores_in_blocks(self.score, requests)

    def ranking_of_all_items(self) -> str:
        """How :meth:`score_all_items` goes about it, if it may leave items out: a noun phrase.

        A table says so beside the share of targets that were left out, for instance "a beam of 100
        identifiers"; "" for a system that scores every item.
        """
        return ""

    def recommend(
        self, requests: Requests, k: int, barred: Exclusions | None = None
    ) -> tuple[IntArray, FloatArray]:
        """The ``k`` best items of the catalogue for each request, best first; equal ones by id.

        Args:
            requests: their candidates are not looked at.
            k: how many, at least 1; all items if there are fewer.
            barred: rows are the requests; items that are not recommended. None if absent.

        Returns:
            Item ids int32 and their scores float32, both (requests, k); 0 and -inf where nothing
            is left.

        Raises:
            BenchmarkError: ``k`` is below 1, or there are new queries, which this system cannot
                read.
            SystemFailure: :meth:`score_all_items` gives no such scores.
        """
        if k < 1:
            raise BenchmarkError(f"{k} items cannot be recommended; allowed are 1 and more.")
        self.refuse_unreadable(requests)
        nothing = Exclusions(np.zeros(0, dtype=np.int64), requests.number_of_items)
        found = [
            best_items(
                admitted(
                    checked_scores_of_all(self.score_all_items(batch), batch, type(self).__name__),
                    (barred or nothing).among(np.arange(rows.start, rows.stop)),
                ),
                k,
            )
            for rows, batch in blocks(requests)
        ]
        if not found:
            shape = 0, min(k, requests.number_of_items)
            return np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.float32)
        items, scores = zip(*found, strict=True)
        return np.concatenate(items), np.concatenate(scores)

    def refuse_unreadable(self, requests: Requests) -> None:
        """Stop before a query that this system cannot read.

        Raises:
            BenchmarkError: there is one.
        """
        if requests.new_queries and not self.reads_query_texts:
            raise BenchmarkError(
                f"{type(self).__name__} does not read the texts of queries, so it cannot answer "
                f"{quoted(requests.new_queries[0])}, which its data set lacks."
            )

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what ``load`` needs into the empty ``folder``; no pickle."""

    @abstractmethod
    def load(self, folder: Path, corpus: Corpus) -> None:
        """Restore what ``save`` wrote; scores are then equal to the bit."""

    def number_of_parameters(self) -> int:
        """Trained parameters, for the efficiency table."""
        return 0

    def identifier_quality(self) -> dict[str, dict[str, float]]:
        """For each kind of item identifier that the system made, figures by name; none by default.

        A table shows ``items``, ``distinct`` (identifiers), ``sharing`` (the share of items whose
        identifier another item has too), ``sharing_before`` (collisions were resolved),
        ``codebook_use_<level>`` (the share of a level's codes in use) and ``mean_length``; a second
        one ``entropy_<level>``, ``variance_explained_<level>``, ``alignment_<level>``,
        ``fan_out_<level>``, ``tail_items`` and ``tail_backed``, as they are described in
        :mod:`benchmark.kit.identifiers.card`.
        """
        return {}

    def stand_ins(self) -> tuple[str, ...]:
        """Sentences on what stands in for an original part (shown in every table), or none."""
        return ()
