"""The data set as values: items, queries, users and one merged, time-ordered event log.

Ids are dense int32. Item 0 and query 0 are padding; user 0 is the unknown user, who has no events.
Search and recommendation events stand in one log, so a history is a slice of it and never a copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.hashing import HashArray, text_keys

RECOMMENDATION = 0
SEARCH = 1
BEHAVIOURS = {"recommendation": RECOMMENDATION, "search": SEARCH}

PADDING_ITEM = 0
PADDING_QUERY = 0
UNKNOWN_USER = 0

IntArray = NDArray[np.int32]
LongArray = NDArray[np.int64]


@dataclass(frozen=True)
class EventLog:
    """All events, sorted by user, then time, then the recipe's rule for ties.

    Every column has shape (events,). ``offsets`` has shape (users + 2,): the events of user ``u``
    (1 … users; 0 is the unknown user) are the rows ``offsets[u]:offsets[u + 1]``.
    """

    user: IntArray
    item: IntArray
    query: IntArray  # 0 for a recommendation event
    behaviour: NDArray[np.int8]  # RECOMMENDATION or SEARCH
    timestamp: LongArray  # seconds since 1970, UTC
    session: IntArray  # the events of one search share a number; 0 for a recommendation event
    offsets: LongArray

    def __len__(self) -> int:
        return len(self.user)

    @property
    def number_of_users(self) -> int:
        """Users with an id of their own, that is without the unknown user 0."""
        return len(self.offsets) - 2

    @classmethod
    def from_columns(
        cls,
        *,
        user: NDArray[Any],
        item: NDArray[Any],
        query: NDArray[Any],
        behaviour: NDArray[Any],
        timestamp: NDArray[Any],
        session: NDArray[Any],
        number_of_users: int,
    ) -> EventLog:
        """Build a log from columns that are in log order already."""
        counts = np.bincount(np.asarray(user, dtype=np.int64), minlength=number_of_users + 1)
        return cls(
            user=np.asarray(user, dtype=np.int32),
            item=np.asarray(item, dtype=np.int32),
            query=np.asarray(query, dtype=np.int32),
            behaviour=np.asarray(behaviour, dtype=np.int8),
            timestamp=np.asarray(timestamp, dtype=np.int64),
            session=np.asarray(session, dtype=np.int32),
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )

    def keep(self, mask: NDArray[np.bool_]) -> EventLog:
        """The log with only the events where ``mask`` (events,) is true; user ids stay."""
        return EventLog.from_columns(
            user=self.user[mask],
            item=self.item[mask],
            query=self.query[mask],
            behaviour=self.behaviour[mask],
            timestamp=self.timestamp[mask],
            session=self.session[mask],
            number_of_users=self.number_of_users,
        )

    @cached_property
    def recommendation(self) -> BehaviourIndex:
        """Where the recommendation events stand."""
        return BehaviourIndex.of(self, RECOMMENDATION)

    @cached_property
    def search(self) -> BehaviourIndex:
        """Where the search events stand."""
        return BehaviourIndex.of(self, SEARCH)

    def index_of(self, behaviour: int) -> BehaviourIndex:
        """:attr:`recommendation` or :attr:`search`, by number."""
        return self.recommendation if behaviour == RECOMMENDATION else self.search


@dataclass(frozen=True)
class BehaviourIndex:
    """The log positions of one behaviour's events, user by user, in log order.

    ``positions`` has shape (events of the behaviour,), ``offsets`` (users + 2,) as in the log.
    ``count_before[p]`` (events + 1,) is the number of such events among the log rows before ``p``.
    """

    positions: LongArray
    offsets: LongArray
    count_before: LongArray

    @classmethod
    def of(cls, log: EventLog, behaviour: int) -> BehaviourIndex:
        """Index the events of ``behaviour`` in ``log``."""
        is_of_behaviour = log.behaviour == behaviour
        count_before = np.concatenate([[0], np.cumsum(is_of_behaviour)]).astype(np.int64)
        return cls(
            positions=np.flatnonzero(is_of_behaviour),
            offsets=count_before[log.offsets],
            count_before=count_before,
        )

    def seen_before(self, log: EventLog, position: LongArray) -> IntArray:
        """How many events of this behaviour the user of each log position had before it."""
        start = self.offsets[log.user[position]]
        return (self.count_before[position] - start).astype(np.int32)


@dataclass(frozen=True)
class Items:
    """The catalogue; every sequence has one entry an item id, entry 0 is the padding item.

    ``text`` is the item text of the recipe, the same for every system. ``categories`` holds for
    each item a tuple of paths, each a tuple of level names from the root down.
    """

    external_id: Sequence[str]
    title: Sequence[str]
    description: Sequence[str]
    brand: Sequence[str]
    categories: Sequence[tuple[tuple[str, ...], ...]]
    text: Sequence[str]

    def __len__(self) -> int:
        """The number of items without the padding item."""
        return len(self.external_id) - 1


@dataclass(frozen=True)
class Queries:
    """The distinct query texts; entry 0 is the padding query with the empty text."""

    text: Sequence[str]

    def __len__(self) -> int:
        """The number of queries without the padding query."""
        return len(self.text) - 1


@dataclass(frozen=True)
class Judgements:
    """How relevant people found items for queries; every array is (judgements,).

    Sorted by query, then item, each pair once. A greater ``gain`` is better, 0 is irrelevant; what
    stands here nowhere was not judged.
    """

    query: IntArray
    item: IntArray
    gain: IntArray

    def __len__(self) -> int:
        return len(self.query)

    def of_queries(self, query: NDArray[np.integer[Any]]) -> tuple[LongArray, LongArray]:
        """For ``query`` (asked,) which of them is judged where: places there, and rows here."""
        first = np.searchsorted(self.query, query, side="left")
        number = np.searchsorted(self.query, query, side="right") - first
        asked = np.repeat(np.arange(len(query)), number)
        within = np.arange(len(asked)) - np.repeat(np.cumsum(number) - number, number)
        return asked, (np.repeat(first, number) + within).astype(np.int64)

    def gains_of(self, query: NDArray[np.integer[Any]], items: IntArray) -> IntArray:
        """The gain of each candidate, items and result (asked, candidates); 0 if not judged."""
        width = int(max(self.item.max(initial=0), items.max(initial=0))) + 1
        key = self.query.astype(np.int64) * width + self.item
        wanted = query.astype(np.int64)[:, None] * width + items
        place = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
        found: IntArray = np.where(key[place] == wanted, self.gain[place], 0).astype(np.int32)
        return found


@dataclass(frozen=True)
class Dataset:
    """Items, queries, users and the event log of one data set.

    ``users`` holds external user ids, entry 0 for the unknown user. ``fingerprint`` is a SHA-256
    of the content, so that equal data have equal fingerprints wherever they came from.
    ``has_readable_text`` is false where the words of all texts are anonymous numbers. ``salt`` is
    what the draws of candidate lists hang on besides a protocol's seed: systems never get it, since
    whoever knows how a list was drawn can tell the one item that was not. ``judgements`` are those
    of people, for searches with graded relevance; systems never get them either. ``cuts`` are the
    instants, in seconds, of the split that the data set was published with: where validation and
    where the test begins.
    """

    name: str
    items: Items
    queries: Queries
    users: Sequence[str]
    log: EventLog
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    has_readable_text: bool = True
    salt: str = ""
    judgements: Judgements | None = None
    cuts: tuple[int, int] | None = None

    @property
    def number_of_items(self) -> int:
        """Items without the padding item: item ids are 1 … number_of_items."""
        return len(self.items)

    @property
    def number_of_users(self) -> int:
        """Users without the unknown user: user ids are 1 … number_of_users."""
        return len(self.users) - 1

    @property
    def content_and_salt(self) -> str:
        """What the lists of a protocol are a function of: the fingerprint and the salt."""
        return f"{self.fingerprint or fingerprint_of(self)} {self.salt}"

    @property
    def has_search(self) -> bool:
        """Whether the log holds any search event."""
        return bool(len(self.log.search.positions))

    @cached_property
    def user_keys(self) -> HashArray:
        """A hash of each user's external id, (users + 1,): the same whoever else is in the log."""
        return text_keys(self.users)

    @cached_property
    def item_keys(self) -> HashArray:
        """A hash of each item's external id, (items + 1,)."""
        return text_keys(self.items.external_id)

    @cached_property
    def query_keys(self) -> HashArray:
        """A hash of each query's text, (queries + 1,)."""
        return text_keys(self.queries.text)

    def with_log(self, log: EventLog) -> Dataset:
        """The same catalogue with another log, hence without a fingerprint."""
        return replace(self, log=log, fingerprint="")


