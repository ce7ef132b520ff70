"""Where targets stand among the items of their kind, and which items stand at asked ranks.

A query's hits are looked up once for all of its events, those of validation and test alike; see
:mod:`benchmark.protocol.query_order` for the order itself. What an event's list may not hold is
left out of the ranks by counting: an *allowed rank* is a rank among what the list may hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, IntArray, LongArray
from benchmark.hashing import HashArray
from benchmark.protocol.best_hits import score_levels
from benchmark.protocol.blocks import Arrays, rows_by_query
from benchmark.protocol.hard_negatives import SearchEvents
from benchmark.protocol.negatives import Exclusions
from benchmark.protocol.query_order import HashOrder, HitOrder, order_of_misses, tie_hashes
from benchmark.retrieval import BM25Engine

_QUERIES_AT_ONCE = 64
_BEHIND_ALL = 1  # the level of hits that are of another kind


@dataclass(frozen=True)
class Orders:
    """The orders of every query and kind of the searches ``asked``.

    ``is_known`` (events,) says which of them have a target that training pairs with the query:
    these rank the items of ``trained_pairs``, all others the items that are not in it.
    """

    dataset: Dataset
    engine: BM25Engine
    asked: SearchEvents
    is_known: NDArray[np.bool_]
    seed: int
    trained_pairs: Exclusions

    def places(self, rows: LongArray) -> Arrays:
        """Where the targets of the events ``rows`` stand.

        Returns:
            ``rank`` (rows,) from 0 among the items that the list may hold and the target,
            ``items`` how many these are, ``hits`` how many of them match a word of the query.
        """
        found = {name: np.zeros(len(rows), dtype=np.int64) for name in ("rank", "items", "hits")}
        for part, group in self._groups(rows):
            found["rank"][part] = group.rank_of_target()
            found["items"][part] = group.order.size - group.number_of(group.barred.place >= 0)
            found["hits"][part] = group.allowed_hits
        return found

    def items_at(self, rows: LongArray, ranks: LongArray) -> IntArray:
        """The items at allowed ``ranks`` (rows, any) of the events ``rows``."""
        items = np.zeros(ranks.shape, dtype=np.int32)
        for part, group in self._groups(rows):
            items[part] = group.items_at(ranks[part])
        return items

    def _groups(self, rows: LongArray) -> Iterator[tuple[LongArray, _Group]]:
        """The events of each query and kind: their places in ``rows``, and what they rank."""
        place_of = np.zeros(self.dataset.number_of_items + 1, dtype=np.int32)
        for part in rows_by_query(self.asked.query[rows], _QUERIES_AT_ONCE):
            part = part[np.lexsort((self.is_known[rows[part]], self.asked.query[rows[part]]))]
            events = _Events.of(self, rows[part])
            distinct, start = np.unique(events.query, return_index=True)
            texts = [self.dataset.queries.text[number] for number in distinct]
            scores = self.engine.score_all(texts).tocsr()
            of_query, known = self.trained_pairs.items_of(distinct)
            known_start = np.searchsorted(of_query, np.arange(len(distinct) + 1))
            for number, query in enumerate(distinct.tolist()):
                row = slice(scores.indptr[number], scores.indptr[number + 1])
                documents = scores.indices[row].astype(np.int32)
                place_of[documents] = np.arange(1, len(documents) + 1)
                hits = _Hits(
                    query,
                    documents,
                    score_levels(scores.data[row]).astype(np.int32),
                    known[known_start[number] : known_start[number + 1]],
                    place_of,
                )
                end = start[number + 1] if number + 1 < len(start) else len(part)
                middle = start[number] + np.count_nonzero(~events.is_known[start[number] : end])
                groups = [
                    (part[first:last], events.group(self, first, last, hits))
                    for first, last in ((start[number], middle), (middle, end))
                    if first < last
                ]
                place_of[documents] = 0
                yield from groups


@dataclass(frozen=True)
class _Hits:
    """The ``documents`` (hits,) that match a query and their ``levels``, in any order.

    ``known`` are the items that training pairs with the query. ``place_of`` (items + 1,) is for a
    while the place of each item among the hits, from 1; 0 for what does not match.
    """

    query: int
    documents: IntArray
    levels: IntArray
    known: LongArray
    place_of: IntArray


@dataclass(frozen=True)
class _Events:
    """Events by query and kind, and the items of the kind that their lists may not hold.

    ``event`` (barred,) ascends; targets are left out of what is barred.
    """

    query: IntArray
    is_known: NDArray[np.bool_]
    target: IntArray
    target_hashes: HashArray
    event: LongArray
    barred: LongArray
    barred_hashes: HashArray

    @classmethod
    def of(cls, orders: Orders, rows: LongArray) -> _Events:
        asked, dataset = orders.asked, orders.dataset
        query, is_known, target = asked.query[rows], orders.is_known[rows], asked.target[rows]
        event, barred = asked.barred.items_of(rows)
        is_of_kind = orders.trained_pairs.contains(query[event], barred) == is_known[event]
        is_of_kind &= barred != target[event]
        event, barred = event[is_of_kind], barred[is_of_kind]
        keys, item_keys = dataset.query_keys[query], dataset.item_keys
        return cls(
            query=query,
            is_known=is_known,
            target=target,
            target_hashes=tie_hashes(orders.seed, keys, item_keys[target]),
            event=event,
            barred=barred,
            barred_hashes=tie_hashes(orders.seed, keys[event], item_keys[barred]),
        )

    def group(self, orders: Orders, first: int, last: int, hits: _Hits) -> _Group:
        """The events ``first`` … ``last`` - 1, which are of one query and kind."""
        order = _KindOrder(orders, hits, bool(self.is_known[first]))
        begin, end = np.searchsorted(self.event, (first, last))
        return _Group(
            order=order,
            target=order.members(self.target[first:last], self.target_hashes[first:last]),
            barred=order.members(self.barred[begin:end], self.barred_hashes[begin:end]),
            event=self.event[begin:end] - first,
        )


@dataclass(frozen=True)
class _Members:
    """Items of a kind: ``place`` among its hits from 1 or 0, ``level`` or 0, ``hashes``."""

    place: LongArray
    level: LongArray
    hashes: HashArray

    def select(self, rows: NDArray[np.bool_] | LongArray) -> _Members:
        """Those at ``rows``."""
        return _Members(self.place[rows], self.level[rows], self.hashes[rows])


class _KindOrder:
    """The items of one kind in BM25's order for one query: ``hits``, then those without a match."""

    def __init__(self, orders: Orders, hits: _Hits, is_known: bool) -> None:
        self._orders, self._all, self._is_known = orders, hits, is_known
        known, places = hits.known.astype(np.int32), hits.place_of[hits.known]
        self._known_misses = known[places == 0]
        self._known_hits = np.sort(places[places > 0]) - 1
        documents, levels = hits.documents, hits.levels
        if is_known:
            self.size, size = len(known), len(self._known_hits)
            documents, levels = documents[self._known_hits], levels[self._known_hits]
        else:
            self.size = orders.dataset.number_of_items - len(known)
            size = len(documents) - len(self._known_hits)
            if len(self._known_hits):
                levels = levels.copy()
                levels[self._known_hits] = _BEHIND_ALL
        self.hits = HitOrder(
            documents,
            levels,
            size,
            orders.seed,
            int(orders.dataset.query_keys[hits.query]),
            orders.dataset.item_keys,
        )

    @cached_property
    def misses(self) -> HashOrder:
        """The order of those without a match; a hash of the whole catalogue, so seldom asked."""
        orders, item_keys = self._orders, self.hits.item_keys
        if self._is_known:
            hashes = tie_hashes(orders.seed, self.hits.query_key, item_keys[self._known_misses])
            return HashOrder(self._known_misses, hashes)
        hashes = tie_hashes(orders.seed, self.hits.query_key, item_keys)
        return order_of_misses(hashes, self._all.documents, self._known_misses)

    def members(self, items: NDArray[np.integer], hashes: HashArray) -> _Members:
        """These items of the kind; asked only while the places of the hits are there."""
        place = self._all.place_of[items].astype(np.int64)
        is_hit = place > 0
        level = np.zeros(len(place), dtype=np.int64)
        level[is_hit] = self._all.levels[place[is_hit] - 1]
        if self._is_known:
            place[is_hit] = np.searchsorted(self._known_hits, place[is_hit] - 1) + 1
        return _Members(place, level, hashes)

    def ranks(self, members: _Members) -> LongArray:
        """Their ranks, (members,)."""
        is_hit = members.place > 0
        ranks = np.empty(len(is_hit), dtype=np.int64)
        ranks[is_hit] = self.hits.ranks(members.place[is_hit] - 1, members.hashes[is_hit])
        if not is_hit.all():
            ranks[~is_hit] = self.hits.size + self.misses.ranks(members.hashes[~is_hit])
        return ranks

    def items_at(self, ranks: LongArray) -> IntArray:
        """The items at ``ranks``, of any shape."""
        items = np.empty(ranks.shape, dtype=np.int32)
        is_hit = ranks < self.hits.size
        items[is_hit] = self.hits.at(ranks[is_hit])
        if not is_hit.all():
            items[~is_hit] = self.misses.at(ranks[~is_hit] - self.hits.size)
        return items


