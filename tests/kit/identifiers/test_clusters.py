"""Identifiers by clustering and by product quantisation: what they keep together and apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.hierarchical import kmeans_clusters, structured_identifiers
from benchmark.kit.identifiers.product import ProductQuantiser
from benchmark.kit.identifiers.spectral import (
    _DENSE_BELOW,
    co_occurrence_graph,
    spectral_clusters,
    spectral_labels,
)
from benchmark.kit.identifiers.trees import (
    by_first_appearance,
    followed_by,
    is_alone,
    places_in_leaves,
)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def planted_graph(groups: int, members: int, seed: int = 0) -> sparse.csr_array:
    """Groups of items: many edges inside each, few between them."""
    group = np.repeat(np.arange(groups), members)
    chance = np.where(group[:, None] == group, 0.5, 0.01)
    upper = np.triu(random(seed).random(chance.shape) < chance, k=1)
    return sparse.csr_array((upper | upper.T).astype(float))


def sequences(*items: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.concatenate([np.array(one, dtype=int) for one in items]), np.concatenate(
        [[0], np.cumsum([len(one) for one in items])]
    )


# ------------------------------------------------------------------------------------------ trees


def test_children_are_numbered_by_their_first_items() -> None:
    assert by_first_appearance(np.array([7, 2, 7, 5, 2])).tolist() == [0, 1, 0, 2, 1]


def test_a_code_behind_a_path_follows_its_own_last_level() -> None:
    paths = np.array([[0, -1], [1, 0], [0, -1], [1, 1]])
    assert is_alone(paths).tolist() == [False, True, False, True]
    assert places_in_leaves(paths).tolist() == [0, 0, 1, 0]
    longer = followed_by(paths, np.array([0, -1, 1, -1]))
    assert longer.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


# ----------------------------------------------------------------------------- co-occurrence graph


def test_pairs_count_in_both_orders_and_never_with_themselves() -> None:
    item, offsets = sequences([1, 2, 1], [2, 3], [2, 1])
    graph = co_occurrence_graph(item, offsets, 3).toarray()
    assert graph.tolist() == [[0, 0, 0, 0], [0, 0, 3, 0], [0, 3, 0, 1], [0, 0, 1, 0]]


def test_the_released_count_is_that_of_the_rarer_order() -> None:
    item, offsets = sequences([1, 2], [1, 2], [2, 1], [2, 3], [2, 3])
    graph = co_occurrence_graph(item, offsets, 3, "smaller_order").toarray()
    assert graph[1, 2] == graph[2, 1] == 1  # twice 1 before 2, once 2 before 1
    assert graph[2, 3] == graph[3, 2] == 2  # one order only


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_ordered_pairs_do_not_depend_on_how_many_are_made_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = [random(n).integers(1, 9, size=n).tolist() for n in (1, 6, 0, 4, 9)]
    item, offsets = sequences(*lists)
    whole = co_occurrence_graph(item, offsets, 8, "smaller_order").toarray()
    monkeypatch.setattr("benchmark.kit.identifiers.spectral._PAIRS_AT_ONCE", at_once)
    parts = co_occurrence_graph(item, offsets, 8, "smaller_order").toarray()
    assert np.array_equal(whole, parts)


# ----------------------------------------------------------------------------- spectral clustering


@pytest.mark.parametrize("members", [20, 1 + _DENSE_BELOW // 3])
def test_spectral_clustering_finds_planted_groups_by_either_solver(members: int) -> None:
    paths = spectral_clusters(planted_graph(4, members), 4, members, random())
    assert paths[:, 0].tolist() == np.repeat(np.arange(4), members).tolist()


def test_only_larger_clusters_are_split_again() -> None:
    paths = spectral_clusters(planted_graph(6, 12), 3, 12, random())
    leaf = np.unique(paths, axis=0, return_inverse=True)[1].ravel()
    assert np.bincount(leaf).max() <= 12


def test_the_partition_does_not_depend_on_the_solvers_start() -> None:
    graph = planted_graph(5, 100)
    first, second = (spectral_clusters(graph, 5, 30, random(seed)) for seed in (1, 2))
    assert np.array_equal(first[:, 0], second[:, 0])


def test_items_without_edges_are_cut_into_runs_that_fit() -> None:
    graph = sparse.csr_array((50, 50))
    assert not spectral_labels(graph, 4, np.ones(50)).any()
    paths = spectral_clusters(graph, 4, 5, random())
    leaf = np.unique(paths, axis=0, return_inverse=True)[1].ravel()
    assert np.bincount(leaf).max() <= 5


def test_more_children_than_a_cluster_may_hold_are_refused() -> None:
    with pytest.raises(SystemFailure, match="at most 3 items"):
        spectral_clusters(planted_graph(2, 5), 4, 3, random())


# ------------------------------------------------------------------------------------------ k-means


def test_structured_identifiers_are_distinct_and_begin_with_the_cluster() -> None:
    centres = np.eye(4, dtype=np.float32) * 10
    vectors = np.repeat(centres, 9, axis=0) + random().normal(size=(36, 4)).astype(np.float32)
    identifiers = structured_identifiers(vectors, 4, 10, random(), starts=3)
    assert identifiers.codes[1:, 0].tolist() == np.repeat(np.arange(4), 9).tolist()
    assert identifiers.codes[1:10, 1].tolist() == list(range(9))
    assert identifiers.report().sharing == 0


def test_an_item_alone_in_its_cluster_has_no_last_code() -> None:
    vectors = np.array([[0.0], [0.1], [9.0], [0.2]], dtype=np.float32)
    identifiers = structured_identifiers(vectors, 2, 3, random(), starts=1)
    assert identifiers.codes[1:].tolist() == [[0, 0], [0, 1], [1, -1], [0, 2]]


def test_equal_vectors_are_cut_into_runs_that_fit() -> None:
    paths = kmeans_clusters(np.ones((25, 3), dtype=np.float32), 2, 4, random(), starts=1)
    leaf = np.unique(paths, axis=0, return_inverse=True)[1].ravel()
    assert np.bincount(leaf).max() <= 4
    identifiers = structured_identifiers(
        np.ones((25, 3), dtype=np.float32), 2, 4, random(), starts=1
    )
    assert identifiers.report().distinct == 25


# ----------------------------------------------------------------------------- product quantisation


def test_every_block_takes_its_nearest_centre() -> None:
    vectors = random().normal(size=(300, 6)).astype(np.float32)
    quantiser = ProductQuantiser.fit(vectors, 3, 8, random())
    codes = quantiser.encode(vectors)
    parts = vectors.reshape(300, 3, 1, 2)
    distances = np.square(parts - quantiser.centres).sum(axis=-1)  # (items, blocks, codes)
    assert np.array_equal(codes, distances.argmin(axis=-1))
    assert np.square(quantiser.decode(codes) - vectors).mean() < vectors.var() / 2


def test_few_vectors_are_their_own_centres() -> None:
    vectors = random().normal(size=(5, 4)).astype(np.float32)
    quantiser = ProductQuantiser.fit(vectors, 2, 8, random())
    assert np.array_equal(quantiser.decode(quantiser.encode(vectors)), vectors)
    assert quantiser.identifiers(vectors).sizes == (5, 5)


def test_a_width_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(SystemFailure, match="width 6 cannot be cut into 4"):
        ProductQuantiser.fit(np.zeros((3, 6), dtype=np.float32), 4, 2, random())
