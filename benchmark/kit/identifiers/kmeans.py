"""k-means centres as the start of a codebook."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.systems.contract import FloatArray

_SPREAD = 0.01
"""Noise of codes that start beside a row, in standard deviations of the rows."""


def kmeans_centres(
    vectors: FloatArray, number: int, iterations: int, random: np.random.Generator
) -> FloatArray:
    """(number, dim) centres of ``vectors`` (rows, dim), by scikit-learn with k-means++.

    With no more distinct rows than centres there is nothing to cluster: every distinct row is a
    centre, and the centres that are left start beside rows drawn at random, a little off, so that
    training can tell them apart.
    """
    distinct = np.unique(vectors, axis=0)
    if len(distinct) <= number:
        return _rows_and_neighbours(distinct, number, random)
    from sklearn.cluster import KMeans

    kmeans = KMeans(number, max_iter=iterations, random_state=int(random.integers(2**31)))
    centres: NDArray[np.float32] = kmeans.fit(vectors).cluster_centers_
    return centres.astype(np.float32, copy=False)


def _rows_and_neighbours(rows: FloatArray, number: int, random: np.random.Generator) -> FloatArray:
    deviation = float(rows.std()) or 1.0
    chosen = rows[random.integers(len(rows), size=number - len(rows))]
    noise = random.standard_normal(chosen.shape, dtype=np.float32) * np.float32(_SPREAD * deviation)
    return np.concatenate([rows, chosen + noise]).astype(np.float32, copy=False)
