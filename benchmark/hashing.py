"""Choices by a hash: every random decision in a data set is a function of seed, purpose and ids.

No generator has a state, so a choice depends neither on the order of the rows nor on how many other
choices were made before it, nor on numpy's version. Strings are hashed once each with BLAKE2b, rows
are then mixed in numpy with the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HashArray = NDArray[np.uint64]

_INCREMENT = np.uint64(0x9E3779B97F4A7C15)


def _key_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")


def text_keys(texts: Sequence[str]) -> HashArray:
    """One 64-bit key a text, shape (texts,)."""
    return np.fromiter((_key_of(text) for text in texts), dtype=np.uint64, count=len(texts))


def _mix(value: HashArray) -> HashArray:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: HashArray = value ^ (value >> np.uint64(31))
    return mixed


def row_hash(seed: int, purpose: str, *parts: NDArray[Any] | int) -> HashArray:
    """A 64-bit hash of (seed, purpose, parts) for each element of the broadcast integer arrays.

    ``purpose`` keeps decisions about the same ids apart: whether an event is a search says nothing
    about which query it gets.
    """
    state: HashArray
    with np.errstate(over="ignore"):
        state = _mix(np.full((), seed % 2**64, dtype=np.uint64) + _INCREMENT)
        state = _mix((state ^ np.uint64(_key_of(purpose))) + _INCREMENT)
        for part in parts:
            state = _mix((state ^ np.asarray(part).astype(np.uint64)) + _INCREMENT)
    return state


def row_uniform(seed: int, purpose: str, *parts: NDArray[Any] | int) -> NDArray[np.float64]:
    """Like :func:`row_hash`, as a number in [0, 1)."""
    number: NDArray[np.float64] = (row_hash(seed, purpose, *parts) >> np.uint64(11)).astype(
        np.float64
    )
    return number / 2.0**53
