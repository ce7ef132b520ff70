"""Graded relevance: against all orders of what ties, ir_measures, and through every file."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark.audit.simple import reached
from benchmark.data.dataset import SEARCH, Dataset, Judgements, fingerprint_of
from benchmark.errors import BenchmarkError
from benchmark.jobs.evaluation import Evaluation, evaluate
from benchmark.jobs.ranks import metrics_of_views, write_judged, write_ranks
from benchmark.jobs.record import JUDGED_FILE, RANKS_FILE
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.exchange import read_candidates
from benchmark.protocol.export import export_tasks
from benchmark.protocol.graded import JudgedRanks
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.metrics import (
    VIEWS,
    Ranks,
    TieRule,
    every_metric,
    gains,
    ranks_of_targets,
)
from benchmark.protocol.outside import event_ids, read_run, read_run_among_all
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.splits import split_task
from benchmark.protocol.task import Task, build_tasks
from benchmark.protocol.trec import item_words, write_run
from benchmark.report.reading.ranks import read_ranks
from benchmark.systems.view import TrainingView
from tests.protocol.logs import shop_dataset

TIES: tuple[TieRule, ...] = ("expected", "pessimistic", "optimistic")
BEST, GOOD, POOR = 100, 10, 1
SETTINGS = PRESETS["paper"].model_copy(update={"negatives": 20, "all_items_cutoffs": (5, 150)})


def judged_dataset() -> Dataset:
    """A shop where each query's own items are the best, and others are good, poor or irrelevant."""
    shop = shop_dataset(4, users=40, items=150)
    random = np.random.default_rng(3)
    rows: dict[tuple[int, int], int] = {}
    for query in range(1, len(shop.queries) + 1):
        for gain, number in ((0, 5), (POOR, 2), (GOOD, 3), (BEST, int(random.integers(0, 3)))):
            for item in random.choice(np.arange(1, 151), number, replace=False).tolist():
                rows[query, item] = gain
    is_search = shop.log.behaviour == SEARCH
    pairs = zip(shop.log.query[is_search].tolist(), shop.log.item[is_search].tolist(), strict=True)
    rows |= dict.fromkeys(pairs, BEST)
    columns = np.array([(*pair, gain) for pair, gain in sorted(rows.items())], dtype=np.int32)
    with_judgements = replace(shop, judgements=Judgements(*columns.T))
    return replace(with_judgements, fingerprint=fingerprint_of(with_judgements))


DATASET = judged_dataset()


@cache
def tasks() -> dict[str, Task]:
    return build_tasks(DATASET, SETTINGS)


class Hashing:
    """Scores by item and query with many ties, and leaves some out of the whole catalogue."""

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """A number that is the same in every list."""
        items = requests.candidates.astype(np.int64)
        return ((items * 7919 + requests.query[:, None] * 31) % 23).astype(np.float32)

    def score_all_items(self, requests: Requests) -> NDArray[np.float32]:
        """The same numbers, the least of them -inf."""
        items = np.tile(np.arange(requests.number_of_items + 1), (len(requests), 1))
        scores = self.score(requests.with_candidates(items.astype(np.int32)))
        return np.where(scores < 3, -np.inf, scores).astype(np.float32)


@cache
def evaluated(folder: Path) -> dict[Any, Evaluation]:
    found: dict[Any, Evaluation] = dict(
        evaluate(
            Hashing(),
            "hashing",
            DATASET,
            tasks()["search"],
            SETTINGS,
            folder,
            "",
            lambda message: None,
        )
    )
    return found


# Metrics


def by_permutations(scores: list[float], given: list[int], metric: str, ties: TieRule) -> float:
    """The metric over all orders that are sorted by score: their mean, least or greatest."""
    name, _, text = metric.partition("@")
    cutoff, relevant = int(text), [gain == max(given) for gain in given]
    found = []
    for order in permutations(range(len(scores))):
        ordered = [scores[column] for column in order]
        if ordered != sorted(scores, reverse=True):
            continue
        shown = [c for c in order[:cutoff] if scores[c] != -np.inf]
        if name == "NDCG":
            dcg = sum(given[c] / np.log2(place + 2) for place, c in enumerate(shown))
            best = sorted(given, reverse=True)[:cutoff]
            found.append(dcg / sum(gain / np.log2(place + 2) for place, gain in enumerate(best)))
        elif name == "Recall":
            found.append(sum(relevant[c] for c in shown) / sum(relevant))
        else:
            places = [place + 1 for place, c in enumerate(shown) if relevant[c]]
            first = {"HR": 1.0, "MRR": 1.0 / places[0]}[name] if places else 0.0
            found.append(first)
    if ties == "expected":
        return float(np.mean(found))
    return min(found) if ties == "pessimistic" else max(found)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_every_metric_equals_all_orders_of_the_tied(data: st.DataObject) -> None:
    width = data.draw(st.integers(2, 6))
    values = st.sampled_from([-np.inf, 0.0, 1.0, 2.0])
    scores = data.draw(st.lists(values, min_size=width, max_size=width))
    given = data.draw(st.lists(st.sampled_from([0, 1, 10, 100]), min_size=width, max_size=width))
    given[data.draw(st.integers(0, width - 1))] = 100
    metric = data.draw(st.sampled_from(every_metric((1, 2, 4))))
    ties = data.draw(st.sampled_from(TIES))
    lists = Candidates(
        np.arange(1, width + 1, dtype=np.int32)[None],
        np.array([given.index(100)], dtype=np.int32),
        np.array([given], dtype=np.int32),
    )
    found = float(gains(lists.ranks(np.array([scores])), metric, ties)[0])
    assert found == pytest.approx(by_permutations(scores, given, metric, ties), abs=1e-12)


