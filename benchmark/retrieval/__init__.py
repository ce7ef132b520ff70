"""Lexical retrieval: text analysis as Lucene does it, and interchangeable BM25 engines."""

from benchmark.retrieval.analysis import ANALYSERS, analyse_cjk_bigrams, analyse_english
from benchmark.retrieval.bm25 import (
    ENGINES,
    BM25Engine,
    Hits,
    RaggedHits,
    RankBM25,
    SparseBM25,
    lossy_length,
    make_engine,
    score_steps,
)

__all__ = [
    "ANALYSERS",
    "ENGINES",
    "BM25Engine",
    "Hits",
    "RaggedHits",
    "RankBM25",
    "SparseBM25",
    "analyse_cjk_bigrams",
    "analyse_english",
    "lossy_length",
    "make_engine",
    "score_steps",
]
