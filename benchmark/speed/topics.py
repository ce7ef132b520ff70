"""What is measured here: metrics, BM25, identifiers. Other packages add topics of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from benchmark.protocol.metrics import METRIC_NAMES, mean_metrics, ranks_of_targets
from benchmark.speed import bm25_board, clusters_board, decoding_board, metrics_board
from benchmark.speed.bm25 import bm25
from benchmark.speed.clusters import clusters
from benchmark.speed.contest import Board
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


TOPICS: dict[str, Callable[[], Iterable[Measurement | str]]] = {
    "metrics": metrics,
    "bm25": bm25,
    "data": data,
    "clusters": clusters,
    "decoding": decoding,
    "identifiers": identifiers,
}

BOARD = (
    Board(bm25_board.TOPIC, bm25_board.lines, bm25_board.peers()),
    Board(decoding_board.TOPIC, decoding_board.lines, decoding_board.PEERS),
    Board(metrics_board.TOPIC, metrics_board.lines, metrics_board.PEERS),
    Board(clusters_board.TOPIC, clusters_board.lines, clusters_board.PEERS),
)
"""The topics of the speed board; the report and the index page add one each."""
