"""Trees of clusters as arrays: an item's path says which child it is in at each level.

What recursive clustering makes, and how a path becomes an identifier. Paths are (items, levels)
int64 and end in -1 where a cluster is not split further. The children of a cluster are numbered by
the lowest item in them, so equal partitions have equal paths, whatever labels a method used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmark.kit.identifiers.collisions import with_counter
from benchmark.kit.identifiers.value import PADDING, groups_of

Paths = NDArray[np.int64]
"""(items, levels), -1 after the last level of an item."""

Labels = NDArray[np.int64]
"""(rows,) the cluster of each row; any numbers."""


def recursive_clusters(
    number: int, children: int, largest: int, labels_of: Callable[[NDArray[np.int64]], Labels]
) -> Paths:
    """Split all items, then every cluster that has more than ``largest``.

    Where a cluster cannot be split, since its items are all alike, it is cut into as many equal
    runs as are needed, at most ``children``; so the recursion always ends.

    Args:
        number: of items.
        children: the most that a cluster is split into, at least 2.
        labels_of: clusters the given rising rows of the items.
    """
    columns: list[NDArray[np.int64]] = []
    pending = [np.arange(number)] if number else []
    while pending:
        column = np.full(number, PADDING, dtype=np.int64)
        larger = []
        for rows in pending:
            child = by_first_appearance(labels_of(rows))
            if child.max() == 0 and len(rows) > largest:
                child = _equal_runs(len(rows), min(children, -(-len(rows) // largest)))
            column[rows] = child
            sizes = np.bincount(child)
            larger += [rows[child == one] for one in np.flatnonzero(sizes > largest)]
        columns.append(column)
        pending = larger
    return np.stack(columns, axis=1) if columns else np.zeros((number, 0), dtype=np.int64)


def by_first_appearance(labels: Labels) -> Labels:
    """The same clusters, numbered 0, 1, 2, … in the order of their first rows."""
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[group.reshape(-1)]


def _equal_runs(rows: int, runs: int) -> Labels:
    return np.arange(rows) * runs // rows


def depths(paths: Paths) -> NDArray[np.int64]:
    """(items,) the levels of each path."""
    return np.count_nonzero(paths != PADDING, axis=1)


def places_in_leaves(paths: Paths) -> NDArray[np.int64]:
    """(items,) 0, 1, 2, … among the items of one path, in their order."""
    return with_counter(paths)[:, -1]


def is_alone(paths: Paths) -> NDArray[np.bool_]:
    """(items,) whether no other item has the same path."""
    group = groups_of(paths)
    return np.bincount(group)[group] == 1


def followed_by(paths: Paths, last: NDArray[np.int64]) -> Paths:
    """(items, levels + 1): each path with ``last`` (items,) behind its last level; -1 adds none."""
    longer = np.pad(paths, ((0, 0), (0, 1)), constant_values=PADDING)
    longer[np.arange(len(paths)), depths(paths)] = last
    return longer[:, : int(depths(longer).max(initial=0))]
