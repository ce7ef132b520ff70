"""What the suite asks of a BM25 engine, and what engines that score rows of documents share.

Hits are ordered by score, then by document id as text. Anserini orders them so too and rounds the
scores to 1e-4 afterwards; ours are not rounded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from benchmark.errors import BenchmarkError, unknown_value
from benchmark.retrieval.analysis import ANALYSERS

_QUERIES_AT_ONCE = 256
_DENSE_ENTRIES = 1 << 23  # 32 MB of scores while score_pairs gathers from them
_PAIRS_AT_ONCE = 1 << 22
_FREE_LENGTHS = 24  # what Lucene's 4-bit-mantissa code leaves unused of a byte


@dataclass(frozen=True)
class Hits:
    """The best documents per query, best first.

    Attributes:
        documents: (queries, k) int32, document ids, -1 where fewer than k documents match.
        scores: (queries, k) float32, -inf at the same places.
    """

    documents: NDArray[np.int32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class RaggedHits:
    """The best documents per query, a different number for each, best first.

    Row ``q`` is ``slice(offsets[q], offsets[q + 1])`` of the other arrays.

    Attributes:
        offsets: (queries + 1,) int64, from 0.
        documents: (hits,) int32, document ids.
        scores: (hits,) float32, descending within a row.
    """

    offsets: NDArray[np.int64]
    documents: NDArray[np.int32]
    scores: NDArray[np.float32]

    @staticmethod
    def joined(parts: Sequence[RaggedHits]) -> RaggedHits:
        """The rows of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        lengths = [np.diff(part.offsets) for part in parts]
        return RaggedHits(
            np.cumsum(np.concatenate([[0], *lengths])),
            np.concatenate([np.zeros(0, np.int32), *(part.documents for part in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
        )

    def rows(self, order: NDArray[np.int64]) -> RaggedHits:
        """These rows, in this order."""
        length = np.diff(self.offsets)[order]
        offsets = np.concatenate([[0], np.cumsum(length)])
        hit = np.arange(offsets[-1]) + np.repeat(self.offsets[order] - offsets[:-1], length)
        return RaggedHits(offsets, self.documents[hit], self.scores[hit])

    def row(self, query: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The documents and scores of one query, views of the arrays."""
        part = slice(self.offsets[query], self.offsets[query + 1])
        return self.documents[part], self.scores[part]


class BM25Engine(Protocol):
    """What the suite asks of a BM25 provider. Documents are known by their ids."""

    document_ids: NDArray[np.int32]

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The k best documents of each query, among those that share a term with it."""
        ...

    def best_with_ties(self, queries: Sequence[str], k: ArrayLike, step: float) -> RaggedHits:
        """The k best documents of each query, and all that tie with the last of them.

        Documents tie whose scores are the same number of :func:`score_steps`. Fewer documents
        come back where fewer share a term with the query, none where k is 0.

        Args:
            queries: each gets a row of its own, so ask each distinct one once.
            k: one number, or (queries,), of at least 0.
            step: the width of a step, above 0.
        """
        ...

    def score_pairs(
        self, queries: Sequence[str], query_rows: ArrayLike, documents: ArrayLike
    ) -> NDArray[np.float32]:
        """Scores (n, c) of documents (n, c) for the queries at ``query_rows`` (n,); 0: no match."""
        ...

    def score_all(self, queries: Sequence[str]) -> sparse.csr_array:
        """Scores (queries, documents) float32, the columns as ``document_ids``, but unsorted."""
        ...


class LocalEngine(ABC):
    """Searching and looking up, given the score rows of a batch of queries.

    Args:
        documents: their texts, read one after the other; one without terms is never returned.
        document_ids: one id per document; without them, the position.
        k1: how slowly repetitions of a term saturate.
        b: how much long documents are held down, from 0 to 1.
        analyser: a key of ``ANALYSERS``.
    """

    def __init__(
        self,
        documents: Sequence[str],
        *,
        document_ids: Sequence[int] | None = None,
        k1: float = 0.9,
        b: float = 0.4,
        analyser: str = "english",
    ) -> None:
        if analyser not in ANALYSERS:
            raise unknown_value("analyser", analyser, ANALYSERS)
        self._analyser, self._analyse = analyser, ANALYSERS[analyser]
        if len(documents) == 0:
            raise BenchmarkError("BM25 needs at least one document.")
        ids = np.arange(len(documents)) if document_ids is None else np.asarray(document_ids)
        if ids.shape != (len(documents),):
            raise BenchmarkError(
                f"BM25 got {len(documents)} documents but document ids of shape {ids.shape}."
            )
        self.document_ids = ids.astype(np.int32)
        self._columns_by_id = np.argsort(self.document_ids, kind="stable")
        self._ids_in_order = self.document_ids[self._columns_by_id]
        if np.any(self._ids_in_order[1:] == self._ids_in_order[:-1]):
            raise BenchmarkError("BM25 got the same document id twice.")
        as_text = np.argsort(self.document_ids.astype(str), kind="stable")
        self._place_as_text = np.empty(len(ids), dtype=np.int64)
        self._place_as_text[as_text] = np.arange(len(ids))
        self._read(documents, k1, b)

    @abstractmethod
    def _read(self, documents: Sequence[str], k1: float, b: float) -> None:
        """Make of the documents what answers queries."""

    @abstractmethod
    def _score_batch(self, queries: Sequence[str]) -> sparse.csr_array:
        """Scores (queries, documents) float32 of a few queries, only positive ones stored."""

    def score_all(self, queries: Sequence[str]) -> sparse.csr_array:
        """Scores (queries, documents) float32, the columns as ``document_ids``, but unsorted."""
        distinct, rows = distinct_queries(queries)
        batches = [batch for _, batch in self._batches(distinct, _QUERIES_AT_ONCE)]
        if not batches:
            return sparse.csr_array((0, len(self.document_ids)), dtype=np.float32)
        scores = batches[0] if len(batches) == 1 else sparse.vstack(batches, format="csr")
        return scores if len(distinct) == len(queries) else scores[rows]

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The k best documents of each query, among those that share a term with it."""
        if k < 1:
            raise BenchmarkError(f"BM25 needs k of at least 1, not {k}.")
        distinct, rows = distinct_queries(queries)
        found = self._best(distinct, np.full(len(distinct), k), step=0)
        documents = np.full((len(distinct), k), -1, dtype=np.int32)
        scores = np.full((len(distinct), k), -np.inf, dtype=np.float32)
        row = np.repeat(np.arange(len(distinct)), np.diff(found.offsets))
        place = np.arange(len(row)) - found.offsets[row]
        documents[row, place] = found.documents
        scores[row, place] = found.scores
        return Hits(documents[rows], scores[rows])

    def best_with_ties(self, queries: Sequence[str], k: ArrayLike, step: float) -> RaggedHits:
        """The k best documents of each query, and all that tie with the last of them."""
        wanted = np.asarray(k, dtype=np.int64)
        if wanted.shape not in ((), (len(queries),)) or np.any(wanted < 0):
            raise BenchmarkError(
                f"BM25 needs k of at least 0, one number or one for each of {len(queries)} queries."
            )
        if not step > 0:
            raise BenchmarkError(f"BM25 needs a step above 0, not {step}.")
        return self._best(queries, np.broadcast_to(wanted, (len(queries),)), step)

    def _best(self, queries: Sequence[str], wanted: NDArray[np.int64], step: float) -> RaggedHits:
        """The ``wanted`` (queries,) best of each query; with a step, also what ties with these."""
        documents, scores = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
        for first, batch in self._batches(queries, _QUERIES_AT_ONCE):
            for offset, (start, stop) in enumerate(pairwise(batch.indptr)):
                columns, values = self._best_of_row(
                    batch.indices[start:stop],
                    batch.data[start:stop],
                    int(wanted[first + offset]),
                    step,
                )
                documents.append(self.document_ids[columns])
                scores.append(values)
        lengths = [len(part) for part in documents]
        return RaggedHits(np.cumsum(lengths), np.concatenate(documents), np.concatenate(scores))

    def _best_of_row(
        self, columns: NDArray[np.int32], values: NDArray[np.float32], k: int, step: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best of one query's matches (matches,), ordered by score, then id as text."""
        if k == 0:
            return columns[:0], values[:0]
        if len(values) > k:
            # A cut at the k-th place itself would choose among ties by their position in memory.
            level = score_steps(values, step) if step else values
            reached = level >= np.partition(level, len(level) - k)[len(level) - k]
            columns, values = columns[reached], values[reached]
        order = np.lexsort((self._place_as_text[columns], -values))
        if not step:
            order = order[:k]
        return columns[order], values[order]

    def score_pairs(
        self, queries: Sequence[str], query_rows: ArrayLike, documents: ArrayLike
    ) -> NDArray[np.float32]:
        """Scores (n, c) of documents (n, c) for the queries at ``query_rows`` (n,); 0: no match.

        A negative document id is padding and scores 0.
        """
        asked = np.asarray(documents)
        event_queries = np.asarray(query_rows, dtype=np.int64)
        if asked.ndim != 2 or event_queries.shape != asked.shape[:1]:
            raise BenchmarkError(
                f"BM25 got query rows of shape {event_queries.shape} for documents of shape "
                f"{asked.shape}; (n,) and (n, c) are needed."
            )
        if np.any((event_queries < 0) | (event_queries >= len(queries))):
            raise BenchmarkError(f"BM25 got a query row outside its {len(queries)} queries.")
        distinct, rows = distinct_queries(queries)
        used, row = np.unique(rows[event_queries], return_inverse=True)
        return self._score_pairs([distinct[place] for place in used], row, asked)

    def _score_pairs(
        self, queries: Sequence[str], row: NDArray[np.int64], documents: NDArray[Any]
    ) -> NDArray[np.float32]:
        """The same for queries of which each is distinct and asked for by some ``row`` (n,)."""
        events = np.argsort(row, kind="stable")
        bounds = np.searchsorted(row[events], np.arange(len(queries) + 1))
        result = np.zeros(documents.shape, dtype=np.float32)
        rows_at_once = max(1, min(_QUERIES_AT_ONCE, _DENSE_ENTRIES // (len(self.document_ids) + 1)))
        for first, batch in self._batches(queries, rows_at_once):
            scores = batch.toarray()
            in_block = events[bounds[first] : bounds[first + len(scores)]]
            step = max(1, _PAIRS_AT_ONCE // max(1, documents.shape[1]))
            for at in range(0, len(in_block), step):
                part = in_block[at : at + step]
                columns = self._columns_of(documents[part])
                found = scores[row[part][:, None] - first, columns]
                result[part] = np.where(columns >= 0, found, np.float32(0))
        return result

    def _columns_of(self, documents: NDArray[Any]) -> NDArray[np.int64]:
        """The score columns of document ids, -1 for padding (same shape)."""
        last = len(self._ids_in_order) - 1
        if self._ids_in_order[0] == 0 and self._ids_in_order[last] == last:  # each id once: 0..last
            places = np.clip(documents, 0, last)
        else:
            places = np.minimum(np.searchsorted(self._ids_in_order, documents), last)
        unknown = (documents >= 0) & (self._ids_in_order[places] != documents)
        if np.any(unknown):
            raise BenchmarkError(
                f"BM25 has no document with the id {int(documents[unknown][0])}; it was built from "
                f"{len(self.document_ids)} documents."
            )
        return np.where(documents < 0, -1, self._columns_by_id[places])

    def _batches(self, queries: Sequence[str], size: int) -> Iterator[tuple[int, sparse.csr_array]]:
        """The position of each batch's first query, and its scores."""
        for first in range(0, len(queries), size):
            yield first, self._score_batch(queries[first : first + size])


def score_steps(scores: NDArray[np.floating], step: float) -> NDArray[np.int64]:
    """Scores of hits in whole steps, rounded half to even (same shape): equal ones tie.

    At least 1, since every hit beats what does not match.

    >>> score_steps(np.array([0.00002, 0.00012, 1.23456]), 1e-4).tolist()
    [1, 1, 12346]
    """
    steps = np.rint(scores.astype(np.float64) / step).astype(np.int64)
    return np.maximum(steps, 1)


def distinct_queries(queries: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct query strings in order of appearance, and each query's place among them."""
    places: dict[str, int] = {}
    rows = np.array([places.setdefault(query, len(places)) for query in queries], dtype=np.int64)
    return list(places), rows
