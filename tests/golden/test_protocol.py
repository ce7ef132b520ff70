"""Recipe and released protocol against ``protocol.json``: what the official notebooks computed.

The case's raw files go through the recipe of Amazon Electronics; whatever follows is computed from
the data set that it gives.

Column orders: recommendation tables user, item, time, rec_his, src_session_his, src_his, all_his;
search tables user, item, session, time, query and the same four. A session has one click, so
src_his equals src_session_his.
"""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.audit.diagnostics import has_twin_in, has_wrong_prefix, recency_of_target
from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset
from benchmark.data.sources.amazon import RelevanceRows, read_relevance
from benchmark.data.sources.amazon_products import clean_text
from benchmark.protocol.hard_negatives import search_engine
from benchmark.protocol.histories import EventSet, visible_history
from benchmark.protocol.released import released_negatives
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.splits import Split, split_task
from benchmark.protocol.task import build_tasks
from benchmark.retrieval import analyse_english
from tests.golden.loading import golden_folder, golden_stems
from tests.golden.protocol_case import dataset_of, write_published_files

SETTINGS = PRESETS["released"]
TASK_OF = {"rec": RECOMMENDATION, "src": SEARCH}
PART_OF = {"train": "train", "val": "valid", "test": "test"}

golden_case = pytest.mark.parametrize("name", golden_stems("protocol", suffix=".json"))


@cache
def golden_of(name: str) -> dict[str, Any]:
    golden: dict[str, Any] = json.loads((golden_folder() / f"{name}.json").read_text("utf-8"))
    return golden


@cache
def dataset_named(name: str) -> Dataset:
    with tempfile.TemporaryDirectory() as folder:
        return dataset_of(golden_of(name), Path(folder))


def official_queries(name: str, queries: np.ndarray) -> np.ndarray:
    """The official number of each query: its place in order of first appearance."""
    vocabulary = [text for text, _ in golden_of(name)["stage1"]["query_vocab"]]
    texts = dataset_named(name).queries.text
    return np.array([vocabulary.index(texts[query]) for query in queries.tolist()])


@cache
def splits_of(name: str) -> dict[int, Split]:
    log = dataset_named(name).log
    return {behaviour: split_task(log, behaviour, SETTINGS) for behaviour in TASK_OF.values()}


def events_of(name: str, table: str) -> EventSet:
    """The events of a golden table such as "rec_val"."""
    task, _, part = table.partition("_")
    events: EventSet = getattr(splits_of(name)[TASK_OF[task]], PART_OF[part])
    return events


@golden_case
def test_cleaned_texts(name: str) -> None:
    for raw, cleaned in golden_of(name)["clean_text"]:
        assert clean_text(raw) == cleaned


@golden_case
def test_relevance_files_give_one_row_a_pair(name: str, tmp_path: Path) -> None:
    golden = golden_of(name)
    write_published_files(golden, tmp_path)
    paths = [tmp_path / "train.qrels.gz", tmp_path / "test.qrels.gz"]
    rows: RelevanceRows = read_relevance(paths, len(golden["raw"]["query_text"]))
    kept = [
        [rows.reviewers[row], rows.queries[row], rows.products[row]]
        for row in rows.kept(golden["meta"]["seed"]).tolist()
    ]
    assert kept == golden["stage1"]["shuffled_qrels_kept"]


@golden_case
def test_item_table_and_users(name: str) -> None:
    stage, dataset = golden_of(name)["stage1"], dataset_named(name)
    items = dataset.items
    for number, asin, title, description, brand, categories in stage["item_info"][1:]:
        assert items.external_id[number] == asin
        assert items.title[number] == title
        assert items.description[number] == description
        assert items.brand[number] == brand
        assert ",".join(level for path in items.categories[number] for level in path) == categories
    assert len(items) == len(stage["item_info"]) - 1 == stage["counts"]["items_with_text"]
    assert dataset.users[1:] == tuple(external for external, _ in stage["users"])


