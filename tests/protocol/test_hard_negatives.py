"""BM25 negatives: what is in a list, ties at the cut, and what a ranker by BM25 gains from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset
from benchmark.protocol.hard_negatives import search_engine
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from tests.protocol.logs import dataset_of, log_of, search_dataset

Hits = dict[str, float]


def settings_with(**changes: Any) -> ProtocolSettings:
    return ProtocolSettings.model_validate(changes)


@pytest.fixture(scope="module")
def searches() -> Dataset:
    return search_dataset(seed=0)


def search_task(dataset: Dataset, **changes: Any) -> Task:
    return build_tasks(dataset, settings_with(**changes))["search"]


def candidate_scores(dataset: Dataset, task: Task) -> NDArray[np.float32]:
    """BM25's score of every test candidate, (events, candidates)."""
    texts = [dataset.queries.text[query] for query in dataset.log.query[task.test.position]]
    engine = search_engine(dataset, settings_with())
    return engine.score_pairs(texts, np.arange(len(texts)), task.test_candidates.items)


def metrics_of(dataset: Dataset, task: Task) -> tuple[Hits, Hits]:
    """The metrics of BM25 and of BM25 reversed."""
    scores = candidate_scores(dataset, task)
    columns = task.test_candidates.target_column
    forward, backward = (ranks_of_targets(sign * scores, columns) for sign in (1, -1))
    return mean_metrics(forward), mean_metrics(backward)


def test_top_negatives_are_the_best_hits_without_the_target(searches: Dataset) -> None:
    task = search_task(searches, negatives=20)
    log, lists = searches.log, task.test_candidates
    engine = search_engine(searches, settings_with())
    for row, position in enumerate(task.test.position[:60]):
        scores = engine.score_all([searches.queries.text[log.query[position]]]).toarray()[0]
        scores[[0, log.item[position]]] = -1
        others = np.delete(lists.items[row], lists.target_column[row])
        assert log.item[position] not in others
        best = np.sort(np.round(scores, 4))[::-1][:20]
        assert np.sort(np.round(scores[others], 4))[::-1] == pytest.approx(best, abs=2e-4)


def tied_dataset() -> Dataset:
    """Eight items match the query equally well; each of many users clicks one that does not."""
    texts = ["shoe"] * 8 + [f"other{number}x" for number in range(40)]
    rows = [
        (user, "s", 9 + (user + time) % 40, time) for user in range(1, 301) for time in range(3)
    ]
    return dataset_of(log_of(rows), 48, texts=texts, queries=["shoe"])


def test_ties_at_the_cut_are_broken_anew_for_every_event() -> None:
    dataset = tied_dataset()
    task = search_task(dataset, negatives=4)
    items = task.test_candidates.items
    counts = np.bincount(items[items <= 8], minlength=9)[1:]
    # Half of the eight tied documents are in each list, any with probability one half.
    z = (counts - 150) / np.sqrt(300 * 0.25)
    assert np.abs(z).max() < 4.5
    assert len({tuple(sorted(row[row <= 8])) for row in items}) > 30  # of 70 possible sets


def test_ties_by_document_id_are_in_order_of_the_id_as_text() -> None:
    texts = ["shoe"] * 12 + [f"other{number}x" for number in range(40)]
    rows = [(1, "s", item, item) for item in (20, 21, 22)]
    dataset = dataset_of(log_of(rows), 52, texts=texts, queries=["shoe"])
    task = search_task(dataset, negatives=4, search_ties="document-id")
    assert sorted(task.test_candidates.items[0]) == [1, 10, 11, 12, 22]  # "1" < "10" < ... < "2"


def test_the_target_is_removed_before_the_cut_and_the_depth_counts_it() -> None:
    texts = ["shoe", "shoe a1", "shoe a1 a2", "shoe a1 a2 a3", "shoe a1 a2 a3 a4", *["x9"] * 40]
    rows = [(1, "s", item, time) for time, item in enumerate((30, 31, 1))]
    dataset = dataset_of(log_of(rows), 45, texts=texts, queries=["shoe"])
    # Shorter documents score higher, so the order of the hits is 1, 2, 3, 4, 5; the target is 1.
    assert sorted(search_task(dataset, negatives=3).test_candidates.items[0]) == [1, 2, 3, 4]
    # Three hits are retrieved, the target among them, so that one negative is filled up.
    task = search_task(dataset, negatives=3, search_depth=3)
    found = set(task.test_candidates.items[0].tolist())
    assert {1, 2, 3} < found
    assert len(found) == 4


