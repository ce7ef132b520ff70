"""Intervals of shares and means, users being the unit."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.audit.intervals import Z, difference, measured


def test_independent_events_have_wilsons_interval() -> None:
    values = np.arange(200) < 30
    found = measured(values, np.arange(200))
    size = 200 * 199 / 200  # the variance is estimated, hence one degree of freedom less
    middle = (0.15 + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * np.sqrt(0.15 * 0.85 / size + Z**2 / (4 * size**2)) / (1 + Z**2 / size)
    assert (found.value, found.events) == (0.15, 200)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half))


def test_events_of_one_user_count_as_one() -> None:
    values = np.arange(100) < 30
    once = measured(values, np.arange(100))
    ten_times = measured(np.repeat(values, 10), np.repeat(np.arange(100), 10))
    assert (ten_times.low, ten_times.high) == pytest.approx((once.low, once.high))
    assert measured(np.repeat(values, 10), np.arange(1000)).low > once.low + 0.03


def test_a_share_of_nothing_still_has_an_upper_bound() -> None:
    found = measured(np.zeros(100), np.arange(100))
    assert (found.value, found.low) == (0, 0)
    assert 0.02 < found.high < 0.04
    everything = measured(np.ones(100), np.arange(100))
    assert (everything.value, everything.high) == (1, 1)
    assert everything.low == pytest.approx(1 - found.high)


def test_equal_parts_of_ties_leave_no_doubt() -> None:
    found = measured(np.full(50, 0.01), np.arange(50))
    assert (found.low, found.value, found.high) == pytest.approx((0.01, 0.01, 0.01))


def test_of_no_events_nothing_is_known() -> None:
    found = measured(np.zeros(0), np.zeros(0, dtype=int))
    assert (found.low, found.high, found.events) == (0, 1, 0)
    assert difference(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int)).low == 0


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_bounds_miss_the_truth_about_as_rarely_as_they_say(share: float) -> None:
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(400), 2)
    above = below = 0
    for _ in range(1000):
        found = measured(np.repeat(random.random(400) < share, 2), users)
        above += found.low > share
        below += found.high < share
    assert above < 80
    assert below < 80


def test_a_difference_is_paired() -> None:
    random = np.random.default_rng(1)
    common = random.random(500)
    found = difference(common + 0.01, common, np.arange(500))
    assert (found.low, found.value, found.high) == pytest.approx((0.01, 0.01, 0.01))
    noise = difference(random.random(500), random.random(500), np.arange(500))
    assert noise.low < 0 < noise.high
