"""Clusterings for identifiers: recursive spectral clustering, and k-means with bounded sizes.

The first against scikit-learn's on dense matrices, the released way; the second's assignments
against a linear programme of rows times clusters variables.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmark.kit.identifiers.balanced import balanced_assignment, balanced_centres, costs_of
from benchmark.kit.identifiers.spectral import co_occurrence_graph, spectral_clusters
from benchmark.kit.identifiers.trees import Paths, recursive_clusters
from benchmark.speed.measure import Measurement, best_of
from benchmark.systems.contract import FloatArray

CLUSTERS, LARGEST = 10, 100


def clusters() -> list[Measurement]:
    """Both clusterings."""
    return [*spectral(), *balanced()]


def spectral(items: int = 2_000, users: int = 5_000) -> list[Measurement]:
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


def balanced(
    rows: int = 1_000, clusters: int = 32, items: int = 12_101, codes: int = 256, size: int = 512
) -> list[Measurement]:
    """One assignment of some rows both ways, and a run of at most ten rounds over a catalogue."""
    few = _uneven_rows(rows, 16)
    costs = costs_of(few, few[:clusters])
    bounds = rows // (2 * clusters), 2 * rows // clusters
    ways: dict[str, Callable[[], object]] = {
        "linear programme, HiGHS": lambda: cheapest_by_linear_programme(costs, *bounds),
        "shortest ways (ours)": lambda: balanced_assignment(costs, *bounds),
    }
    what = f"assigning {rows:,} rows to {clusters} clusters of {bounds[0]} to {bounds[1]}"
    measured = [Measurement(what, way, best_of(work), rows) for way, work in ways.items()]
    many = _uneven_rows(items, size)
    bounds = items // (2 * codes), 2 * codes
    seconds = best_of(
        lambda: balanced_centres(many, codes, *bounds, np.random.default_rng(0), starts=1), 1
    )
    what = f"balanced k-means, {items:,} rows of {size}, {codes} clusters, a start"
    return [*measured, Measurement(what, "shortest ways (ours)", seconds, items)]


def _uneven_rows(rows: int, size: int) -> FloatArray:
    """Rows in 50 heaps of very different sizes."""
    random = np.random.default_rng(0)
    heap = random.zipf(1.5, size=rows) % 50
    spread = random.normal(size=(rows, size))
    return (3 * random.normal(size=(50, size))[heap] + spread).astype(np.float32)


def cheapest_by_linear_programme(costs: NDArray[np.int64], smallest: int, largest: int) -> float:
    """The total cost of the best assignment (rows, clusters) whose clusters have these sizes."""
    from scipy.optimize import linprog

    rows, clusters = costs.shape
    of_rows = sparse.kron(sparse.eye_array(rows), np.ones((1, clusters)), format="csr")
    of_clusters = sparse.kron(np.ones((1, rows)), sparse.eye_array(clusters), format="csr")
    found = linprog(
        costs.ravel(),
        A_ub=sparse.vstack([of_clusters, -of_clusters]),
        b_ub=np.repeat([largest, -smallest], clusters),
        A_eq=of_rows,
        b_eq=np.ones(rows),
        method="highs",
    )
    return float(found.fun)
