"""The best BM25 hits that the list of each event may hold, for the events of many queries at once.

A query's hits are retrieved once, down to the last place that any of its events can need and with
all that tie there. What ties is ordered by a hash of event and item, so each event has an order of
its own; of a large tie at the last place only those are ordered that can still come into a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.hashing import HashArray, row_hash, row_uniform
from benchmark.protocol.exclusions import Exclusions
from benchmark.retrieval import BM25Engine, score_steps

SCORE_STEP = 1e-4
"""Lucene's hit list rounds scores to this, which is what makes ties."""

_LARGE_TIE = 512  # from here on, those of a tie that cannot come into a list are left out
_ENTRIES_AT_ONCE = 1 << 20


def score_levels(scores: NDArray[np.floating]) -> LongArray:
    """Scores of hits in whole steps, negated: lower is better, ties share a level, all below 0."""
    return -score_steps(scores, SCORE_STEP)


@dataclass(frozen=True)
class BestHits:
    """The best hits of some queries, best first; row ``q`` is ``offsets[q]:offsets[q + 1]``.

    ``documents`` and ``levels`` are (hits,); a lower level is a better score, and hits of one level
    tie.
    """

    offsets: LongArray
    documents: IntArray
    levels: LongArray

    @classmethod
    def tied(cls, engine: BM25Engine, texts: Sequence[str], depth: LongArray) -> BestHits:
        """The ``depth`` (queries,) best of each query and what ties with the last of them."""
        found = engine.best_with_ties(texts, depth, SCORE_STEP)
        return cls(found.offsets, found.documents, score_levels(found.scores))

    @classmethod
    def ordered(cls, engine: BM25Engine, texts: Sequence[str], depth: LongArray) -> BestHits:
        """The ``depth`` (queries,) best of each query in the engine's order, without ties."""
        found = engine.search(texts, max(1, int(depth.max(initial=1)))).documents
        place = np.broadcast_to(np.arange(found.shape[1]), found.shape)
        is_hit = (found > 0) & (place < depth[:, None])
        return cls(_offsets(is_hit.sum(axis=1)), found[is_hit], place[is_hit])

    @property
    def counts(self) -> LongArray:
        """The number of hits of each query."""
        return np.diff(self.offsets)

    @property
    def query(self) -> LongArray:
        """The row of each hit's query, (hits,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def keep(self, mask: NDArray[np.bool_]) -> BestHits:
        """Only the hits where ``mask`` (hits,) is true."""
        kept = np.bincount(self.query[mask], minlength=len(self.offsets) - 1)
        return BestHits(_offsets(kept), self.documents[mask], self.levels[mask])


def _offsets(counts: NDArray[np.integer]) -> LongArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@dataclass(frozen=True)
class Askers:
    """Events that ask for hits; every array has shape (events,).

    ``query`` is a row of the hits, ``key`` a hash of the event, and the rows of ``barred`` are the
    events: which items the list of each may not hold besides its ``target``.
    """

    query: LongArray
    target: IntArray
    key: HashArray
    barred: Exclusions


def best_allowed(
    hits: BestHits,
    depth: LongArray,
    askers: Askers,
    item_keys: HashArray,
    seed: int,
    number: int,
) -> tuple[IntArray, LongArray]:
    """The first ``number`` hits that the list of each event may hold, of the first ``depth``.

    Args:
        depth: (queries,), how many hits are looked at before target and barred ones are taken out.

    Returns:
        (events, number) items, best first and 0 where there are too few, and how many there are.
    """
    events = len(askers.query)
    negatives = np.zeros((events, number), dtype=np.int32)
    found = np.zeros(events, dtype=np.int64)
    shape = _Shape.of(hits, depth)
    width = shape.width[askers.query]
    order = np.lexsort((askers.query, width))
    order = order[width[order] > 0]
    while len(order):
        # From behind, where the widest are; those of about one width go together.
        at_once = max(1, _ENTRIES_AT_ONCE // int(width[order[-1]]))
        rows, order = order[-at_once:], order[:-at_once]
        documents, levels = shape.filled(hits, rows, askers, item_keys, seed)
        tie = row_uniform(seed, "tie", askers.key[rows][:, None], item_keys[documents])
        taken = shape.taken[askers.query[rows]]
        ranked = np.take_along_axis(
            documents, np.argsort(levels + tie, axis=1)[:, : int(taken.max())], axis=1
        )
        allowed = np.arange(ranked.shape[1]) < taken[:, None]
        allowed &= ranked != askers.target[rows][:, None]
        allowed &= ~askers.barred.contains(rows[:, None], ranked)
        place = np.cumsum(allowed, axis=1)
        row, column = np.nonzero(allowed & (place <= number))
        negatives[rows[row], place[row, column] - 1] = ranked[row, column]
        found[rows] = np.minimum(place[:, -1], number)
    return negatives, found


@dataclass(frozen=True)
class _Shape:
    """How the hits of each query are looked at; every array has shape (queries,).

    ``taken`` hits are looked at: those ``above`` the level of the last of them, and as many of the
    ``tied`` ones at this level ``last`` as are missing. An event's row has ``width`` entries: all
    hits, or of a large tie only the first ones in its own order.
    """

    taken: LongArray
    above: LongArray
    tied: LongArray
    last: LongArray
    width: LongArray

    @classmethod
    def of(cls, hits: BestHits, depth: LongArray) -> _Shape:
        counts = hits.counts
        taken = np.minimum(depth, counts)
        last = np.zeros(len(counts), dtype=np.int64)
        some = np.flatnonzero(taken)
        last[some] = hits.levels[hits.offsets[some] + taken[some] - 1]
        of_level = last[hits.query]
        above, up_to = (
            np.bincount(hits.query[which], minlength=len(counts))
            for which in (hits.levels < of_level, hits.levels <= of_level)
        )
        tied = np.where(taken > 0, up_to - above, 0)
        is_large = tied > np.maximum(_LARGE_TIE, 2 * (taken - above))
        width = np.where(taken > 0, np.where(is_large, taken, above + tied), 0)
        return cls(taken, above, tied, last, width)

    def filled(
        self, hits: BestHits, rows: LongArray, askers: Askers, item_keys: HashArray, seed: int
    ) -> tuple[IntArray, NDArray[np.float64]]:
        """Documents and levels of the events ``rows``, twice (rows, widest); 0 and inf beyond."""
        query = askers.query[rows]
        is_large = self.width[query] < self.above[query] + self.tied[query]
        column = np.arange(int(self.width[query].max()))
        inside = column < np.where(is_large, self.above[query], self.width[query])[:, None]
        at = np.where(inside, hits.offsets[query][:, None] + column, 0)
        documents = np.where(inside, hits.documents[at], np.int32(0))
        levels = np.where(inside, hits.levels[at], np.inf)
        last_query, ties, keys = -1, documents[:0, 0], item_keys[:0]
        for place in np.flatnonzero(is_large).tolist():
            one = int(query[place])
            if one != last_query:
                start = int(hits.offsets[one] + self.above[one])
                ties = hits.documents[start : start + int(self.tied[one])]
                last_query, keys = one, item_keys[ties]
            part = slice(int(self.above[one]), int(self.taken[one]))
            hashes = row_hash(seed, "tie", askers.key[rows[place]], keys)
            documents[place, part] = ties[_smallest(hashes, part.stop - part.start)]
            levels[place, part] = self.last[one]
        return documents, levels


def _smallest(hashes: HashArray, number: int) -> LongArray:
    """The places of the ``number`` smallest of many hashes, in any order."""
    # Nearly always enough lie below this bound, and few more.
    share = (number + 6.0 * np.sqrt(number) + 24.0) / len(hashes)
    near = np.flatnonzero(hashes < np.uint64(min(share, 0.999) * 2.0**64))
    if len(near) < number:
        near = np.arange(len(hashes))
    smallest: LongArray = near[np.argpartition(hashes[near], number - 1)[:number]]
    return smallest
