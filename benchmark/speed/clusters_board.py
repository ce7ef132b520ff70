"""The board's lines on codebooks: k-means, and residual k-means as an RQ-VAE's codebooks start.

All run the same number of rounds. What the centres leave of the rows stands beside the seconds,
since a start from random rows is faster and leaves more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmark.kit.identifiers.kmeans import kmeans_centres
from benchmark.kit.identifiers.quantiser import ResidualQuantiser, kmeans_start
from benchmark.speed.contest import Line, Peer, Task, Way, race, sizes_up_to
from benchmark.speed.measure import processor_seconds
from benchmark.systems.contract import FloatArray

TOPIC = "codebooks"
CENTRES, WIDTH, LEVELS, ITERATIONS = 256, 32, 4, 10
FAISS = Peer("faiss", TOPIC, ("faiss",), "faiss-cpu", "pip install faiss-cpu")
SCIKIT_LEARN = Peer("scikit-learn", TOPIC, ("sklearn",), "scikit-learn", "pip install scikit-learn")
PEERS = (FAISS, SCIKIT_LEARN)

Codebooks = Sequence[FloatArray]
"""Centres (codes, width) of each level."""


def by_ours(rows: FloatArray, levels: int, centres: int) -> Codebooks:
    """As the suite starts the codebooks of an RQ-VAE."""
    random = np.random.default_rng(0)
    if levels == 1:
        return [kmeans_centres(rows, centres, ITERATIONS, random)]
    quantiser = ResidualQuantiser(
        (centres,) * levels,
        rows.shape[1],
        epsilons=(0.0,) * levels,
        rounds=0,
        commitment=0.25,
        gradient="all_levels",
        reduction="mean",
    )
    quantiser.change(torch.from_numpy(rows), kmeans_start(ITERATIONS, random))
    return [level.weight.detach().numpy() for level in quantiser.levels]


def by_scikit_learn(rows: FloatArray, levels: int, centres: int) -> Codebooks:
    """Its k-means with its own start, level by level."""
    from sklearn.cluster import KMeans

    books: list[FloatArray] = []
    for level in range(levels):
        fitted = KMeans(centres, max_iter=ITERATIONS, n_init=1, random_state=level).fit(rows)
        books.append(fitted.cluster_centers_)
        rows = rows - fitted.cluster_centers_[fitted.labels_]
    return books


def by_faiss(rows: FloatArray, levels: int, centres: int, careful: bool) -> Codebooks:
    """Its k-means over all rows, from random rows or by k-means++; its own residual quantiser."""
    import faiss

    faiss.omp_set_num_threads(1)
    parameters: Any = faiss.ResidualQuantizer(rows.shape[1], levels, centres.bit_length() - 1)
    parameters.cp.niter = ITERATIONS
    parameters.cp.max_points_per_centroid = len(rows)
    parameters.cp.min_points_per_centroid = 1
    if careful:
        parameters.cp.init_method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    if levels == 1:
        clustering = faiss.Clustering(rows.shape[1], centres, parameters.cp)
        clustering.train(rows, faiss.IndexFlatL2(rows.shape[1]))
        found = faiss.vector_to_array(clustering.centroids)
    else:
        parameters.train_type = faiss.ResidualQuantizer.Train_default
        parameters.max_beam_size = 1
        parameters.train(rows)
        found = faiss.vector_to_array(parameters.codebooks)
    return list(found.reshape(levels, centres, -1))


def left_over(rows: FloatArray, books: Codebooks) -> float:
    """Mean squared length of what the nearest centres of all levels leave of the rows."""
    rest = torch.from_numpy(rows)
    for book in books:
        centres = torch.from_numpy(book)
        nearest = [torch.cdist(some, centres).argmin(1) for some in rest.split(65_536)]
        rest = rest - centres[torch.cat(nearest)]
    return float(rest.square().sum(1).mean())


def rows_of(number: int, width: int = WIDTH) -> FloatArray:
    """Rows (number, width) in a thousand heaps."""
    random = np.random.default_rng(number)
    heaps = 2 * random.normal(size=(1000, width))
    rows = heaps[random.integers(len(heaps), size=number)] + random.normal(size=(number, width))
    return rows.astype(np.float32)


def lines(largest: int, centres: int = CENTRES) -> Iterator[Line]:
    """k-means at growing numbers of rows, then all levels."""
    for levels, most, what in (
        (1, 1_000_000, f"k-means, {centres} centres, {ITERATIONS} rounds"),
        (LEVELS, 100_000, f"residual k-means, {LEVELS} x {centres} centres, {ITERATIONS} rounds"),
    ):
        for number in sizes_up_to(largest, most):
            yield _line(what, number, levels, centres)


def _line(what: str, number: int, levels: int, centres: int) -> Line:
    rows = rows_of(number)
    fits: dict[str, Callable[[], Codebooks]] = {}
    if FAISS.missing() is None:
        for careful, start in ((False, "random rows"), (True, "k-means++")):
            name = f"{FAISS.title()}, {start}"
            fits[name] = partial(by_faiss, rows, levels, centres, careful)
    fits[SCIKIT_LEARN.title()] = partial(by_scikit_learn, rows, levels, centres)
    fits["scikit-learn in the suite (ours)"] = partial(by_ours, rows, levels, centres)
    found: dict[str, Codebooks] = {}

    def way(name: str, fit: Callable[[], Codebooks]) -> Way:
        def work() -> None:
            found[name] = fit()

        seconds = partial(processor_seconds, work)
        return Way(name, seconds, is_ours="(ours)" in name, warms_up=number <= 10_000)

    task = Task(TOPIC, what, number, "rows", number, "rows")
    line = race(task, [way(name, fit) for name, fit in fits.items()])
    left = {name: left_over(rows, books) for name, books in found.items()}
    ways = tuple(replace(way, note=f"leaves {left[way.name]:.2f}") for way in line.ways)
    return _limited(replace(line, ways=ways), left)


def _limited(line: Line, left: dict[str, float]) -> Line:
    ours, peer = line.ours, line.best_peer
    if line.reaches_goal is not False or ours is None or peer is None:
        return line
    limit = (
        f"ours is scikit-learn's k-means, whose centres the kept figures stand on, and leaves "
        f"{left[ours.name]:.2f} where {peer.name} leaves {left[peer.name]:.2f}; it takes "
        f"{ours.least * line.task.units:.2f} s, once a training."
    )
    return replace(line, task=replace(line.task, limit=limit))
