"""Pseudo-random numbers that are functions of their arguments, for vectorised seeded choices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def hashed_uniform(seed: int, *parts: NDArray[np.integer]) -> NDArray[np.float64]:
    """A number in [0, 1) for each element of the broadcast integer arrays ``parts``."""
    with np.errstate(over="ignore"):
        state = _mix(np.full((), seed % 2**64, dtype=np.uint64) + _INCREMENT)
        for part in parts:
            state = _mix((state ^ np.asarray(part).astype(np.int64).view(np.uint64)) + _INCREMENT)
    return (state >> np.uint64(11)).astype(np.float64) / 2.0**53
