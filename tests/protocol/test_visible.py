"""What requests hold: the histories that the protocol gives, and no row that they may not see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.check.reach import arrays_held_by, first_difference
from benchmark.data.dataset import BEHAVIOURS, Dataset, EventLog
from benchmark.protocol.histories import EventSet, history_positions, history_windows
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from tests.protocol.logs import shop_dataset

PROTOCOLS = {
    **PRESETS,
    "global time": ProtocolSettings(split="global-time"),
    "global strict time": ProtocolSettings(split="global-time", history_cut="strict-time"),
}

Case = tuple[Dataset, dict[str, Task]]


@pytest.fixture(scope="module", params=PROTOCOLS)
def case(request: pytest.FixtureRequest) -> Case:
    dataset = shop_dataset(seed=5, users=60, items=180, days=12)
    return dataset, build_tasks(dataset, PROTOCOLS[request.param])


def some_rows(number: int) -> list[NDArray[np.int64] | slice]:
    random = np.random.default_rng(number)
    return [
        slice(0, number),
        slice(number // 3, number // 2),
        random.permutation(number)[: number // 2],
        np.array([number - 1, 0, number - 1]),
        np.zeros(0, dtype=np.int64),
    ]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_histories_are_those_of_the_whole_log(case: Case, split: str) -> None:
    dataset, tasks = case
    log = dataset.log
    for task in tasks.values():
        whole, events = task.requests(dataset, split), getattr(task, split)
        for rows in some_rows(len(events)):
            chosen = events.select(rows)
            user = log.user[chosen.position]
            for requests in (whole.select(rows), whole.select(slice(None)).select(rows)):
                for length in (1, 4, 60):
                    for behaviour in (None, *BEHAVIOURS):
                        kind = None if behaviour is None else BEHAVIOURS[behaviour]
                        for padding in ("left", "right"):
                            wanted = history_windows(log, user, chosen, length, kind, padding)
                            found = requests.history(length, behaviour, padding)
                            assert first_difference(wanted, found) is None
                sizes = [
                    (history_positions(log, user, chosen, len(log), kind) >= 0).sum(axis=1)
                    for kind in BEHAVIOURS.values()
                ]
                for wanted_size, size in zip(sizes, requests.history_sizes(), strict=True):
                    np.testing.assert_array_equal(size, wanted_size)


def with_other_unseen_rows(log: EventLog, events: EventSet) -> tuple[EventLog, int]:
    """The log with other content in each row that none of the events may see, and their number."""
    rows = history_positions(log, log.user[events.position], events, len(log), None)
    unseen = np.setdiff1d(np.arange(len(log)), rows[rows >= 0])
    item, session = log.item.copy(), log.session.copy()
    item[unseen] = item[unseen] % log.item.max() + 1
    session[unseen] += 1
    later = np.setdiff1d(unseen, events.position)  # the events' own times and queries are asked
    timestamp, query = log.timestamp.copy(), log.query.copy()
    timestamp[later] += 1
    query[later] = np.where(query[later] > 0, query[later] % query.max() + 1, 0)
    changed = replace(log, item=item, session=session, timestamp=timestamp, query=query)
    return changed, len(unseen)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_nothing_that_a_request_may_not_see_hangs_on_it(case: Case, split: str) -> None:
    dataset, tasks = case
    for task in tasks.values():
        events: EventSet = getattr(task, split)
        for rows in some_rows(len(events))[:3]:
            changed, number = with_other_unseen_rows(dataset.log, events.select(rows))
            assert number > len(events.select(rows)) / 2
            here = task.requests(dataset, split).select(rows)
            there = task.requests(dataset.with_log(changed), split).select(rows)
            assert first_difference(here, there) is None
            assert here.fingerprint == there.fingerprint


def test_requests_share_no_memory_with_others(case: Case) -> None:
    dataset, tasks = case
    for task in tasks.values():
        requests = task.requests(dataset, "test")
        for array in arrays_held_by(requests.select(slice(1, 3))):
            assert not any(np.shares_memory(array, other) for other in arrays_held_by(requests))
            assert array.base is None or len(array.base) <= len(array)


def test_what_is_changed_in_a_request_changes_nothing_else(case: Case) -> None:
    dataset, tasks = case
    requests = tasks["search"].requests(dataset, "test")
    before = requests.fingerprint
    for column in (requests.user, requests.query, requests.timestamp):
        column[:] = 0
    batch = requests.select(slice(0, 5))
    batch.candidates[:] = 0
    assert requests.fingerprint == before
    assert batch.fingerprint != requests.select(slice(0, 5)).fingerprint


def test_a_hidden_row_that_another_event_sees_stays() -> None:
    """User 1 buys item 4 and searches for it at once, then buys item 5."""
    log = EventLog.from_columns(
        user=np.array([1, 1, 1]),
        item=np.array([4, 4, 5]),
        query=np.array([0, 1, 0]),
        behaviour=np.array([0, 1, 0]),
        timestamp=np.array([7, 7, 9]),
        session=np.array([0, 1, 0]),
        number_of_users=1,
    )
    events = EventSet(
        position=np.array([1, 2]),
        seen_recommendation=np.array([1, 1], dtype=np.int32),
        seen_search=np.array([0, 1], dtype=np.int32),
        hidden=np.array([0, -1]),
    )
    both = Requests("search", log, events, ["", "tea"], np.ones((2, 1), np.int32))
    assert both.history(2).items.tolist() == [[0, 0], [4, 4]]
    assert [size.tolist() for size in both.history_sizes()] == [[0, 1], [0, 1]]
    alone = both.select(slice(0, 1))
    assert alone.history(2).items.tolist() == [[0, 0]]
    assert not any(4 in array for array in arrays_held_by(alone)), "the twin tells the target"


def test_users_unknown_to_training_are_shown_as_0(case: Case) -> None:
    dataset, tasks = case
    for task in tasks.values():
        for split in ("valid", "test"):
            user = dataset.log.user[getattr(task, split).position]
            shown = task.requests(dataset, split).user
            np.testing.assert_array_equal(shown, np.where(task.known_users[user], user, 0))
        cold = ~task.known_users[dataset.log.user[task.test.position]]
        assert task.share_of_cold_users(dataset) == pytest.approx(cold.mean())


def test_who_comes_after_training_is_unknown_and_keeps_the_own_history() -> None:
    """User 1 has an event at each of 20 instants, user 2 four at the last three of them."""
    time = np.array([*range(20), 18, 19, 19, 20])
    nothing = np.zeros(len(time))
    log = EventLog.from_columns(
        user=np.repeat([1, 2], [20, 4]),
        item=np.arange(1, 25),
        query=nothing,
        behaviour=nothing,
        timestamp=time,
        session=nothing,
        number_of_users=2,
    )
    dataset = replace(shop_dataset(seed=5).with_log(log), users=["", "early", "late"])
    # Of 24 events 18 stand before instant 18, where validation starts; the test starts at 19.
    tasks = build_tasks(dataset, ProtocolSettings(split="global-time", negatives=3))
    task = tasks["recommendation"]
    assert task.known_users.tolist() == [False, True, False]
    assert task.requests(dataset, "valid").user.tolist() == [1, 0]
    requests = task.requests(dataset, "test")
    assert requests.user.tolist() == [1, 0, 0, 0]
    assert requests.history(30).count.tolist() == [19, 1, 2, 3]
    assert requests.select(slice(2, 3)).history(2).items.tolist() == [[21, 22]]
    assert task.share_of_cold_users(dataset) == 0.75
