"""BM25 in scipy: the hit lists of Lucene without Java, and rank-bm25 as a second opinion.

``SparseBM25`` follows Lucene's BM25Similarity as Pyserini sets it up (k1 = 0.9, b = 0.4): document
lengths pass through a one-byte code, blank documents do not count, and the formula has no (k1 + 1)
factor. It weighs every (term, document) pair once, in single precision like Lucene; a batch of
queries is then one sparse product. Hits are ordered by score, then by document id as text. Anserini
orders them so too and rounds the scores to 1e-4 afterwards; ours are not rounded. ``RankBM25``
wraps the package rank-bm25 (BM25Okapi: exact lengths, another idf) and is meant for cross-checks:
it is some hundred times slower. Where its idf is zero or less, which is the lot of words in half of
the documents or more, we set it to a small positive weight: a document that shares a word with the
query is always a hit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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
        """Scores (queries, documents) float32; columns follow ``document_ids``."""
        ...


class LocalEngine(ABC):
    """Searching and looking up, given the score rows of a batch of queries."""

    def __init__(
        self, documents: Sequence[str], document_ids: Sequence[int] | None, analyser: str
    ) -> None:
        if analyser not in ANALYSERS:
            raise unknown_value("analyser", analyser, ANALYSERS)
        self._analyse = ANALYSERS[analyser]
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

    @abstractmethod
    def _score_batch(self, queries: Sequence[str]) -> sparse.csr_array:
        """Scores (queries, documents) float32 of a few queries, only positive ones stored."""

    def score_all(self, queries: Sequence[str]) -> sparse.csr_array:
        """Scores (queries, documents) float32; columns follow ``document_ids``."""
        distinct, rows = distinct_queries(queries)
        batches = [batch for _, batch in self._batches(distinct, _QUERIES_AT_ONCE)]
        if not batches:
            return sparse.csr_array((0, len(self.document_ids)), dtype=np.float32)
        scores = sparse.vstack(batches, format="csr")
        return scores if len(distinct) == len(queries) else scores[rows]

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The k best documents of each query, among those that share a term with it."""
        if k < 1:
            raise BenchmarkError(f"BM25 needs k of at least 1, not {k}.")
        distinct, rows = distinct_queries(queries)
        documents = np.full((len(distinct), k), -1, dtype=np.int32)
        scores = np.full((len(distinct), k), -np.inf, dtype=np.float32)
        for first, batch in self._batches(distinct, _QUERIES_AT_ONCE):
            for offset, (start, stop) in enumerate(pairwise(batch.indptr)):
                columns, values = self._best(batch.indices[start:stop], batch.data[start:stop], k)
                documents[first + offset, : len(columns)] = self.document_ids[columns]
                scores[first + offset, : len(columns)] = values
        return Hits(documents[rows], scores[rows])

    def _best(
        self, columns: NDArray[np.int32], values: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The k best of one query's matches (matches,), ordered by score, then id as text."""
        if len(values) > k:
            # A cut at the k-th place itself would choose among ties by their position in memory.
            worst = np.partition(values, len(values) - k)[len(values) - k]
            reached = values >= worst
            columns, values = columns[reached], values[reached]
        order = np.lexsort((self._place_as_text[columns], -values))[:k]
        return columns[order], values[order]

    def best_with_ties(self, queries: Sequence[str], k: ArrayLike, step: float) -> RaggedHits:
        """The k best documents of each query, and all that tie with the last of them."""
        wanted = np.asarray(k, dtype=np.int64)
        if wanted.shape not in ((), (len(queries),)) or np.any(wanted < 0):
            raise BenchmarkError(
                f"BM25 needs k of at least 0, one number or one for each of {len(queries)} queries."
            )
        if not step > 0:
            raise BenchmarkError(f"BM25 needs a step above 0, not {step}.")
        wanted = np.broadcast_to(wanted, (len(queries),))
        documents, scores = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
        for first, batch in self._batches(queries, _QUERIES_AT_ONCE):
            for offset, (start, stop) in enumerate(pairwise(batch.indptr)):
                columns, values = self._best_and_ties(
                    batch.indices[start:stop],
                    batch.data[start:stop],
                    int(wanted[first + offset]),
                    step,
                )
                documents.append(self.document_ids[columns])
                scores.append(values)
        lengths = [len(part) for part in documents]
        return RaggedHits(np.cumsum(lengths), np.concatenate(documents), np.concatenate(scores))

    def _best_and_ties(
        self, columns: NDArray[np.int32], values: NDArray[np.float32], k: int, step: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The k best of one query's matches (matches,) and what ties with the last, in order."""
        if k == 0:
            return columns[:0], values[:0]
        if len(values) > k:
            steps = score_steps(values, step)
            reached = steps >= np.partition(steps, len(steps) - k)[len(steps) - k]
            columns, values = columns[reached], values[reached]
        order = np.lexsort((self._place_as_text[columns], -values))
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
        events_query = rows[event_queries]
        events = np.argsort(events_query, kind="stable")
        used, starts = np.unique(events_query[events], return_index=True)
        ends = np.append(starts[1:], len(events))
        result = np.zeros(asked.shape, dtype=np.float32)
        rows_at_once = max(1, min(_QUERIES_AT_ONCE, _DENSE_ENTRIES // (len(self.document_ids) + 1)))
        for first, batch in self._batches([distinct[row] for row in used], rows_at_once):
            scores = batch.toarray()
            in_block = events[starts[first] : ends[first + len(scores) - 1]]
            step = max(1, _PAIRS_AT_ONCE // max(1, asked.shape[1]))
            for at in range(0, len(in_block), step):
                part = in_block[at : at + step]
                row = np.searchsorted(used, events_query[part]) - first
                columns = self._columns_of(asked[part])
                found = scores[row[:, None], columns]
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


class SparseBM25(LocalEngine):
    """BM25 as Lucene computes it, on a sparse matrix of ready weights.

    Args:
        documents: their texts; a text without terms is never returned.
        document_ids: one id per document; without them, the position.
        k1: how slowly repetitions of a term saturate.
        b: how much long documents are held down, from 0 to 1.
        analyser: a key of ``ANALYSERS``.

    Attributes:
        documents_with_terms: the N of the formula.
        average_length: terms per document with terms.
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
        super().__init__(documents, document_ids, analyser)
        counts, self._vocabulary = _count_terms(documents, self._analyse)
        lengths = counts.sum(axis=1)
        self.documents_with_terms = int(np.count_nonzero(lengths))
        self.average_length = float(lengths.sum() / max(1, self.documents_with_terms))
        self._weights = _lucene_weights(
            counts, lengths, self.documents_with_terms, self.average_length, k1, b
        )

    def _score_batch(self, queries: Sequence[str]) -> sparse.csr_array:
        vocabulary = self._vocabulary
        known = (
            [vocabulary[term] for term in self._analyse(query) if term in vocabulary]
            for query in queries
        )
        query_counts = _count_matrix(*_flatten(known), len(vocabulary), np.float64)
        scores = (query_counts @ self._weights).astype(np.float32)
        scores.eliminate_zeros()
        return scores


class RankBM25(LocalEngine):
    """BM25Okapi of the package rank-bm25 behind the same interface; arguments as ``SparseBM25``."""

    def __init__(
        self,
        documents: Sequence[str],
        *,
        document_ids: Sequence[int] | None = None,
        k1: float = 0.9,
        b: float = 0.4,
        analyser: str = "english",
    ) -> None:
        # Imported here so that who never asks for this engine does not need the package.
        from rank_bm25 import BM25Okapi

        super().__init__(documents, document_ids, analyser)
        terms = [self._analyse(document) for document in documents]
        self._columns = np.array([i for i, found in enumerate(terms) if found], dtype=np.int64)
        # The package counts a blank document in N and in the average length; Lucene does not.
        corpus = [terms[column] for column in self._columns]
        self._okapi = BM25Okapi(corpus, k1=k1, b=b) if corpus else None
        if self._okapi is not None:
            _raise_to_floor(self._okapi.idf, self._okapi.epsilon)

    def _score_batch(self, queries: Sequence[str]) -> sparse.csr_array:
        scores = np.zeros((len(queries), len(self.document_ids)), dtype=np.float32)
        if self._okapi is not None:
            for row, query in enumerate(queries):
                scores[row, self._columns] = self._okapi.get_scores(self._analyse(query))
        return sparse.csr_array(np.maximum(scores, 0))


def _raise_to_floor(idf: dict[str, float], share: float) -> None:
    """Give terms with an idf of zero or less ``share`` of the smallest positive one, or 1."""
    positive = [value for value in idf.values() if value > 0]
    floor = share * min(positive) if positive else 1.0
    for term, value in idf.items():
        if value <= 0:
            idf[term] = floor


def score_steps(scores: NDArray[np.floating], step: float) -> NDArray[np.int64]:
    """Scores of hits in whole steps, rounded half to even (same shape): equal ones tie.

    At least 1, since every hit beats what does not match.

    >>> score_steps(np.array([0.00002, 0.00012, 1.23456]), 1e-4).tolist()
    [1, 1, 12346]
    """
    steps = np.rint(scores.astype(np.float64) / step).astype(np.int64)
    return np.maximum(steps, 1)


def lossy_length(lengths: ArrayLike) -> NDArray[np.int64]:
    """Document lengths after Lucene's one-byte code (same shape): exact to 39, then coarser.

    What exceeds the free lengths keeps its four highest bits.

    >>> lossy_length([39, 40, 41, 57, 150]).tolist()
    [39, 40, 40, 56, 144]
    """
    exact = np.asarray(lengths, dtype=np.int64)
    rest = np.maximum(exact - _FREE_LENGTHS, 0)
    bit_length = np.frexp(rest.astype(np.float64))[1]
    dropped_bits = np.maximum(bit_length - 4, 0)
    coarse = (rest >> dropped_bits) << dropped_bits
    return np.where(exact < _FREE_LENGTHS, exact, _FREE_LENGTHS + coarse)


def _lucene_weights(
    counts: sparse.csr_array,
    lengths: NDArray[np.int64],
    documents_with_terms: int,
    average_length: float,
    k1: float,
    b: float,
) -> sparse.csr_array:
    """What each term adds to each document's score: (terms, documents) from (documents, terms).

    Written as Lucene writes it, idf - idf / (1 + tf / norm) with single precision at every step:
    documents of different length can then tie, or not, exactly where they do in Lucene.
    """
    single = np.float32
    by_term = counts.T.tocsr()
    frequency = np.diff(by_term.indptr)  # documents per term
    idf = np.log(1 + (documents_with_terms - frequency + 0.5) / (frequency + 0.5)).astype(single)
    relative = lossy_length(lengths).astype(single) / single(average_length or 1)
    inverse_norm = single(1) / (single(k1) * ((single(1) - single(b)) + single(b) * relative))
    term_idf = np.repeat(idf, frequency)
    term_count = by_term.data.astype(single)
    weight = term_idf - term_idf / (single(1) + term_count * inverse_norm[by_term.indices])
    # Sums are double, as in Lucene; storing doubles saves a conversion per batch.
    return sparse.csr_array(
        (weight.astype(np.float64), by_term.indices, by_term.indptr), shape=by_term.shape
    )


def _count_terms(
    documents: Sequence[str], analyse: Callable[[str], list[str]]
) -> tuple[sparse.csr_array, dict[str, int]]:
    """Term counts (documents, terms) and the column of every term."""
    vocabulary: defaultdict[str, int] = defaultdict()
    vocabulary.default_factory = vocabulary.__len__
    columns, ends = _flatten(
        map(vocabulary.__getitem__, analyse(document)) for document in documents
    )
    return _count_matrix(columns, ends, len(vocabulary), np.int64), dict(vocabulary)


def _flatten(rows: Iterable[Iterable[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """All numbers in a row, (numbers,), and where each row ends, (rows + 1,) from 0."""
    numbers = array("i")
    ends = [0]
    for row in rows:
        numbers.extend(row)
        ends.append(len(numbers))
    return np.array(numbers, dtype=np.int32), np.array(ends, dtype=np.int64)


def _count_matrix(
    columns: NDArray[np.int32], ends: NDArray[np.int64], width: int, dtype: type[np.generic]
) -> sparse.csr_array:
    """Counts (rows, width) of the numbers of each row, which may repeat."""
    counts = sparse.csr_array(
        (np.ones(len(columns), dtype=dtype), columns, ends), shape=(len(ends) - 1, width)
    )
    counts.sum_duplicates()
    return counts


def distinct_queries(queries: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct query strings in order of appearance, and each query's place among them."""
    places: dict[str, int] = {}
    rows = np.array([places.setdefault(query, len(places)) for query in queries], dtype=np.int64)
    return list(places), rows


def _pyserini(documents: Sequence[str], **options: Any) -> BM25Engine:
    """Lucene itself; imported here, since it builds on this module and is rarely asked for."""
    from benchmark.retrieval.lucene import PyseriniBM25

    return PyseriniBM25(documents, **options)


ENGINES: dict[str, Callable[..., BM25Engine]] = {
    "sparse": SparseBM25,
    "rank-bm25": RankBM25,
    "pyserini": _pyserini,
}


def make_engine(name: str, documents: Sequence[str], **options: Any) -> BM25Engine:
    """The engine ``name`` (a key of ``ENGINES``) over the documents, with its own options."""
    if name not in ENGINES:
        raise unknown_value("BM25 engine", name, ENGINES)
    return ENGINES[name](documents, **options)
