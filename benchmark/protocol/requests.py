"""What a system is asked and what it may look at: users, queries, histories and candidates.

There is no target here. A history holds only what the event may see, cut for many events at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, EventLog, IntArray, LongArray
from benchmark.protocol.histories import EventSet, History, Padding, history_windows


class Events:
    """Events of one task with what each may see. ``task`` is "recommendation" or "search"."""

    def __init__(
        self, task: str, log: EventLog, events: EventSet, query_texts: Sequence[str]
    ) -> None:
        self.task = task
        self._log = log
        self._events = events
        self._query_texts = query_texts

    def __len__(self) -> int:
        return len(self._events)

    @property
    def user(self) -> IntArray:
        """(events,) user ids; 0 for an unknown user."""
        return self._log.user[self._events.position]

    @property
    def query(self) -> IntArray:
        """(events,) query ids; 0 for recommendation."""
        return self._log.query[self._events.position]

    @property
    def query_texts(self) -> list[str]:
        """The text of each event's query, "" for recommendation."""
        return [self._query_texts[number] for number in self.query]

    @property
    def timestamp(self) -> LongArray:
        """(events,) when the event took place, in seconds since 1970."""
        return self._log.timestamp[self._events.position]

    def history(
        self, length: int, behaviour: str | None = None, padding: Padding = "left"
    ) -> History:
        """The last ``length`` visible events of each, oldest first: arrays (events, length).

        Args:
            behaviour: "recommendation", "search", or None for both merged in time.
            padding: the side on which short histories are padded.
        """
        kind = None if behaviour is None else BEHAVIOURS[behaviour]
        return history_windows(self._log, self.user, self._events, length, kind, padding)

    def history_sizes(self) -> tuple[IntArray, IntArray]:
        """How many recommendation and search events each may see (hidden ones counted)."""
        return self._events.seen_recommendation, self._events.seen_search


class TrainingExamples(Events):
    """Events to learn from: they have a target, and no candidates."""

    @property
    def target(self) -> IntArray:
        """(events,) the item of each event."""
        return self._log.item[self._events.position]

    @property
    def position(self) -> LongArray:
        """(events,) the row of each event in the training log."""
        return self._events.position

    @property
    def session(self) -> IntArray:
        """(events,) the search session of each event; 0 for recommendation."""
        return self._log.session[self._events.position]

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> TrainingExamples:
        """The examples at ``rows``."""
        return TrainingExamples(self.task, self._log, self._events.select(rows), self._query_texts)


class Requests(Events):
    """Events to score. ``candidates`` is (events, candidates) int32, columns in random order."""

    def __init__(
        self,
        task: str,
        log: EventLog,
        events: EventSet,
        query_texts: Sequence[str],
        candidates: IntArray,
    ) -> None:
        super().__init__(task, log, events, query_texts)
        self.candidates = candidates

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Requests:
        """The requests at ``rows``."""
        return Requests(
            self.task,
            self._log,
            self._events.select(rows),
            self._query_texts,
            self.candidates[rows],
        )

    def with_candidates(self, candidates: IntArray) -> Requests:
        """The same requests with other lists, (events, any number) int32."""
        return Requests(self.task, self._log, self._events, self._query_texts, candidates)

    def batches(self, size: int) -> Iterator[tuple[slice, Requests]]:
        """The requests in consecutive batches, each with its slice of rows."""
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            yield rows, self.select(rows)
