"""The BM25 engines: Lucene's hit lists without Java, and rank-bm25 as a second opinion.

``SparseBM25`` and ``PrunedBM25`` follow Lucene's BM25Similarity as Pyserini sets it up (k1 = 0.9,
b = 0.4): document lengths pass through a one-byte code, blank documents do not count, and the
formula has no (k1 + 1) factor. Every (term, document) pair is weighed once, in single precision
like Lucene. The first scores all documents for a batch of queries by one sparse product; the second
leaves out what cannot be among the best, in code compiled by the optional package numba. Their
scores and hits are the same, bit for bit, and the engine ``sparse`` is the second one where numba
is installed and the collection is large.

``RankBM25`` wraps the package rank-bm25 (BM25Okapi: exact lengths, another idf) and is meant for
cross-checks: it is some hundred times slower. Where its idf is zero or less, which is the lot of
words in half of the documents or more, we set it to a small positive weight: a document that shares
a word with the query is always a hit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmark.errors import unknown_value
from benchmark.retrieval.compiled import can_compile
from benchmark.retrieval.engine import BM25Engine, LocalEngine, RaggedHits
from benchmark.retrieval.postings import Postings, QueryTerms, index_texts
from benchmark.retrieval.pruning import PrunedPostings

_PRUNED_FROM = 5_000  # documents; below, loading the compiled code takes longer than it saves
_QUERIES_AT_ONCE = 1024
_PAIRS_AT_ONCE = 1 << 22

Index = TypeVar("Index")


@dataclass(frozen=True)
class _Part(Generic[Index]):
    """Some queries of a batch, at the places ``rows`` (queries,), and the index that they ask."""

    rows: NDArray[np.int64]
    asked: QueryTerms
    index: Index


class LuceneBM25(LocalEngine, Generic[Index]):
    """BM25 as Lucene computes it, whatever form of the postings answers.

    Attributes:
        documents_with_terms: the N of the formula.
        average_length: terms per document with terms.
    """

    def _read(self, documents: Sequence[str], k1: float, b: float) -> None:
        self._postings, self._vocabulary = index_texts(
            documents, self._analyse, self._place_as_text, k1, b
        )
        self.documents_with_terms = self._vocabulary.documents_with_terms
        self.average_length = self._vocabulary.average_length
        self._columns_by_place = np.argsort(self._place_as_text).astype(np.int32)
        self._index = self._index_of(self._postings)

    @abstractmethod
    def _index_of(self, postings: Postings) -> Index:
        """The form of postings that answers queries."""

    def _parts(self, queries: Sequence[str]) -> list[_Part[Index]]:
        """The queries with the index that answers them.

        A query that says a term so often that its impact rounds in its own way has one of its own.
        """
        row, term, times = self._vocabulary.terms_of(queries, self._analyse)
        is_own = np.zeros(len(queries), dtype=bool)
        is_own[row[(times & (times - 1)) != 0]] = True  # not a power of two
        if not np.any(is_own):
            asked = self._postings.ordered(row, term, times, len(queries))
            return [_Part(np.arange(len(queries)), asked, self._index)]
        usual, own = np.flatnonzero(~is_own), np.flatnonzero(is_own)
        renumbered = np.empty(len(queries), dtype=np.int64)
        renumbered[usual], renumbered[own] = np.arange(len(usual)), np.arange(len(own))
        there, row = is_own[row], renumbered[row]
        base = int(times.max()) + 1
        pairs, pair = np.unique(term[there] * base + times[there], return_inverse=True)
        postings = self._postings.repeated(*np.divmod(pairs, base))
        return [
            _Part(
                usual,
                self._postings.ordered(row[~there], term[~there], times[~there], len(usual)),
                self._index,
            ),
            _Part(
                own,
                postings.ordered(row[there], pair, np.ones_like(pair), len(own)),
                self._index_of(postings),
            ),
        ]

    def _in_order(
        self, parts: Sequence[_Part[Index]], scores: Sequence[sparse.csr_array]
    ) -> sparse.csr_array:
        """Scores (queries, documents) from those of each part."""
        if len(parts) == 1:
            return scores[0]
        return sparse.vstack(scores, format="csr")[np.argsort(_rows_of(parts))]


def _rows_of(parts: Sequence[_Part[Any]]) -> NDArray[np.int64]:
    return np.concatenate([part.rows for part in parts])


class SparseBM25(LuceneBM25[sparse.csr_array]):
    """All documents at once: a sparse product of queries and weights."""

    def _index_of(self, postings: Postings) -> sparse.csr_array:
        return postings.matrix()

    def _score_batch(self, queries: Sequence[str]) -> sparse.csr_array:
        parts, scores = self._parts(queries), []
        for part in parts:
            product = part.asked.matrix(part.index.shape[0]) @ part.index
            columns = self._columns_by_place[product.indices]
            values = product.data.astype(np.float32)
            scores.append(sparse.csr_array((values, columns, product.indptr), shape=product.shape))
        return self._in_order(parts, scores)


class PrunedBM25(LuceneBM25[PrunedPostings]):
    """Only what can be among the best: see :mod:`benchmark.retrieval.pruning`.

    Raises:
        BenchmarkError: numba is not installed.
    """

    def _index_of(self, postings: Postings) -> PrunedPostings:
        return PrunedPostings(postings)

    def _score_batch(self, queries: Sequence[str]) -> sparse.csr_array:
        parts, scores = self._parts(queries), []
        for part in parts:
            offsets, columns, values = part.index.all(part.asked, self._columns_by_place)
            shape = len(part.rows), len(self.document_ids)
            scores.append(sparse.csr_array((values, columns, offsets), shape=shape))
        return self._in_order(parts, scores)

    def _best(self, queries: Sequence[str], wanted: NDArray[np.int64], step: float) -> RaggedHits:
        blocks = []
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            block = slice(first, first + _QUERIES_AT_ONCE)
            parts, chosen = self._parts(queries[block]), wanted[block]
            found = []
            for part in parts:
                offsets, places, scores = part.index.best(part.asked, chosen[part.rows], step)
                documents = self.document_ids[self._columns_by_place[places]]
                found.append(RaggedHits(offsets, documents, scores))
            hits = RaggedHits.joined(found)
            blocks.append(hits if len(parts) == 1 else hits.rows(np.argsort(_rows_of(parts))))
        return RaggedHits.joined(blocks)

    def _score_pairs(
        self, queries: Sequence[str], row: NDArray[np.int64], documents: NDArray[Any]
    ) -> NDArray[np.float32]:
        result = np.zeros(documents.shape, dtype=np.float32)
        step = max(1, _PAIRS_AT_ONCE // max(1, documents.shape[1]))
        for part in self._parts(queries):
            renumbered = np.full(len(queries), -1, dtype=np.int64)
            renumbered[part.rows] = np.arange(len(part.rows))
            events = np.flatnonzero(renumbered[row] >= 0)
            for first in range(0, len(events), step):
                block = events[first : first + step]
                columns = self._columns_of(documents[block])
                found = part.index.scores(
                    part.asked, renumbered[row[block]], self._place_as_text[columns]
                )
                result[block] = np.where(columns >= 0, found, np.float32(0))
        return result


def lucene_engine(documents: Sequence[str], **options: Any) -> BM25Engine:
    """``PrunedBM25`` where numba is installed and the collection is large, else ``SparseBM25``."""
    if len(documents) >= _PRUNED_FROM and can_compile():
        return PrunedBM25(documents, **options)
    return SparseBM25(documents, **options)


class RankBM25(LocalEngine):
    """BM25Okapi of the package rank-bm25 behind the same interface."""

    def _read(self, documents: Sequence[str], k1: float, b: float) -> None:
        # Imported here so that who never asks for this engine does not need the package.
        from rank_bm25 import BM25Okapi

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


def _pyserini(documents: Sequence[str], **options: Any) -> BM25Engine:
    """Lucene itself; imported here, since it builds on this package and is rarely asked for."""
    from benchmark.retrieval.lucene import PyseriniBM25

    return PyseriniBM25(documents, **options)


ENGINES: dict[str, Callable[..., BM25Engine]] = {
    "sparse": lucene_engine,
    "rank-bm25": RankBM25,
    "pyserini": _pyserini,
}


def make_engine(name: str, documents: Sequence[str], **options: Any) -> BM25Engine:
    """The engine ``name`` (a key of ``ENGINES``) over the documents, with its own options."""
    if name not in ENGINES:
        raise unknown_value("BM25 engine", name, ENGINES)
    return ENGINES[name](documents, **options)
