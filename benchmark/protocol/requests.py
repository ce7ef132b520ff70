"""What a system is asked and what it may look at: users, queries, histories and candidates.

There is no target here. A history holds only what the event may see, cut for many events at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, UNKNOWN_USER, EventLog, IntArray, LongArray
from benchmark.errors import BenchmarkError
from benchmark.files import columns_of, sha256_of_arrays
from benchmark.protocol.histories import EventSet, History, Padding, Rows, Sight
from benchmark.protocol.visible import Histories


class Events(ABC):
    """Events of one task with what each may see. ``task`` is "recommendation" or "search".

    ``new_queries`` are texts that the data set lacks, of queries that are asked now or stand in a
    history: their numbers follow those of the data set's queries. None, but where a trained system
    is in use.
    """

    def __init__(
        self,
        task: str,
        histories: Histories,
        query_texts: Sequence[str],
        new_queries: Sequence[str] = (),
    ) -> None:
        self.task = task
        self._histories = histories
        self._query_texts = query_texts
        self.new_queries = tuple(new_queries)

    def __len__(self) -> int:
        return len(self._histories.sight.user)

    @property
    @abstractmethod
    def user(self) -> IntArray:
        """(events,) user ids; 0 for a user of whom the training log holds no event."""

    @property
    @abstractmethod
    def query(self) -> IntArray:
        """(events,) query ids; 0 for recommendation."""

    @property
    @abstractmethod
    def timestamp(self) -> LongArray:
        """(events,) when the event took place, in seconds since 1970."""

    @property
    def query_texts(self) -> list[str]:
        """The text of each event's query, "" for recommendation."""
        known = len(self._query_texts)
        return [
            self._query_texts[number] if number < known else self.new_queries[number - known]
            for number in self.query.tolist()
        ]

    def history(
        self, length: int, behaviour: str | None = None, padding: Padding = "left"
    ) -> History:
        """The last ``length`` visible events of each, oldest first: arrays (events, length).

        Args:
            behaviour: "recommendation", "search", or None for both merged in time.
            padding: the side on which short histories are padded.
        """
        kind = None if behaviour is None else BEHAVIOURS[behaviour]
        return self._histories.windows(length, kind, padding)

    def history_sizes(self) -> tuple[IntArray, IntArray]:
        """How many recommendation and how many search events each may see."""
        return self._histories.sizes()


class TrainingExamples(Events):
    """Events to learn from: they have a target, and no candidates."""

    def __init__(
        self, task: str, log: EventLog, events: EventSet, query_texts: Sequence[str]
    ) -> None:
        super().__init__(task, Histories(log, Sight.of(log, events)), query_texts)
        self._log = log
        self._events = events

    @property
    def user(self) -> IntArray:
        """(events,) user ids."""
        return self._log.user[self._events.position]

    @property
    def query(self) -> IntArray:
        """(events,) query ids; 0 for recommendation."""
        return self._log.query[self._events.position]

    @property
    def timestamp(self) -> LongArray:
        """(events,) when the event took place, in seconds since 1970."""
        return self._log.timestamp[self._events.position]

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

    def select(self, rows: Rows) -> TrainingExamples:
        """The examples at ``rows``."""
        return TrainingExamples(self.task, self._log, self._events.select(rows), self._query_texts)


class Requests(Events):
    """Events to score. ``candidates`` is (events, candidates) int32, columns in random order.

    Where some events have shorter lists, theirs are filled up with items that they hold already.
    ``number_of_items`` says that the catalogue's ids are 1 … number_of_items.

    Requests keep copies of what they show and a log of the rows that some of them may see: neither
    the events themselves nor what came later are in it. :meth:`select` narrows that log further.

    Args:
        known_users: (users + 1,), which users the training log knows; all of them if absent.
        allowed: (log rows,), the rows that a history may hold at all; all of them if absent.
        number_of_items: of the catalogue; the largest item id of the log if absent.
        new_queries: see :class:`Events`.
        users: (events,), the data set's number of who asks; the log's own if absent.

    Raises:
        BenchmarkError: the log holds an item or a query that has no number, or a query has no text.
    """

    def __init__(
        self,
        task: str,
        log: EventLog,
        events: EventSet,
        query_texts: Sequence[str],
        candidates: IntArray,
        known_users: NDArray[np.bool_] | None = None,
        allowed: NDArray[np.bool_] | None = None,
        number_of_items: int | None = None,
        new_queries: Sequence[str] = (),
        users: IntArray | None = None,
    ) -> None:
        histories = Histories(log, Sight.of(log, events)).narrowed(allowed)
        super().__init__(task, histories, query_texts, new_queries)
        user = log.user[events.position] if users is None else users
        if known_users is not None:
            user = np.where(known_users[user], user, np.int32(UNKNOWN_USER))
        self._user: IntArray = user
        self._query: IntArray = log.query[events.position]
        self._timestamp: LongArray = log.timestamp[events.position]
        self.candidates = candidates
        self.number_of_items = (
            int(log.item.max(initial=0)) if number_of_items is None else number_of_items
        )
        _refuse_beyond("item", histories.log.item, self.number_of_items)
        texts = len(query_texts) + len(self.new_queries)
        for asked in (self._query, histories.log.query):
            _refuse_beyond("query", asked, texts - 1)

    @property
    def user(self) -> IntArray:
        """(events,) user ids; 0 for a user of whom the training log holds no event."""
        return np.array(self._user)

    @property
    def query(self) -> IntArray:
        """(events,) query ids; 0 for recommendation."""
        return np.array(self._query)

    @property
    def timestamp(self) -> LongArray:
        """(events,) when the event took place, in seconds since 1970."""
        return np.array(self._timestamp)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that the requests hold; texts of queries count by their numbers."""
        own: list[NDArray[Any]] = [self.user, self.query, self.timestamp, self.candidates]
        histories = self._histories
        return sha256_of_arrays([*own, *columns_of(histories.log), *columns_of(histories.sight)])

    def select(self, rows: Rows) -> Requests:
        """The requests at ``rows``."""
        chosen = copy(self)
        chosen._histories = self._histories.select(rows)
        # Copies, since a slice of an array leads to the whole one.
        chosen._user = self._user[rows].copy()
        chosen._query = self._query[rows].copy()
        chosen._timestamp = self._timestamp[rows].copy()
        chosen.candidates = self.candidates[rows].copy()
        return chosen

    def with_candidates(self, candidates: IntArray) -> Requests:
        """The same requests with other lists, (events, any number) int32."""
        changed = copy(self)
        changed.candidates = candidates
        return changed

    def without_candidates(self) -> Requests:
        """The same requests for the whole catalogue: ``candidates`` is (events, 0)."""
        return self.with_candidates(np.zeros((len(self), 0), dtype=np.int32))

    def batches(self, size: int) -> Iterator[tuple[slice, Requests]]:
        """The requests in consecutive batches, each with its slice of rows."""
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            yield rows, self.select(rows)


def _refuse_beyond(what: str, numbers: IntArray, largest: int) -> None:
    """Stop at a number that no ``what`` has; 0 is padding.

    Raises:
        BenchmarkError: a number is below 0 or above ``largest``.
    """
    wrong = numbers[(numbers < 0) | (numbers > largest)]
    if len(wrong):
        raise BenchmarkError(f"{what} {wrong[0]} does not exist: numbers are 0 to {largest}.")
