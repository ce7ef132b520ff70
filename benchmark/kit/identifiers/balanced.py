"""k-means whose clusters have bounded sizes, each assignment the cheapest one that there is.

The method of Bradley, Bennett and Demiriz, "Constrained k-means clustering", MSR-TR-2000-65: the
step that gives rows to centres is a minimum-cost flow. Costs are rounded distances, as in the
package k-means-constrained (https://github.com/joshlk/k-means-constrained, BSD-3), so its optima
are ours. The flow is not solved on rows times clusters edges. All rows start at their nearest
centre, which is the cheapest flow without bounds; then one unit after another takes the shortest
way from where there are too many rows to where there are too few. Of all rows of one cluster only
the one that is cheapest to move to another cluster matters to such a way, so that it is searched in
a graph of the clusters alone.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.kmeans import kmeans_centres
from benchmark.systems.contract import FloatArray

COST_OF_A_UNIT = 1000
"""Distances count in thousandths."""

STARTS = 10
"""k-means runs of which the best is kept."""

ROUNDS = 10
"""The most rounds of assignments and means in one run."""

TOLERANCE = 1e-4
"""A run ends when the centres' squared shifts sum to less than this part of the mean variance."""


def balanced_centres(
    vectors: FloatArray,
    clusters: int,
    smallest: int,
    largest: int,
    random: np.random.Generator,
    starts: int = STARTS,
    rounds: int = ROUNDS,
) -> FloatArray:
    """(clusters, dim) centres of ``vectors`` (rows, dim), float32.

    With no more distinct rows than clusters there is nothing to balance: as
    :func:`benchmark.kit.identifiers.kmeans.kmeans_centres`.

    Args:
        smallest: rows of a cluster, at least.
        largest: rows of a cluster, at most.
        starts: runs from k-means++ centres; that with the least squared distances is kept.
        rounds: the most assignments of a run.

    Raises:
        SystemFailure: no clusters can have these sizes.
    """
    from sklearn.cluster import kmeans_plusplus

    if len(np.unique(vectors, axis=0)) <= clusters:
        return kmeans_centres(vectors, clusters, rounds, random)
    rows = np.asarray(vectors, dtype=np.float64)
    best, least = np.zeros((clusters, rows.shape[1])), np.inf
    for _ in range(starts):
        seed = int(random.integers(2**31))
        first, _ = kmeans_plusplus(rows, clusters, random_state=seed)
        centres, inertia = _run(rows, first, smallest, largest, rounds)
        if inertia < least:
            best, least = centres, inertia
    return best.astype(np.float32)


def _run(
    rows: NDArray[np.float64], centres: NDArray[np.float64], smallest: int, largest: int, most: int
) -> tuple[NDArray[np.float64], float]:
    """The centres after at most ``most`` rounds, and the squared distances of the last one."""
    enough = TOLERANCE * float(rows.var(axis=0).mean())
    inertia = np.inf
    for _ in range(most):
        label = balanced_assignment(costs_of(rows, centres), smallest, largest)
        inertia = float(np.square(rows - centres[label]).sum())
        moved = _means(rows, label, centres)
        shift = float(np.square(moved - centres).sum())
        centres = moved
        if shift <= enough:
            break
    return centres, inertia


