"""What a user has touched already, and which of it the lists of his searches would hold.

Search lists are hits of the query, and a user who searches for the same things again has touched
many of them. No such item is a target where nothing is taken twice. Training that never shows them
as negatives prepares for other lists than those that are ranked.

So each training search gets, once, the touched part of a list that is made for it as the protocol
makes lists (:class:`benchmark.protocol.list_law.ListLaw`): touched are the items of the user that
stand before the search in the training log. Nothing of a held-out event is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import EventLog, IntArray, LongArray
from benchmark.protocol.hard_negatives import score_levels
from benchmark.protocol.list_law import ListLaw
from benchmark.protocol.negatives import Exclusions
from benchmark.randomness import stable_random
from benchmark.systems.view import TrainingView

_QUERIES_AT_ONCE = 64
_PAIRS_AT_ONCE = 2_000_000
_FRONT = 1 << 40  # more than any level; what is moved by it stands before all hits


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

    def count(self, position: NDArray[np.integer]) -> LongArray:
        """How many items the user of each log row (events,) has touched before it."""
        start = self._log.offsets[self._log.user[position]]
        count: LongArray = self._count_before[position] - self._count_before[start]
        return count

    def before(self, position: NDArray[np.integer]) -> tuple[LongArray, IntArray]:
        """These items as (index into position, item), each of shape (pairs,), oldest first."""
        count = self.count(position)
        index = np.repeat(np.arange(len(position)), count)
        within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
        start = self._count_before[self._log.offsets[self._log.user[position]]]
        return index, self._log.item[self._firsts[start[index] + within]]


class _Asked(NamedTuple):
    """One query: its training searches (log rows) and its hits by item id, see `score_levels`."""

    query: int
    positions: LongArray
    items: IntArray
    levels: LongArray


_MADE: WeakKeyDictionary[TrainingView, TouchedHits] = WeakKeyDictionary()


class TouchedHits:
    """The touched items in a list of each training search, drawn once.

    Under ``bm25-top`` and ``bm25-filtered`` they are those among the best hits, with ties at the
    cut by chance. Under ``bm25-matched`` an item of a rank is in with the density of the training
    targets' ranks there, which is what such lists come to. None, where lists hold nothing touched.
    """

    def __init__(self, view: TrainingView) -> None:
        self._size = view.list_law.negatives
        position = view.examples("search").position
        if not view.list_law.search_holds_touched:
            position = position[:0]
        rows, items = _ListMaker(view).draw(position) if len(position) else ([], [])
        row = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
        order = np.argsort(row, kind="stable")
        self.items = np.concatenate([np.zeros(0, dtype=np.int32), *items])[order]
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


class _ListMaker:
    """Makes the touched part of a list for training searches, query by query."""

    def __init__(self, view: TrainingView) -> None:
        self.view, self.law = view, view.list_law
        self.number_of_items = view.corpus.number_of_items
        self.touches = FirstTouches(view.log, self.number_of_items)
        searched = view.log.search.positions
        pair, self.times = np.unique(
            view.log.query[searched].astype(np.int64) * (self.number_of_items + 1)
            + view.log.item[searched],
            return_counts=True,
        )
        self.known = Exclusions(pair, self.number_of_items)
        self.random = stable_random(view.seed, "touched hits")

    def draw(self, position: LongArray) -> tuple[list[LongArray], list[IntArray]]:
        """Log rows and items of all pairs, in parts, for searches (events,) of the log."""
        ranks = None
        if self.law.search_negatives == "bm25-matched":
            ranks = np.concatenate([self._target_ranks(asked) for asked in self._asked(position)])
        rows, items = [], []
        for asked in self._asked(position):
            for part in self._parts(asked.positions):
                index, item = self.touches.before(part)
                keep = item != self.view.log.item[part][index]
                index, item = index[keep], item[keep]
                chance = self._chance(asked, self.view.log.item[part][index], item, ranks)
                chosen = self.random.random(len(item)) < chance
                rows.append(part[index[chosen]])
                items.append(item[chosen])
        return rows, items

    def _parts(self, positions: LongArray) -> list[LongArray]:
        """The searches in parts that together touch not too much."""
        total = np.cumsum(self.touches.count(positions))
        return np.split(positions, np.flatnonzero(np.diff(total // _PAIRS_AT_ONCE)) + 1)

    def _asked(self, position: LongArray) -> Iterator[_Asked]:
        """Every distinct query of the searches, ascending."""
        query = self.view.log.query[position]
        order = np.argsort(query, kind="stable")
        distinct, start = np.unique(query[order], return_index=True)
        groups = np.split(position[order], start[1:])
        engine, texts = self.view.search_engine(), self.view.corpus.queries.text
        for first in range(0, len(distinct), _QUERIES_AT_ONCE):
            block = distinct[first : first + _QUERIES_AT_ONCE]
            scores = engine.score_all([texts[number] for number in block]).tocsr()
            scores.sort_indices()
            for place, number in enumerate(block):
                row = slice(scores.indptr[place], scores.indptr[place + 1])
                items = scores.indices[row].astype(np.int32)
                levels = score_levels(scores.data[row])
                hits = items[items > 0], self._untied(items, levels)[items > 0]
                yield self._by_law(_Asked(int(number), groups[first + place], *hits))

    def _untied(self, items: IntArray, levels: LongArray) -> LongArray:
        if self.law.search_ties == "per-event":
            return levels
        untied: LongArray = levels * (self.number_of_items + 1) + items
        return np.minimum(untied, -1)

    def _by_law(self, asked: _Asked) -> _Asked:
        """The hits as lists are made of them: without known pairs, or with these in front."""
        known = self.known.items_of(np.array([asked.query]))[1].astype(np.int32)
        if self.law.search_negatives == "bm25-filtered":
            keep = ~np.isin(asked.items, known)
            return asked._replace(items=asked.items[keep], levels=asked.levels[keep])
        if not self._knows_first:
            return asked
        items = np.union1d(asked.items, known)
        levels = np.zeros(len(items), dtype=np.int64)
        levels[np.searchsorted(items, asked.items)] = asked.levels
        levels[np.searchsorted(items, known)] -= _FRONT
        return asked._replace(items=items, levels=levels)

    @property
    def _knows_first(self) -> bool:
        law = self.law
        return (law.search_negatives, law.search_matched_by) == ("bm25-matched", "known-pairs")

    def _chance(
        self, asked: _Asked, target: IntArray, item: IntArray, ranks: LongArray | None
    ) -> NDArray[np.float64]:
        """The probability (pairs,) that ``item`` is in a list whose target is another one."""
        law, ordered = self.law, np.sort(asked.levels)
        is_hit, level = _levels_of(asked, item)
        if ranks is not None:
            first, tied = self._tied_ranks(ordered, level)
            share = _distribution(ranks, first + tied) - _distribution(ranks, first)
            return np.minimum(law.negatives * share / tied, 1.0)
        target_is_hit, target_level = _levels_of(asked, target)
        better = np.searchsorted(ordered, level, side="left")
        tied = np.searchsorted(ordered, level, side="right") - better
        better -= target_is_hit & (target_level < level)
        tied -= target_is_hit & (target_level == level)
        room = np.full(len(item), law.negatives)
        if law.search_depth is not None:
            rank = np.searchsorted(ordered, target_level, side="left")
            is_retrieved = target_is_hit & (rank < law.search_depth)
            room = np.minimum(room, law.search_depth - is_retrieved)
        return is_hit * np.clip((room - better) / np.maximum(tied, 1), 0.0, 1.0)

    def _target_ranks(self, asked: _Asked) -> LongArray:
        """The middle rank of the target of each search of a query, from 0.

        That the search itself pairs the two does not put the target in front, since a held-out
        search does not either.
        """
        target = self.view.log.item[asked.positions]
        _, level = _levels_of(asked, target)
        if self._knows_first:
            key = np.int64(asked.query) * (self.number_of_items + 1) + target
            level += _FRONT * (self.times[np.searchsorted(self.known.keys, key)] == 1)
        first, tied = self._tied_ranks(np.sort(asked.levels), level)
        return first + (tied - 1) // 2

    def _tied_ranks(self, ordered: LongArray, level: LongArray) -> tuple[LongArray, LongArray]:
        """The first rank of each level among ``ordered``, and how many items share its place.

        Behind them all, what is no hit ties at level 0.
        """
        first = np.searchsorted(ordered, level, side="left")
        tied = np.searchsorted(ordered, level, side="right") - first
        misses = self.number_of_items - len(ordered)
        return first, np.maximum(np.where(level == 0, misses, tied), 1)


def _levels_of(asked: _Asked, item: IntArray) -> tuple[NDArray[np.bool_], LongArray]:
    """Whether each item is a hit of the query, and its level, 0 if not."""
    if not len(asked.items):
        return np.zeros(len(item), dtype=bool), np.zeros(len(item), dtype=np.int64)
    slot = np.minimum(np.searchsorted(asked.items, item), len(asked.items) - 1)
    is_hit = asked.items[slot] == item
    return is_hit, np.where(is_hit, asked.levels[slot], 0)


def _distribution(ranks: LongArray, rank: LongArray) -> NDArray[np.float64]:
    """The share of ``ranks`` (targets,) below each rank, straight between those that occur."""
    distinct, counts = np.unique(ranks, return_counts=True)
    below = np.cumsum(counts) - counts / 2
    knots = np.concatenate([[0], distinct + 0.5, [distinct[-1] + 1]])
    shares = np.concatenate([[0], below, [len(ranks)]]) / len(ranks)
    return np.interp(rank, knots, shares)
