"""Postings that are asked for the best hits only; see :mod:`benchmark.retrieval.max_score`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.retrieval.compiled import can_compile
from benchmark.retrieval.postings import Postings, QueryTerms

_WINDOW = 1 << 14  # documents whose sums, 128 KB of them, stay in a cache
_TABLE_FROM = 64  # postings; a shorter list is searched by halving
_PER_RANGE = 4  # postings in a range of a table, in the mean
_WIDE_SHARE = 16  # a term in one document of so many may have a row of its own
_PLACE = np.uint64(0xFFFFFFFF)


class PrunedPostings:
    """Postings that are asked for the best hits and for single documents.

    Raises:
        BenchmarkError: numba is not installed.
    """

    def __init__(self, postings: Postings) -> None:
        if not can_compile():
            raise BenchmarkError(
                "BM25 cannot prune: numba is not installed; install the extra with "
                "pip install 'gensar-benchmark[fast]', or take the engine 'sparse'."
            )
        # Imported here, since it takes its time and small collections do without.
        from benchmark.retrieval import max_score

        self._code = max_score
        self.documents = len(postings.inverse_norm)
        frequency = np.diff(postings.starts)
        levels = np.frexp(frequency.astype(np.float64))[1]  # 2 ** (levels - 1) <= frequency
        ranges = np.maximum(frequency // _PER_RANGE, 1)
        shifts = np.maximum(np.frexp(np.maximum(self.documents - 1, 0) / ranges)[1], 0)
        sizes = np.where(frequency < _TABLE_FROM, 0, (self.documents >> shifts) + 2)
        wide_rows, wide = _wide_rows(postings, frequency)
        self._index = max_score.Index(
            starts=postings.starts,
            places=postings.places,
            impacts=postings.impacts,
            largest=postings.largest,
            quantile_starts=_ends(levels),
            quantiles=np.zeros(int(levels.sum()), dtype=np.float32),
            shifts=shifts.astype(np.int64),
            table_starts=_ends(sizes),
            tables=np.zeros(int(sizes.sum()), dtype=np.int32),
            wide_rows=wide_rows,
            wide=wide,
        )
        max_score.fill_quantiles(self._index)
        max_score.fill_tables(self._index)

    def best(
        self, asked: QueryTerms, wanted: NDArray[np.int64], step: float, is_ordered: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """The best hits of each query, as offsets (queries + 1,), places and scores (hits,).

        Args:
            wanted: (queries,) int64, how many.
            step: documents tie whose scores are equally many steps, and what ties with the last is
                a hit as well; with 0 a query has no more hits than wanted.
            is_ordered: best first, ties by place; otherwise in no particular order.
        """
        offsets, keys = self._code.best_hits(
            self._index,
            asked.offsets,
            asked.terms,
            asked.counts,
            np.minimum(wanted, self.documents),
            float(step),
            min(self.documents, _WINDOW),
        )
        if is_ordered:
            for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                keys[first:last].sort()
        places = (keys & _PLACE).astype(np.int32)
        scores = (~keys >> np.uint64(32)).astype(np.uint32).view(np.float32)
        return offsets, places, scores

    def scores(
        self, asked: QueryTerms, row: NDArray[np.int64], places: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Scores (n, c) of the documents at ``places`` (n, c) for the queries ``row`` (n,)."""
        return self._code.scores_of(
            self._index, asked.offsets, asked.terms, asked.counts, row, places.astype(np.int32)
        )


def _wide_rows(
    postings: Postings, frequency: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows as wide as the collection for frequent terms; see :class:`max_score.Index`.

    There are at most as many as a document has terms in the mean, so that they take no more than
    half of the memory of places and impacts.
    """
    documents = len(postings.inverse_norm)
    most = np.argsort(-frequency, kind="stable")[: len(postings.places) // documents]
    most = most[frequency[most] * _WIDE_SHARE >= documents]
    rows = np.full(len(frequency), -1, dtype=np.int64)
    rows[most] = np.arange(len(most))
    wide = np.zeros((len(most), documents), dtype=np.float32)
    for row, term in enumerate(most):
        part = slice(postings.starts[term], postings.starts[term + 1])
        wide[row, postings.places[part]] = postings.impacts[part]
    return rows, wide


def _ends(lengths: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