def _means(
    rows: NDArray[np.float64], label: NDArray[np.int64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean of each cluster; one without rows keeps its centre."""
    counts = np.bincount(label, minlength=len(centres))
    order = np.argsort(label, kind="stable")
    used = np.flatnonzero(counts)
    first = (np.cumsum(counts) - counts)[used]
    means = centres.copy()
    means[used] = np.add.reduceat(rows[order], first, axis=0) / counts[used, None]
    return means


def costs_of(rows: NDArray[np.floating], centres: NDArray[np.floating]) -> NDArray[np.int64]:
    """(rows, clusters) distances in thousandths, rounded."""
    from sklearn.metrics.pairwise import euclidean_distances

    distances: NDArray[np.float64] = euclidean_distances(
        np.asarray(rows, dtype=np.float64), np.asarray(centres, dtype=np.float64)
    )
    return np.rint(COST_OF_A_UNIT * distances).astype(np.int64)


def balanced_assignment(costs: NDArray[np.int64], smallest: int, largest: int) -> NDArray[np.int64]:
    """(rows,) the cluster of each row, at the least total cost that the sizes allow.

    Args:
        costs: (rows, clusters).
        smallest: rows of a cluster, at least.
        largest: rows of a cluster, at most.

    Raises:
        SystemFailure: no clusters can have these sizes.
    """
    rows, clusters = costs.shape
    if not smallest * clusters <= rows <= largest * clusters:
        raise SystemFailure(
            f"{rows:,} rows cannot be {clusters:,} clusters of {smallest:,} to {largest:,} rows."
        )
    flow = _Flow(costs, smallest, largest)
    while flow.is_unbalanced():
        flow.push_one()
    return flow.label


class _Flow:
    """An assignment that is the cheapest for the sizes that its clusters have.

    Nodes are the clusters and, last, the sink: a cluster sends its rows there, at least
    ``smallest`` and at most ``largest`` of them, for nothing. ``cost_of_moving`` (nodes, nodes) is
    what a unit costs from one node to another, and ``row_to_move`` (clusters, clusters) the row
    that this takes.
    """

    def __init__(self, costs: NDArray[np.int64], smallest: int, largest: int) -> None:
        self.costs = np.ascontiguousarray(costs.T)  # (clusters, rows)
        self.smallest, self.largest = smallest, largest
        clusters, self.rows = self.costs.shape
        self.label: NDArray[np.int64] = costs.argmin(axis=1).astype(np.int64)
        self.sizes = np.bincount(self.label, minlength=clusters)
        self.sink = clusters
        self.cost_of_moving = np.full((clusters + 1, clusters + 1), np.inf)
        self.row_to_move = np.full((clusters, clusters), -1, dtype=np.int64)
        for cluster in range(clusters):
            self._find_rows_to_move(cluster, np.arange(clusters))
        self._settle()

    def is_unbalanced(self) -> bool:
        """Whether a cluster has too many or too few rows."""
        return bool(self.excess.any())

    def push_one(self) -> None:
        """Move one unit on the cheapest way from an excess to a lack."""
        way = self._cheapest_way()
        moves = [
            (start, end, int(self.row_to_move[start, end]))
            for start, end in pairwise(way)
            if self.sink not in (start, end)
        ]
        for start, end, row in moves:
            self.label[row] = end
            self.sizes[start] -= 1
            self.sizes[end] += 1
        for start, end, row in moves:
            gone = np.flatnonzero(self.row_to_move[start] == row)
            self._find_rows_to_move(start, gone)
            self._offer(row, end)
        self._settle()

    def _cheapest_way(self) -> list[int]:
        """The nodes of the way, by the algorithm of Bellman and Ford from all excesses at once."""
        nodes = np.arange(self.sink + 1)
        distance = np.where(self.excess > 0, 0.0, np.inf)
        before = np.full(self.sink + 1, -1)
        while True:
            through = distance[:, None] + self.cost_of_moving
            last = through.argmin(axis=0)
            shorter = through[last, nodes] < distance
            if not shorter.any():
                break
            distance[shorter] = through[last, nodes][shorter]
            before[shorter] = last[shorter]
        way = [int(np.where(self.excess < 0, distance, np.inf).argmin())]
        while before[way[0]] >= 0:
            way.insert(0, int(before[way[0]]))
        return way

    def _find_rows_to_move(self, cluster: int, to: NDArray[np.int64]) -> None:
        """Look through the rows of a cluster for the cheapest to move to each of ``to``."""
        own = np.flatnonzero(self.label == cluster)
        if not len(own):
            self.cost_of_moving[cluster, to], self.row_to_move[cluster, to] = np.inf, -1
            return
        extra = self.costs[np.ix_(to, own)] - self.costs[cluster, own]
        cheapest = extra.argmin(axis=1)
        self.cost_of_moving[cluster, to] = extra[np.arange(len(to)), cheapest]
        self.row_to_move[cluster, to] = own[cheapest]

    def _offer(self, row: int, cluster: int) -> None:
        """Let a row that came to a cluster be the one to move where it is the cheapest."""
        extra = self.costs[:, row] - self.costs[cluster, row]
        cheaper = extra < self.cost_of_moving[cluster, : self.sink]
        self.cost_of_moving[cluster, : self.sink][cheaper] = extra[cheaper]
        self.row_to_move[cluster, cheaper] = row

    def _settle(self) -> None:
        """What the sizes say: who has too much, and which ways to and from the sink are open."""
        sent = np.clip(self.sizes, self.smallest, self.largest)
        self.excess = np.append(self.sizes - sent, int(sent.sum()) - self.rows)
        self.cost_of_moving[:-1, -1] = np.where(self.sizes < self.largest, 0.0, np.inf)
        self.cost_of_moving[-1, :-1] = np.where(self.sizes > self.smallest, 0.0, np.inf)
