"""BM25's order of all items for each query, of which only the asked ranks are found.

The items that match stand first, by level of score; those of one level, and those that match
nothing, by a hash of query and item. A catalogue is not sorted for it: where a level holds many
items, ranks are counted, and the items at the asked ranks are picked, without an order of the rest.
Large catalogues are left to :mod:`benchmark.protocol.order_code` where numba is installed; ranks
and items are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.hashing import HashArray, row_hash
from benchmark.protocol.best_hits import SCORE_STEP, score_levels
from benchmark.retrieval import BM25Engine
from benchmark.retrieval.compiled import can_compile

_COMPILED_FROM = 20_000  # items; below, the code takes longer to compile and load than it saves
_QUERIES_AT_ONCE = 16  # so few that all of their hits stay in a cache
_SORTED = 4096  # items that are sorted rather than searched
_LEVELS_AT_MOST = 8  # so many levels are searched one by one; where more are asked, all are sorted
_COUNTED = 16  # ranks that are counted one by one
_OF_A_BUCKET = 32


def tie_hashes(seed: int, query_keys: HashArray | int, item_keys: HashArray) -> HashArray:
    """What orders items that tie for a query; the arguments broadcast."""
    return row_hash(seed, "matched", query_keys, item_keys)


@dataclass(frozen=True)
class Members:
    """Some items in the orders of events' queries; every array has shape (members,).

    ``event`` is whose query it is, ``level`` that of the item's score, 0 without a match, and
    ``hashes`` order those of a level.
    """

    event: LongArray
    item: LongArray
    level: LongArray
    hashes: HashArray

    def select(self, rows: NDArray[np.bool_] | LongArray) -> Members:
        """Those at ``rows``."""
        return Members(self.event[rows], self.item[rows], self.level[rows], self.hashes[rows])

    def by_level(self, query: LongArray) -> LongArray:
        """Their places by query, then by level, given the query of each event (events,)."""
        order: LongArray = np.lexsort((self.level, query[self.event]))
        return order


@dataclass(frozen=True)
class _Hits:
    """All hits of some queries; those of query ``q`` are ``offsets[q]:offsets[q + 1]``.

    ``documents`` and ``scores`` are (hits,); ``query_keys`` (queries,).
    """

    offsets: LongArray
    documents: IntArray
    scores: NDArray[np.float32]
    query_keys: HashArray

    @property
    def counts(self) -> LongArray:
        """The number of hits of each query, (queries,)."""
        return np.diff(self.offsets)


class QueryOrders:
    """The orders of some queries.

    Args:
        texts: of the queries.
        query_keys: (queries,) hashes of them.
        item_keys: (items + 1,) hashes of the items.
    """

    def __init__(
        self,
        engine: BM25Engine,
        texts: Sequence[str],
        query_keys: HashArray,
        item_keys: HashArray,
        seed: int,
    ) -> None:
        self.item_keys = item_keys
        self._engine, self._texts, self._query_keys, self._seed = engine, texts, query_keys, seed

    def ranks(self, query: LongArray, members: Members) -> tuple[LongArray, LongArray]:
        """How many items stand before each of the members, and how many match each query.

        Args:
            query: (events,), ascending, the row of each event's query.

        Returns:
            (members,) ranks and (queries,) numbers of hits.
        """
        order = members.by_level(query)
        asked = members.select(order)
        offsets = _offsets(query[asked.event], len(self._texts))
        ranks = np.empty(len(order), dtype=np.int64)
        counts = np.empty(len(self._texts), dtype=np.int64)
        for first, hits in self._hits():
            last = first + len(hits.counts)
            counts[first:last] = hits.counts
            part = slice(offsets[first], offsets[last])
            own = offsets[first : last + 1] - offsets[first]
            levels, hashes = asked.level[part], asked.hashes[part]
            if self._room is not None:
                found = order_code().ranks_of(self._compiled(hits), self._room, own, levels, hashes)
            else:
                found = np.empty(len(levels), dtype=np.int64)
                for number in np.flatnonzero(np.diff(own)).tolist():
                    one = slice(own[number], own[number + 1])
                    found[one] = self._order(hits, number).ranks(levels[one], hashes[one])
            ranks[order[part]] = found
        return ranks, counts

    def items_at(self, query: LongArray, allowed: LongArray, barred: Members) -> IntArray:
        """The items at ranks (events, any) among those that the list of each event may hold.

        Args:
            query: (events,), ascending, the row of each event's query.
            allowed: the ranks.
            barred: what the lists may not hold.
        """
        items = np.zeros(allowed.shape, dtype=np.int32)
        if not allowed.size:
            return items
        barred = barred.select(barred.by_level(query))
        offsets = _offsets(query[barred.event], len(self._texts))
        events = _offsets(query, len(self._texts))
        for first, hits in self._hits():
            last = first + len(hits.counts)
            start, rows = events[first], slice(events[first], events[last])
            own = barred.select(np.arange(offsets[first], offsets[last]))
            own_offsets = offsets[first : last + 1] - offsets[first]
            own_events, event = events[first : last + 1] - start, own.event - start
            if self._room is not None:
                items[rows] = order_code().items_at(
                    self._compiled(hits), self._room, own_events, allowed[rows],
                    own_offsets, event, own.level, own.hashes,
                )  # fmt: skip
                continue
            for number in np.flatnonzero(np.diff(own_events)).tolist():
                part = np.arange(own_offsets[number], own_offsets[number + 1])
                one = slice(start + own_events[number], start + own_events[number + 1])
                items[one] = self._order(hits, number).items_at(
                    allowed[one], own.select(part), int(one.start)
                )
        return items

    def _hits(self) -> Iterator[tuple[int, _Hits]]:
        """The first of some queries, and the hits of these."""
        for first in range(0, len(self._texts), _QUERIES_AT_ONCE):
            part = slice(first, first + _QUERIES_AT_ONCE)
            scores = self._engine.score_all(self._texts[part]).tocsr()
            offsets = scores.indptr.astype(np.int64, copy=False)
            documents = scores.indices.astype(np.int32, copy=False)
            yield first, _Hits(offsets, documents, scores.data, self._query_keys[part])

    @cached_property
    def _room(self) -> Any:
        """Room for compiled code; None where it does not pay."""
        if len(self.item_keys) <= _COMPILED_FROM or not can_compile():
            return None
        return order_code().room_of(len(self.item_keys))

    def _compiled(self, hits: _Hits) -> Any:
        """The hits in the form that compiled code takes."""
        states = row_hash(self._seed, "matched", hits.query_keys)
        return order_code().Hits(
            hits.offsets, hits.documents, hits.scores, states, self.item_keys, SCORE_STEP
        )

    def _order(self, hits: _Hits, number: int) -> QueryOrder:
        part = slice(hits.offsets[number], hits.offsets[number + 1])
        return QueryOrder(
            hits.documents[part],
            score_levels(hits.scores[part]).astype(np.int32),
            self._seed,
            int(hits.query_keys[number]),
            self.item_keys,
        )


def order_code() -> ModuleType:
    """The compiled code, imported late, since that takes its time."""
    return import_module("benchmark.protocol.order_code")


def _offsets(row: NDArray[np.integer], rows: int) -> LongArray:
    """From where on each of so many rows stands in ``row`` (any,), which ascends; (rows + 1,)."""
    return np.searchsorted(row, np.arange(rows + 1)).astype(np.int64)


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


@dataclass(frozen=True)
class QueryOrder:
    """All items in BM25's order for one query.

    ``documents`` and their ``levels`` as int32 are the hits, (hits,), in any order; the best level
    is the lowest, and all are below 0.
    """

    documents: IntArray
    levels: IntArray
    seed: int
    query_key: int
    item_keys: HashArray
    _levels: dict[int, HashOrder] = field(default_factory=dict)

    def ranks(self, levels: LongArray, hashes: HashArray) -> LongArray:
        """How many items stand before each level, 0 for no match, and hash; all (asked,)."""
        ranks = np.zeros(len(levels), dtype=np.int64)
        distinct = sorted(set(levels.tolist()))
        for level in distinct:
            own = levels == level
            better = np.count_nonzero(self.levels < level)
            ranks[own] = better + self._of_level(level, len(distinct)).ranks(hashes[own])
        return ranks

    def at(self, ranks: LongArray) -> IntArray:
        """The items at ``ranks`` (ranks,)."""
        levels = self.level_at(ranks)
        within = ranks - np.searchsorted(self._sorted_levels, levels)
        distinct = sorted(set(levels.tolist()))
        found = np.zeros(len(ranks), dtype=np.int32)
        for level in distinct:
            own = levels == level
            found[own] = self._of_level(level, len(distinct)).at(within[own])
        return found

    def level_at(self, ranks: LongArray) -> LongArray:
        """The level at ``ranks`` (ranks,); 0 beyond the last hit."""
        levels = np.zeros(len(ranks), dtype=np.int64)
        inside = ranks < len(self.levels)
        levels[inside] = self._sorted_levels[ranks[inside]]
        return levels

    def items_at(self, allowed: LongArray, barred: Members, first_event: int) -> IntArray:
        """The items at ranks (events, any) among those that each list may hold.

        Args:
            barred: what the lists may not hold, of the events from ``first_event`` on.
        """
        # What is barred behind all that an event asks for moves nothing, and needs no rank.
        events, own = len(allowed), barred.event - first_event
        hits = np.bincount(own[barred.level < 0], minlength=events)
        counts = barred.level <= self.level_at(allowed.max(axis=1) + hits)[own]
        event, barred = own[counts], barred.select(counts)
        rank = self.ranks(barred.level, barred.hashes)
        by_rank = np.lexsort((rank, event))
        event, rank = event[by_rank], rank[by_rank]
        number = np.bincount(event, minlength=events)
        within = np.arange(len(event)) - np.repeat(np.cumsum(number) - number, number)
        # Minus their own number these say how many allowed ones stand before each.
        bounds = np.full((events, int(number.max(initial=0))), len(self.item_keys), dtype=np.int64)
        bounds[event, within] = rank - within
        ranks = allowed.copy()
        for column in range(bounds.shape[1]):
            ranks += bounds[:, column, None] <= allowed
        items: IntArray = self.at(ranks.reshape(-1)).reshape(ranks.shape)
        return items

    def _of_level(self, level: int, asked: int) -> HashOrder:
        """The order within a level, one of so many that are asked for at once."""
        if level not in self._levels:
            self._levels[level] = self._made(level, asked)
        return self._levels[level]

    def _made(self, level: int, asked: int) -> HashOrder:
        if level == 0:
            hashes = tie_hashes(self.seed, self.query_key, self.item_keys)
            hits = np.zeros(len(hashes), dtype=bool)
            hits[0] = hits[self.documents] = True
            misses = np.flatnonzero(~hits)
            return HashOrder(misses.astype(np.int32), hashes[misses])
        if len(self.documents) <= _SORTED or asked > _LEVELS_AT_MOST:
            first, last = np.searchsorted(self._sorted_levels, (level, level + 1))
            documents = self.documents[self._by_level[first:last]]
        else:
            documents = self.documents[self.levels == level]
        return HashOrder(
            documents, tie_hashes(self.seed, self.query_key, self.item_keys[documents])
        )

    @cached_property
    def _sorted_levels(self) -> IntArray:
        return np.sort(self.levels)

    @cached_property
    def _by_level(self) -> LongArray:
        """The places of all hits, the best levels first, (hits,)."""
        order: LongArray = np.argsort(self.levels, kind="stable")
        return order
