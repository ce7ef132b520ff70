"""Hierarchical k-means: identifiers that say more and more precisely where a vector lies.

The structured identifiers of "Transformer Memory as a Differentiable Search Index" (Tay et al.,
NeurIPS 2022, section 3.2), which has no official code; details follow the public implementation in
https://github.com/solidsea98/Neural-Corpus-Indexer-NCI (commit a607ed3). All items are split, then
every cluster with too many; the last code numbers the items of a cluster, and an item alone in its
cluster has none. What differs: seeds are the run's, children are numbered by their first items, and
clusters whose vectors are all equal are cut into equal runs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.trees import (
    Labels,
    Paths,
    followed_by,
    is_alone,
    places_in_leaves,
    recursive_clusters,
)
from benchmark.kit.identifiers.value import PADDING, Identifiers
from benchmark.systems.contract import FloatArray

BATCHES_FROM = 1000
"""Rows from which on k-means goes by mini-batches; at the root it always does."""

STARTS = 100
"""k-means runs of which the best is kept."""


def kmeans_clusters(
    vectors: FloatArray,
    clusters: int,
    largest: int,
    random: np.random.Generator,
    starts: int = STARTS,
) -> Paths:
    """Paths (items, levels) of recursive k-means over ``vectors`` (items, dim).

    Args:
        clusters: that a cluster is split into.
        largest: a cluster with more items is split again.
        starts: k-means runs of which the best is kept.

    Raises:
        SystemFailure: ``clusters`` is less than 2, or ``largest`` less than 1.
    """
    if clusters < 2 or largest < 1:
        raise SystemFailure("hierarchical k-means needs at least 2 clusters of at least 1 item.")

    def labels_of(rows: NDArray[np.int64]) -> Labels:
        by_batches = len(rows) == len(vectors) or len(rows) >= BATCHES_FROM
        seed = int(random.integers(2**31))
        return _kmeans_labels(vectors[rows], clusters, by_batches, starts, seed)

    return recursive_clusters(len(vectors), clusters, largest, labels_of)


def _kmeans_labels(
    vectors: FloatArray, clusters: int, by_batches: bool, starts: int, seed: int
) -> Labels:
    distinct, group = np.unique(vectors, axis=0, return_inverse=True)
    if len(distinct) <= clusters:
        return group.reshape(-1).astype(np.int64)
    from sklearn.cluster import KMeans, MiniBatchKMeans

    kmeans: KMeans | MiniBatchKMeans
    if by_batches:
        kmeans = MiniBatchKMeans(
            n_clusters=clusters,
            n_init=starts,
            max_iter=300,
            batch_size=1000,
            reassignment_ratio=0.01,
            max_no_improvement=20,
            tol=1e-7,
            random_state=seed,
        )
    else:
        kmeans = KMeans(
            n_clusters=clusters, n_init=starts, max_iter=300, tol=1e-7, random_state=seed
        )
    return kmeans.fit_predict(vectors).astype(np.int64)


def structured_identifiers(
    vectors: FloatArray,
    clusters: int,
    largest: int,
    random: np.random.Generator,
    starts: int = STARTS,
) -> Identifiers:
    """Identifiers of the items 1, 2, … whose vectors these are; all are distinct.

    Args and errors: as for :func:`kmeans_clusters`.
    """
    paths = kmeans_clusters(vectors, clusters, largest, random, starts)
    last = np.where(is_alone(paths), PADDING, places_in_leaves(paths))
    codes = followed_by(paths, last)
    return Identifiers.of_items(codes, codes.max(axis=0, initial=0) + 1)
