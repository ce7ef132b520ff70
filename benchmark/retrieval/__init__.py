"""Lexical retrieval: text analysis as Lucene does it, and interchangeable BM25 engines.

``analysis`` makes terms of texts (``porter`` stems), ``engine`` is what an engine offers, ``bm25``
has ours, on ``postings`` of which ``pruning`` and ``max_score`` find the best without scoring all,
in ``compiled`` code. ``lucene`` is Lucene itself, and ``compare`` sets two engines side by side.
"""

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
