"""What ``fit`` may look at: the data set without held-out events, and validation as a black box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import (
    BEHAVIOURS,
    Dataset,
    EventLog,
    Items,
    LongArray,
    Queries,
    fingerprint_without_events,
)
from benchmark.files import columns_of, sha256_of_arrays, sha256_of_json
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.hard_negatives import evaluation_depth
from benchmark.protocol.histories import EventSet
from benchmark.protocol.metrics import mean_metrics
from benchmark.protocol.requests import Requests, TrainingExamples
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.protocol.training import rows_for_training, validation_rows
from benchmark.retrieval import BM25Engine, make_engine
from benchmark.systems.scores import checked_scores

VALIDATION_EVENTS = 10_000
"""Validation uses at most so many events of each task, the latest (the paper's number)."""

SELECTION_METRIC = "NDCG@5"

ValidationMetrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Corpus:
    """The texts and sizes of a data set, all but its events; ``fingerprint`` is a hash of these."""

    name: str
    items: Items
    queries: Queries
    number_of_users: int
    fingerprint: str

    @property
    def number_of_items(self) -> int:
        """Item ids are 1 … number_of_items; 0 is padding."""
        return len(self.items)

    @property
    def number_of_queries(self) -> int:
        """Query ids are 1 … number_of_queries; 0 is padding."""
        return len(self.queries)

    @classmethod
    def of(cls, dataset: Dataset) -> Corpus:
        """The corpus of a data set."""
        return cls(
            name=dataset.name,
            items=dataset.items,
            queries=dataset.queries,
            number_of_users=dataset.number_of_users,
            fingerprint=fingerprint_without_events(dataset),
        )


class Scorer(Protocol):
    """Anything that scores requests."""

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """See :meth:`benchmark.systems.contract.System.score`."""
        ...


class TrainingView:
    """The training log, the training examples of each task, and :meth:`validate`.

    ``log`` holds no held-out event and, unless the protocol says otherwise, nothing that a user did
    after the first one, nor (``twins: removed``) the twin of a held-out event. Examples of a
    task point into this log. Validation histories hold no test event and no purchase that a test
    search duplicates, in every protocol. So no test event stands in the view, but what is missing
    depends on which events are tested: ``log`` ends before a user's first held-out event, of
    validation or test; validation histories lack the purchase that a test search hides as its twin
    and, with ``twins: removed``, the other task's events of a test event's user and item; and
    validation lists take no account of these rows.

    ``evaluation_depth`` is the deepest BM25 rank that evaluation lists of searches may hold: the
    last one where they may hold any item; ``protocol`` says how lists are made.
    """

    def __init__(
        self, dataset: Dataset, tasks: Mapping[str, Task], settings: ProtocolSettings
    ) -> None:
        keep = rows_for_training(dataset.log, tasks, settings)
        self.corpus = Corpus.of(dataset)
        self.log = dataset.log.keep(keep)
        # Without the seed of the lists, which is no business of who is ranked by them.
        self.protocol = settings.model_copy(update={"seed": 0})
        self.evaluation_depth = (
            self.corpus.number_of_items
            if "search" in tasks and tasks["search"].has_outside_lists
            else evaluation_depth(settings, self.corpus.number_of_items)
        )
        self._engine = (settings.bm25_engine, settings.bm25_analyser)
        self._events = {
            name: _moved(dataset.log, self.log, keep, task.train) for name, task in tasks.items()
        }
        allowed = validation_rows(dataset.log, tasks, settings)
        self._validation = {name: _latest(dataset, task, allowed) for name, task in tasks.items()}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that determines the view; no test event is part of it."""
        validation = [
            [name, requests.fingerprint, sha256_of_arrays([lists.target_column, lists.lengths])]
            for name, (requests, lists) in self._validation.items()
        ]
        trained_on = columns_of(self.log)
        for events in self._events.values():
            trained_on += columns_of(events)
        return sha256_of_json(
            [
                self.corpus.fingerprint,
                self.protocol.model_dump(mode="json"),
                self.evaluation_depth,
                sha256_of_arrays(trained_on),
                validation,
            ]
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the data set: "recommendation", "search" or both."""
        return tuple(self._events)

    def examples(self, task: str) -> TrainingExamples:
        """The training examples of a task; none if the data set lacks the task."""
        events = self._events.get(task)
        if events is None:
            nothing = np.zeros(0, dtype=np.int64)
            short = nothing.astype(np.int32)
            events = EventSet(nothing, short, short, nothing)
        return TrainingExamples(task, self.log, events, self.corpus.queries.text)

    def search_engine(self) -> BM25Engine:
        """The BM25 engine of the evaluation lists, over the item texts; its ids are item ids."""
        engine, analyser = self._engine
        return make_engine(engine, self.corpus.items.text, analyser=analyser)

    def validate(
        self, system: Scorer, tasks: tuple[str, ...] | None = None, batch_size: int = 1024
    ) -> ValidationMetrics:
        """Metrics of ``system`` on the validation lists, the same for every system.

        Args:
            tasks: those to validate on; all of the data set if absent.

        Raises:
            SystemFailure: the scores have a wrong shape or are not finite.
        """
        metrics = {}
        for name in tasks if tasks is not None else self.tasks:
            if name not in self._validation:
                continue
            requests, lists = self._validation[name]
            scores = np.concatenate(
                [
                    checked_scores(system.score(batch), batch, type(system).__name__)
                    for _, batch in requests.batches(batch_size)
                ]
            )
            metrics[name] = mean_metrics(lists.ranks(scores))
        return metrics

    def validation_requests(self, task: str) -> Requests:
        """The validation requests themselves (no targets), for systems that prepare for them."""
        return self._validation[task][0]


def selection_score(metrics: ValidationMetrics) -> float:
    """What early stopping maximises: the mean over the tasks of validation NDCG@5."""
    return float(np.mean([values[SELECTION_METRIC] for values in metrics.values()]))


def _latest(
    dataset: Dataset, task: Task, allowed: NDArray[np.bool_]
) -> tuple[Requests, Candidates]:
    """The latest validation requests with histories of ``allowed`` rows, and their lists."""
    time = dataset.log.timestamp[task.valid.position]
    rows = np.sort(np.argsort(-time, kind="stable")[:VALIDATION_EVENTS])
    requests = task.requests(dataset, "valid", allowed).select(rows)
    return requests, task.valid_candidates.select(rows)


def _moved(old: EventLog, new: EventLog, keep: NDArray[np.bool_], events: EventSet) -> EventSet:
    """The events with positions and prefix lengths of the shorter log."""
    new_row = np.cumsum(keep) - 1
    user = old.user[events.position]

    def shorter(name: str, seen: NDArray[np.int32]) -> NDArray[np.int32]:
        index = old.index_of(BEHAVIOURS[name])
        kept = np.concatenate([[0], np.cumsum(keep[index.positions])]).astype(np.int32)
        start = index.offsets[user]
        fewer: NDArray[np.int32] = kept[start + seen] - kept[start]
        return fewer

    safe = np.maximum(events.hidden, 0)
    hidden: LongArray = (
        np.where((events.hidden >= 0) & keep[safe], new_row[safe], -1)
        if len(keep)
        else events.hidden
    )
    return EventSet(
        position=new_row[events.position].astype(np.int64),
        seen_recommendation=shorter("recommendation", events.seen_recommendation),
        seen_search=shorter("search", events.seen_search),
        hidden=hidden.astype(np.int64),
    )
