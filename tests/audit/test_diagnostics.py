"""The diagnostics against plain looks through the windows, and on logs written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.audit.diagnostics import (
    NEAR,
    diagnose,
    has_twin_in,
    has_wrong_prefix,
    recency_of_target,
)
from benchmark.data.dataset import RECOMMENDATION, SEARCH, EventLog
from benchmark.protocol.histories import EventSet, visible_history
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import build_tasks
from tests.protocol import diagnostics as oracle
from tests.protocol.logs import dataset_of, log_of, shop_dataset

CUTS = {
    "paper": PRESETS["paper"],
    "released": PRESETS["released"],
    "clean": PRESETS["clean"],
    "released by key": PRESETS["released"].model_copy(update={"counters": "by-key"}),
}


def with_repetitions(seed: int) -> EventLog:
    """A shop's log in which users buy few different items, so that every pair repeats."""
    log = shop_dataset(seed, users=20, items=150, days=4).log
    return EventLog.from_columns(
        user=log.user,
        item=log.item % 7 + 1,
        query=log.query,
        behaviour=log.behaviour,
        timestamp=log.timestamp,
        session=log.session,
        number_of_users=log.number_of_users,
    )


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_visible_targets_as_by_looking(cut: str, repeats: bool, seed: int) -> None:
    log = with_repetitions(seed) if repeats else shop_dataset(seed, users=20).log
    for own in (RECOMMENDATION, SEARCH):
        events = visible_history(log, own, log.index_of(own).positions, CUTS[cut])
        for behaviour in (RECOMMENDATION, SEARCH):
            recency = recency_of_target(log, events, behaviour)
            seen = oracle.target_is_visible(log, events, behaviour)
            np.testing.assert_array_equal(recency > 0, seen)
            for length in (1, 2, NEAR):
                near = oracle.target_is_visible(log, events, behaviour, length)
                np.testing.assert_array_equal((recency > 0) & (recency <= length), near)


def test_a_hidden_row_does_not_count_as_a_place() -> None:
    log = log_of([(1, "r", 5, 1), (1, "r", 8, 2), (1, "r", 9, 3), (1, "r", 5, 4)])
    events = EventSet(
        position=np.array([3]),
        seen_recommendation=np.array([3], dtype=np.int32),
        seen_search=np.array([0], dtype=np.int32),
        hidden=np.array([1]),
    )
    assert recency_of_target(log, events, RECOMMENDATION).tolist() == [2]


@pytest.mark.parametrize("seed", range(3))
def test_twins_as_by_looking(seed: int) -> None:
    dataset = shop_dataset(seed)
    tasks = build_tasks(dataset, PRESETS["paper"])
    log = dataset.log
    for own, other in (("search", "recommendation"), ("recommendation", "search")):
        for part in ("train", "valid", "test"):
            rows = getattr(tasks[other], part).position
            np.testing.assert_array_equal(
                has_twin_in(log, tasks[own].test, rows),
                oracle.has_twin_in(log, tasks[own].test, rows),
            )


def test_prefixes_are_wrong_only_as_released() -> None:
    log = shop_dataset(0).log
    rows = log.recommendation.positions
    for name, settings in CUTS.items():
        events = visible_history(log, RECOMMENDATION, rows, settings)
        # Items of one day stand in random order in this log, so sorting them moves the counters.
        assert has_wrong_prefix(log, events, settings).any() == (name == "released")


@pytest.mark.parametrize("preset", PRESETS)
def test_which_presets_leak(preset: str) -> None:
    dataset = shop_dataset(1, users=60)
    settings = PRESETS[preset].model_copy(update={"negatives": 30})
    found = diagnose(dataset, build_tasks(dataset, settings), settings)
    leaks = {name: max(found[name].values()) for name in ("D1", "D2", "D3", "D4")}
    if preset == "released":
        assert leaks["D1"] > 0.05
        assert leaks["D2"] > 0.02
        assert leaks["D4"] > 0.02
        assert leaks["D3"] == 0
    else:
        assert leaks == {"D1": 0, "D2": 0, "D3": 0, "D4": 0}


def test_twins_that_clean_takes_out_of_training() -> None:
    dataset = shop_dataset(2, users=60)
    for preset in ("paper", "clean"):
        settings = PRESETS[preset].model_copy(update={"negatives": 30})
        found = diagnose(dataset, build_tasks(dataset, settings), settings)["D5"]
        assert (found["search test in recommendation train"] > 0) == (preset == "paper")
        assert found["search test in recommendation test"] > 0.1


def test_figures_of_a_log_written_by_hand() -> None:
    day = 86_400
    rows = [
        (1, "s", 4, 2 * day),
        (1, "s", 5, 3 * day),
        (1, "s", 4, 4 * day),
        (1, "r", 1, 5 * day),
        (1, "r", 2, 6 * day),
        (1, "r", 3, 6 * day + 5),
        (2, "s", 6, 0),
        (2, "s", 4, day),
        (2, "s", 7, 2 * day),
    ]
    # Item 4 holds the word twice, 5 and 6 once in longer texts, the others not at all.
    texts = ["none", "none", "none", "word word", "word a b c", "word a b c d e", *["none"] * 6]
    dataset = dataset_of(log_of(rows), 12, texts=texts)
    settings = ProtocolSettings(negatives=3)
    found = diagnose(dataset, build_tasks(dataset, settings), settings)
    # Of the search targets, 4 is BM25's best hit and 7 matches no word.
    assert found["D6"] == {"target in the best 109 hits": 0.5, "target matches no word": 0.5}
    # The query is paired with 4, 5, 6 and 7. User 1 ranks 4 against 5, 6 and one that fills up;
    # user 2 ranks 7 against 4, 5 and 6.
    relevant = found["D7"]
    assert relevant["lists with a relevant negative"] == 1
    assert relevant["relevant items of the query, mean"] == 4
    assert relevant["relevant share of negatives"] in (5 / 6, 1.0)
    assert found["D11"] == {"share of negatives": pytest.approx(1 / 6)}
    assert found["D12"] == {
        "test pairs of query and target seen in training": 0.5,
        "purchases that share their day with another": pytest.approx(2 / 3),
    }
