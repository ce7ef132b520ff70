"""Shares and mean gains with their intervals, users being the unit.

A user's events hang together, so the variance of a mean is that of the users' sums. Wilson's
interval (1927) then takes as many events as would give this variance if they were independent:
unlike a normal interval it stays within 0 and 1, and says something of a share of 0. Each end is a
one-sided 95 % bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z = 1.6449
"""Standard deviations of a one-sided 95 % bound."""


@dataclass(frozen=True)
class Measured:
    """A mean over ``events`` events, and the two bounds of its interval."""

    value: float
    low: float
    high: float
    events: int

    def times(self, factor: float) -> Measured:
        """The mean and its bounds as multiples of another unit."""
        return Measured(self.value * factor, self.low * factor, self.high * factor, self.events)


def measured(values: NDArray[Any], users: NDArray[np.integer]) -> Measured:
    """The mean of values in [0, 1]; both arguments have shape (events,)."""
    number = len(values)
    if not number:
        return Measured(0.0, 0.0, 1.0, 0)
    mean, variance, clusters = _clustered(values, users)
    if variance == 0 and 0 < mean < 1:
        return Measured(mean, mean, mean, number)
    size = mean * (1 - mean) / variance if variance > 0 else clusters
    scale = 1 + Z**2 / size
    middle = (mean + Z**2 / (2 * size)) / scale
    half = Z * np.sqrt(mean * (1 - mean) / size + Z**2 / (4 * size**2)) / scale
    low, high = max(0.0, float(middle - half)), min(1.0, float(middle + half))
    return Measured(mean, min(low, mean), max(high, mean), number)


def difference(first: NDArray[Any], second: NDArray[Any], users: NDArray[np.integer]) -> Measured:
    """The mean of ``first - second``, event by event, with a normal interval; arrays (events,)."""
    if not len(first):
        return Measured(0.0, 0.0, 0.0, 0)
    mean, variance, _ = _clustered(first.astype(np.float64) - second, users)
    half = Z * float(np.sqrt(variance))
    return Measured(mean, mean - half, mean + half, len(first))


def _clustered(values: NDArray[Any], users: NDArray[np.integer]) -> tuple[float, float, int]:
    """The mean, its variance, and the number of users."""
    distinct, cluster = np.unique(users, return_inverse=True)
    mean = float(np.mean(values))
    sums = np.bincount(cluster.reshape(-1), weights=np.asarray(values, dtype=np.float64) - mean)
    # Rounding leaves something of the sums where all values are one.
    sums[np.abs(sums) < 1e-12 * len(values)] = 0
    correction = len(distinct) / max(1, len(distinct) - 1)
    return mean, float((sums**2).sum()) * correction / len(values) ** 2, len(distinct)
