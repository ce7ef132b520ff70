"""An inverted index whose weights are ready: what each term adds to each document's score.

The weights follow Lucene's BM25Similarity step by step in single precision, so that documents tie,
or do not, exactly where they do in Lucene. Lucene sums them in double precision, as is done here,
where the sum of a query's terms always runs in one order: see :class:`QueryTerms`.

A document is known by its *place*: how it stands among all when their ids are sorted as text, which
is how Lucene's hits of one score are ordered.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from benchmark.retrieval.analysis import Analyser

_FREE_LENGTHS = 24  # what Lucene's 4-bit-mantissa code leaves unused of a byte
_DOCUMENTS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class QueryTerms:
    """The terms of some queries and how often each says them.

    Within a query the terms stand in the order in which scores are summed: what can add most comes
    first, so that what is left out by a bound is always the end of the sum.

    Attributes:
        offsets: (queries + 1,) int64, from 0.
        terms: (all,) int64, rows of :class:`Postings`.
        counts: (all,) float64.
    """

    offsets: NDArray[np.int64]
    terms: NDArray[np.int64]
    counts: NDArray[np.float64]

    def matrix(self, number_of_terms: int) -> sparse.csr_array:
        """(queries, terms) float64; a product with it sums in the order of the terms."""
        shape = len(self.offsets) - 1, number_of_terms
        return sparse.csr_array((self.counts, self.terms, self.offsets), shape=shape)


@dataclass(frozen=True)
class Postings:
    """The documents of each term, row ``t`` being ``slice(starts[t], starts[t + 1])``.

    Attributes:
        starts: (terms + 1,) int64, from 0.
        places: (postings,) int32, ascending within a term.
        impacts: (postings,) float32, positive.
        counts: (postings,) unsigned, how often the term stands there.
        idf: (terms,) float32.
        inverse_norm: (documents,) float32, by place.
        largest: (terms,) float32, the largest impact of each.
    """

    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    impacts: NDArray[np.float32]
    counts: NDArray[np.unsignedinteger]
    idf: NDArray[np.float32]
    inverse_norm: NDArray[np.float32]
    largest: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        starts: NDArray[np.int64],
        places: NDArray[np.int32],
        counts: NDArray[np.unsignedinteger],
        idf: NDArray[np.float32],
        inverse_norm: NDArray[np.float32],
    ) -> Postings:
        """With the impacts of these, as Lucene writes them: idf - idf / (1 + count / norm).

        Postings whose impact is lost in single precision are left out: they are no matches.
        """
        single = np.float32
        weight = np.repeat(idf, np.diff(starts))
        impacts = counts.astype(single)
        impacts *= inverse_norm[places]
        impacts += single(1)
        np.divide(weight, impacts, out=impacts)
        np.subtract(weight, impacts, out=impacts)
        if not np.all(impacts > 0):
            kept = impacts > 0
            starts = np.concatenate([[0], np.cumsum(kept)])[starts]
            places, counts, impacts = places[kept], counts[kept], impacts[kept]
        largest = np.zeros(len(idf), dtype=single)
        used = np.flatnonzero(np.diff(starts))
        if len(used):
            largest[used] = np.maximum.reduceat(impacts, starts[used])
        return cls(starts, places, impacts, counts, idf, inverse_norm, largest)

    def repeated(self, terms: NDArray[np.int64], times: NDArray[np.int64]) -> Postings:
        """The postings (n,) of ``terms`` (n,), each said ``times`` (n,) often by a query.

        Lucene multiplies the idf and rounds, and only then forms the impact, which differs from a
        multiple of the impact unless ``times`` is a power of two.
        """
        lengths = np.diff(self.starts)[terms]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        posting = np.arange(starts[-1]) + np.repeat(self.starts[terms] - starts[:-1], lengths)
        idf = times.astype(np.float32) * self.idf[terms]
        return Postings.of(
            starts, self.places[posting], self.counts[posting], idf, self.inverse_norm
        )

    def matrix(self) -> sparse.csr_array:
        """Impacts (terms, places) float64: doubles, so that products sum in double precision."""
        shape = len(self.idf), len(self.inverse_norm)
        return sparse.csr_array(
            (self.impacts.astype(np.float64), self.places, self.starts), shape=shape
        )

    def ordered(
        self,
        row: NDArray[np.int64],
        terms: NDArray[np.int64],
        times: NDArray[np.int64],
        queries: int,
    ) -> QueryTerms:
        """The terms (n,) of the queries ``row`` (n,), each said ``times`` (n,) often, as values."""
        bound = times * self.largest[terms].astype(np.float64)
        order = np.lexsort((terms, -bound, row))
        offsets = np.searchsorted(row[order], np.arange(queries + 1))
        return QueryTerms(offsets, terms[order], times[order].astype(np.float64))


@dataclass(frozen=True)
class Vocabulary:
    """The number of every term, and the statistics that BM25 takes from a collection."""

    numbers: dict[str, int]
    documents_with_terms: int
    average_length: float

    def terms_of(
        self, queries: Sequence[str], analyse: Analyser
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The known terms of queries: row, number and how often it is said, each (all,)."""
        numbers = self.numbers
        rows, terms, times = array("q"), array("q"), array("q")
        for row, query in enumerate(queries):
            said: dict[int, int] = {}
            for term in analyse(query):
                number = numbers.get(term)
                if number is not None:
                    said[number] = said.get(number, 0) + 1
            rows.extend([row] * len(said))
            terms.extend(said)
            times.extend(said.values())
        return _values(rows), _values(terms), _values(times)


