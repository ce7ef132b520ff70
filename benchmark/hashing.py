"""Choices by a hash: every random decision in a data set is a function of seed, purpose and ids.

No generator has a state, so a choice depends neither on the order of the rows nor on how many other
choices were made before it, nor on numpy's version. Strings are hashed once each with BLAKE2b, rows
are then mixed in numpy with the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

HashArray = NDArray[np.uint64]

_INCREMENT = 0x9E3779B97F4A7C15
_CHUNK = 1 << 14  # numbers that are mixed at once, so that they stay in the processor's cache


def _key_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")


def text_keys(texts: Sequence[str]) -> HashArray:
    """One 64-bit key a text, shape (texts,)."""
    return np.fromiter((_key_of(text) for text in texts), dtype=np.uint64, count=len(texts))


def _mix(number: int) -> int:
    """The finaliser of SplitMix64 of one number below 2 ** 64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        number = (number ^ (number >> shift)) * factor % 2**64
    return number ^ (number >> 31)


def _next(state: int, part: int) -> int:
    return _mix(((state ^ part) + _INCREMENT) % 2**64)


@cache
def _start(seed: int, purpose: str) -> int:
    return _next(_next(0, seed), _key_of(purpose))


def _mix_all(values: HashArray) -> None:
    """The same of each number of a contiguous array, in place."""
    flat = values.reshape(-1)
    scratch = np.empty(min(len(flat), _CHUNK), dtype=np.uint64)
    for start in range(0, len(flat), _CHUNK):
        value = flat[start : start + _CHUNK]
        shifted = scratch[: len(value)]
        value ^= np.right_shift(value, np.uint64(30), out=shifted)
        value *= np.uint64(0xBF58476D1CE4E5B9)
        value ^= np.right_shift(value, np.uint64(27), out=shifted)
        value *= np.uint64(0x94D049BB133111EB)
        value ^= np.right_shift(value, np.uint64(31), out=shifted)


def row_hash(seed: int, purpose: str, *parts: NDArray[Any] | int) -> HashArray:
    """A 64-bit hash of (seed, purpose, parts) for each element of the broadcast integer arrays.

    ``purpose`` keeps decisions about the same ids apart: whether an event is a search says nothing
    about which query it gets.
    """
    state: int | HashArray = _start(seed % 2**64, purpose)
    for part in parts:
        if isinstance(state, int) and np.ndim(part) == 0:
            state = _next(state, int(part) % 2**64)
        else:
            before = np.asarray(state, dtype=np.uint64)
            state = before ^ np.asarray(part).astype(np.uint64, copy=False)
            state += np.uint64(_INCREMENT)
            _mix_all(state)
    return np.asarray(state, dtype=np.uint64)


def row_uniform(seed: int, purpose: str, *parts: NDArray[Any] | int) -> NDArray[np.float64]:
    """Like :func:`row_hash`, as a number in [0, 1)."""
    number = row_hash(seed, purpose, *parts)
    number >>= np.uint64(11)
    uniform: NDArray[np.float64] = number.astype(np.float64)
    uniform *= 2.0**-53
    return uniform
