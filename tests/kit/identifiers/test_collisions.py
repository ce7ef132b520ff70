"""Resolving collisions: free codes, the released loop, a counter."""

from __future__ import annotations

from itertools import permutations
from math import prod

import numpy as np
import pytest

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.collisions import (
    Coded,
    collision_rate,
    with_counter,
    with_free_codes,
    with_transported_codes,
)

DIM = 3


def nearest(latent: np.ndarray, codebooks: tuple[np.ndarray, ...]) -> Coded:
    residual, codes = latent, []
    for book in codebooks:
        codes.append(np.square(residual[:, None] - book).sum(axis=2).argmin(axis=1))
        residual = residual - book[codes[-1]]
    return Coded(np.stack(codes, axis=1), latent, codebooks)


def coded(items: int, *sizes: int, seed: int = 0, spread: float = 1.0) -> Coded:
    """Random items, the more alike the smaller ``spread``, with their nearest codes."""
    random = np.random.default_rng(seed)
    latent = (spread * random.normal(size=(items, DIM))).astype("float32")
    books = [random.normal(size=(s, DIM)).astype("float32") / 2**n for n, s in enumerate(sizes)]
    return nearest(latent, tuple(books))


def error(given: Coded, codes: np.ndarray) -> float:
    """Total squared distance between the items and what their codes stand for."""
    return float(np.square(given.residual(codes)).sum())


# Free codes


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("items", "sizes", "spread"),
    [(30, (4, 4, 4), 1.0), (60, (4, 4, 4), 0.01), (64, (4, 4, 4), 1.0), (7, (7,), 1.0)],
)
def test_all_identifiers_are_distinct_while_there_are_enough(
    items: int, sizes: tuple[int, ...], spread: float, seed: int
) -> None:
    given = coded(items, *sizes, seed=seed, spread=spread)
    found = with_free_codes(given)
    assert collision_rate(found) == 0
    assert (found >= 0).all()
    assert (found < sizes).all()


def test_items_that_are_all_equal_become_distinct() -> None:
    given = coded(64, 4, 4, 4, spread=0.0)
    assert collision_rate(given.codes) == 63 / 64
    assert collision_rate(with_free_codes(given)) == 0


def test_more_items_than_identifiers_are_an_error() -> None:
    with pytest.raises(SystemFailure, match=r"65 items .* 3 levels of 4, 4, 4 codes make 64"):
        with_free_codes(coded(65, 4, 4, 4))


def test_items_without_a_collision_keep_their_identifiers() -> None:
    given = coded(40, 8, 8, 8)
    found = with_free_codes(given)
    _, group, members = np.unique(given.codes, axis=0, return_inverse=True, return_counts=True)
    alone = members[group] == 1
    assert 0 < alone.sum() < len(alone)
    np.testing.assert_array_equal(found[alone], given.codes[alone])
    np.testing.assert_array_equal(found[:, :-1], given.codes[:, :-1])  # nowhere is it crowded
    assert (found != given.codes).any()


def test_the_free_codes_are_given_at_the_least_total_distance() -> None:
    given = coded(4, 6, seed=3, spread=0.3)
    assert collision_rate(given.codes) > 0
    found = with_free_codes(given)
    kept = [item for item in range(4) if (given.codes == given.codes[item]).sum() == 1]
    ways = [
        np.array(way)[:, None]
        for way in permutations(range(6), 4)
        if all(way[item] == given.codes[item, 0] for item in kept)
    ]
    assert error(given, found) == pytest.approx(min(error(given, way) for way in ways), rel=1e-5)


def test_the_farthest_items_of_a_full_prefix_move_to_the_nearest_prefix_with_room() -> None:
    first = np.array([[0.0], [1.0], [5.0]], dtype=np.float32)
    last = np.array([[0.0], [0.1]], dtype=np.float32)
    latent = np.array([[0.0], [0.01], [0.3], [0.2]], dtype=np.float32)
    found = with_free_codes(nearest(latent, (first, last)))
    # Four items lie nearest to prefix 0, which has two codes; 1 is nearer to them than 5.
    assert found[:, 0].tolist() == [0, 0, 1, 1]
    assert collision_rate(found) == 0


def test_equal_items_get_the_same_codes_every_time() -> None:
    given = coded(50, 4, 4, 4, spread=0.0)
    np.testing.assert_array_equal(with_free_codes(given), with_free_codes(given))


# The released loop


def test_a_group_as_large_as_the_codebook_is_spread_over_it() -> None:
    random = np.random.default_rng(1)
    book = random.normal(size=(8, DIM)).astype("float32")
    order = random.permutation(8)
    latent = book[order] + np.float32(0.01) * random.normal(size=(8, DIM)).astype("float32")
    group = Coded(np.zeros((8, 2), dtype=np.int64), latent, (np.zeros((1, DIM), "float32"), book))
    found = with_transported_codes(group, 0.0, 50)
    assert found[:, -1].tolist() == order.tolist()
    assert not found[:, 0].any()


def test_the_released_loop_changes_colliding_items_only_and_no_prefix() -> None:
    given = coded(60, 8, 8, 8)
    found = with_transported_codes(given, 0.003, 50, rounds=1)
    _, group, members = np.unique(given.codes, axis=0, return_inverse=True, return_counts=True)
    alone = members[group] == 1
    np.testing.assert_array_equal(found[alone], given.codes[alone])
    np.testing.assert_array_equal(found[:, :-1], given.codes[:, :-1])
    assert collision_rate(found) < collision_rate(given.codes)


def test_the_released_loop_leaves_distinct_identifiers_as_they_are() -> None:
    given = coded(5, 16, 16, 16)
    assert collision_rate(given.codes) == 0
    np.testing.assert_array_equal(with_transported_codes(given, 0.003, 50), given.codes)


# The counter


def test_the_counter_numbers_equal_items_in_their_order() -> None:
    codes = np.array([[1, 2], [0, 0], [1, 2], [3, 1], [1, 2]])
    assert with_counter(codes)[:, -1].tolist() == [0, 0, 1, 0, 2]


def test_the_counter_makes_any_codes_distinct() -> None:
    given = coded(100, 2, 2)
    found = with_counter(given.codes)
    assert collision_rate(found) == 0
    assert len(given.codes) > prod(given.sizes)
