"""Means resampled over users, which intervals are read from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark.randomness import stable_random
from benchmark.report.statistics.simultaneous import sums_of_users
from benchmark.report.statistics.studentised import LEVEL

CONFIDENCE = 1.0 - LEVEL
RESAMPLES = 2000
SEED = 2024
_CELLS_AT_ONCE = 8_000_000  # of the matrix of resampled counts, so that memory stays small


def bootstrap_means(
    values: Mapping[str, NDArray[np.float64]],
    users: NDArray[np.int64],
    purpose: str = "",
    resamples: int = RESAMPLES,
) -> dict[str, NDArray[np.float64]]:
    """Resampled means of every system: (resamples, metrics).

    Users are drawn with all their events, the same ones for every system. Where a system has
    several seeds, what the mean of its runs may be off is added: Student's law with the
    runs' own deviation. Resampling the runs themselves would make their variance too small by the
    factor (seeds - 1) / seeds, and knows nothing of how badly few runs tell it.

    Args:
        values: system → (seeds, events, metrics); the number of events is the same for all.
        users: (events,) the user of each event.
        purpose: part of the random generator's seed.
        resamples: how many resampled test sets.
    """
    names = sorted(values)
    over_seeds = np.stack([values[name].mean(axis=0) for name in names], axis=1)
    _, systems, metrics = over_seeds.shape
    sums, sizes = sums_of_users(over_seeds, users)
    columns = sums.reshape(len(sizes), -1)
    random = stable_random(SEED, "bootstrap", purpose, "users")
    resampled = np.empty((resamples, systems * metrics))
    at_once = max(1, _CELLS_AT_ONCE // len(sizes))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = random.integers(len(sizes), size=(rows, len(sizes)))
        drawn += np.arange(rows)[:, None] * len(sizes)
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        weights = counts.astype(np.float64)
        resampled[start : start + rows] = weights @ columns / (weights @ sizes)[:, None]
    by_system = resampled.reshape(resamples, systems, metrics)
    means = {}
    for place, name in enumerate(names):
        own = by_system[:, place]
        seeds = len(values[name])
        if seeds > 1:
            error = values[name].mean(axis=1).std(axis=0, ddof=1) / np.sqrt(seeds)
            chance = stable_random(SEED, "bootstrap", purpose, "runs", name)
            off = chance.standard_t(seeds - 1, size=(resamples, 1)) * error
            own = np.clip(own + off, 0.0, 1.0)  # which every metric keeps to
        means[name] = own
    return means