@pytest.mark.parametrize("ties", TIES)
def test_one_judged_item_is_the_binary_case(ties: TieRule) -> None:
    random = np.random.default_rng(0)
    scores = random.integers(0, 5, (200, 20)).astype(np.float32)
    scores[random.random(scores.shape) < 0.2] = -np.inf
    target = random.integers(0, 20, 200)
    alone = np.zeros(scores.shape, dtype=np.int32)
    alone[np.arange(200), target] = 7
    ranks = ranks_of_targets(scores, target)
    graded = replace(ranks, judged=JudgedRanks.in_lists(scores, alone, None))
    for view in VIEWS:
        for metric in every_metric((1, 5, 10, 50)):
            values = gains(ranks.placed(view), metric, ties)
            np.testing.assert_allclose(gains(graded.placed(view), metric, ties), values, atol=1e-12)


def test_parts_put_together_are_the_whole() -> None:
    random = np.random.default_rng(1)
    scores = random.integers(0, 5, (50, 9)).astype(np.float32)
    given = random.choice([0, 1, 10], (50, 9)).astype(np.int32)
    given[:, 4] = 100
    items = np.tile(np.arange(1, 10, dtype=np.int32), (50, 1))
    lists = Candidates(items, np.full(50, 4, dtype=np.int32), given)
    parts = [slice(0, 17), slice(17, 30), slice(30, 50)]
    together = Ranks.together([lists.select(part).ranks(scores[part]) for part in parts])
    for metric in every_metric((1, 5)):
        whole = gains(lists.ranks(scores), metric)
        np.testing.assert_array_equal(gains(together, metric), whole)


# Lists


def test_lists_hold_what_was_judged_for_the_query() -> None:
    task, judgements = tasks()["search"], DATASET.judgements
    assert judgements is not None and len(task.test) > 20
    for split in ("valid", "test"):
        lists, events = task.candidates(split), getattr(task, split)
        assert lists.gains is not None
        for row, position in enumerate(events.position.tolist()):
            own = judgements.query == DATASET.log.query[position]
            expected = dict(
                zip(judgements.item[own].tolist(), judgements.gain[own].tolist(), strict=True)
            )
            shown = lists.items[row][: lists.lengths[row]].tolist()
            gain = lists.gains[row][: lists.lengths[row]].tolist()
            assert dict(zip(shown, gain, strict=True)) == expected and len(shown) == len(expected)
            assert lists.items[row, lists.target_column[row]] == DATASET.log.item[position]
    assert any("graded relevance" in note for note in task.notes)


def test_the_other_task_is_as_without_judgements() -> None:
    plain = build_tasks(replace(DATASET, judgements=None), SETTINGS)
    own = tasks()["recommendation"]
    assert own.test_candidates.fingerprint == plain["recommendation"].test_candidates.fingerprint
    assert own.test_candidates.gains is None and own.judged(DATASET) is None
    assert tasks()["search"].test_candidates.fingerprint != (
        plain["search"].test_candidates.fingerprint
    )


def test_other_judgements_are_another_data_set_and_test() -> None:
    assert DATASET.judgements is not None
    doubled = replace(DATASET.judgements, gain=DATASET.judgements.gain * 2)
    other = replace(DATASET, judgements=doubled, fingerprint="")
    assert fingerprint_of(other) != DATASET.fingerprint
    lists = build_tasks(other, SETTINGS)["search"].test_candidates
    assert lists.fingerprint != tasks()["search"].test_candidates.fingerprint


def test_kept_tasks_have_their_gains(tmp_path: Path) -> None:
    made = load_tasks(DATASET, SETTINGS, tmp_path)["search"]
    kept = load_tasks(DATASET, SETTINGS, tmp_path)["search"]
    for split in ("valid", "test"):
        first, second = made.candidates(split), kept.candidates(split)
        assert first.gains is not None and second.gains is not None
        np.testing.assert_array_equal(first.gains, second.gains)
        assert first.fingerprint == second.fingerprint


