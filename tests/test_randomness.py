"""Random generators: functions of seed and purpose, and of both."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.randomness import stable_random


def first(seed: int, *purpose: str | int) -> list[int]:
    return stable_random(seed, *purpose).integers(2**62, size=3).tolist()


def test_equal_seeds_and_purposes_give_equal_numbers() -> None:
    assert first(7, "order", 3) == first(7, "order", 3)


@pytest.mark.parametrize(
    "other",
    [(8, "order", 3), (7, "order", 4), (7, "orders", 3), (7, "order"), (7, "order", "3"), (73,)],
)
def test_each_of_them_matters(other: tuple[int, ...]) -> None:
    assert not set(first(7, "order", 3)) & set(first(*other))


def test_streams_do_not_hang_together() -> None:
    draws = np.array([stable_random(seed, "x").random(2_000) for seed in range(20)])
    correlations = np.corrcoef(draws)[np.triu_indices(20, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(2_000)
