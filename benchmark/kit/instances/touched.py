"""What a user has touched already, and which of it the lists of his searches would hold.

Search lists are hits of the query, and a user who searches for the same things again has touched
many of them. No such item is a target where nothing is taken twice. Training that never shows them
as negatives prepares for other lists than those that are ranked.

So each training search gets, once, a list of its own, made by the protocol's code as if it were
held out, and what is kept of this list is the items that the user touched before the search.
Nothing of a held-out event is read. Under ``bm25-matched`` an item of the user is taken for as
likely as any other; the preset that matches (``clean``) keeps all of them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, EventLog, IntArray, LongArray
from benchmark.protocol.hard_negatives import SearchEvents, bm25_negatives
from benchmark.protocol.histories import unit_of_rows
from benchmark.randomness import stable_random
from benchmark.systems.view import TrainingView

_SEARCHES_AT_ONCE = 20_000
_PAIRS_AT_ONCE = 2_000_000


class FirstTouches:
    """The row of a log at which each user touched each item first, by either behaviour."""

    def __init__(self, log: EventLog, number_of_items: int) -> None:
        self._log, self._width = log, number_of_items + 1
        self._keys, self._rows = np.unique(self._key(log.user, log.item), return_index=True)
        is_first = np.zeros(len(log), dtype=bool)
        is_first[self._rows] = True
        self._firsts = np.flatnonzero(is_first)
        self._count_before = np.concatenate([[0], np.cumsum(is_first)])

    def _key(self, user: NDArray[np.integer], item: NDArray[np.integer]) -> LongArray:
        key: LongArray = user.astype(np.int64) * self._width + item
        return key

    def row(self, user: NDArray[np.integer], item: NDArray[np.integer]) -> LongArray:
        """The row of each (user, item), the length of the log where there is none; broadcasts."""
        key = self._key(user, item)
        if not len(self._keys):
            return np.zeros_like(key)
        slot = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        return np.where(self._keys[slot] == key, self._rows[slot], len(self._log))

    def before(
        self, user: NDArray[np.integer], row: NDArray[np.integer]
    ) -> tuple[LongArray, IntArray]:
        """What each user has touched before a row of his, or right behind his last one.

        Args:
            user, row: (events,).

        Returns:
            (index into the events, item), each of shape (pairs,), the first touched first.
        """
        start = self._count_before[self._log.offsets[user]]
        count = self._count_before[row] - start
        index = np.repeat(np.arange(len(row)), count)
        within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
        return index, self._log.item[self._firsts[start[index] + within]]


_MADE: WeakKeyDictionary[TrainingView, TouchedHits] = WeakKeyDictionary()


class TouchedHits:
    """The touched items in a list of each training search; none where lists hold no such item."""

    def __init__(self, view: TrainingView) -> None:
        self._size = view.protocol.negatives
        rows, items = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int32)]
        if view.protocol.search_exclude == "none":
            make = _spread if view.protocol.search_negatives == "bm25-matched" else _listed
            for some_rows, some_items in make(view):
                rows.append(some_rows)
                items.append(some_items)
        row = np.concatenate(rows)
        self.items = np.concatenate(items)[np.argsort(row, kind="stable")]
        count = np.bincount(row, minlength=len(view.log))
        self.offsets = np.concatenate([[0], np.cumsum(count)])
        """Log row ``r`` has the items from ``offsets[r]`` up to ``offsets[r + 1]``."""

    @classmethod
    def of(cls, view: TrainingView) -> TouchedHits:
        """Those of a view, made at most once."""
        if view not in _MADE:
            _MADE[view] = cls(view)
        return _MADE[view]

    def draw(
        self, position: NDArray[np.integer], number: int, random: np.random.Generator
    ) -> IntArray:
        """What stands at ``number`` random places of each search's list, (events, number).

        A touched item, or 0 at a place of anything else. Items are distinct while ``number`` is at
        most the length of a list.

        Args:
            position: (events,) log rows.
        """
        start = self.offsets[position]
        count = self.offsets[position + 1] - start
        # A comb over the places: each is hit with the same probability, and none twice.
        turn = random.integers(number, size=(len(position), 1))
        teeth = (np.arange(number) + turn) % number + random.random((len(position), 1))
        place = np.floor(teeth * (self._size / number)).astype(np.int64)
        is_touched = place < count[:, None]
        drawn = np.zeros(place.shape, dtype=np.int32)
        drawn[is_touched] = self.items[(start[:, None] + place)[is_touched]]
        return drawn


def _listed(view: TrainingView) -> Iterator[tuple[LongArray, IntArray]]:
    """Log rows and touched items of lists that the protocol makes for the training searches."""
    log, corpus = view.log, view.corpus
    users = [str(number) for number in range(log.number_of_users + 1)]
    dataset = Dataset(corpus.name, corpus.items, corpus.queries, users, log)
    touches, engine = FirstTouches(log, corpus.number_of_items), view.search_engine()
    unit = unit_of_rows(log, view.protocol)
    position = view.examples("search").position
    position = position[np.argsort(log.query[position], kind="stable")]
    for rows in _cut_between_queries(position, log.query[position]):
        events = SearchEvents.of(dataset, rows, view.protocol)
        lists, _ = bm25_negatives(dataset, events, view.protocol, engine)
        touched = touches.row(events.user[:, None], lists) < unit[rows][:, None]
        yield rows[np.nonzero(touched)[0]], lists[touched]


def _cut_between_queries(position: LongArray, query: IntArray) -> list[LongArray]:
    """The searches, sorted by query, in parts of not too many; a query is in one part."""
    first_of_query = np.searchsorted(query, query, side="left")
    return np.split(position, np.flatnonzero(np.diff(first_of_query // _SEARCHES_AT_ONCE)) + 1)


def _spread(view: TrainingView) -> Iterator[tuple[LongArray, IntArray]]:
    """Log rows and touched items where each item of the catalogue is as likely in a list."""
    log, position = view.log, view.examples("search").position
    touches = FirstTouches(log, view.corpus.number_of_items)
    random = stable_random(0, "touched hits")
    unit = unit_of_rows(log, view.protocol)
    before = np.cumsum(unit[position] - log.offsets[log.user[position]])  # no fewer than the pairs
    parts = np.flatnonzero(np.diff(before // _PAIRS_AT_ONCE)) + 1
    for rows in np.split(position, parts):
        index, item = touches.before(log.user[rows], unit[rows])
        chosen = random.random(len(item)) < view.protocol.negatives / view.corpus.number_of_items
        chosen &= item != log.item[rows][index]
        yield rows[index[chosen]], item[chosen]
