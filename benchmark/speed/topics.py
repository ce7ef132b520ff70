"""What is measured here: metrics, BM25, identifiers. Other packages add topics of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmark.protocol.metrics import METRIC_NAMES, mean_metrics, ranks_of_targets
from benchmark.retrieval import make_engine
from benchmark.speed.clusters import clusters
from benchmark.speed.data import data
from benchmark.speed.decoding import decoding
from benchmark.speed.identifiers import identifiers
from benchmark.speed.measure import Measurement, best_of


def metrics(events: int = 200_000, candidates: int = 100) -> list[Measurement]:
    """Tie-aware ranks and all metrics, against a full sort of every list."""
    random = np.random.default_rng(0)
    scores = random.random((events, candidates), dtype=np.float32)
    target = random.integers(candidates, size=events)

    def by_sorting() -> dict[str, float]:
        order = np.argsort(-scores, axis=1)
        rank = np.argmax(order == target[:, None], axis=1) + 1
        values = {}
        for name in METRIC_NAMES:
            kind, _, cutoff = name.partition("@")
            gain = np.ones(events) if kind == "HR" else 1 / np.log2(rank + 1)
            values[name] = float(np.where(rank <= int(cutoff), gain, 0).mean())
        return values

    what = f"ranks and metrics of {events:,} x {candidates} scores"
    return [
        Measurement(what, "sort every list", best_of(by_sorting), events),
        Measurement(
            what,
            "count above and tied (ours)",
            best_of(lambda: mean_metrics(ranks_of_targets(scores, target))),
            events,
        ),
    ]


def bm25(documents: int = 10_000, queries: int = 200, hits: int = 109) -> list[Measurement]:
    """Searching distinct queries, against the package rank-bm25 with the same tokens."""
    random = np.random.default_rng(0)
    frequency = 1 / np.arange(1, 20_001)
    share = frequency / frequency.sum()

    def texts(number: int, shortest: int, longest: int) -> list[str]:
        lengths = random.integers(shortest, longest + 1, size=number)
        words = random.choice(len(share), size=int(lengths.sum()), p=share)
        return [
            " ".join(f"w{word}" for word in part)
            for part in np.split(words, np.cumsum(lengths)[:-1])
        ]

    corpus, asked = texts(documents, 60, 100), texts(queries, 3, 7)
    what = f"BM25, {documents:,} documents, {queries} queries, {hits} hits"
    measured = []
    for name, way in (("rank-bm25", "rank-bm25"), ("sparse", "sparse engine (ours)")):
        engine = make_engine(name, corpus)
        seconds = best_of(partial(engine.search, asked, hits), repeats=1)
        measured.append(Measurement(what, way, seconds, queries))
    return measured


TOPICS: dict[str, Callable[[], list[Measurement]]] = {
    "metrics": metrics,
    "bm25": bm25,
    "data": data,
    "clusters": clusters,
    "decoding": decoding,
    "identifiers": identifiers,
}