def index_texts(
    documents: Sequence[str],
    analyse: Analyser,
    place: NDArray[np.int64],
    k1: float,
    b: float,
) -> tuple[Postings, Vocabulary]:
    """The postings of some texts.

    Args:
        documents: read one after the other.
        place: (documents,), the place of each.
        k1: how slowly repetitions of a term saturate.
        b: how much long documents are held down, from 0 to 1.
    """
    counts, numbers = _count_terms(documents, analyse)
    lengths = counts.sum(axis=1, dtype=np.int64)
    with_terms = int(np.count_nonzero(lengths))
    average = float(lengths.sum() / max(1, with_terms))
    by_place = np.argsort(place)
    by_term = counts[by_place].T.tocsr()
    frequency = np.diff(by_term.indptr).astype(np.int64)  # documents per term
    single = np.float32
    relative = lossy_length(lengths[by_place]).astype(single) / single(average or 1)
    norm = single(k1) * ((single(1) - single(b)) + single(b) * relative)
    smallest = np.min_scalar_type(int(by_term.data.max(initial=0)))
    postings = Postings.of(
        starts=by_term.indptr.astype(np.int64),
        places=by_term.indices,
        counts=by_term.data.astype(smallest),
        idf=np.log(1 + (with_terms - frequency + 0.5) / (frequency + 0.5)).astype(single),
        inverse_norm=single(1) / norm,
    )
    return postings, Vocabulary(numbers, with_terms, average)


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


class _TermNumbers(dict[str, int]):
    """The number of each token's term, -1 for tokens that are dropped; fills itself.

    Every distinct token is analysed once, and no list of terms is made of any document.
    """

    def __init__(self, term: Callable[[str], str]) -> None:
        super().__init__()
        self._term = term
        self.of_term: dict[str, int] = {}

    def __missing__(self, token: str) -> int:
        term = self._term(token)
        number = self.of_term.setdefault(term, len(self.of_term)) if term else -1
        self[token] = number
        return number


def _count_terms(
    documents: Sequence[str], analyse: Analyser
) -> tuple[sparse.csr_array, dict[str, int]]:
    """Term counts (documents, terms) int32, and the column of every term."""
    numbers = _TermNumbers(analyse.term)
    blocks = list(_numbers_of_documents(documents, analyse, numbers))
    columns = np.concatenate([found for found, _ in blocks])
    lengths = np.concatenate([length for _, length in blocks])
    del blocks
    counts = sparse.csr_array(
        (np.ones(len(columns), dtype=np.int32), columns, np.concatenate([[0], np.cumsum(lengths)])),
        shape=(len(documents), len(numbers.of_term)),
    )
    counts.sum_duplicates()
    return counts, numbers.of_term


def _numbers_of_documents(
    documents: Sequence[str], analyse: Analyser, numbers: _TermNumbers
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Block by block: the term numbers of all documents in a row, and how many each has."""
    texts = iter(documents)
    while block := list(islice(texts, _DOCUMENTS_AT_ONCE)):
        found, ends = array("i"), array("q", [0])
        for text in block:
            found.extend(map(numbers.__getitem__, analyse.tokens(text)))
            ends.append(len(found))
        every = np.array(found, dtype=np.int32)
        kept = every >= 0
        before = np.concatenate([[0], np.cumsum(kept)])
        yield every[kept], np.diff(before[_values(ends)])


def _values(numbers: array[int]) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)
