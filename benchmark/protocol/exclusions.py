"""Which items may not be drawn or ranked for whom, as sorted pairs of a row and an item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import EventLog, IntArray, LongArray


@dataclass(frozen=True)
class Exclusions:
    """Pairs (row, item) that may not be drawn; a row is a user or an event.

    ``keys`` are sorted distinct values of ``row * (number_of_items + 1) + item``.
    """

    keys: LongArray
    number_of_items: int

    @classmethod
    def of_pairs(
        cls, row: NDArray[np.integer], item: NDArray[np.integer], number_of_items: int
    ) -> Exclusions:
        """Exclude each ``item[i]`` for ``row[i]``; arrays of shape (pairs,)."""
        keys = row.astype(np.int64) * (number_of_items + 1) + item
        keys.sort()
        return cls(_distinct(keys), number_of_items)

    @classmethod
    def of_log(cls, log: EventLog, number_of_items: int) -> Exclusions:
        """Exclude for each user every item of the log, of either behaviour."""
        return cls.of_pairs(log.user, log.item, number_of_items)

    @classmethod
    def of_prefixes(
        cls, log: EventLog, user: IntArray, length: NDArray[np.integer], number_of_items: int
    ) -> Exclusions:
        """Exclude for event ``i`` the first ``length[i]`` items of its user's merged list."""
        event = np.repeat(np.arange(len(user)), length)
        within = np.arange(len(event)) - np.repeat(np.cumsum(length) - length, length)
        return cls.of_pairs(event, log.item[log.offsets[user][event] + within], number_of_items)

    def contains(self, row: NDArray[np.integer], item: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether each (row, item) is excluded; the arguments broadcast."""
        key = np.asarray(row, dtype=np.int64) * (self.number_of_items + 1) + item
        if not len(self.keys):
            return np.zeros(key.shape, dtype=bool)
        slot = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        found: NDArray[np.bool_] = self.keys[slot] == key
        return found

    def items_of(self, rows: NDArray[np.integer]) -> tuple[LongArray, LongArray]:
        """All exclusions of ``rows`` as (index into rows, item), each of shape (pairs,)."""
        start, count = self._places(rows)
        index = np.repeat(np.arange(len(rows)), count)
        within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
        return index, self.keys[start[index] + within] % (self.number_of_items + 1)

    def counts(self, rows: NDArray[np.integer]) -> LongArray:
        """How many exclusions each of ``rows`` has, (rows,)."""
        return self._places(rows)[1]

    def _places(self, rows: NDArray[np.integer]) -> tuple[LongArray, LongArray]:
        """Where the keys of each of ``rows`` begin, and how many there are."""
        width = self.number_of_items + 1
        first_key = rows.astype(np.int64) * width
        start = np.searchsorted(self.keys, first_key)
        return start, np.searchsorted(self.keys, first_key + width) - start

    def among(self, rows: NDArray[np.integer]) -> Exclusions:
        """The exclusions of ``rows`` under the row numbers 0 … len(rows) - 1."""
        index, item = self.items_of(rows)
        return Exclusions(index * (self.number_of_items + 1) + item, self.number_of_items)

    def with_more(self, more: Exclusions) -> Exclusions:
        """Both exclusions together."""
        keys = np.concatenate([self.keys, more.keys])
        keys.sort(kind="stable")  # which merges what is sorted already
        return Exclusions(_distinct(keys), self.number_of_items)


def _distinct(keys: LongArray) -> LongArray:
    """The distinct ones of sorted keys."""
    is_new = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    return keys[is_new]
