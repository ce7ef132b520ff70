"""Hard negatives of searches: BM25 hits of the query that no evaluation list can hold.

The evaluation lists of searches are BM25 hits too, often the same ones for every event of a query.
Whoever trains on these learns the lists, not the task. So hard negatives stand behind the deepest
rank that the protocol's lists may reach (:attr:`TrainingView.evaluation_depth`). That is a cut by
rank alone: it does not tell which items the lists hold. Hits that tie with the last rank before the
cut are left out, since lists may break ties otherwise, and so are items that training pairs with
the query. Where a query has no hit so deep, and under protocols whose lists may hold any document,
there are no hard negatives, and what the system draws otherwise takes their place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.kit.text.words import training_queries
from benchmark.protocol.best_hits import score_levels
from benchmark.protocol.exclusions import Exclusions
from benchmark.systems.view import TrainingView

_QUERIES_AT_ONCE = 64


class HardNegatives:
    """Draws hits of training queries.

    ``hits`` is (training queries + 1, pool) items, best first, then 0; the first row is empty.

    Args:
        pool: how many hits a query has to draw from, the best of those allowed.
    """

    def __init__(self, view: TrainingView, pool: int) -> None:
        queries = training_queries(view)
        self._row_of = np.zeros(view.corpus.number_of_queries + 1, dtype=np.int64)
        self._row_of[queries] = np.arange(1, len(queries) + 1)
        self.hits = np.zeros((len(queries) + 1, pool), dtype=np.int32)
        if view.evaluation_depth < view.corpus.number_of_items:
            self._search(view, queries)
        self._count = np.count_nonzero(self.hits, axis=1)

    def _search(self, view: TrainingView, queries: IntArray) -> None:
        engine, texts = view.search_engine(), view.corpus.queries.text
        known = Exclusions.of_pairs(view.log.query, view.log.item, view.corpus.number_of_items)
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            block = queries[start : start + _QUERIES_AT_ONCE]
            scores = engine.score_all([texts[query] for query in block]).tocsr()
            for place, query in enumerate(block):
                row = slice(scores.indptr[place], scores.indptr[place + 1])
                items = scores.indices[row].astype(np.int32)
                levels = score_levels(scores.data[row])
                deep = _behind(items[items > 0], levels[items > 0], view.evaluation_depth)
                deep = deep[~known.contains(query, deep)][: self.hits.shape[1]]
                self.hits[self._row_of[query], : len(deep)] = deep

    def draw(
        self, query: NDArray[np.integer], number: int, random: np.random.Generator
    ) -> IntArray:
        """(events, number) distinct hits of each event's query; 0 at the end where it has fewer.

        Args:
            query: (events,).
        """
        row = self._row_of[query]
        count = self._count[row]
        wanted = np.minimum(number, count)
        places = np.full((len(row), number), -1, dtype=np.int64)
        # Floyd's sampling without replacement: a place that is taken makes room for the last one.
        for column in range(number):
            last = count - wanted + column
            place = random.integers(last + 1)
            is_taken = (places[:, :column] == place[:, None]).any(axis=1)
            places[:, column] = np.where(is_taken, last, place)
            places[column >= wanted, column] = -1
        return np.where(places >= 0, self.hits[row[:, None], places], 0).astype(np.int32)

    def replace(
        self,
        drawn: NDArray[np.integer],
        query: NDArray[np.integer],
        random: np.random.Generator,
        number: int | None = None,
    ) -> IntArray:
        """``drawn`` (events, negatives) with hits in its last columns.

        What was drawn stays where a query has too few hits.

        Args:
            query: (events,).
            number: how many columns, all if absent.
        """
        replaced = drawn.astype(np.int32)
        number = drawn.shape[1] if number is None else number
        first = drawn.shape[1] - number
        hits = self.draw(query, number, random)
        replaced[:, first:] = np.where(hits > 0, hits, replaced[:, first:])
        return replaced


def _behind(items: IntArray, levels: LongArray, depth: int) -> IntArray:
    """The hits of one query that are worse than its hit at rank ``depth``, best first."""
    if len(items) <= depth:
        return items[:0]
    deep = levels > np.partition(levels, depth - 1)[depth - 1]
    items, levels = items[deep], levels[deep]
    return items[np.lexsort((items, levels))]
