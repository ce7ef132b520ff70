"""Requests of a trained system in use: anybody's history, and queries by their text.

Test requests stand in the data set's log. These are made of what somebody asks now: a user of the
data set or nobody that it knows, the log's history of that user or any other one, and a query text,
known or new. Texts that the data set lacks become :attr:`Requests.new_queries`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import (
    RECOMMENDATION,
    SEARCH,
    UNKNOWN_USER,
    Dataset,
    EventLog,
)
from benchmark.errors import BenchmarkError, quoted
from benchmark.protocol.histories import EventSet
from benchmark.protocol.requests import Requests

NumberOfQuery = Callable[[str, bool], int]
"""The number of a text, and whether it is asked now rather than part of the past."""


@dataclass(frozen=True)
class Past:
    """Somebody's events, oldest first; equal lengths.

    ``items`` are item ids, ``queries`` the text of the search that led to each, "" for none, and
    ``timestamps`` seconds since 1970, not falling.
    """

    items: Sequence[int]
    queries: Sequence[str]
    timestamps: Sequence[int]


@dataclass(frozen=True)
class Question:
    """What somebody is recommended, or finds by ``query`` ("" for a recommendation).

    ``user`` is the data set's number of who asks, 0 for somebody it does not know; ``time`` is
    when, in seconds since 1970, not before the past ends; :attr:`Questions.now` if absent.
    """

    past: Past
    user: int = UNKNOWN_USER
    query: str = ""
    time: int | None = None


class Questions:
    """Makes requests about one data set.

    Args:
        dataset: the data.
        known_users: (users + 1,), which users the training log knows: see
            :func:`benchmark.protocol.task.known_users`.
    """

    def __init__(self, dataset: Dataset, known_users: NDArray[np.bool_]) -> None:
        self.dataset = dataset
        self._known_users = known_users

    @cached_property
    def _number_of_query(self) -> dict[str, int]:
        return {text: number for number, text in enumerate(self.dataset.queries.text)}

    @cached_property
    def now(self) -> int:
        """The second after the last event of the log: when questions are asked."""
        return int(self.dataset.log.timestamp.max(initial=0)) + 1

    def past_of(self, user: int) -> Past:
        """All events of a user in the log.

        Raises:
            BenchmarkError: the data set has no such user.
        """
        self._refuse_unknown_users([user])
        log, texts = self.dataset.log, self.dataset.queries.text
        rows = slice(log.offsets[user], log.offsets[user + 1])
        queries = [texts[number] for number in log.query[rows].tolist()]
        return Past(log.item[rows].tolist(), queries, log.timestamp[rows].tolist())

    def past_without_times(self, items: Sequence[int], queries: Sequence[str]) -> Past:
        """Events one second after another, the last one now."""
        first = self.now - len(items)
        return Past(items, queries, range(first, self.now))

    def requests(
        self, task: str, questions: Sequence[Question], reads_query_texts: bool
    ) -> Requests:
        """The requests of some questions of one task, without candidates.

        Args:
            task: "recommendation" or "search".
            questions: those of search have a query.
            reads_query_texts: whether who answers does. To others searches of the past by a new
                text are searches without one.

        Raises:
            BenchmarkError: a question names a user or item that the data set lacks; or a search has
                no query text.
        """
        self._refuse_unknown_users(question.user for question in questions)
        new: dict[str, int] = {}

        def number_of(text: str, is_asked: bool) -> int:
            found = self._number_of_query.get(text)
            if found is None and not reads_query_texts and not is_asked:
                return 0
            first = len(self.dataset.queries.text)
            return new.setdefault(text, first + len(new)) if found is None else found

        log = _log_of(questions, task, self.now, number_of)
        position = log.offsets[2:] - 1  # the last row of each user is what is asked now
        seen_recommendation, seen_search = (
            log.index_of(behaviour).seen_before(log, position)
            for behaviour in (RECOMMENDATION, SEARCH)
        )
        nothing = np.full(len(position), -1, dtype=np.int64)
        users = np.array([question.user for question in questions], dtype=np.int32)
        return Requests(
            task,
            log,
            EventSet(position, seen_recommendation, seen_search, hidden=nothing),
            self.dataset.queries.text,
            np.zeros((len(questions), 0), dtype=np.int32),
            self._known_users,
            number_of_items=self.dataset.number_of_items,
            new_queries=tuple(new),
            users=users,
        )

    def _refuse_unknown_users(self, users: Iterable[int]) -> None:
        for user in users:
            if not 0 <= user <= self.dataset.number_of_users:
                raise BenchmarkError(
                    f"user {user} does not exist: numbers are 0 to {self.dataset.number_of_users}."
                )


def _log_of(
    questions: Sequence[Question], task: str, now: int, number_of: NumberOfQuery
) -> EventLog:
    """A log with a user for each question: the past, then a row for what is asked."""
    behaviour = SEARCH if task == "search" else RECOMMENDATION
    users: list[int] = []
    columns: list[tuple[int, int, int, int]] = []  # item, query, behaviour, timestamp
    for user, question in enumerate(questions, start=1):
        if task == "search" and not question.query.strip():
            raise BenchmarkError(f"a search needs a query text, not {quoted(question.query)}.")
        past = question.past
        for item, text, time in zip(past.items, past.queries, past.timestamps, strict=True):
            kind = SEARCH if text else RECOMMENDATION
            columns.append((item, number_of(text, False) if text else 0, kind, time))
        asked = number_of(question.query, True) if behaviour == SEARCH else 0
        when = now if question.time is None else question.time
        columns.append((0, asked, behaviour, when))
        users += [user] * (len(past.items) + 1)
    table = np.array(columns, dtype=np.int64).reshape(-1, 4)
    is_search = table[:, 2] == SEARCH
    return EventLog.from_columns(
        user=np.array(users, dtype=np.int32),
        item=table[:, 0],
        query=table[:, 1],
        behaviour=table[:, 2],
        timestamp=table[:, 3],
        session=np.where(is_search, np.arange(1, len(table) + 1), 0),  # each a search of its own
        number_of_users=len(questions),
    )
