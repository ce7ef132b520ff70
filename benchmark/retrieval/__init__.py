"""Lexical retrieval: text analysis as Lucene does it, and interchangeable BM25 engines."""

from benchmark.retrieval.analysis import ANALYSERS, analyse_cjk_bigrams, analyse_english
from benchmark.retrieval.bm25 import ENGINES, PrunedBM25, RankBM25, SparseBM25, make_engine
from benchmark.retrieval.engine import BM25Engine, Hits, RaggedHits, score_steps
from benchmark.retrieval.postings import lossy_length

__all__ = [
    "ANALYSERS",
    "ENGINES",
    "BM25Engine",
    "Hits",
    "PrunedBM25",
    "RaggedHits",
    "RankBM25",
    "SparseBM25",
    "analyse_cjk_bigrams",
    "analyse_english",
    "lossy_length",
    "make_engine",
    "score_steps",
]
