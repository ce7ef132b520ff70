"""Prefix trees of item identifiers as two arrays: of a batch of candidate lists, or of a catalogue.

Nodes are numbered level by level, and within a level by parent and token. The children of a node
are then a range of numbers, so that one array of range limits is the whole tree, a list of its
children is a gather, and nothing is a dictionary. The tree of a batch has a root for each event;
equal identifiers of one event end in one node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import LongArray
from benchmark.errors import SystemFailure
from benchmark.kit.text.pieces import NO_TOKEN


@dataclass(frozen=True)
class Trie:
    """The distinct prefixes of token sequences.

    The children of node ``n`` are the nodes from ``first_child[n]`` up to ``first_child[n + 1]``.

    ``token`` (nodes,) is what leads to a node; roots have :data:`NO_TOKEN`. ``first_child`` is
    (nodes + 1,). ``leaf`` has a row for each root: the node in which each sequence ends, -1 for a
    sequence of nothing. The roots are the first ``len(leaf)`` nodes. ``height`` is the length of
    the longest sequence.
    """

    token: LongArray
    first_child: LongArray
    leaf: LongArray
    height: int

    def __len__(self) -> int:
        return len(self.token)

    @property
    def number_of_roots(self) -> int:
        """How many trees these are."""
        return len(self.leaf)

    @property
    def most_nodes_of_a_level(self) -> int:
        """The nodes of the widest level."""
        first, end, most = 0, self.number_of_roots, self.number_of_roots
        for _ in range(self.height):
            first, end = end, int(self.first_child[end])
            most = max(most, end - first)
        return most

    @property
    def ends_here(self) -> NDArray[np.bool_]:
        """(nodes,) whether a sequence ends in a node; more may go on from there."""
        ends = np.zeros(len(self), dtype=bool)
        ends[self.leaf[self.leaf >= 0]] = True
        return ends

    @classmethod
    def of(cls, tokens: NDArray[np.integer]) -> Trie:
        """One tree a row.

        Args:
            tokens: (roots, sequences, length), padded with :data:`NO_TOKEN` at the end.

        Raises:
            SystemFailure: there is a token after padding.
        """
        present = tokens >= 0
        if (present[..., 1:] & ~present[..., :-1]).any():
            raise SystemFailure("an identifier has a token after its padding.")
        roots, sequences, _ = tokens.shape
        base = int(tokens.max(initial=0)) + 1
        node = np.repeat(np.arange(roots), sequences)  # of each sequence, on the level so far
        leaf = np.full(roots * sequences, -1, dtype=np.int64)
        levels_of_tokens = [np.full(roots, NO_TOKEN, dtype=np.int64)]
        levels_of_parents = []
        rows, number_of_nodes, level_start = np.arange(roots * sequences), roots, 0
        flat = tokens.reshape(roots * sequences, -1).astype(np.int64)
        height = 0
        for column in flat.T:
            rows = rows[column[rows] >= 0]
            if not len(rows):
                break
            height += 1
            keys, inverse = np.unique(node[rows] * base + column[rows], return_inverse=True)
            levels_of_tokens.append(keys % base)
            levels_of_parents.append(keys // base + level_start)
            node[rows] = inverse
            leaf[rows] = inverse + number_of_nodes
            level_start, number_of_nodes = number_of_nodes, number_of_nodes + len(keys)
        parent = np.concatenate([np.zeros(0, dtype=np.int64), *levels_of_parents])
        children = np.bincount(parent, minlength=number_of_nodes)
        return cls(
            token=np.concatenate(levels_of_tokens),
            first_child=np.concatenate([[roots], roots + np.cumsum(children)]).astype(np.int64),
            leaf=leaf.reshape(roots, sequences),
            height=height,
        )


@dataclass(frozen=True)
class CatalogueTrie:
    """The tree of all items' identifiers, and which items end in each of its nodes.

    The items of node ``n`` are ``items[first_item[n] : first_item[n + 1]]``, by rising id. Items
    without an identifier (such as the padding item) are in no node.
    """

    trie: Trie
    items: LongArray
    first_item: LongArray

    number_of_items: int
    """Rows of what the tree was made of, those without an identifier included."""

    @classmethod
    def of(cls, tokens: NDArray[np.integer]) -> CatalogueTrie:
        """Of one identifier an item.

        Args:
            tokens: (items, length), padded with :data:`NO_TOKEN` at the end; the row is the id.

        Raises:
            SystemFailure: as for :meth:`Trie.of`.
        """
        trie = Trie.of(tokens[None])
        node = trie.leaf[0]
        items = np.argsort(node, kind="stable")
        items = items[np.count_nonzero(node < 0) :]
        first = np.searchsorted(node[items], np.arange(len(trie) + 1))
        return cls(trie, items.astype(np.int64), first.astype(np.int64), len(tokens))
