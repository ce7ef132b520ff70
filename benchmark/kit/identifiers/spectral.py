"""Recursive spectral clustering of a sparse graph of items that the same users touched.

After "How to Index Item IDs for Recommendation Foundation Models" (Hua, Xu, Ge and Zhang, SIGIR-AP
2023; https://github.com/Wenyueh/LLM-RecSys-ID, commit 2200ad9), which hands dense matrices to
scikit-learn's ``SpectralClustering(assign_labels="cluster_qr")``. The partitions here are the same;
what differs is the way there: the largest eigenvectors of the normalised adjacency, which are the
smallest of its Laplacian, need products with the sparse matrix only, neither a dense copy nor a
factorisation.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.trees import Labels, Paths, recursive_clusters

CountRule = Literal["both_orders", "smaller_order"]
"""The weight of a pair of items: how often users have both, or, as the released code overwrites
one order by the other, how often in the rarer order (in the only one, if there is only one)."""

_DENSE_BELOW = 400
"""Rows up to which a dense solver is quicker."""

_PAIRS_AT_ONCE = 1 << 22


def co_occurrence_graph(
    item: NDArray[np.integer],
    offsets: NDArray[np.integer],
    number_of_items: int,
    rule: CountRule = "both_orders",
) -> sparse.csr_array:
    """How often two items occur in one sequence, (items + 1, items + 1), symmetric, no diagonal.

    Every pair of positions counts, so a repeated item counts as often as it is there.

    Args:
        item: (events,) item ids of all sequences in a row.
        offsets: (sequences + 1,) where each begins.
    """
    size = number_of_items + 1
    if rule == "both_orders":
        sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        ones = np.ones(len(item))
        counts = sparse.csr_array((ones, (sequence, item)), shape=(len(offsets) - 1, size))
        graph = counts.T @ counts
    else:
        ordered = _ordered_pairs(item, offsets, size)
        reverse = ordered.T.tocsr()
        larger, both = ordered.maximum(reverse), ordered.minimum(reverse)
        graph = larger - (larger - both).multiply(both > 0)
    return _without_diagonal(graph)


def _ordered_pairs(
    item: NDArray[np.integer], offsets: NDArray[np.integer], size: int
) -> sparse.csr_array:
    """Entry (a, b): how often ``a`` comes before ``b`` in a sequence."""
    position = np.arange(len(item))
    end = np.repeat(offsets[1:], np.diff(offsets))
    later = end - position - 1  # how many events come after each one
    total = sparse.csr_array((size, size))
    bound = np.cumsum(later)
    start = 0
    while start < len(item):
        done = bound[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(bound, done + _PAIRS_AT_ONCE)))
        first = np.repeat(position[start:stop], later[start:stop])
        inner = np.arange(len(first)) + done - (bound - later)[first]
        second = first + 1 + inner
        ones = np.ones(len(first))
        total = total + sparse.csr_array((ones, (item[first], item[second])), shape=(size, size))
        start = stop
    return total


def _without_diagonal(graph: Any) -> sparse.csr_array:
    graph = sparse.csr_array(graph)
    graph.setdiag(0)
    graph.eliminate_zeros()
    return graph


def spectral_clusters(
    graph: sparse.csr_array, clusters: int, largest: int, random: np.random.Generator
) -> Paths:
    """Paths (items, levels) of recursive clustering, items being the rows of ``graph``.

    Args:
        graph: (items, items), symmetric, not negative; the diagonal is not read.
        clusters: that a cluster is split into.
        largest: a cluster with more items is split again, on its own part of the graph.
        random: of the solver's start; it does not change the partition where that is unique.

    Raises:
        SystemFailure: ``largest`` is less than ``clusters``.
    """
    if not 2 <= clusters <= largest:
        raise SystemFailure(
            f"clusters of at most {largest} items cannot each be split into {clusters}: the number "
            "of clusters must be at least 2 and at most their largest size."
        )
    graph = _without_diagonal(graph)
    start = random.uniform(-1, 1, graph.shape[0])

    def labels_of(rows: NDArray[np.int64]) -> Labels:
        return spectral_labels(graph[rows][:, rows], clusters, start[rows])

    return recursive_clusters(graph.shape[0], clusters, largest, labels_of)


def spectral_labels(graph: sparse.csr_array, clusters: int, start: NDArray[np.float64]) -> Labels:
    """(rows,) one of at most ``clusters`` labels for each row of a graph without a diagonal.

    A graph without edges has one cluster.

    Args:
        start: (rows,) the eigensolver's first vector.
    """
    rows = graph.shape[0]
    if not graph.nnz:
        return np.zeros(rows, dtype=np.int64)
    if rows <= clusters:
        return np.arange(rows)
    degree = np.asarray(graph.sum(axis=1), dtype=np.float64)
    root = np.sqrt(np.where(degree > 0, degree, 1.0))
    scale = sparse.diags_array(1 / root)
    vectors = _largest_eigenvectors((scale @ graph @ scale).tocsr(), clusters, start)
    return pivoted_labels(vectors / root[:, None])


def _largest_eigenvectors(
    matrix: sparse.csr_array, number: int, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(rows, number) of a symmetric matrix."""
    rows = matrix.shape[0]
    if rows <= max(_DENSE_BELOW, 4 * number):
        from scipy.linalg import eigh

        return eigh(matrix.toarray(), subset_by_index=(rows - number, rows - 1))[1]
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    try:
        return eigsh(matrix, k=number, which="LA", v0=start)[1]
    except ArpackNoConvergence as error:
        raise SystemFailure(
            f"the {number} largest eigenvectors of a co-occurrence graph of {rows:,} items were "
            f"not found ({error}); another number of clusters may help."
        ) from None


def pivoted_labels(vectors: NDArray[np.float64]) -> Labels:
    """(rows,) clusters from eigenvectors (rows, clusters) by a QR decomposition with pivoting.

    After Damle, Minden and Ying, "Simple, direct and efficient multi-way spectral clustering",
    2019: as many rows as there are clusters are picked, far from each other in angle, and the
    vectors are turned until these rows lie along the axes.
    """
    from scipy.linalg import qr, svd

    picked = qr(vectors.T, mode="r", pivoting=True)[1][: vectors.shape[1]]
    left, _, right = svd(vectors[picked].T)
    return np.abs(vectors @ (left @ right)).argmax(axis=1)
