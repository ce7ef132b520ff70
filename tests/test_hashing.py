"""Numbers from hashes: uniform, reproducible, and functions of every argument."""

from __future__ import annotations

import numpy as np

from benchmark.hashing import row_uniform


def test_numbers_are_uniform() -> None:
    numbers = row_uniform(5, "test", np.arange(100_000))
    assert numbers.dtype == np.float64
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.bincount((numbers * 100).astype(int), minlength=100)
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)
    # Neighbours do not follow each other: the correlation of n pairs is about 1 / sqrt(n).
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 5 / np.sqrt(100_000)


def test_numbers_depend_on_the_arguments_only() -> None:
    once = row_uniform(5, "test", np.arange(50), np.arange(50) % 7)
    np.testing.assert_array_equal(once, row_uniform(5, "test", np.arange(50), np.arange(50) % 7))
    backwards = row_uniform(5, "test", np.arange(50)[::-1], (np.arange(50) % 7)[::-1])
    np.testing.assert_array_equal(once, backwards[::-1])
    narrow = row_uniform(
        5, "test", np.arange(50, dtype=np.int32), (np.arange(50) % 7).astype(np.int8)
    )
    np.testing.assert_array_equal(once, narrow)


def test_every_argument_and_its_place_count() -> None:
    x, y = np.arange(1, 100), np.arange(101, 200)
    base = row_uniform(5, "test", x, y)
    for other in (
        row_uniform(6, "test", x, y),
        row_uniform(5, "test", y, x),
        row_uniform(5, "test", x, y + 1),
    ):
        assert not (base == other).any()
    assert not (row_uniform(5, "test", -x) == row_uniform(5, "test", x)).any()


def test_the_arguments_broadcast() -> None:
    row, column = np.arange(4)[:, None], np.arange(3)[None, :]
    numbers = row_uniform(5, "test", row, column)
    assert numbers.shape == (4, 3)
    assert len(np.unique(numbers)) == 12
    assert numbers[2, 1] == row_uniform(5, "test", np.array(2), np.array(1))


def test_negative_and_huge_seeds_are_seeds() -> None:
    seeds = [-1, 0, 2**63, 2**64 - 2]
    assert len({float(row_uniform(seed, "test", np.array(1))) for seed in seeds}) == len(seeds)
