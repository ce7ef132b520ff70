"""Balanced clusters: sizes within bounds, and no assignment is cheaper."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.balanced import balanced_assignment, balanced_centres, costs_of
from benchmark.speed.clusters import cheapest_by_linear_programme


def total(costs: NDArray[np.int64], label: NDArray[np.int64]) -> int:
    return int(costs[np.arange(len(costs)), label].sum())


def assert_sizes(label: NDArray[np.int64], clusters: int, smallest: int, largest: int) -> None:
    sizes = np.bincount(label, minlength=clusters)
    assert len(sizes) == clusters and sizes.min() >= smallest and sizes.max() <= largest


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_cheapest_of_all_assignments(seed: int) -> None:
    """Against every assignment that there is; even seeds have many equal costs."""
    random = np.random.default_rng(seed)
    rows, clusters = int(random.integers(1, 8)), int(random.integers(1, 4))
    smallest = int(random.integers(rows // clusters + 1))
    largest = int(random.integers(-(-rows // clusters), rows + 1))
    costs = random.integers(0, 4 if seed % 2 == 0 else 1000, size=(rows, clusters))
    label = balanced_assignment(costs, smallest, largest)
    assert_sizes(label, clusters, smallest, largest)
    every = np.array(list(product(range(clusters), repeat=rows)))
    sizes = (every[:, :, None] == np.arange(clusters)).sum(axis=1)
    allowed = every[((sizes >= smallest) & (sizes <= largest)).all(axis=1)]
    assert total(costs, label) == min(total(costs, one) for one in allowed)


@pytest.mark.parametrize("bounds", [(0, 300), (5, 80), (18, 20), (19, 19), (0, 19)])
def test_it_costs_what_a_linear_programme_finds(bounds: tuple[int, int]) -> None:
    """Clustered rows, far from balanced, so that many have to move over several clusters."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(304, 3)) * np.array([5.0, 1.0, 0.1])
    costs = costs_of(rows, rows[random.permutation(304)[:16]] * 0.5)
    label = balanced_assignment(costs, *bounds)
    assert_sizes(label, 16, *bounds)
    assert total(costs, label) == round(cheapest_by_linear_programme(costs, *bounds))


def test_without_bounds_that_matter_rows_go_to_the_nearest_centre() -> None:
    costs = np.random.default_rng(2).integers(0, 1000, size=(50, 4))
    np.testing.assert_array_equal(balanced_assignment(costs, 0, 50), costs.argmin(axis=1))


@pytest.mark.parametrize("bounds", [(3, 9), (0, 1)])
def test_impossible_sizes_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(SystemFailure, match="10 rows cannot be 4 clusters"):
        balanced_assignment(np.zeros((10, 4), dtype=np.int64), *bounds)


def test_centres_are_means_of_clusters_of_the_asked_sizes() -> None:
    """Nine tenths of the rows are one heap, which one centre would have without bounds."""
    random = np.random.default_rng(3)
    heap = random.normal(scale=0.1, size=(180, 4))
    rows = np.concatenate([heap, 5 + random.normal(size=(20, 4))]).astype(np.float32)
    centres = balanced_centres(rows, 5, 20, 60, np.random.default_rng(0), starts=2, rounds=50)
    label = balanced_assignment(costs_of(rows, centres), 20, 60)
    means = np.stack([rows[label == one].mean(axis=0) for one in range(5)])
    np.testing.assert_allclose(centres, means, atol=0.05)
    again = balanced_centres(rows, 5, 20, 60, np.random.default_rng(0), starts=2, rounds=50)
    np.testing.assert_array_equal(centres, again)


def test_the_best_of_several_starts_is_kept() -> None:
    rows = np.random.default_rng(4).normal(size=(120, 2)).astype(np.float32)

    def error(starts: int) -> float:
        centres = balanced_centres(rows, 8, 10, 20, np.random.default_rng(0), starts, 30)
        label = balanced_assignment(costs_of(rows, centres), 10, 20)
        return float(np.square(rows - centres[label]).sum())

    assert error(8) < error(1)


def test_fewer_distinct_rows_than_clusters_are_all_centres() -> None:
    rows = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    centres = balanced_centres(rows, 6, 1, 4, np.random.default_rng(0))
    assert len(centres) == 6
    assert all((np.abs(centres - row).max(axis=1) < 1e-6).any() for row in np.eye(3))