@dataclass(frozen=True)
class _Group:
    """Events of one query and kind; ``event`` (barred,) ascends and says whose list bars what."""

    order: _KindOrder
    target: _Members
    barred: _Members
    event: LongArray

    def number_of(self, barred: NDArray[np.bool_]) -> LongArray:
        """How many of the barred items so marked each event has, (events,)."""
        return np.bincount(self.event[barred], minlength=len(self.target.place))

    @property
    def allowed_hits(self) -> LongArray:
        """How many hits the list of each event may hold, its target included if it is one."""
        return self.order.hits.size - self.number_of(self.barred.place > 0)

    def rank_of_target(self) -> LongArray:
        """The allowed rank of each event's target, (events,)."""
        own = self.target.select(self.event)
        before = self.barred.level < own.level
        before |= (self.barred.level == own.level) & (self.barred.hashes < own.hashes)
        return self.order.ranks(self.target) - self.number_of(before)

    def items_at(self, allowed: LongArray) -> IntArray:
        """The items at ranks (events, any) among those that each list may hold."""
        # What is barred behind all that an event asks for moves nothing, and needs no rank.
        events = len(allowed)
        furthest = allowed.max(axis=1) + self.number_of(self.barred.place > 0)
        bound = self.order.hits.level_at(furthest)[self.event]
        counts = self.barred.level <= bound
        event, rank = self.event[counts], self.order.ranks(self.barred.select(counts))
        by_rank = np.lexsort((rank, event))
        event, rank = event[by_rank], rank[by_rank]
        number = np.bincount(event, minlength=events)
        within = np.arange(len(event)) - np.repeat(np.cumsum(number) - number, number)
        # Minus their own number these say how many allowed ones stand before each.
        barred = np.full((events, int(number.max(initial=0))), self.order.size, dtype=np.int64)
        barred[event, within] = rank - within
        ranks = allowed.copy()
        for column in range(barred.shape[1]):
            ranks += barred[:, column, None] <= allowed
        return self.order.items_at(ranks)
