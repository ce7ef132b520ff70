"""Prefix trees as arrays: what they hold is what a dictionary of prefixes would hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.decoding.trie import CatalogueTrie, Trie

Path = tuple[int, ...]

TWO_LISTS = np.array(
    [
        [[5, 3, 1], [5, 3, 1], [5, 4, -1], [2, -1, -1]],
        [[9, 9, 9], [9, -1, -1], [5, 3, 2], [-1, -1, -1]],
    ]
)


def paths(trie: Trie) -> list[tuple[int, Path]]:
    """(root, tokens from it) of each node, by walking from parents to children."""
    found: list[tuple[int, Path]] = [(root, ()) for root in range(trie.number_of_roots)]
    for node in range(len(trie)):
        root, path = found[node]
        children = range(trie.first_child[node], trie.first_child[node + 1])
        found += [(root, (*path, int(trie.token[child]))) for child in children]
    return found


def prefixes(tokens: NDArray[np.integer]) -> set[tuple[int, Path]]:
    """(root, prefix) of every sequence and length, the empty one included."""
    found: set[tuple[int, Path]] = set()
    for root, sequences in enumerate(tokens):
        for sequence in sequences:
            path = tuple(int(token) for token in sequence if token >= 0)
            found |= {(root, path[:length]) for length in range(len(path) + 1)}
    return found


@pytest.mark.parametrize(
    "tokens", [TWO_LISTS, np.random.default_rng(0).integers(4, size=(3, 9, 4))]
)
def test_nodes_are_the_distinct_prefixes(tokens: NDArray[np.integer]) -> None:
    trie = Trie.of(tokens)
    found = paths(trie)
    assert len(found) == len(set(found)) == len(trie)
    assert set(found) == prefixes(tokens)


def test_a_leaf_is_where_its_sequence_ends() -> None:
    trie = Trie.of(TWO_LISTS)
    found = paths(trie)
    assert [found[node] for node in trie.leaf[0]] == [
        (0, (5, 3, 1)),
        (0, (5, 3, 1)),
        (0, (5, 4)),
        (0, (2,)),
    ]
    assert found[trie.leaf[1, 1]] == (1, (9,))
    assert trie.leaf[1, 3] == -1
    assert trie.height == 3
    assert set(np.flatnonzero(trie.ends_here)) == set(trie.leaf[trie.leaf >= 0])


def test_the_order_of_the_sequences_does_not_matter() -> None:
    tokens = np.random.default_rng(1).integers(5, size=(4, 20, 3))
    order = np.random.default_rng(2).permutation(20)
    one, other = Trie.of(tokens), Trie.of(tokens[:, order])
    np.testing.assert_array_equal(one.token, other.token)
    np.testing.assert_array_equal(one.first_child, other.first_child)
    np.testing.assert_array_equal(one.leaf[:, order], other.leaf)


def test_a_token_after_padding_is_an_error() -> None:
    with pytest.raises(SystemFailure, match="after its padding"):
        Trie.of(np.array([[[3, -1, 4]]]))


def test_a_catalogue_knows_the_items_of_each_node() -> None:
    codes = np.array([[-1, -1], [0, 1], [2, -1], [0, 1], [2, 2]])  # item 0 is padding
    catalogue = CatalogueTrie.of(codes)
    found = paths(catalogue.trie)
    items = {
        path: catalogue.items[catalogue.first_item[node] : catalogue.first_item[node + 1]].tolist()
        for node, (_, path) in enumerate(found)
    }
    assert items == {(): [], (0,): [], (2,): [2], (0, 1): [1, 3], (2, 2): [4]}
