"""Searches of one session: one query is one search, and several are several."""

from __future__ import annotations

import numpy as np

from benchmark.data.raw import RawLog
from benchmark.data.sources.joint import Clicks, Searches, catalogue, joint_log
from benchmark.data.tables.table import Ids


def log_of(queries: list[str], session: list[int], clicked: list[int]) -> RawLog:
    rows = len(queries)
    nothing = np.zeros(0, dtype=np.int64)
    searches = Searches(
        user=Ids(np.zeros(rows, dtype=np.int64), ["u"]),
        item=np.arange(rows),
        timestamp=1_500_000_000 + 86_400 * np.arange(rows),
        query=queries,
        session=np.array(session),
        clicked=np.array(clicked, dtype=bool),
    )
    items = catalogue([f"i{row}" for row in range(rows)], ["title"] * rows)
    return joint_log(items, Clicks(Ids(nothing, []), nothing, nothing), searches)


def test_a_session_of_several_queries_is_a_search_for_each() -> None:
    log = log_of(["lamp", "lamp", "chair", "desk", "desk"], [7, 7, 7, 9, 9], [1, 1, 1, 1, 0])
    lamp, again, chair, desk = log.session.tolist()
    assert lamp == again and len({lamp, chair, desk}) == 3
    assert desk == 9  # one query: as it was
    assert log.notes == (
        "1 sessions of searches hold several queries; each query is a search of its own.",
    )


def test_a_query_of_a_session_without_a_click_is_a_search_without_one() -> None:
    log = log_of(["lamp", "chair"], [7, 7], [1, 0])
    assert len(log) == 1
    assert "1 of 2 searches have no click and were left out." in log.notes


def test_sessions_of_one_query_stay_as_they_are() -> None:
    log = log_of(["lamp", "lamp", "chair"], [7, 3, 4], [1, 1, 1])
    assert log.session.tolist() == [7, 3, 4]
    assert log.notes == ()
