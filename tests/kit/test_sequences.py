"""Windows of histories: every target once, padding on the side that is promised."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.kit.instances.sequences import padded_right, sequence_windows, target_mask
from benchmark.systems.view import TrainingView


@pytest.mark.parametrize("length", [2, 3, 5, 8, 100])
def test_every_target_with_an_input_before_it_stands_in_exactly_one_window(
    view: TrainingView, length: int
) -> None:
    windows = sequence_windows(view, length, overlap=1)
    assert windows.rows.shape == windows.is_target.shape == (len(windows), length)
    predicted = windows.is_target[:, 1:] & (windows.rows[:, :-1] >= 0)
    found = np.sort(windows.rows[:, 1:][predicted])
    # The first event of a user has nothing before it; all other training events are targets.
    first = view.log.offsets[1:-1][np.diff(view.log.offsets)[1:] > 0]
    np.testing.assert_array_equal(
        found, np.setdiff1d(view.examples("recommendation").position, first)
    )


@pytest.mark.parametrize("length", [2, 4, 7])
def test_windows_are_consecutive_events_of_one_user_padded_on_the_left(
    view: TrainingView, length: int
) -> None:
    windows = sequence_windows(view, length)
    for rows, user in zip(windows.rows, windows.user, strict=True):
        real = rows[rows >= 0]
        assert len(real) >= 2
        assert (rows[: length - len(real)] == -1).all()
        assert (np.diff(real) == 1).all()  # with one behaviour, neighbours in the log
        assert (view.log.user[real] == user).all()
    items = windows.items(view.log, np.arange(len(windows)))
    assert items.dtype == np.int32
    assert ((items == 0) == (windows.rows < 0)).all()
    assert (items[windows.rows >= 0] == view.log.item[windows.rows[windows.rows >= 0]]).all()


def test_without_overlap_every_event_stands_in_at_most_one_window(view: TrainingView) -> None:
    rows = sequence_windows(view, 4, overlap=0).rows
    assert np.bincount(rows[rows >= 0]).max() == 1


def test_last_only_keeps_the_newest_window_of_each_user(view: TrainingView) -> None:
    windows = sequence_windows(view, 4, last_only=True)
    events = np.diff(view.log.recommendation.offsets)
    np.testing.assert_array_equal(windows.user, np.flatnonzero(events >= 2))
    last = view.log.recommendation.offsets[1:][windows.user] - 1
    np.testing.assert_array_equal(windows.rows[:, -1], last)


def test_events_that_are_no_training_examples_are_inputs_only(
    view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = view.examples("recommendation")
    some = examples.select(np.arange(0, len(examples), 3))
    monkeypatch.setattr(view, "examples", lambda task: some)
    mask = target_mask(view, "recommendation")
    np.testing.assert_array_equal(np.flatnonzero(mask), some.position)
    windows = sequence_windows(view, 5)
    real = windows.rows >= 0
    np.testing.assert_array_equal(windows.is_target[real], mask[windows.rows[real]])
    assert not windows.is_target[~real].any()


def test_a_behaviour_without_events_gives_no_windows(view: TrainingView) -> None:
    windows = sequence_windows(view, 5, task="search")
    assert len(windows) == 0
    assert windows.items(view.log, np.arange(0)).shape == (0, 5)


def test_padding_moves_from_left_to_right() -> None:
    items = np.array([[0, 0, 7, 8], [1, 2, 3, 4], [0, 0, 0, 0]], dtype=np.int32)
    count = np.array([2, 4, 0])
    moved = padded_right(items, count)
    np.testing.assert_array_equal(moved, [[7, 8, 0, 0], [1, 2, 3, 4], [0, 0, 0, 0]])
    assert moved.dtype == np.int32
    # Another column of the same windows moves alike, whatever it holds at a real place.
    is_even = padded_right(items % 2 == 0, count)
    np.testing.assert_array_equal(is_even, (moved % 2 == 0) & (moved > 0))
    assert items[0, 0] == 0 and items[0, 3] == 8
