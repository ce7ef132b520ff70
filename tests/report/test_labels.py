"""Labels: none overlaps another, none leaves its area, ticks' names keep order and distance."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.report.plots.labels import place_labels, spread


def overlapping(boxes) -> int:
    return sum(
        min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [15.0, 150.0])
def test_labels_do_not_overlap(seed: int, width: float) -> None:
    """Twelve points in a small corner (the usual case) and over the whole plot."""
    random = np.random.default_rng(seed)
    points = [tuple(map(float, p)) for p in 100.0 + width * random.random((12, 2))]
    sizes = [(float(w), 8.0) for w in random.uniform(15, 80, 12)]
    placed = place_labels(points, sizes, (0.0, 0.0, 360.0, 280.0))
    assert overlapping([label.box for label in placed]) == 0
    for label in placed:
        assert label.box[0] >= 0 and label.box[1] >= 0
        assert label.box[2] <= 360 and label.box[3] <= 280


def test_a_lone_label_stands_right_of_its_point() -> None:
    (placed,) = place_labels([(50.0, 50.0)], [(20.0, 8.0)], (0.0, 0.0, 100.0, 100.0))
    assert placed.box[0] > 50.0 and placed.leader is None


def test_names_that_have_room_stay_where_they_are() -> None:
    assert spread([30.0, 10.0], gap=5.0, low=0.0, high=100.0) == [30.0, 10.0]


def test_crowded_names_are_spread_about_their_mean() -> None:
    # Three at 50 with a gap of 10: 40, 50, 60, in the order given.
    assert spread([50.0, 50.0, 50.0], gap=10.0, low=0.0, high=100.0) == [40.0, 50.0, 60.0]


@pytest.mark.parametrize("wanted", [[0.0] * 4, [100.0] * 4, [0.0, 1.0, 99.0, 100.0]])
def test_names_stay_in_range_and_apart(wanted: list[float]) -> None:
    places = spread(wanted, gap=10.0, low=0.0, high=100.0)
    assert min(places) >= 0.0 and max(places) <= 100.0
    assert np.diff(sorted(places)).min() >= 10.0 - 1e-9


def test_the_gap_shrinks_where_names_do_not_fit() -> None:
    places = spread([5.0] * 11, gap=10.0, low=0.0, high=50.0)
    assert sorted(places) == pytest.approx(list(range(0, 51, 5)))


def test_no_names_need_no_places() -> None:
    assert spread([], 1.0, 0.0, 1.0) == []
    assert place_labels([], [], (0.0, 0.0, 1.0, 1.0)) == []
