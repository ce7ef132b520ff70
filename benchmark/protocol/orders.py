"""Where targets stand among the items of their kind, and which items stand at asked ranks.

What an event's list may not hold, and the items of the other kind, are left out of the ranks by
counting: an *allowed rank* is a rank among what the list may hold. The items that training pairs
with a query are few, so their order is written down for each event; all others stand in the order
of the whole catalogue, see :mod:`benchmark.protocol.query_order`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, IntArray, LongArray
from benchmark.protocol.best_hits import score_levels
from benchmark.protocol.blocks import Arrays, rows_by_query
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.hard_negatives import SearchEvents
from benchmark.protocol.query_order import Members, QueryOrders, tie_hashes
from benchmark.retrieval import BM25Engine

_QUERIES_AT_ONCE = 1024


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
        for part, events in self._parts(rows):
            for name, values in events.places().items():
                found[name][part] = values
        return found

    def items_at(self, rows: LongArray, ranks: LongArray) -> IntArray:
        """The items at allowed ``ranks`` (rows, any) of the events ``rows``."""
        items = np.zeros(ranks.shape, dtype=np.int32)
        for part, events in self._parts(rows):
            items[part] = events.items_at(ranks[part])
        return items

    def _parts(self, rows: LongArray) -> Iterator[tuple[LongArray, _KnownItems | _OtherItems]]:
        """Events of one kind, those of a query together: their places in ``rows``, and orders."""
        for is_known, kind in ((True, _KnownItems), (False, _OtherItems)):
            own = np.flatnonzero(self.is_known[rows] == is_known)
            if len(own):
                query = self.asked.query[rows[own]]
                for part in rows_by_query(query, _QUERIES_AT_ONCE):
                    yield own[part], kind.of(self, rows[own[part]])

    def members(self, query: IntArray, event: LongArray, item: LongArray) -> Members:
        """Items (members,) in the orders of the queries (events,) of the events (members,)."""
        dataset = self.dataset
        distinct, row = np.unique(query, return_inverse=True)
        texts = [dataset.queries.text[number] for number in distinct.tolist()]
        scores = self.engine.score_pairs(texts, row[event], item[:, None])[:, 0]
        keys = dataset.query_keys[query][event]
        return Members(
            event=event,
            item=item,
            level=np.where(scores > 0, score_levels(scores), 0),
            hashes=tie_hashes(self.seed, keys, dataset.item_keys[item]),
        )


@dataclass(frozen=True)
class _KnownItems:
    """What the list of each event may hold of the items that training pairs with its query.

    ``members`` stand in BM25's order for each event, from ``start`` (events + 1,) on. ``rank``
    (events,) is that of the target.
    """

    members: Members
    start: LongArray
    rank: LongArray

    @classmethod
    def of(cls, orders: Orders, rows: LongArray) -> _KnownItems:
        query, target = orders.asked.query[rows], orders.asked.target[rows]
        event, item = orders.trained_pairs.items_of(query)
        is_allowed = ~orders.asked.barred.contains(rows[event], item) | (item == target[event])
        members = orders.members(query, event[is_allowed], item[is_allowed])
        members = members.select(np.lexsort((members.hashes, members.level, members.event)))
        start = np.searchsorted(members.event, np.arange(len(rows) + 1))
        rank = np.flatnonzero(members.item == target[members.event]) - start[:-1]
        return cls(members, start, rank)

    def places(self) -> Arrays:
        is_hit = self.members.level < 0
        hits = np.bincount(self.members.event[is_hit], minlength=len(self.rank))
        return {"rank": self.rank, "items": np.diff(self.start), "hits": hits}

    def items_at(self, ranks: LongArray) -> LongArray:
        items: LongArray = self.members.item[self.start[:-1, None] + ranks]
        return items


@dataclass(frozen=True)
class _OtherItems:
    """All items but those that training pairs with the query, and those that lists may not hold.

    ``barred`` are both of these; ``query`` (events,) is a row of ``orders``.
    """

    orders: QueryOrders
    query: LongArray
    target: Members
    barred: Members

    @classmethod
    def of(cls, orders: Orders, rows: LongArray) -> _OtherItems:
        query, target = orders.asked.query[rows], orders.asked.target[rows]
        event, item = orders.asked.barred.items_of(rows)
        is_other = ~orders.trained_pairs.contains(query[event], item) & (item != target[event])
        known_event, known = orders.trained_pairs.items_of(query)
        events = np.arange(len(rows))
        members = orders.members(
            query,
            np.concatenate([events, event[is_other], known_event]),
            np.concatenate([target, item[is_other], known]),
        )
        dataset = orders.dataset
        distinct, row = np.unique(query, return_inverse=True)
        texts = [dataset.queries.text[number] for number in distinct.tolist()]
        keys = dataset.query_keys[distinct]
        return cls(
            QueryOrders(orders.engine, texts, keys, dataset.item_keys, orders.seed),
            row,
            members.select(events),
            members.select(np.arange(len(rows), len(members.item))),
        )

    def _number_of(self, barred: NDArray[np.bool_]) -> LongArray:
        """How many of the barred items so marked each event has, (events,)."""
        return np.bincount(self.barred.event[barred], minlength=len(self.query))

    def places(self) -> Arrays:
        own, barred = self.target.select(self.barred.event), self.barred
        before = barred.level < own.level
        before |= (barred.level == own.level) & (barred.hashes < own.hashes)
        items = len(self.orders.item_keys) - 1 - self._number_of(np.ones(len(before), dtype=bool))
        ranks, hits = self.orders.ranks(self.query, self.target)
        return {
            "rank": ranks - self._number_of(before),
            "items": items,
            "hits": hits[self.query] - self._number_of(barred.level < 0),
        }

    def items_at(self, ranks: LongArray) -> IntArray:
        return self.orders.items_at(self.query, ranks, self.barred)