def test_searches_without_a_best_target_are_not_ranked() -> None:
    assert DATASET.judgements is not None
    task = tasks()["search"]
    lowered = DATASET.judgements.gain.copy()
    query, target = (
        column[task.test.position[0]] for column in (DATASET.log.query, DATASET.log.item)
    )
    lowered[(DATASET.judgements.query == query) & (DATASET.judgements.item == target)] = GOOD
    lowered[(DATASET.judgements.query == query) & (DATASET.judgements.item != target)] = BEST
    other = replace(DATASET, judgements=replace(DATASET.judgements, gain=lowered), fingerprint="")
    found = build_tasks(other, SETTINGS)["search"]
    assert task.test.position[0] in found.unranked_test
    assert any("hence not ranked" in note for note in found.notes)


def test_the_released_sampler_does_not_know_judgements() -> None:
    with pytest.raises(BenchmarkError, match="sampler=released does not know; allowed is"):
        build_tasks(DATASET, PRESETS["released"].model_copy(update={"negatives": 20}))


def no_score(requests: Requests) -> NDArray[np.float32]:
    return np.zeros(requests.candidates.shape, dtype=np.float32)


def test_chance_minds_that_several_items_are_relevant() -> None:
    task = tasks()["search"]
    gains_of, lengths = task.test_candidates.gains, task.test_candidates.lengths
    assert gains_of is not None
    found = reached("nothing", no_score, DATASET, task)
    relevant = np.count_nonzero(gains_of == BEST, axis=1)
    assert relevant.max() > 1
    assert found.chance[1] == pytest.approx(float(np.mean(relevant / lengths)))
    missed = [
        math.comb(int(n - r), 5) / math.comb(int(n), 5)
        for n, r in zip(lengths, relevant, strict=True)
    ]
    assert found.chance[5] == pytest.approx(1 - float(np.mean(missed)))


def test_a_published_split_is_that_of_global_time() -> None:
    by_time = SETTINGS.model_copy(update={"split": "global-time"})
    first, last = np.quantile(DATASET.log.timestamp, [0.3, 0.6]).astype(np.int64).tolist()
    split = split_task(DATASET.log, SEARCH, by_time, (first, last))
    time = DATASET.log.timestamp
    assert (time[split.train.position] < first).all() and len(split.train)
    assert (time[split.test.position] >= last).all() and len(split.test)
    task = build_tasks(replace(DATASET, cuts=(first, last), fingerprint=""), by_time)["search"]
    # A search lies in one part by its first click, at one instant here.
    ranked = np.concatenate([task.test.position, task.unranked_test])
    np.testing.assert_array_equal(np.sort(ranked), np.sort(split.test.position))


def test_systems_see_neither_judgements_nor_gains() -> None:
    view = TrainingView(DATASET, tasks(), SETTINGS)
    requests = tasks()["search"].requests(DATASET, "test")
    for shown in (view, view.corpus, requests, view.validation_requests("search")):
        assert not [name for name in vars(shown) if "judge" in name or "gain" in name]
    assert view.evaluation_depth == DATASET.number_of_items
    # Gains decide what is selected, so validation is another where they are.
    assert (
        view.fingerprint
        != TrainingView(
            DATASET, build_tasks(replace(DATASET, judgements=None), SETTINGS), SETTINGS
        ).fingerprint
    )


# Through evaluation, records and files


def test_both_views_against_plain_code(tmp_path: Path) -> None:
    task = tasks()["search"]
    judged = task.judged(DATASET)
    assert judged is not None
    found = evaluated(tmp_path)
    barred = task.barred(DATASET, SETTINGS)
    requests = task.requests(DATASET, "test")
    whole = Hashing().score_all_items(requests)
    for view, cutoff in zip(VIEWS, (5, 150), strict=True):
        values = gains(found[view].ranks.placed(view), f"NDCG@{cutoff}")
        for row in range(0, len(requests), 7):
            gain = dict.fromkeys(range(151), 0)
            of_row = judged.event == row
            gain |= dict(
                zip(judged.item[of_row].tolist(), judged.gain[of_row].tolist(), strict=True)
            )
            items = [item for item in task.test_candidates.items[row].tolist() if item]
            if view == "all-items":
                _, out = barred.items_of(np.array([row]))
                items = sorted({*range(1, 151)} - set(out.tolist()))
            scores = (
                whole[row]
                if view == "all-items"
                else ((np.arange(151) * 7919 + requests.query[row] * 31) % 23)
            )
            # Gains that tie are averaged: in the mean over all orders each place has their mean.
            levels = sorted({float(scores[item]) for item in items}, reverse=True)
            shown: list[float] = []
            for level in levels:
                alike = [gain[item] for item in items if scores[item] == level]
                shown += [sum(alike) / len(alike)] * len(alike)
            discount = 1 / np.log2(np.arange(len(items)) + 2)
            best = sorted((gain[item] for item in items), reverse=True)
            reached = float(np.dot(shown[:cutoff], discount[:cutoff]))
            ideal = float(np.dot(best[:cutoff], discount[:cutoff]))
            assert values[row] == pytest.approx(reached / ideal, abs=1e-9)