def test_lists_are_filled_up_with_items_that_the_user_never_touched() -> None:
    dataset = tied_dataset()
    task = search_task(dataset, negatives=20)
    log = dataset.log
    for position, items in zip(task.test.position, task.test_candidates.items, strict=True):
        own = set(log.item[log.user == log.user[position]].tolist())
        assert set(range(1, 9)) < set(items.tolist())  # all hits
        assert set(items.tolist()) & own == {log.item[position]}
        assert len(set(items.tolist())) == 21
    assert task.fill_ups == 300 * 12
    fills = task.test_candidates.items[task.test_candidates.items > 8]
    assert set(fills.tolist()) == set(range(9, 49))


def test_filtered_negatives_are_never_paired_with_the_query(searches: Dataset) -> None:
    task = search_task(searches, search_negatives="bm25-filtered")
    log = searches.log
    known = set(zip(log.query.tolist(), log.item.tolist(), strict=True))
    for row, position in enumerate(task.test.position):
        for column, item in enumerate(task.test_candidates.items[row].tolist()):
            is_target = column == task.test_candidates.target_column[row]
            assert ((int(log.query[position]), item) in known) == is_target


def test_filtered_lists_are_not_filled_up_with_known_pairs_either() -> None:
    # The log pairs the query with the items 9 to 28; eight hits, so twelve of twenty are filled up.
    texts = ["shoe"] * 8 + [f"other{number}x" for number in range(60)]
    rows = [(user, "s", 9 + (user + time) % 20, time) for user in range(1, 41) for time in range(3)]
    dataset = dataset_of(log_of(rows), 68, texts=texts, queries=["shoe"])
    task = search_task(dataset, negatives=20, search_negatives="bm25-filtered")
    for items, column in zip(
        task.test_candidates.items, task.test_candidates.target_column, strict=True
    ):
        others = np.delete(items, column)
        assert set(range(1, 9)) < set(others.tolist())
        assert not set(others.tolist()) & set(range(9, 29))


@pytest.mark.parametrize("variant", ["bm25-top", "bm25-filtered"])
def test_both_tie_rules_give_lists_of_the_same_scores(variant: str, searches: Dataset) -> None:
    by_event = search_task(searches, search_negatives=variant)
    by_id = search_task(searches, search_negatives=variant, search_ties="document-id")
    for one, other in zip(
        candidate_scores(searches, by_event), candidate_scores(searches, by_id), strict=True
    ):
        np.testing.assert_allclose(np.sort(one), np.sort(other), atol=2e-4)


def test_top_lists_reward_whoever_ranks_against_bm25(searches: Dataset) -> None:
    # The audit's finding: the target is no lexical top hit, and all negatives are.
    forward, backward = metrics_of(searches, search_task(searches))
    assert backward["HR@1"] > 0.5
    assert forward["HR@10"] < 0.1


def test_lists_without_touched_items_hold_the_next_best_hits(searches: Dataset) -> None:
    task = search_task(searches, negatives=20, search_exclude="touched")
    log, lists = searches.log, task.test_candidates
    engine = search_engine(searches, settings_with())
    replaced = 0
    for row, position in enumerate(task.test.position[:200]):
        own = log.item[log.user == log.user[position]]
        scores = engine.score_all([searches.queries.text[log.query[position]]]).toarray()[0]
        others = np.delete(lists.items[row], lists.target_column[row])
        assert not set(others.tolist()) & set(own.tolist())
        replaced += int(np.isin(np.argsort(-scores)[:20], own).sum())
        scores[[0, *own.tolist()]] = -1
        best = np.sort(np.round(scores, 4))[::-1][:20]
        assert np.sort(np.round(scores[others], 4))[::-1] == pytest.approx(best, abs=2e-4)
    assert replaced > 10  # else the setting would have had nothing to do
