"""Hard negatives: behind the evaluation lists under every protocol, and no positives of the query.

The hand-made shop has one query, "tea", and twelve items whose texts hold it among ever more other
words, so that item 1 is BM25's best hit and item 12 its last; the others do not match.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.data.dataset import Dataset
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.text.words import training_queries
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.view import TrainingView
from tests.protocol.logs import dataset_of, log_of, search_dataset

MATCHING, ITEMS = 12, 30


def tea_shop(clicked: int = 20) -> Dataset:
    """Every user searches tea four times; the first click is on ``clicked``."""
    texts = ["tea" + " leaf" * number for number in range(MATCHING)]
    texts += [f"other{number}x" for number in range(ITEMS - MATCHING)]
    rows = [
        (user, "s", clicked if time == 0 else 20 + (user + time) % 10, time)
        for user in range(1, 41)
        for time in range(4)
    ]
    return dataset_of(log_of(rows), ITEMS, texts=texts, queries=["tea", "coffee"])


def view_of(dataset: Dataset, **settings: Any) -> TrainingView:
    protocol = ProtocolSettings.model_validate(settings)
    return TrainingView(dataset, build_tasks(dataset, protocol), protocol)


def drawn(view: TrainingView, pool: int, number: int, events: int = 200) -> list[list[int]]:
    hard = HardNegatives(view, pool)
    return hard.draw(np.ones(events, dtype=np.int32), number, np.random.default_rng(0)).tolist()


def lists_of(dataset: Dataset, task: Task) -> dict[int, set[int]]:
    """Query → all negatives of its evaluation lists."""
    found: dict[int, set[int]] = {}
    for part in ("valid", "test"):
        candidates, events = task.candidates(part), getattr(task, part)
        for row, position in enumerate(events.position):
            negatives = np.delete(candidates.items[row], candidates.target_column[row])
            found.setdefault(int(dataset.log.query[position]), set()).update(negatives.tolist())
    return found


@pytest.mark.parametrize(
    "settings",
    [
        *(PRESETS[name].model_copy(update={"negatives": 30}) for name in ("paper", "clean")),
        PRESETS["released"].model_copy(update={"negatives": 30, "search_depth": 40}),
        ProtocolSettings(negatives=30, search_negatives="bm25-filtered"),
        ProtocolSettings(negatives=30, search_depth=20),
    ],
    ids=["paper", "clean", "released", "filtered", "filled up"],
)
def test_no_hard_negative_of_a_query_is_in_an_evaluation_list_of_that_query(
    settings: ProtocolSettings,
) -> None:
    # Some clicked items must come before the searches: "released" keeps no user without.
    settings = settings.model_copy(update={"target_rows": "all"})
    dataset = search_dataset(seed=4, users=200)
    tasks = build_tasks(dataset, settings)
    view = TrainingView(dataset, tasks, settings)
    hard, lists = (
        HardNegatives(view, pool=dataset.number_of_items),
        lists_of(dataset, tasks["search"]),
    )
    has_any = False
    for row, query in enumerate(training_queries(view), start=1):
        pool = set(hard.hits[row].tolist()) - {0}
        assert not pool & lists.get(int(query), set())
        has_any |= bool(pool)
    only_best_hits = settings.search_negatives == "bm25-top" and settings.search_depth != 20
    assert has_any == only_best_hits, "where lists may hold any item there are no hard negatives"


def test_they_are_the_best_hits_behind_the_lists() -> None:
    view = view_of(tea_shop(), negatives=4)
    assert view.evaluation_depth == 5
    assert {item for row in drawn(view, pool=3, number=2) for item in row} == {6, 7, 8}
    assert {item for row in drawn(view, pool=99, number=2) for item in row} == set(range(6, 13))


def test_what_ties_with_the_last_rank_of_the_lists_is_no_hard_negative() -> None:
    dataset = tea_shop()
    texts = [*dataset.items.text]
    texts[5] = texts[6] = texts[7]
    dataset = dataset_of(dataset.log, ITEMS, texts=texts[1:], queries=["tea"])
    assert {item for row in drawn(view_of(dataset, negatives=4), 99, 2) for item in row} == set(
        range(8, 13)
    )


def test_what_a_training_search_of_the_query_led_to_is_none() -> None:
    view = view_of(tea_shop(clicked=9), negatives=4)
    assert {item for row in drawn(view, pool=3, number=3) for item in row} == {6, 7, 8}
    assert {item for row in drawn(view, pool=4, number=3) for item in row} == {6, 7, 8, 10}


def test_hits_of_an_event_are_distinct_and_equally_likely() -> None:
    rows = drawn(view_of(tea_shop(), negatives=4), pool=6, number=3, events=2000)
    assert all(len(set(row)) == 3 for row in rows)
    counts = np.bincount(np.ravel(rows), minlength=12)[6:12]
    # Each of six is in half of the rows; five deviations of a binomial.
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(2000 * 0.25)


def test_where_hits_are_lacking_other_negatives_stay() -> None:
    view = view_of(tea_shop(), negatives=9)  # two hits are left
    hard, random = HardNegatives(view, pool=5), np.random.default_rng(0)
    query, others = np.array([1, 2, 0]), np.full((3, 5), 25)
    assert [sorted(row) for row in hard.draw(query, 3, random).tolist()] == [
        [0, 11, 12],
        [0, 0, 0],
        [0, 0, 0],
    ]
    everywhere = hard.replace(others, query, random)
    assert sorted(everywhere[0].tolist()) == [11, 12, 25, 25, 25]
    assert (everywhere[1:] == 25).all()
    last = hard.replace(others, query, random, number=1)
    assert (last[:, :4] == 25).all() and last[0, 4] in (11, 12)
    assert (others == 25).all(), "the argument is left as it was"


def test_lists_from_outside_may_hold_any_item() -> None:
    dataset = tea_shop()
    settings = ProtocolSettings(negatives=4)
    tasks = build_tasks(dataset, settings)
    own, other = tasks["search"].test_candidates, tasks["search"].valid_candidates
    same = TrainingView(dataset, {"search": tasks["search"].with_test_candidates(own)}, settings)
    assert same.evaluation_depth == 5
    outside = {"search": tasks["search"].with_test_candidates(other)}
    view = TrainingView(dataset, outside, settings)
    assert view.evaluation_depth == ITEMS
    assert view.fingerprint != same.fingerprint
    assert not HardNegatives(view, pool=5).hits.any()


def test_the_engine_is_that_of_the_lists() -> None:
    dataset = tea_shop()
    view = view_of(dataset, negatives=4, bm25_engine="rank-bm25")
    assert type(view.search_engine()).__name__ == "RankBM25"
