"""Codes of positions that a network learns one after another, which also finds items by queries.

Sun et al., "Learning to Tokenize for Generative Retrieval", NeurIPS 2023; original
https://github.com/sunnweiwei/GenRet, commit a1d80e1 (no licence; nothing is taken from it). What a
network writes becomes codes that are balanced within a batch; clusters of its states, of bounded
sizes, begin the codebook of a position; and one more code counts equal identifiers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.dataset import LongArray
from benchmark.kit.identifiers.collisions import with_counter
from benchmark.kit.identifiers.value import groups_of
from benchmark.systems.contract import FloatArray


def balanced_shares(scores: torch.Tensor) -> torch.Tensor:
    """How much of each code goes to each row of a batch, (batch, codes) float64; sums to one.

    The original alternates two normalisations a hundred times, but divides by the sum of the matrix
    where the rows' sums are meant. One round is then a fixed point: scores are moved and scaled
    into [-1, 1], and their softmax over the batch is shared equally among the codes.

    Args:
        scores: (batch, codes).
    """
    scores = scores.float()
    largest, smallest = scores.max(), scores.min()
    middle, half = (largest + smallest) / 2, (largest - smallest) / 2
    centred = (scores - middle) / (half + 1e-5)
    return centred.double().softmax(dim=0) / scores.shape[1]


def balanced_codes(scores: torch.Tensor) -> torch.Tensor:
    """(batch,) the code that each row has the largest share of; ``scores`` (batch, codes)."""
    return balanced_shares(scores).argmax(dim=1)


def centred_by_prefix(states: FloatArray, prefixes: LongArray) -> FloatArray:
    """States (items, dim) moved so that the items of each prefix have the mean of all items.

    Args:
        prefixes: (items, positions).
    """
    group = groups_of(prefixes)
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    sums = np.add.reduceat(states[order], np.cumsum(counts) - counts, axis=0)
    means = sums / counts[:, None].astype(states.dtype)
    return states - means[group] + states.mean(axis=0)


def size_bounds(rows: int, codes: int) -> tuple[int, int]:
    """The least and the most items of a cluster, when ``rows`` items begin ``codes`` codes."""
    largest = 2 * codes if rows <= 2 * codes**2 else -(-3 * rows // (2 * codes))
    return min(rows // (2 * codes), codes // 4), largest


def with_last_code(codes: LongArray, size: int) -> LongArray:
    """(items, positions + 1): behind the codes the number of equal ones so far, itself included.

    It begins anew after ``size`` - 1, so more equal items than that go on sharing.
    """
    counted = with_counter(codes)
    counted[:, -1] = (counted[:, -1] + 1) % size
    return counted


def balance(codes: NDArray[np.integer], size: int) -> float:
    """How evenly items are spread over ``size`` codes: 1 if no code has more than its share.

    Args:
        codes: (items,).
    """
    counts = np.bincount(codes, minlength=size)
    return float(1 - np.abs(counts - len(codes) // size).sum() / (2 * len(codes)))