def fingerprint_of(dataset: Dataset) -> str:
    """SHA-256 over the catalogue's texts, the users and every column of the log."""
    digest = _digest_of_texts(dataset)
    log = dataset.log
    for array in (log.user, log.item, log.query, log.behaviour, log.timestamp, log.session):
        digest.update(np.ascontiguousarray(array).tobytes())
    if dataset.judgements is not None:
        judged = dataset.judgements
        for array in (judged.query, judged.item, judged.gain):
            digest.update(np.ascontiguousarray(array).tobytes())
    if dataset.cuts is not None:
        digest.update(np.array(dataset.cuts, dtype=np.int64).tobytes())
    return digest.hexdigest()


def fingerprint_without_events(dataset: Dataset) -> str:
    """SHA-256 over the catalogue's texts and the users alone."""
    return _digest_of_texts(dataset).hexdigest()


def _digest_of_texts(dataset: Dataset) -> hashlib._Hash:
    digest = hashlib.sha256()

    def add_texts(texts: Sequence[str]) -> None:
        for text in texts:
            encoded = text.encode("utf-8")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)

    items = dataset.items
    for column in (items.external_id, items.title, items.description, items.brand, items.text):
        add_texts(column)
    for paths in items.categories:
        add_texts(["\x1f".join(path) for path in paths])
        digest.update(b"\x1e")
    add_texts(dataset.queries.text)
    add_texts(dataset.users)
    return digest
