"""Searches with several clicks: one split, one history, and no click a negative of another."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset, EventLog
from benchmark.protocol.histories import history_windows, unit_of_rows
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.splits import split_task
from benchmark.protocol.task import build_tasks
from tests.protocol.logs import dataset_of

PAPER = PRESETS["paper"]
ALONE = PAPER.model_copy(update={"searches": "single-clicks"})


def log_with_sessions(rows: list[tuple[int, int, int, int]], users: int = 1) -> EventLog:
    """Rows of (user, item, time, session), session 0 for a purchase, in log order."""
    user, item, time, session = np.array(rows).T
    behaviour = np.where(session > 0, SEARCH, RECOMMENDATION)
    return EventLog.from_columns(
        user=user,
        item=item,
        query=behaviour,
        behaviour=behaviour,
        timestamp=time,
        session=session,
        number_of_users=users,
    )


INTERLEAVED = log_with_sessions(
    [
        (1, 1, 1, 1),  # search 1
        (1, 2, 2, 2),  # search 2 begins
        (1, 3, 3, 0),
        (1, 4, 4, 3),  # search 3 begins
        (1, 5, 5, 2),  # search 2 once more
        (1, 6, 6, 0),
        (1, 7, 7, 3),  # search 3 once more
        (1, 8, 8, 3),
    ]
)


def test_a_search_is_one_unit_and_a_purchase_is_one() -> None:
    assert unit_of_rows(INTERLEAVED, PAPER).tolist() == [0, 1, 2, 3, 1, 5, 3, 3]
    assert unit_of_rows(INTERLEAVED, ALONE).tolist() == list(range(8))


def test_users_with_one_session_number_have_searches_of_their_own() -> None:
    log = log_with_sessions([(1, 1, 1, 1), (1, 2, 2, 1), (2, 1, 1, 1), (2, 2, 2, 1)], users=2)
    assert unit_of_rows(log, PAPER).tolist() == [0, 0, 2, 2]


def test_the_last_search_is_tested_with_all_its_clicks() -> None:
    split = split_task(INTERLEAVED, SEARCH, PAPER)
    parts = [part.position.tolist() for part in (split.train, split.valid, split.test)]
    assert parts == [[0], [1, 4], [3, 6, 7]]
    alone = split_task(INTERLEAVED, SEARCH, ALONE)
    assert [part.position.tolist() for part in (alone.valid, alone.test)] == [[6], [7]]


def test_two_searches_of_many_clicks_are_too_few() -> None:
    log = log_with_sessions([(1, item, item, 1 + item // 4) for item in range(1, 8)])
    split = split_task(log, SEARCH, PAPER)
    assert split.skipped_users == 1
    assert not len(split.test)


def test_every_click_sees_what_was_before_the_first_one() -> None:
    split = split_task(INTERLEAVED, SEARCH, PAPER)
    seen = history_windows(INTERLEAVED, np.array([1, 1, 1]), split.test, 5)
    assert seen.items.tolist() == [[0, 0, 1, 2, 3]] * 3
    seen = history_windows(INTERLEAVED, np.array([1, 1]), split.valid, 5)
    assert seen.items.tolist() == [[0, 0, 0, 0, 1]] * 2
    strict = split_task(INTERLEAVED, SEARCH, PRESETS["clean"])
    assert strict.test.seen_search.tolist() == [2, 2, 2]


def test_the_chronological_split_goes_by_the_first_click() -> None:
    rows = [(1, time, time, 0) for time in range(1, 17)]
    rows += [(1, 17, 17, 1), (1, 18, 18, 2), (1, 19, 19, 1), (1, 20, 20, 2)]
    log = log_with_sessions(rows)
    split = split_task(log, SEARCH, ProtocolSettings(split="global-time"))
    assert split.valid.position.tolist() == [16, 17, 18, 19]
    assert not len(split.test)


def clicks_dataset() -> Dataset:
    """Thirty users, four searches of three clicks each, over texts that all match the query."""
    rows = []
    for user in range(1, 31):
        for search in range(4):
            for click in range(3):
                item = (60 + user * 7 + search * 3 + click) % 160 + 1
                rows.append((user, item, 1000 + search * 100, user * 10 + search))
    log = log_with_sessions(rows, users=30)
    return dataset_of(log, 160, texts=["red lamp"] * 160, queries=["lamp"])


@pytest.mark.parametrize("protocol", ["paper", "clean"])
def test_fellow_clicks_are_neither_seen_nor_negatives(protocol: str) -> None:
    dataset = clicks_dataset()
    log, task = dataset.log, build_tasks(dataset, PRESETS[protocol])["search"]
    seen = task.requests(dataset, "test").history(20).items
    assert len(task.test)
    for row, position in enumerate(task.test.position):
        fellows = set(log.item[log.session == log.session[position]].tolist())
        fellows -= {int(log.item[position])}
        assert len(fellows) == 2
        assert not fellows & set(seen[row].tolist())
        assert not fellows & set(task.test_candidates.items[row].tolist())
    tested, validated = (log.session[part.position] for part in (task.test, task.valid))
    assert not set(tested.tolist()) & set(validated.tolist())


def test_alone_clicks_see_and_rank_against_their_fellows() -> None:
    # What the setting prevents is there without it.
    dataset = clicks_dataset()
    log, task = dataset.log, build_tasks(dataset, ALONE)["search"]
    seen = task.requests(dataset, "test").history(20).items
    found = negatives = 0
    for row, position in enumerate(task.test.position):
        fellows = set(log.item[log.session == log.session[position]].tolist())
        fellows -= {int(log.item[position])}
        found += len(fellows & set(seen[row].tolist()))
        negatives += len(fellows & set(task.test_candidates.items[row].tolist()))
    assert found == 60
    assert negatives > 0