def test_finished_parts_and_records_give_the_same_metrics(tmp_path: Path) -> None:
    first = evaluated(tmp_path)
    evaluated.cache_clear()
    again = evaluated(tmp_path)
    assert again["lists"].events_scored == 0
    task = tasks()["search"]
    ranks = {view: {"search": one.ranks} for view, one in first.items()}
    others = {view: {"search": one.others} for view, one in first.items()}
    users = {"search": DATASET.log.user[task.test.position]}
    write_ranks(tmp_path / RANKS_FILE, ranks, others, users)
    write_judged(tmp_path / JUDGED_FILE, ranks)
    read = {
        view: {name: one.ranks for name, one in of.items()}
        for view, of in read_ranks(tmp_path / RANKS_FILE).items()
    }
    metrics = metrics_of_views(ranks, SETTINGS)
    assert metrics_of_views(read, SETTINGS) == metrics
    kept = {view: {"search": one.ranks} for view, one in again.items()}
    assert metrics_of_views(kept, SETTINGS) == metrics
    assert metrics["lists"]["search"]["NDCG@5"] != metrics["lists"]["search"]["HR@5"]


def test_no_file_of_judged_items_where_relevance_is_binary(tmp_path: Path) -> None:
    ranks = ranks_of_targets(np.eye(3, dtype=np.float32), np.arange(3))
    write_judged(tmp_path / JUDGED_FILE, {"lists": {"search": ranks}})
    assert not (tmp_path / JUDGED_FILE).exists()


def test_runs_of_others_have_the_same_ranks(tmp_path: Path) -> None:
    task, words = tasks()["search"], item_words(DATASET.items.external_id)
    found = evaluated(tmp_path)
    requests = task.requests(DATASET, "test")
    scores = np.where(task.test_candidates.items > 0, Hashing().score(requests), -np.inf)
    path = tmp_path / "lists.trec"
    write_run(path, event_ids(task), task.test_candidates.shown, scores, words, "ours")
    lists = task.test_candidates.ranks(read_run(path, DATASET, task).scores)
    whole = Hashing().score_all_items(requests)[:, 1:]
    items = np.tile(np.arange(1, 151, dtype=np.int32), (len(whole), 1))
    path = tmp_path / "all.trec"
    write_run(path, event_ids(task), items, whole, words, "ours")
    among = read_run_among_all(path, DATASET, task, task.barred(DATASET, SETTINGS)).ranks
    for view, ranks in zip(VIEWS, (lists, among), strict=True):
        for metric in every_metric((1, 5, 150)):
            np.testing.assert_allclose(
                gains(ranks.placed(view), metric),
                gains(found[view].ranks.placed(view), metric),
                atol=1e-12,
            )


def test_exports_come_back_and_agree_with_ir_measures(tmp_path: Path) -> None:
    task, words = tasks()["search"], item_words(DATASET.items.external_id)
    folder = tmp_path / "out"
    export_tasks(folder, DATASET, tasks(), "paper", SETTINGS)
    read = read_candidates(folder, DATASET, tasks())["search"]
    assert read.fingerprint == task.test_candidates.fingerprint
    # Scores without ties, since evaluators break them by rules of their own.
    random = np.random.default_rng(0)
    scores = random.permuted(
        np.tile(
            np.arange(task.test_candidates.items.shape[1], dtype=np.float32), (len(task.test), 1)
        ),
        axis=1,
    )
    scores[task.test_candidates.items == 0] = -np.inf
    write_run(tmp_path / "r.trec", event_ids(task), task.test_candidates.items, scores, words, "r")
    qrels = list(ir_measures.read_trec_qrels(str(folder / "search.qrels")))
    assert {one.relevance for one in qrels} == {BEST, GOOD, POOR}
    run = list(ir_measures.read_trec_run(str(tmp_path / "r.trec")))
    ranks = task.test_candidates.ranks(scores)
    for ours, theirs in (
        ("NDCG", "nDCG"),
        ("HR", f"Success(rel={BEST})"),
        ("MRR", f"RR(rel={BEST})"),
        ("Recall", f"R(rel={BEST})"),
    ):
        for cutoff in (1, 5, 10):
            measure = ir_measures.parse_measure(f"{theirs}@{cutoff}")
            value = ir_measures.calc_aggregate([measure], qrels, run)[measure]
            assert gains(ranks, f"{ours}@{cutoff}").mean() == pytest.approx(value, abs=1e-6)
