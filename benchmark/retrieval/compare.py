"""Two BM25 engines side by side on the same documents and queries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.retrieval.bm25 import make_engine


@dataclass(frozen=True)
class Comparison:
    """How alike two engines are.

    ``same_order`` and ``same_set`` count queries, ``largest_difference`` is of the scores of equal
    places, ``seconds`` is what each engine took to index and search.
    """

    queries: int
    same_order: int
    same_set: int
    largest_difference: float
    seconds: tuple[float, float]


def compare_engines(
    names: tuple[str, str],
    documents: Sequence[str],
    queries: Sequence[str],
    hits: int,
    analyser: str = "english",
) -> Comparison:
    """Search every query with both engines; documents are known by their place.

    Raises:
        BenchmarkError: an engine is unknown or cannot run.
    """
    found, seconds = [], []
    for name in names:
        started = time.perf_counter()
        found.append(make_engine(name, documents, analyser=analyser).search(queries, hits))
        seconds.append(time.perf_counter() - started)
    first, second = found
    same_order = (first.documents == second.documents).all(axis=1)
    same_set = (np.sort(first.documents, axis=1) == np.sort(second.documents, axis=1)).all(axis=1)
    both = np.isfinite(first.scores) & np.isfinite(second.scores)
    difference = np.abs(first.scores[both] - second.scores[both])
    return Comparison(
        queries=len(queries),
        same_order=int(np.count_nonzero(same_order)),
        same_set=int(np.count_nonzero(same_set)),
        largest_difference=float(difference.max()) if len(difference) else 0.0,
        seconds=(seconds[0], seconds[1]),
    )
