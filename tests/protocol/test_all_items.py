"""Ranking among all items: what is admitted, where targets stand, which items are best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset
from benchmark.protocol import all_items
from benchmark.protocol.all_items import (
    admitted,
    best_items,
    blocks,
    eligible_items,
    ranks_among,
    scores_in_blocks,
)
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.metrics import ranks_of_targets
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from tests.protocol.logs import shop_dataset

DATASET = shop_dataset(4, users=40, items=150)
PAPER = PRESETS["paper"].model_copy(update={"negatives": 20})


def tasks_under(**changes: Any) -> tuple[ProtocolSettings, dict[str, Task]]:
    chosen = PAPER.model_copy(update=changes)
    return chosen, build_tasks(DATASET, chosen)


def barred_sets(task: Task, chosen: ProtocolSettings) -> list[set[int]]:
    row, item = task.barred(DATASET, chosen).items_of(np.arange(len(task.test)))
    return [set(item[row == event].tolist()) for event in range(len(task.test))]


def others(dataset: Dataset, position: int) -> tuple[set[int], set[int]]:
    """What the event's user touched at all, and before it; without its target."""
    log = dataset.log
    user, target = log.user[position], int(log.item[position])
    first, last = log.offsets[user], log.offsets[user + 1]
    return (
        set(log.item[first:last].tolist()) - {target},
        set(log.item[first:position].tolist()) - {target},
    )


def test_a_recommendation_is_ranked_among_what_could_be_its_negatives() -> None:
    for law, place in (("all-interactions", 0), ("earlier-interactions", 1)):
        chosen, tasks = tasks_under(recommendation_exclude=law)
        task = tasks["recommendation"]
        found = barred_sets(task, chosen)
        expected = [others(DATASET, row)[place] for row in task.test.position.tolist()]
        assert found == expected
        sizes = DATASET.number_of_items - 1 - np.array([len(one) for one in expected])
        eligible = eligible_items(task.barred(DATASET, chosen), len(task.test))
        np.testing.assert_array_equal(eligible, sizes)


def test_every_negative_of_a_list_is_admitted() -> None:
    for preset in PRESETS:
        chosen = PRESETS[preset].model_copy(update={"negatives": 20})
        for task in build_tasks(DATASET, chosen).values():
            barred = task.barred(DATASET, chosen)
            lists = task.test_candidates.items
            assert not barred.contains(np.arange(len(lists))[:, None], lists).any()


def test_a_search_is_ranked_among_every_item_unless_the_settings_say_otherwise() -> None:
    log = DATASET.log
    chosen, tasks = tasks_under()
    assert not any(barred_sets(tasks["search"], chosen))
    chosen, tasks = tasks_under(search_exclude="touched")
    rows = tasks["search"].test.position.tolist()
    assert barred_sets(tasks["search"], chosen) == [others(DATASET, row)[0] for row in rows]
    chosen, tasks = tasks_under(search_all_items="without-relevant")
    searches = log.search.positions
    for row, found in zip(rows, barred_sets(tasks["search"], chosen), strict=True):
        same = searches[log.query[searches] == log.query[row]]
        assert found == set(log.item[same].tolist()) - {int(log.item[row])}
    assert any(barred_sets(tasks["search"], chosen))


scores_with_ties = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(2, 12)),
    elements=st.sampled_from([-np.inf, -3.5, -1.0, -0.0, 0.0, 0.25, 7.0]),
)


@pytest.mark.parametrize("block", [32, 1, 2])
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(scores=scores_with_ties, data=st.data())
def test_ranks_and_best_items_are_those_of_sorting(
    block: int, scores: NDArray[np.float32], data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(all_items, "_BLOCK", block)
    monkeypatch.setattr(all_items, "_FEWEST_BLOCKS", 1)
    requests, columns = scores.shape
    items = columns - 1
    targets = np.array([data.draw(st.integers(1, items)) for _ in range(requests)])
    pairs = [
        (row, item)
        for row in range(requests)
        for item in data.draw(st.sets(st.integers(1, items)))
        if item != targets[row]
    ]
    row, item = np.array(pairs or np.zeros((0, 2)), dtype=np.int64).T
    kept = admitted(scores, Exclusions.of_pairs(row, item, items))
    ranks = ranks_among(kept, targets)
    number = data.draw(st.integers(1, items + 2))
    best, values = best_items(kept, number)
    assert best.shape == values.shape == (requests, min(number, items))
    for event in range(requests):
        allowed = [i for i in range(1, columns) if (event, i) not in pairs]
        own = ranks_of_targets(
            scores[[event]][:, allowed], np.array([allowed.index(targets[event])])
        )
        assert (ranks.above[event], ranks.tied[event], ranks.returned[event]) == (
            own.above[0],
            own.tied[0],
            own.returned[0],
        )
        ordered = sorted((-float(scores[event, i]), i) for i in allowed)
        expected = [i for negated, i in ordered if negated < np.inf][:number]
        assert best[event][: len(expected)].tolist() == expected
        assert not best[event][len(expected) :].any()
        np.testing.assert_array_equal(
            values[event][: len(expected)], scores[event][np.array(expected, dtype=int)]
        )


@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_the_best_of_many_items_are_those_of_sorting(levels: int) -> None:
    random = np.random.default_rng(levels)
    scores = random.integers(0, levels, (6, 20_001)).astype(np.float32)
    scores[:, 0] = np.nan
    scores[2, 5000:] = -np.inf
    scores[3, random.integers(1, 20_001, 9000)] = np.nan
    found, values = best_items(scores, 100)
    for row in range(len(scores)):
        of_row = np.where(np.isnan(scores[row]), -np.inf, scores[row])
        expected = np.lexsort((np.arange(20_001), -of_row))[:100]
        np.testing.assert_array_equal(found[row], expected)
        np.testing.assert_array_equal(values[row], of_row[expected])


def by_hash(requests: Requests) -> NDArray[np.float32]:
    """A score of user, query and item that no order of rows or columns changes."""
    items = requests.candidates.astype(np.int64)
    return ((items * 7919 + requests.user[:, None] * 31 + requests.query[:, None]) % 97).astype(
        np.float32
    )


@pytest.mark.parametrize("task", ["recommendation", "search"])
def test_blocks_of_items_give_the_scores_of_one_list_of_all(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = tasks_under()[1][task].requests(DATASET, "test").without_candidates()
    assert requests.candidates.shape == (len(requests), 0)
    assert requests.number_of_items == DATASET.number_of_items
    every = np.tile(np.arange(1, DATASET.number_of_items + 1, dtype=np.int32), (len(requests), 1))
    whole = by_hash(requests.with_candidates(every))
    monkeypatch.setattr(all_items, "_ITEMS_AT_ONCE", 64)
    monkeypatch.setattr(all_items, "_PAIRS_AT_ONCE", 320)
    found = scores_in_blocks(by_hash, requests)
    np.testing.assert_array_equal(found[:, 1:], whole)
    monkeypatch.setattr(all_items, "_SCORES_AT_ONCE", 1000)
    rows = [rows for rows, _ in blocks(requests)]
    assert len(rows) > 1 and rows[0] == slice(0, 1000 // (DATASET.number_of_items + 1))
    assert rows[-1].stop == len(requests)
