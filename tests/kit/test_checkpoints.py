"""Checkpoints take a bounded share of the time, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.kit.training import Batch, train
from benchmark.kit.training import loop as training
from benchmark.kit.training.checkpoints import LATEST_FIRST, CheckpointPace, expected_seconds
from tests.kit.test_training import COSINE, ExactPoints, make_context, seeded_model, square_error

SHARE = 0.02


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def written(seconds_each: Iterator[float], least: float, expected: float, hours: float = 3) -> list:
    """(time, seconds) of the checkpoints of a training with a step a second."""
    clock, found = Clock(), []
    pace = CheckpointPace(least, SHARE, expected, clock)
    while clock.now < 1000 + 3600 * hours:
        clock.now += 1.0
        if pace.is_due():
            with pace.writing():
                seconds = next(seconds_each)
                clock.now += seconds
            found.append((clock.now - 1000, seconds))
    return found


def every(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


@pytest.mark.parametrize("seconds", [0.01, 0.5, 3.0, 20.0])
def test_the_share_is_kept_at_all_times(seconds: float) -> None:
    found = written(every(seconds), 30.0, seconds)
    assert found
    spent = 0.0
    for place, (time, own) in enumerate(found):
        spent += own
        is_late_first = not place and time >= LATEST_FIRST
        assert is_late_first or spent <= SHARE * time + 1e-9
    # No more is saved than need be: the time between two is what the share asks for, or the least.
    # The second one waits for what a first one that came early has taken.
    gaps = [later[0] - earlier[0] for earlier, later in pairwise(found[1:])]
    assert max(gaps) <= max(30.0, seconds / SHARE) + seconds + 2.0


def test_a_large_model_has_a_first_one_after_two_minutes_and_then_keeps_the_share() -> None:
    """By the size of its weights its first would be due after 2,000 seconds."""
    found = written(every(5.0), 30.0, 40.0)
    assert found[0][0] == LATEST_FIRST + 5.0
    spent = np.cumsum([own for _, own in found])
    assert all(spent[1:] <= SHARE * np.array([time for time, _ in found[1:]]))
    assert written(every(5.0), 300.0, 40.0)[0][0] == 305.0, "the least time between two counts"


def test_a_slow_one_is_made_up_for() -> None:
    slow = iter([0.1, 60.0, *[0.1] * 1000])
    found = written(slow, 30.0, 0.1)
    spent = [own for _, own in found]
    (place,) = [number for number, own in enumerate(spent) if own == 60.0]
    following = found[place + 1][0]
    assert sum(spent[: place + 2]) <= SHARE * following + 60.0 * SHARE
    assert following - found[place][0] > 1000, "it did not wait"
    assert sum(spent) <= SHARE * found[-1][0] + 1e-9


def test_with_no_least_time_there_is_one_after_every_step() -> None:
    clock = Clock()
    pace = CheckpointPace(0.0, SHARE, 1e9, clock)
    for _ in range(3):
        assert pace.is_due()
        with pace.writing():
            clock.now += 100.0


def test_the_first_one_is_reckoned_by_the_size_of_the_weights() -> None:
    model = torch.nn.Linear(1000, 1000, bias=False)
    assert expected_seconds(model) == pytest.approx(4 * 4e6 / 1e8)


def test_a_training_keeps_the_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of 10 seconds, a checkpoint of 3, which is asked for every 30 seconds."""
    clock = Clock()
    paces: list[CheckpointPace] = []

    def pace(least: float, share: float, expected: float) -> CheckpointPace:
        paces.append(CheckpointPace(least, share, expected, clock))
        return paces[-1]

    monkeypatch.setattr(training, "CheckpointPace", pace)
    saves = 0
    save = training._Loop.save_checkpoint

    def slow(loop: training._Loop) -> None:
        nonlocal saves
        saves += 1
        save(loop)
        clock.now += 3.0

    monkeypatch.setattr(training._Loop, "save_checkpoint", slow)
    model = seeded_model()
    error = square_error(model)

    def loss(batch: Batch) -> torch.Tensor:
        clock.now += 10.0
        return error(batch)

    settings = COSINE.model_copy(update={"epochs": 30, "checkpoint_seconds": 30.0})
    train(model, ExactPoints(), loss, settings, make_context(tmp_path))
    (used,) = paces
    assert saves >= 5 and used.spent == 3.0 * saves
    # The first one was thought to take no time, so it alone may have come too early.
    assert used.spent <= SHARE * (clock.now - 1000.0) + 3.0
