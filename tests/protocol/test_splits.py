"""Leave-one-out, the chronological split, and which rows training may look at."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.dataset import RECOMMENDATION, SEARCH, EventLog
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.splits import Split, split_task, training_events, training_rows
from tests.protocol.logs import log_of, shop_dataset

PAPER = PRESETS["paper"]
GLOBAL_TIME = ProtocolSettings(split="global-time")


def positions(split: Split) -> tuple[list[int], list[int], list[int]]:
    parts = (split.train, split.valid, split.test)
    train, valid, test = (sorted(part.position.tolist()) for part in parts)
    return train, valid, test


def test_leave_one_out_holds_out_the_last_two_of_each_task() -> None:
    log = log_of(
        [
            (1, "r", 1, 1),  # row 0
            (1, "s", 2, 2),
            (1, "r", 3, 3),
            (1, "r", 4, 4),  # row 3, validation
            (1, "r", 5, 5),  # row 4, test
            (1, "s", 6, 6),  # row 5: two searches are too few
            (2, "r", 1, 1),  # row 6: two purchases are too few
            (2, "r", 2, 2),
        ]
    )
    recommendation = split_task(log, RECOMMENDATION, PAPER)
    assert positions(recommendation) == ([0, 2, 6, 7], [3], [4])
    assert recommendation.skipped_users == 1
    search = split_task(log, SEARCH, PAPER)
    assert positions(search) == ([1, 5], [], [])
    assert search.skipped_users == 1


def test_both_histories_drops_rows_and_users() -> None:
    # User 1: rows 2, 3, 4 have a purchase and a search before them; user 2 has two such rows.
    log = log_of(
        [(1, "r", 1, 1), (1, "s", 1, 1)]
        + [(1, "r", item, item) for item in (2, 3, 4)]
        + [(2, "r", 1, 1), (2, "s", 1, 1), (2, "r", 2, 2), (2, "r", 3, 3)]
    )
    settings = PAPER.model_copy(update={"target_rows": "both-histories"})
    assert positions(split_task(log, RECOMMENDATION, settings)) == ([2], [3], [4])


def test_the_chronological_split_cuts_both_tasks_at_the_same_instants() -> None:
    # Times 1 ... 10: eight tenths are train, the ninth is validation, the tenth test.
    rows = [(1 + time % 3, "s" if time % 2 else "r", time, time) for time in range(1, 11)]
    log = log_of(sorted(rows, key=lambda row: (row[0], row[3])))
    held_out = {}
    for behaviour in (RECOMMENDATION, SEARCH):
        split = split_task(log, behaviour, GLOBAL_TIME)
        parts = (split.train, split.valid, split.test)
        held_out[behaviour] = [sorted(log.timestamp[part.position].tolist()) for part in parts]
    assert held_out == {
        RECOMMENDATION: [[2, 4, 6, 8], [], [10]],
        SEARCH: [[1, 3, 5, 7], [9], []],
    }


def test_rows_of_one_instant_are_on_the_same_side_of_the_cut() -> None:
    log = shop_dataset(seed=2, days=20).log
    splits = [split_task(log, behaviour, GLOBAL_TIME) for behaviour in (RECOMMENDATION, SEARCH)]
    times = [
        np.concatenate([log.timestamp[getattr(split, part).position] for split in splits])
        for part in ("train", "valid", "test")
    ]
    assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()
    shares = [len(part) / len(log) for part in times]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.06)  # 20 days, so steps of about 0.05


def both_splits(log: EventLog, settings: ProtocolSettings) -> tuple[Split, Split]:
    return split_task(log, RECOMMENDATION, settings), split_task(log, SEARCH, settings)


@pytest.mark.parametrize("seed", range(3))
def test_training_ends_before_the_first_held_out_event_of_either_task(seed: int) -> None:
    log = shop_dataset(seed).log
    recommendation, search = both_splits(log, PAPER)
    held_out = [*recommendation.held_out_positions(), *search.held_out_positions()]
    first = {}
    for row in sorted(held_out, reverse=True):
        first[log.user[row]] = row
    for split, other in ((recommendation, search), (search, recommendation)):
        train = training_events(log, split, [other], PAPER).position.tolist()
        assert train == [
            row for row in split.train.position if row < first.get(log.user[row], len(log))
        ]


def test_training_rows_as_released_are_all_that_the_task_does_not_hold_out() -> None:
    log = shop_dataset(seed=0).log
    released = PRESETS["released"]
    recommendation, search = both_splits(log, released)
    train = training_events(log, recommendation, [search], released)
    assert train.position.tolist() == recommendation.train.position.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_twins_of_the_other_tasks_held_out_pairs_are_removed_from_training(seed: int) -> None:
    log = shop_dataset(seed).log
    clean = PRESETS["clean"]
    recommendation, search = both_splits(log, clean)
    searched = {(log.user[row], log.item[row]) for row in search.held_out_positions()}
    train = training_events(log, recommendation, [search], clean).position
    assert not searched & {(log.user[row], log.item[row]) for row in train}
    kept = clean.model_copy(update={"twins": "kept"})
    with_twins = training_events(log, recommendation, [search], kept).position
    expected = [row for row in with_twins if (log.user[row], log.item[row]) not in searched]
    assert len(expected) < len(with_twins)  # otherwise this log would show nothing
    assert train.tolist() == expected
    # The mask of the training log agrees: no row of it is such a twin, whatever it is used for.
    held_out = np.concatenate([recommendation.held_out_positions(), search.held_out_positions()])
    rows = np.flatnonzero(training_rows(log, held_out, clean))
    purchases = rows[log.behaviour[rows] == RECOMMENDATION]
    assert not searched & {(log.user[row], log.item[row]) for row in purchases}


def test_training_rows_of_the_chronological_split_end_before_the_first_cut() -> None:
    log = shop_dataset(seed=2, days=20).log
    recommendation, search = both_splits(log, GLOBAL_TIME)
    held_out = np.concatenate([recommendation.held_out_positions(), search.held_out_positions()])
    keep = training_rows(log, held_out, GLOBAL_TIME)
    assert keep.tolist() == (log.timestamp < log.timestamp[held_out].min()).tolist()
    train = training_events(log, search, [recommendation], GLOBAL_TIME)
    assert train.position.tolist() == search.train.position.tolist()
