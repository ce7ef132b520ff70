"""BM25 over the item texts, and BM25 reversed.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, in the form
of Lucene (k1 0.9, b 0.4). The hard negatives are BM25's own best hits, so a target seldom stands
above them and the reverse of BM25 has it first more often, having learned nothing: two rows that
say what the lists give away. Where hits tie with the target, BM25 may be above chance all the same.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from benchmark.protocol.requests import Requests
from benchmark.retrieval import BM25Engine, make_engine
from benchmark.systems.contract import FloatArray, System, SystemConfig
from benchmark.systems.view import Corpus, TrainingView


class BM25Config(SystemConfig):
    """Lucene's parameters, and the engine that computes the scores."""

    k1: float = Field(default=0.9, ge=0)
    """How soon further occurrences of a term stop counting."""
    b: float = Field(default=0.4, ge=0, le=1)
    """How much the length of a text counts."""
    engine: str = "sparse"
    """What computes the scores: ``sparse``, ``rank-bm25``, or ``pyserini`` (extra `lucene`)."""
    analyser: str = "english"
    """How texts become terms: as Lucene's default analyser does it, or ``cjk``, in pairs."""


class BM25(System):
    """The BM25 score of each candidate's text for the query."""

    Config = BM25Config
    reads_query_texts = True
    engine: BM25Engine

    def fit(self, view: TrainingView) -> None:
        """Index the catalogue."""
        self._index(view.corpus)

    def score(self, requests: Requests) -> FloatArray:
        """Score the candidates; every distinct query is analysed once."""
        texts = sorted(set(requests.query_texts))
        row = {text: number for number, text in enumerate(texts)}
        return self.engine.score_pairs(
            texts, [row[text] for text in requests.query_texts], requests.candidates
        )

    def score_all_items(self, requests: Requests) -> FloatArray:
        """Score all texts; every distinct query is asked once."""
        return self.engine.score_all(requests.query_texts).toarray()

    def save(self, folder: Path) -> None:
        """Nothing to keep: the index is made from the catalogue."""

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Index the catalogue."""
        self._index(corpus)

    def _index(self, corpus: Corpus) -> None:
        config = self.config
        self.engine = make_engine(
            config.engine,
            corpus.items.text,
            k1=config.k1,
            b=config.b,
            analyser=config.analyser,
        )


class BM25Reversed(BM25):
    """The lowest BM25 score first."""

    def score(self, requests: Requests) -> FloatArray:
        """BM25's scores, negated."""
        return -super().score(requests)

    def score_all_items(self, requests: Requests) -> FloatArray:
        """BM25's scores, negated."""
        return -super().score_all_items(requests)
