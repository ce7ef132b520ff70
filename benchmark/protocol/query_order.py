"""BM25's order of the items of one kind for one query, of which only the asked ranks are found.

The items that match stand first, by level of score; those of one level, and those that match
nothing, by a hash of query and item. A catalogue is not sorted for it: where a level holds many
items, ranks are counted, and the items at the asked ranks are picked, without an order of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.hashing import HashArray, row_hash

_SORTED = 4096  # items that are sorted rather than searched
_LEVELS_AT_MOST = 8  # so many levels are searched one by one; where more are asked, all are sorted
_COUNTED = 16  # ranks that are counted one by one
_OF_A_BUCKET = 32
_LAST = np.uint64(2**64 - 1)


def tie_hashes(seed: int, query_keys: HashArray | int, item_keys: HashArray) -> HashArray:
    """What orders items that tie for a query; the arguments broadcast."""
    return row_hash(seed, "matched", query_keys, item_keys)


@dataclass(frozen=True)
class HashOrder:
    """Items in the order of their hashes; ``documents`` and ``hashes`` are (items,)."""

    documents: IntArray
    hashes: HashArray

    def ranks(self, hashes: HashArray) -> LongArray:
        """How many items have a smaller hash than each of ``hashes`` (any,)."""
        if len(hashes) > _COUNTED or len(self.hashes) <= _SORTED:
            return np.searchsorted(self._sorted, hashes).astype(np.int64)
        return np.array([np.count_nonzero(self.hashes < one) for one in hashes], dtype=np.int64)

    def at(self, ranks: LongArray) -> IntArray:
        """The items at these ranks (any,)."""
        if len(self.hashes) <= _SORTED:
            order = np.argsort(self.hashes, kind="stable")
            return self.documents[order[ranks]]
        # Hashes are spread evenly, so their highest bits put them into buckets of about one size.
        bits = (len(self.hashes) // _OF_A_BUCKET).bit_length()
        bucket = (self.hashes >> np.uint64(64 - bits)).view(np.int64)
        counts = np.bincount(bucket, minlength=1 << bits)
        first = np.cumsum(counts) - counts
        needed = np.searchsorted(first, ranks, side="right") - 1
        is_needed = np.zeros(1 << bits, dtype=bool)
        is_needed[needed] = True
        near = np.flatnonzero(is_needed[bucket])
        near = near[np.argsort(self.hashes[near], kind="stable")]
        first_near = np.cumsum(counts * is_needed) - counts * is_needed
        return self.documents[near[first_near[needed] + ranks - first[needed]]]

    @cached_property
    def _sorted(self) -> HashArray:
        return np.sort(self.hashes)


def order_of_misses(
    hashes: HashArray, hits: NDArray[np.integer], others: NDArray[np.integer]
) -> HashOrder:
    """The order of all items but the padding, the ``hits`` and ``others``, which stand behind.

    Args:
        hashes: (items + 1,) of all items; changed in place.
    """
    hashes[0] = hashes[hits] = hashes[others] = _LAST
    return HashOrder(np.arange(len(hashes), dtype=np.int32), hashes)


@dataclass(frozen=True)
class HitOrder:
    """The items of one kind that match a query, in BM25's order.

    ``documents``, and ``levels`` as int32, are (documents,), in any order; the best level is the
    lowest. ``size`` of them count, those of a level below 0.
    """

    documents: IntArray
    levels: IntArray
    size: int
    seed: int
    query_key: int
    item_keys: HashArray
    _levels: dict[int, HashOrder] = field(default_factory=dict)

    def ranks(self, places: LongArray, hashes: HashArray) -> LongArray:
        """The rank of each of the hits at ``places`` of ``documents``, with their hashes.

        All three have shape (places,).
        """
        if not len(places):
            return np.zeros(0, dtype=np.int64)
        levels = self.levels[places]
        distinct = sorted(set(levels.tolist()))
        if self._is_sorted(distinct):
            return self._rank_of_place[places]
        ranks = np.zeros(len(places), dtype=np.int64)
        for level in distinct:
            own = levels == level
            better = np.count_nonzero(self.levels < level)
            ranks[own] = better + self._of_level(level).ranks(hashes[own])
        return ranks

    def at(self, ranks: LongArray) -> IntArray:
        """The hits at ``ranks`` (ranks,)."""
        if not len(ranks):
            return np.zeros(0, dtype=np.int32)
        levels = self._sorted_levels[ranks]
        distinct = sorted(set(levels.tolist()))
        if self._is_sorted(distinct):
            return self.documents[self._order[ranks]]
        within = ranks - np.searchsorted(self._sorted_levels, levels)
        found = np.zeros(len(ranks), dtype=np.int32)
        for level in distinct:
            own = levels == level
            found[own] = self._of_level(level).at(within[own])
        return found

    def level_at(self, ranks: LongArray) -> LongArray:
        """The level at ``ranks`` (ranks,); 0 beyond the last hit."""
        levels = np.zeros(len(ranks), dtype=np.int64)
        inside = ranks < self.size
        levels[inside] = self._sorted_levels[ranks[inside]]
        return levels

    def _is_sorted(self, levels: list[int]) -> bool:
        return len(self.documents) <= _SORTED or len(levels) > _LEVELS_AT_MOST

    def _of_level(self, level: int) -> HashOrder:
        if level not in self._levels:
            documents = self.documents[self.levels == level]
            self._levels[level] = HashOrder(documents, self._hashes(documents))
        return self._levels[level]

    def _hashes(self, documents: IntArray) -> HashArray:
        return tie_hashes(self.seed, self.query_key, self.item_keys[documents])

    @cached_property
    def _sorted_levels(self) -> IntArray:
        return np.sort(self.levels)

    @cached_property
    def _order(self) -> LongArray:
        """The places of all hits in BM25's order, (documents,)."""
        order: LongArray = np.lexsort((self._hashes(self.documents), self.levels))
        return order

    @cached_property
    def _rank_of_place(self) -> LongArray:
        rank = np.empty(len(self.documents), dtype=np.int64)
        rank[self._order] = np.arange(len(self.documents))
        return rank