@golden_case
def test_tables_of_purchases_and_sessions(name: str) -> None:
    golden, log = golden_of(name), dataset_named(name).log
    stage = golden["stage1"]
    stars = {(user, asin): rating for user, asin, rating, _ in golden["raw"]["reviews"]}
    dataset = dataset_named(name)
    purchases = log.recommendation.positions
    found = [
        [user - 1, item, stars[dataset.users[user], dataset.items.external_id[item]], time]
        for user, item, time in zip(
            log.user[purchases].tolist(),
            log.item[purchases].tolist(),
            log.timestamp[purchases].tolist(),
            strict=True,
        )
    ]
    assert sorted(found, key=lambda row: (row[0], row[3], row[1])) == stage["rec_inter"]
    rows = log.search.positions
    columns = [log.user[rows] - 1, log.item[rows], log.session[rows], log.timestamp[rows]]
    columns += [official_queries(name, log.query[rows])]
    assert np.stack(columns, axis=1).tolist() == stage["src_inter"]
    assert len(dataset.queries) == stage["counts"]["queries"]


@golden_case
def test_merged_order_and_histories(name: str) -> None:
    stage, log = golden_of(name)["stage2"], dataset_named(name).log
    searches = log.behaviour == SEARCH
    merged = [
        [user - 1, "s" if search else "r", session if search else item, time]
        for user, search, session, item, time in zip(
            log.user.tolist(),
            searches.tolist(),
            log.session.tolist(),
            log.item.tolist(),
            log.timestamp.tolist(),
            strict=True,
        )
    ]
    assert merged == stage["merged_order"]
    for lists, index, column in (
        (stage["user_rec_his"], log.recommendation, log.item),
        (stage["user_src_session_his"], log.search, log.session),
    ):
        for user, expected in lists.items():
            own = slice(*index.offsets[int(user) + 1 : int(user) + 3])
            assert column[index.positions[own]].tolist() == expected


@golden_case
def test_counters_of_every_row(name: str) -> None:
    stage, log = golden_of(name)["stage2"], dataset_named(name).log
    by_key = SETTINGS.model_copy(update={"counters": "by-key"})
    counters = np.zeros((len(log), 4), dtype=np.int64)
    for behaviour in TASK_OF.values():
        positions = log.index_of(behaviour).positions
        events = visible_history(log, behaviour, positions, by_key)
        counters[positions, 0] = events.seen_recommendation
        counters[positions, 1:3] = events.seen_search[:, None]
    counters[:, 3] = np.arange(len(log)) - log.offsets[log.user]
    assert counters.tolist() == stage["merged_counters"]


@golden_case
def test_split_tables(name: str) -> None:
    stage, log = golden_of(name)["stage2"], dataset_named(name).log
    for part in PART_OF:
        events = events_of(name, f"rec_{part}")
        rows, purchases, searches = events.position, events.seen_recommendation, events.seen_search
        columns = [log.user[rows] - 1, log.item[rows], log.timestamp[rows]]
        columns += [purchases, searches, searches, purchases + searches]
        assert np.stack(columns, axis=1).tolist() == stage[f"rec_{part}"]

        events = events_of(name, f"src_{part}")
        rows, purchases, searches = events.position, events.seen_recommendation, events.seen_search
        columns = [log.user[rows] - 1, log.item[rows], log.session[rows], log.timestamp[rows]]
        columns += [official_queries(name, log.query[rows]), purchases, searches, searches]
        columns += [rows - log.offsets[log.user[rows]]]
        assert np.stack(columns, axis=1).tolist() == stage[f"src_{part}"]


@golden_case
def test_own_position_of_each_purchase(name: str) -> None:
    log = dataset_named(name).log
    rows = log.recommendation.positions
    own = log.recommendation.seen_before(log, rows)
    found = {
        f"{user - 1},{item}": place
        for user, item, place in zip(
            log.user[rows].tolist(), log.item[rows].tolist(), own.tolist(), strict=True
        )
    }
    assert found == golden_of(name)["stage2"]["own_position_in_history"]


