"""Telling apart items that were given the same identifier, in three ways.

``with_transported_codes`` is the released loop of https://github.com/RUCAIBox/LC-Rec (commit
e6f1b3b) and of the systems that descend from it: each group of equal items is spread over the last
codebook by optimal transport, whoever has those codes already, for at most 20 rounds. It may end
with collisions left, and new ones. ``with_free_codes`` is this suite's: the colliding items below a
prefix get its free codes at the least total distance, and where a prefix has more items than codes,
the farthest ones move to the nearest prefix with room; it always ends without collisions.
``with_counter`` appends a level that numbers the equal items (Rajput et al., "Recommender Systems
with Generative Retrieval", NeurIPS 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.sinkhorn import SMALLEST_EPSILON, balanced_codes
from benchmark.kit.identifiers.value import groups_of
from benchmark.systems.contract import FloatArray

Codes = NDArray[np.int64]
"""(items, levels)."""

RELEASED_ROUNDS = 20
_ENTRIES_AT_ONCE = 1 << 22  # of the plans of equally large groups


@dataclass(frozen=True)
class Coded:
    """Items and their codes, with all that is needed to give them other ones.

    ``codes`` (items, levels); ``latent`` (items, dim) the vectors that the codes stand for;
    ``codebooks`` a (size, dim) for each level, whose chosen codes sum to about ``latent``.
    """

    codes: Codes
    latent: FloatArray
    codebooks: tuple[FloatArray, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes of each level."""
        return tuple(len(codebook) for codebook in self.codebooks)

    def residual(self, codes: Codes, rows: NDArray[np.int64] | slice = slice(None)) -> FloatArray:
        """(rows, dim) what ``codes`` (rows, the first few levels) leave of the items ``rows``."""
        residual = self.latent[rows]
        for level, codebook in zip(codes.T, self.codebooks, strict=False):
            residual = residual - codebook[level]
        return residual


def collision_rate(codes: Codes) -> float:
    """The share of items that have no identifier of their own left: 1 - distinct / items."""
    distinct = np.unique(groups_of(codes)).size
    return (len(codes) - distinct) / max(len(codes), 1)


