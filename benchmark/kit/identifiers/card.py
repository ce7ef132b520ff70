"""Figures of finished identifiers: what became of the vectors, and what the training log says.

A prefix is worth learning if the items that share it are chosen after one another, and an item that
is seldom chosen can be learned only from those it shares a prefix with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.kit.identifiers.collisions import Coded
from benchmark.kit.identifiers.value import PADDING, Identifiers, groups_of
from benchmark.systems.contract import FloatArray
from benchmark.systems.view import TrainingView

FEW_EVENTS = 5
"""Items with fewer training events of either task are the tail."""


def quality(coded: Coded, identifiers: Identifiers, vectors: FloatArray) -> dict[str, float]:
    """Figures of finished identifiers, and of their codes before collisions went.

    Args:
        coded: nearest codes.
        identifiers: what became of them.
        vectors: (items, dim) what the codes are of.
    """
    before = Identifiers.of_items(coded.codes, coded.sizes).report()
    explained = variance_explained(vectors, coded.codes)
    return {
        **identifiers.report().as_json(),
        "sharing_before": before.sharing,
        **{f"variance_explained_{level}": share for level, share in enumerate(explained, start=1)},
    }


def variance_explained(vectors: FloatArray, codes: NDArray[np.integer]) -> list[float]:
    """For each level, how much of the variance of the vectors the codes up to it explain.

    That is the variance between the means of the items with equal codes, as a share of all: 1 where
    every item has codes of its own, so levels compare only between identifiers of equal sizes.

    Args:
        vectors: (items, dim).
        codes: (items, levels).
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    total = float(np.square(centred).sum())
    shares = []
    for level in range(1, codes.shape[1] + 1):
        group = groups_of(codes[:, :level])
        members = np.bincount(group)
        order = np.argsort(group, kind="stable")
        sums = np.add.reduceat(centred[order], np.cumsum(members) - members, axis=0)
        between = float((np.square(sums).sum(axis=1) / members).sum())
        shares.append(between / total if total > 0 else 1.0)
    return shares


def card(identifiers: Identifiers, view: TrainingView) -> dict[str, float]:
    """Figures of identifiers by the training log.

    ``alignment_<level>``: how much oftener two items in a row of a user's recommendation events
    have the same codes up to this level than they would if the first and the second item of such
    pairs were drawn by themselves. ``tail_items``: the share of items with fewer than
    :data:`FEW_EVENTS` training events. ``tail_backed``: the share of these that have all codes but
    the last in common with an item that is none of them.
    """
    codes = identifiers.codes[1:]
    figures: dict[str, float] = {}
    first, second = _pairs(view)
    for level in range(1, identifiers.levels + 1):
        has_all = (codes[:, :level] != PADDING).all(axis=1)
        group = np.where(has_all, groups_of(codes[:, :level]), -1)
        lift = _lift(group[first - 1], group[second - 1])
        if lift is not None:
            figures[f"alignment_{level}"] = lift
    events = np.bincount(view.log.item, minlength=len(codes) + 1)[1:]
    is_tail = events < FEW_EVENTS
    figures["tail_items"] = float(is_tail.mean()) if len(codes) else 0.0
    if is_tail.any():
        group = groups_of(codes[:, :-1])
        backed = np.zeros(int(group.max()) + 1, dtype=bool)
        backed[group[~is_tail]] = True
        figures["tail_backed"] = float(backed[group[is_tail]].mean())
    return figures


def _pairs(view: TrainingView) -> tuple[IntArray, IntArray]:
    """(pairs,) each of two different items that a user was recommended and chose in a row."""
    examples = view.examples("recommendation")
    before = examples.history(1, "recommendation").items[:, 0]
    kept = (before > 0) & (before != examples.target)
    return before[kept], examples.target[kept]


def _lift(first: LongArray, second: LongArray) -> float | None:
    """How much oftener groups agree than by chance; None if chance alone never makes them agree."""
    kept = (first >= 0) & (second >= 0)
    first, second = first[kept], second[kept]
    if not len(first):
        return None
    size = int(max(first.max(), second.max())) + 1
    shares = [np.bincount(side, minlength=size) / len(side) for side in (first, second)]
    chance = float((shares[0] * shares[1]).sum())
    return float((first == second).mean()) / chance if chance > 0 else None
