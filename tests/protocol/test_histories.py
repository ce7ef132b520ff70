"""What an event may see, on logs written by hand and against a loop over random logs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.dataset import RECOMMENDATION, SEARCH, EventLog
from benchmark.protocol.histories import (
    EventSet,
    history_positions,
    history_windows,
    twin_positions,
    visible_history,
)
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.splits import split_task
from tests.protocol.diagnostics import prefix_is_not_its_own, target_is_visible
from tests.protocol.logs import log_of, shop_dataset

PAPER, RELEASED, CLEAN = PRESETS["paper"], PRESETS["released"], PRESETS["clean"]
STRICT = ProtocolSettings(history_cut="strict-time")


def seen(log: EventLog, row: int, settings: ProtocolSettings, behaviour: int | None) -> list[int]:
    """The log rows that the event at ``row`` sees, oldest first."""
    own = int(log.behaviour[row])
    events = visible_history(log, own, log.index_of(own).positions, settings)
    events = events.select(events.position == row)
    rows = history_positions(log, log.user[events.position], events, len(log), behaviour)[0]
    return [int(one) for one in rows if one >= 0]


def test_the_merged_time_line_shows_what_stands_before_without_the_twin() -> None:
    log = log_of(
        [
            (1, "r", 5, 10),  # row 0
            (1, "r", 6, 20),  # row 1, the twin of row 3
            (1, "r", 7, 20),  # row 2
            (1, "s", 6, 20),  # row 3
            (1, "r", 8, 30),  # row 4
            (2, "r", 5, 15),  # row 5, another user
        ]
    )
    assert seen(log, 3, PAPER, None) == [0, 2]
    assert seen(log, 3, PAPER, RECOMMENDATION) == [0, 2]
    assert seen(log, 4, PAPER, None) == [0, 1, 2, 3]  # a purchase hides nothing here
    assert seen(log, 4, PAPER, SEARCH) == [3]
    assert seen(log, 5, PAPER, None) == []


def test_the_twin_is_hidden_wherever_it_stands_among_the_ties() -> None:
    # Purchases of one instant come first; the twins of the searches are rows 0, 1 and 2.
    log = log_of([(1, "r", item, 9) for item in (3, 4, 5)] + [(1, "s", item, 9) for item in (3, 5)])
    assert twin_positions(log, np.array([3, 4])).tolist() == [0, 2]
    assert seen(log, 3, PAPER, RECOMMENDATION) == [1, 2]
    assert seen(log, 4, PAPER, RECOMMENDATION) == [0, 1]


def test_a_repeated_purchase_after_the_search_does_not_unhide_the_twin() -> None:
    log = log_of([(1, "r", 3, 9), (1, "s", 3, 9), (1, "r", 3, 9)])
    assert twin_positions(log, np.array([0, 1, 2])).tolist() == [-1, 0, 1]
    assert seen(log, 1, PAPER, None) == []


def test_a_search_that_stands_before_its_purchase_is_hidden_from_it() -> None:
    # A recipe may order ties the other way round; then the purchase must not see its search.
    log = log_of([(1, "r", 2, 5), (1, "s", 3, 9), (1, "r", 3, 9)])
    assert seen(log, 2, PAPER, None) == [0]


def test_an_earlier_purchase_of_the_item_is_no_twin() -> None:
    log = log_of([(1, "r", 3, 8), (1, "s", 3, 9), (2, "r", 3, 9)])
    assert twin_positions(log, np.array([1])).tolist() == [-1]
    assert seen(log, 1, PAPER, RECOMMENDATION) == [0]


def test_strict_time_shows_no_row_of_the_same_instant() -> None:
    log = log_of([(1, "r", 3, 8), (1, "s", 4, 8), (1, "r", 5, 9), (1, "s", 5, 9), (1, "s", 6, 9)])
    assert seen(log, 0, STRICT, None) == []
    assert seen(log, 1, STRICT, None) == []
    for row in (2, 3, 4):
        assert seen(log, row, STRICT, None) == [0, 1]


def test_released_counters_hide_the_twin_only_if_it_is_the_last_purchase() -> None:
    log = log_of([(1, "r", 3, 9), (1, "r", 4, 9), (1, "s", 3, 9), (1, "s", 4, 9)])
    assert seen(log, 2, RELEASED, RECOMMENDATION) == [0, 1]  # the target, row 0, is visible
    assert seen(log, 3, RELEASED, RECOMMENDATION) == [0]  # row 1 was the last purchase


def test_released_counters_are_pasted_by_position() -> None:
    # The list's order within the instant 9 is by rating: item 7, then item 3. The rows' order is by
    # item id: item 3 takes the counters of the first place, item 7 those of the second, in which
    # it sees itself.
    log = log_of([(1, "r", 9, 5), (1, "s", 9, 5), (1, "r", 7, 9), (1, "r", 3, 9)])
    events = visible_history(log, RECOMMENDATION, log.recommendation.positions, RELEASED)
    assert log.item[events.position].tolist() == [9, 3, 7]
    assert events.seen_recommendation.tolist() == [0, 1, 2]
    assert target_is_visible(log, events, RECOMMENDATION).tolist() == [False, False, True]
    assert prefix_is_not_its_own(log, events).tolist() == [False, True, True]


def by_loop(log: EventLog, row: int, cut: str, behaviour: int | None, length: int) -> list[int]:
    """What :func:`seen` must give, written as a loop."""
    rows = []
    for other in range(len(log)):
        if log.user[other] != log.user[row] or other >= row:
            continue
        if behaviour is not None and log.behaviour[other] != behaviour:
            continue
        same_instant = log.timestamp[other] == log.timestamp[row]
        if cut == "strict-time" and same_instant:
            continue
        is_twin = same_instant and log.item[other] == log.item[row]
        if is_twin and log.behaviour[other] != log.behaviour[row]:
            continue  # in these logs a (user, item) pair has one purchase and at most one search
        rows.append(other)
    return rows[-length:]


@pytest.mark.parametrize("cut", ["merged-time", "strict-time"])
@pytest.mark.parametrize("behaviour", [None, RECOMMENDATION, SEARCH])
@pytest.mark.parametrize("length", [1, 4])
def test_windows_equal_a_loop(cut: str, behaviour: int | None, length: int) -> None:
    log = shop_dataset(seed=1, users=12, days=3).log
    settings = ProtocolSettings.model_validate({"history_cut": cut})
    for own in (RECOMMENDATION, SEARCH):
        events = visible_history(log, own, log.index_of(own).positions, settings)
        user = log.user[events.position]
        rows = history_positions(log, user, events, length, behaviour)
        for event, window in zip(events.position, rows, strict=True):
            expected = by_loop(log, int(event), cut, behaviour, length)
            assert window.tolist() == [-1] * (length - len(expected)) + expected


def test_window_columns_and_both_paddings() -> None:
    log = log_of([(1, "r", 5, 10), (1, "s", 6, 20), (1, "r", 7, 30), (1, "r", 8, 40)])
    events = visible_history(log, RECOMMENDATION, np.array([0, 2, 3]), PAPER)
    user = log.user[events.position]
    left = history_windows(log, user, events, 2)
    assert left.items.tolist() == [[0, 0], [5, 6], [6, 7]]
    assert left.queries.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert left.behaviours.tolist() == [[-1, -1], [0, 1], [1, 0]]
    assert left.timestamps.tolist() == [[0, 0], [10, 20], [20, 30]]
    assert left.sessions.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert left.count.tolist() == [0, 2, 2]
    right = history_windows(log, user, events, 3, padding="right")
    assert right.items.tolist() == [[0, 0, 0], [5, 6, 0], [5, 6, 7]]
    assert right.mask.tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_the_longest_window_is_not_shortened_by_the_hidden_row() -> None:
    log = log_of([(1, "r", item, item) for item in (1, 2, 3, 4)] + [(1, "s", 4, 4)])
    events = visible_history(log, SEARCH, np.array([4]), PAPER)
    assert history_windows(log, np.array([1]), events, 3).items.tolist() == [[1, 2, 3]]


def test_a_log_without_searches_has_empty_search_histories() -> None:
    log = log_of([(1, "r", 1, 1), (1, "r", 2, 2)])
    events = visible_history(log, RECOMMENDATION, np.array([0, 1]), PAPER)
    requests = Requests("recommendation", log, events, ["", "word"], np.ones((2, 1), np.int32))
    assert requests.history(2, "search").count.tolist() == [0, 0]
    assert requests.history(2, "recommendation").items.tolist() == [[0, 0], [0, 1]]
    assert requests.query_texts == ["", ""]


def test_an_empty_set_of_events() -> None:
    log = log_of([(1, "r", 1, 1), (1, "s", 1, 1)])
    nothing = np.zeros(0, dtype=np.int64)
    for settings in (PAPER, CLEAN, RELEASED):
        events = visible_history(log, SEARCH, nothing, settings)
        assert len(events) == 0
        assert history_windows(log, log.user[nothing], events, 3).items.shape == (0, 3)


def splits_of(log: EventLog, settings: ProtocolSettings) -> dict[int, list[EventSet]]:
    found = {}
    for behaviour in (RECOMMENDATION, SEARCH):
        split = split_task(log, behaviour, settings)
        found[behaviour] = [split.train, split.valid, split.test]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_no_target_is_visible_under_clean_and_paper(seed: int) -> None:
    log = shop_dataset(seed, users=60, days=4).log
    for settings in (CLEAN, PAPER):
        splits = splits_of(log, settings)
        for events in splits[SEARCH]:
            assert not target_is_visible(log, events, RECOMMENDATION).any()  # D1
        for events in splits[RECOMMENDATION]:
            assert not target_is_visible(log, events, RECOMMENDATION).any()  # D2
            assert not target_is_visible(log, events, SEARCH).any()  # D3


@pytest.mark.parametrize("seed", range(4))
def test_prefixes_are_those_of_the_rows_own_instant_under_clean(seed: int) -> None:
    log = shop_dataset(seed, users=30, days=4).log
    for events in splits_of(log, CLEAN)[RECOMMENDATION]:  # D4
        for row, purchases in zip(events.position, events.seen_recommendation, strict=True):
            own = log.user == log.user[row]
            earlier = own & (log.timestamp < log.timestamp[row])
            assert purchases == np.count_nonzero(earlier & (log.behaviour == RECOMMENDATION))


def test_released_shows_targets_in_the_purchases_of_both_tasks() -> None:
    log = shop_dataset(seed=0, users=60, days=4).log
    log = EventLog.from_columns(  # the ties of the list are in another order than by item id
        user=log.user,
        item=log.item.max() + 1 - log.item,
        query=log.query,
        behaviour=log.behaviour,
        timestamp=log.timestamp,
        session=log.session,
        number_of_users=log.number_of_users,
    )
    splits = splits_of(log, RELEASED)
    assert target_is_visible(log, splits[SEARCH][2], RECOMMENDATION).any()
    assert target_is_visible(log, splits[RECOMMENDATION][2], RECOMMENDATION).any()
    assert prefix_is_not_its_own(log, splits[RECOMMENDATION][2]).any()
    assert not target_is_visible(log, splits[RECOMMENDATION][2], SEARCH).any()