def with_transported_codes(
    coded: Coded, epsilon: float, sinkhorn_rounds: int, rounds: int = RELEASED_ROUNDS
) -> Codes:
    """The released loop: only last codes change, and some items may go on sharing.

    Where a group has fewer items than there are codes, many codes tie but for rounding, so the code
    that an item gets is neither its nearest nor the same on every machine.

    Args:
        coded: nearest codes.
        epsilon: of the transport; 0.003 if it is 0.
        sinkhorn_rounds: normalisations of each transport plan.
        rounds: the most passes over all groups.
    """
    codes: Codes = coded.codes.copy()
    residual = torch.from_numpy(coded.residual(codes[:, :-1]))
    codebook = torch.from_numpy(coded.codebooks[-1])
    lengths = codebook.square().sum(dim=1)
    for _ in range(rounds):
        sharing = _sharing_by_group_size(codes)
        if not sharing:
            break
        for groups in sharing:
            at_once = max(1, _ENTRIES_AT_ONCE // (groups.shape[1] * len(codebook)))
            for start in range(0, len(groups), at_once):
                rows = groups[start : start + at_once]
                vectors = residual[torch.from_numpy(rows)]  # (groups, members, dim)
                distances = vectors.square().sum(dim=2, keepdim=True) + lengths
                distances = distances - 2 * vectors @ codebook.T
                chosen = balanced_codes(distances, epsilon or SMALLEST_EPSILON, sinkhorn_rounds)
                codes[rows, -1] = chosen.numpy()
    return codes


def _sharing_by_group_size(codes: Codes) -> list[NDArray[np.int64]]:
    """Rows of items that share their codes: for each size of group (groups, members), in order."""
    group = groups_of(codes)
    members = np.bincount(group)
    order = np.argsort(group, kind="stable")
    first = np.cumsum(members) - members
    return [
        order[first[members == size][:, None] + np.arange(size)]
        for size in np.unique(members[members > 1])
    ]


def with_counter(codes: Codes) -> Codes:
    """(items, levels + 1): the last code counts 0, 1, 2, … among equal items, in their order."""
    group = groups_of(codes)
    order = np.argsort(group, kind="stable")
    members = np.bincount(group)
    count = np.empty(len(codes), dtype=np.int64)
    count[order] = np.arange(len(codes)) - np.repeat(np.cumsum(members) - members, members)
    return np.concatenate([codes, count[:, None]], axis=1)


def with_free_codes(coded: Coded) -> Codes:
    """Distinct codes for all items, changed as late in the identifier and as little as may be.

    Level by level, no code keeps more items than there are identifiers that begin with it. At the
    last level that is one item a code, and the items that collide below one prefix are assigned to
    its free codes at the least total squared distance (ties as SciPy's solver breaks them).

    Raises:
        SystemFailure: there are more items than identifiers.
    """
    codes: Codes = coded.codes.copy()
    sizes = coded.sizes
    if len(codes) > prod(sizes):
        raise SystemFailure(
            f"{len(codes):,} items cannot have distinct identifiers: {len(sizes)} levels of "
            f"{', '.join(map(str, sizes))} codes make {prod(sizes):,}."
        )
    for level in range(len(sizes)):
        room = prod(sizes[level + 1 :])
        is_last = level == len(sizes) - 1
        for rows in _crowded_prefixes(codes, level, room):
            residual = coded.residual(codes[rows, :level], rows)
            costs = _squared_distances(residual, coded.codebooks[level])
            old = codes[rows, level]
            new = _assigned(costs, old) if is_last else _spread(costs, old, room)
            codes[rows, level] = new
            moved = rows[new != old]
            _code_nearest(coded, codes, moved, level + 1)
    return codes


def _crowded_prefixes(codes: Codes, level: int, room: int) -> list[NDArray[np.int64]]:
    """Rows of the items below each prefix of ``level`` codes in which a code has too many items."""
    group = groups_of(codes[:, : level + 1])
    crowded = np.bincount(group)[group] > room
    prefix = groups_of(codes[:, :level])
    chosen = np.zeros(int(prefix.max(initial=0)) + 1, dtype=bool)
    chosen[prefix[crowded]] = True
    rows = np.flatnonzero(chosen[prefix])
    rows = rows[np.argsort(prefix[rows], kind="stable")]
    cuts = np.flatnonzero(np.diff(prefix[rows])) + 1
    return [rows[start:end] for start, end in pairwise([0, *cuts, len(rows)]) if end > start]


def _assigned(costs: NDArray[np.float64], old: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes of one prefix's items: items alone on theirs keep it, the others get the free ones."""
    from scipy.optimize import linear_sum_assignment

    members = np.bincount(old, minlength=costs.shape[1])
    colliding = np.flatnonzero(members[old] > 1)
    free = np.flatnonzero(members != 1)
    item, code = linear_sum_assignment(costs[np.ix_(colliding, free)])
    new: NDArray[np.int64] = old.copy()
    new[colliding[item]] = free[code]
    return new


def _spread(costs: NDArray[np.float64], old: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    """Codes with at most ``room`` items each: the farthest items of a full code leave it.

    Those who leave go to their nearest code with room, the nearest of them first; whoever comes too
    late asks again.
    """
    new: NDArray[np.int64] = old.copy()
    moving = np.flatnonzero(_order_within(old, costs[np.arange(len(old)), old]) >= room)
    new[moving] = -1
    while len(moving):
        left = room - np.bincount(new[new >= 0], minlength=costs.shape[1])
        asked = np.where(left > 0, costs[moving], np.inf).argmin(axis=1)
        place = _order_within(asked, costs[moving, asked])
        accepted = place < left[asked]
        new[moving[accepted]] = asked[accepted]
        moving = moving[~accepted]
    return new


def _order_within(code: NDArray[np.int64], cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """(items,) how many items of the same code come before each: cheaper ones, or earlier ones."""
    order = np.lexsort((cost, code))
    members = np.bincount(code)
    place = np.empty(len(code), dtype=np.int64)
    place[order] = np.arange(len(code)) - np.repeat(np.cumsum(members) - members, members)
    return place


def _code_nearest(coded: Coded, codes: Codes, rows: NDArray[np.int64], level: int) -> None:
    """Give ``rows`` their nearest codes from ``level`` on, in place."""
    for later in range(level, codes.shape[1]):
        residual = coded.residual(codes[rows, :later], rows)
        codes[rows, later] = _squared_distances(residual, coded.codebooks[later]).argmin(axis=1)


def _squared_distances(vectors: FloatArray, codes: FloatArray) -> NDArray[np.float64]:
    """(rows, size) up to rounding never below 0, in float64 so that ties are rare."""
    wide, book = vectors.astype(np.float64), codes.astype(np.float64)
    lengths = np.square(wide).sum(axis=1)[:, None] + np.square(book).sum(axis=1)
    distances: NDArray[np.float64] = lengths - 2 * wide @ book.T
    return distances
