"""Recursive spectral clustering against scikit-learn's on dense matrices, the released way."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmark.kit.identifiers.spectral import co_occurrence_graph, spectral_clusters
from benchmark.kit.identifiers.trees import Paths, recursive_clusters
from benchmark.speed.measure import Measurement, best_of

CLUSTERS, LARGEST = 10, 100


def clusters(items: int = 2_000, users: int = 5_000) -> list[Measurement]:
    """The whole tree of a co-occurrence graph of short sequences, 10 clusters of at most 100."""
    graph = _graph(items, users)
    ways = {
        "scikit-learn, dense matrices": lambda: dense_clusters(graph),
        "sparse eigenvectors (ours)": lambda: spectral_clusters(
            graph, CLUSTERS, LARGEST, np.random.default_rng(0)
        ),
    }
    what = f"spectral clustering of {items:,} items, {graph.nnz // 2:,} pairs"
    return [Measurement(what, way, best_of(work, 1), items) for way, work in ways.items()]


def _graph(items: int, users: int) -> sparse.csr_array:
    """Sequences of 8 items, most of them near one another in a ring of items."""
    random = np.random.default_rng(0)
    spread = random.normal(scale=items / 50, size=(users, 8))
    place = random.integers(items, size=(users, 1)) + spread.astype(np.int64)
    offsets = np.arange(0, place.size + 1, 8)
    return co_occurrence_graph(1 + place.ravel() % items, offsets, items)[1:][:, 1:]


def dense_clusters(graph: sparse.csr_array) -> Paths:
    """The released way: a dense adjacency, and its dense part for each cluster that is split."""
    from sklearn.cluster import SpectralClustering

    matrix = graph.toarray()

    def labels_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Graph is not fully connected")
            labels: NDArray[np.int64] = SpectralClustering(
                n_clusters=CLUSTERS,
                assign_labels="cluster_qr",
                affinity="precomputed",
                random_state=0,
            ).fit_predict(matrix[np.ix_(rows, rows)])
        return labels

    return recursive_clusters(len(matrix), CLUSTERS, LARGEST, labels_of)
