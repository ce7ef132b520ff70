"""Identifiers from clusters of items that the same users bought.

Hua, Xu, Ge and Zhang, "How to Index Item IDs for Recommendation Foundation Models", SIGIR-AP 2023;
originals https://github.com/Wenyueh/LLM-RecSys-ID, commit 2200ad9 (MIT), and, by the same group,
https://github.com/agiresearch/OpenP5, commit 7f11038 (Apache-2.0). The co-occurrence graph of a log
is clustered recursively (``spectral``), clusters and items are given tokens, and items that nobody
has form a branch of their own, so that no identifier begins another.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.kit.identifiers.spectral import CountRule, co_occurrence_graph, spectral_clusters
from benchmark.kit.identifiers.trees import Paths, depths, followed_by, is_alone, places_in_leaves
from benchmark.kit.identifiers.value import PADDING, Identifiers

Numbering = Literal["openp5", "method1", "method2", "cid_iid"]
"""Which token stands for a cluster and for an item in it; see :func:`numbered`."""

Unseen = Literal["branch", "single_token"]
"""Items without a training event: below a top cluster of their own, or, as in OpenP5, one token
each, which may be another item's first."""


class ClusterSettings(Protocol):
    """What a configuration says of the clusters."""

    @property
    def clusters(self) -> int:
        """That a cluster is split into."""

    @property
    def largest_cluster(self) -> int:
        """A cluster with more items is split again."""

    @property
    def co_occurrence(self) -> CountRule:
        """The weight of a pair of items."""

    @property
    def numbering(self) -> Numbering:
        """The tokens of clusters and items."""

    @property
    def unseen_items(self) -> Unseen:
        """What becomes of items in no sequence."""


def cluster_paths(
    item: NDArray[np.integer],
    offsets: NDArray[np.integer],
    number_of_items: int,
    settings: ClusterSettings,
    seed: int,
) -> Paths:
    """Paths (number_of_items, levels) of the items 1, 2, …; those in no sequence have none.

    Args:
        item: (events,) all sequences in a row.
        offsets: (sequences + 1,) where each begins.
    """
    graph = co_occurrence_graph(item, offsets, number_of_items, settings.co_occurrence)
    seen = np.unique(item)
    found = spectral_clusters(
        graph[seen][:, seen],
        settings.clusters,
        settings.largest_cluster,
        np.random.default_rng(seed),
    )
    paths = np.full((number_of_items, found.shape[1]), PADDING, dtype=np.int64)
    paths[seen - 1] = found
    return paths


def with_branch_of_unseen(paths: Paths, largest: int) -> Paths:
    """Items without a path get one below a top cluster of their own, ``largest`` items a leaf."""
    unseen = np.flatnonzero(depths(paths) == 0)
    if not len(unseen):
        return paths
    below = [np.arange(len(unseen)) // largest]
    while below[0].max() >= largest:
        below.insert(0, below[0] // largest)
    digits = [np.full(len(unseen), paths[:, :1].max(initial=-1) + 1)]
    if below[-1].max() > 0:
        digits += [column % largest for column in below]
    branch = np.stack(digits, axis=1)
    levels = max(paths.shape[1], branch.shape[1])
    longer = np.full((len(paths), levels), PADDING, dtype=np.int64)
    longer[:, : paths.shape[1]] = paths
    longer[unseen, : branch.shape[1]] = branch
    return longer


def numbered(
    paths: Paths, numbering: Numbering, largest: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Identifiers from cluster paths.

    Clusters are counted level by level and, in a level, by path, as text. ``openp5`` names them by
    this count modulo ``largest``, and an item by its place in its leaf, with the same tokens.
    ``method1`` does so too, but its items count on through all leaves, in the order of the tokens
    so far, and an item alone in its leaf has neither count nor token. ``method2`` has a token for
    each cluster and one for each place in a leaf. ``cid_iid`` has one for each cluster and each
    item; of an item alone in its leaf there is the cluster only, by its number among its siblings.

    Returns:
        Token numbers (items, levels), -1 after the last, and the names of the tokens.
    """
    count, names = _counted_clusters(paths)
    place, alone = places_in_leaves(paths), is_alone(paths)
    if numbering in ("openp5", "method1"):
        count = np.where(count == PADDING, PADDING, count % largest)
        if numbering == "method1":
            order = np.lexsort([np.arange(len(paths)), *count.T[::-1]])
            order = order[~alone[order]]
            place[:] = PADDING
            place[order] = np.arange(len(order)) % largest
        codes = followed_by(count, place)
        return codes, [f"<CI{number}>" for number in range(int(codes.max(initial=-1)) + 1)]
    if numbering == "method2":
        last = len(names) + place
        names += [f"<A0{number}>" for number in range(int(place.max(initial=-1)) + 1)]
        return followed_by(count, last), names
    last = np.where(alone, PADDING, len(names) + np.arange(len(paths)))
    names += [f"<A0{number}>" for number in range(len(paths))]
    deepest = depths(paths)[alone] - 1
    siblings, sibling = np.unique(paths[alone, deepest], return_inverse=True)
    own = [f"<A{number}>" for number in siblings]
    names += [name for name in own if name not in names]
    count[alone, deepest] = np.array([names.index(name) for name in own], dtype=np.int64)[sibling]
    return followed_by(count, last), names


def _counted_clusters(paths: Paths) -> tuple[NDArray[np.int64], list[str]]:
    """The number of each cluster of a path, (items, levels), and names such as ``<A0-3>`` by path.

    Clusters are counted level by level and, in a level, by path, as text.
    """
    count = np.full(paths.shape, PADDING, dtype=np.int64)
    names: list[str] = []
    for level in range(paths.shape[1]):
        rows = np.flatnonzero(paths[:, level] != PADDING)
        nodes, node = np.unique(paths[rows, : level + 1], axis=0, return_inverse=True)
        texts = np.array(["-".join(map(str, path)) for path in nodes.tolist()])
        order = np.argsort(texts, kind="stable")
        count[rows, level] = len(names) + np.argsort(order)[node.reshape(-1)]
        names += [f"<A{text}>" for text in texts[order]]
    return count, names


def collaborative_identifiers(
    item: NDArray[np.integer],
    offsets: NDArray[np.integer],
    number_of_items: int,
    settings: ClusterSettings,
    seed: int = 0,
) -> tuple[Identifiers, list[str]]:
    """Identifiers of all items, and the names of their tokens, which all levels share."""
    paths = cluster_paths(item, offsets, number_of_items, settings, seed)
    if settings.unseen_items == "branch":
        paths = with_branch_of_unseen(paths, settings.largest_cluster)
        codes, names = numbered(paths, settings.numbering, settings.largest_cluster)
    else:
        seen = depths(paths) > 0
        known, names = numbered(paths[seen], settings.numbering, settings.largest_cluster)
        codes = np.full((number_of_items, max(1, known.shape[1])), PADDING, dtype=np.int64)
        codes[seen, : known.shape[1]] = known
        codes[~seen, 0] = np.arange(np.count_nonzero(~seen))
        names += [f"<CI{number}>" for number in range(len(names), int(codes.max()) + 1)]
    return Identifiers.of_items(codes, (len(names),) * codes.shape[1]), names