@golden_case
def test_negatives_number_for_number(name: str) -> None:
    drawn = released_negatives(dataset_named(name), splits_of(name), SETTINGS)
    golden = golden_of(name)["negatives"]
    assert set(golden) == {
        f"{task}_{part}" for task in TASK_OF for part in ("train", "val_first5", "test")
    }
    for table, expected in golden.items():
        task, part, *_ = table.split("_")
        found = drawn[TASK_OF[task], PART_OF[part]]
        assert len(expected) == (5 if part == "val" else len(events_of(name, table)))
        assert found[: len(expected)].tolist() == expected, table


@golden_case
def test_candidate_lists_hold_target_and_released_negatives(name: str) -> None:
    dataset = dataset_named(name)
    tasks = build_tasks(dataset, SETTINGS)
    for prefix, task in (("rec", tasks["recommendation"]), ("src", tasks["search"])):
        targets = dataset.log.item[task.test.position]
        lists = task.test_candidates
        expected = golden_of(name)["negatives"][f"{prefix}_test"]
        for row, negatives in enumerate(expected):
            assert lists.items[row, lists.target_column[row]] == targets[row]
            assert sorted(lists.items[row]) == sorted([*negatives, targets[row]])
        # Training rows are kept as released: all that the task does not hold out.
        assert len(task.train) == golden_of(name)["stage2"]["counts"][f"{prefix}_train"]


@golden_case
def test_analysed_texts(name: str) -> None:
    dataset, golden = dataset_named(name), golden_of(name)["bm25"]
    vocabulary = golden_of(name)["stage1"]["query_vocab"]
    for item, terms in golden["analyzed_docs"].items():
        assert analyse_english(dataset.items.text[int(item)]) == terms
    for query, terms in golden["analyzed_queries"].items():
        assert vocabulary[int(query)][0] in dataset.queries.text
        assert analyse_english(vocabulary[int(query)][0]) == terms


@golden_case
def test_bm25_hits(name: str) -> None:
    dataset, golden = dataset_named(name), golden_of(name)["bm25"]
    vocabulary = golden_of(name)["stage1"]["query_vocab"]
    queries = sorted(golden["top109"], key=int)
    hits = search_engine(dataset, SETTINGS).search(
        [vocabulary[int(query)][0] for query in queries], SETTINGS.search_depth or 0
    )
    for row, query in enumerate(queries):
        expected = golden["top109"][query]
        found = hits.documents[row] > 0
        assert hits.documents[row][found].tolist() == [item for item, _ in expected]
        np.testing.assert_allclose(
            hits.scores[row][found], [score for _, score in expected], atol=1e-3
        )


@golden_case
def test_diagnostics(name: str) -> None:
    log, splits = dataset_named(name).log, splits_of(name)
    found: dict[str, float] = {}
    for task, behaviour in TASK_OF.items():
        rows = log.index_of(behaviour).positions
        events = visible_history(log, behaviour, rows, SETTINGS)
        kept = (events.seen_recommendation > 0) & (events.seen_search > 0)
        found[f"{task}_kept_before_user_filter"] = np.count_nonzero(kept)
        found[f"{task}_users"] = len(splits[behaviour].test)
        found[f"{task}_train"] = len(splits[behaviour].train)
        for part in PART_OF:
            part_events = events_of(name, f"{task}_{part}")
            recency = recency_of_target(log, part_events, RECOMMENDATION)
            found[f"{task}_{part}_leak"] = (recency > 0).mean()
            found[f"{task}_{part}_leak_in5"] = ((recency > 0) & (recency <= 5)).mean()
            if task == "rec":
                wrong = has_wrong_prefix(log, part_events, SETTINGS)
                found[f"{task}_{part}_wrongprefix"] = wrong.mean()
                # D3: no purchase is among the user's earlier searches.
                assert not recency_of_target(log, part_events, SEARCH).any()
    for table, others in (
        ("src_test", ("rec_train", "rec_val")),
        ("rec_test", ("src_train", "src_val", "src_test")),
        ("rec_val", ("src_train",)),
    ):
        for other in others:
            rows = events_of(name, other).position
            twins = has_twin_in(log, events_of(name, table), rows)
            found[f"{table}_twin_in_{other}"] = twins.mean()
    expected = golden_of(name)["diagnostics"]
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-6), key
