"""UniSAR: it learns planted rules of both tasks, scores anybody, and comes back to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.joint.batches import BatchBuilder
from baselines.joint.histories import history_window, merged_places
from baselines.joint.unisar import JointInstances, UniSAR, UniSARConfig, UniSARTraining
from benchmark.data.dataset import RECOMMENDATION, EventLog
from benchmark.kit.text.words import QueryWords, Vocabulary
from benchmark.protocol.histories import EventSet
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import (
    check_a_list_is_scored_like_its_candidates_one_by_one,
    check_missing_histories_and_unknown_queries_are_scored,
    check_scores_are_the_same,
    check_the_loss_has_finite_gradients,
    hit_rate,
    loaded_into,
)
from tests.baselines.planted import World, cycle_and_tastes, world_in
from tests.training import SEED, expect

CYCLE, QUERIES, TASTES, USERS, ROUNDS = 12, 4, 3, 100, 8
ITEMS = CYCLE + QUERIES * TASTES
SETTINGS = ProtocolSettings(negatives=9)
SMALL: dict[str, Any] = {
    "embedding_size": 32,
    "recommendation_history": 2,
    "search_history": 3,
    "dropout": 0.0,
    "expert_size": 64,
    "tower_sizes": (64, 64),
    "predictor_sizes": (64, 32),
    "negatives": 8,
    "query_words": 4,
    "recommendation_negatives": "uniform",
    "search_negatives": "uniform",
    "contrastive_negatives": 16,
    "search_weight": 1.0,
}
QUICK: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 64,
    "learning_rate": 0.003,
    "schedule": "linear",
    "weight_decay": 0.0,
    "validate_every": 0,
}
ONE_EPOCH = QUICK | {"epochs": 1, "batch_size": 512}


@pytest.fixture(scope="module")
def planted() -> World:
    dataset = cycle_and_tastes(USERS, ROUNDS, cycle=CYCLE, kinds=QUERIES, tastes=TASTES)
    return world_in(dataset, SETTINGS)


def make(folder: Path, training: dict[str, Any] = ONE_EPOCH, **changes: Any) -> UniSAR:
    config = UniSARConfig(**{**SMALL, **changes}, training=UniSARTraining(**training))
    return UniSAR(config, RunContext(SEED, folder, ArtifactStore(folder)))


@pytest.fixture(scope="module")
def fitted(planted: Any, tmp_path_factory: Any) -> UniSAR:
    system = make(tmp_path_factory.mktemp("unisar"), QUICK)
    system.fit(planted[2])
    return system


@pytest.mark.training
@pytest.mark.parametrize("task", ["recommendation", "search"])
def test_it_learns_the_planted_rule(task: str, planted: Any, fitted: UniSAR) -> None:
    dataset, tasks, _ = planted
    expect(hit_rate(fitted, dataset, tasks[task]), above=0.9)


def test_saved_and_loaded_it_scores_the_same_to_the_bit(
    planted: Any, fitted: UniSAR, tmp_path: Path
) -> None:
    dataset, tasks, view = planted
    loaded = loaded_into(make(tmp_path / "other"), fitted, tmp_path, view.corpus)
    asked = [task.requests(dataset, "test") for task in tasks.values()]
    check_scores_are_the_same(loaded, fitted, *asked)


@pytest.mark.parametrize(("source", "width"), [("item", 32), ("id", 32)])
def test_item_embeddings_have_a_row_for_every_id(
    source: Any, width: int, planted: Any, fitted: UniSAR, tmp_path: Path
) -> None:
    vectors = fitted.item_embeddings(source)
    assert vectors.shape == (ITEMS + 1, width) and vectors.dtype == np.float32
    assert not vectors[0].any() and vectors[1:].any(axis=1).all()
    fitted.save(tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / f"item_embeddings.{source}.npy"), vectors)
    loaded = make(tmp_path / "other")
    loaded.load(tmp_path, planted[2].corpus)
    np.testing.assert_array_equal(loaded.item_embeddings(source), vectors)


@pytest.mark.parametrize("task", ["recommendation", "search"])
def test_a_list_is_scored_like_its_candidates_one_by_one(
    task: str, planted: Any, fitted: UniSAR
) -> None:
    dataset, tasks, _ = planted
    requests = tasks[task].requests(dataset, "test").select(slice(0, 5))
    check_a_list_is_scored_like_its_candidates_one_by_one(fitted, requests)


@pytest.mark.parametrize("task", ["recommendation", "search"])
@pytest.mark.parametrize("seen", [(0, 0), (3, 0), (0, 3), (1, 1)])
def test_missing_histories_and_unknown_queries_are_scored(
    task: str, seen: tuple[int, int], planted: Any, fitted: UniSAR
) -> None:
    dataset, tasks, _ = planted
    check_missing_histories_and_unknown_queries_are_scored(fitted, dataset, tasks[task], seen)


def test_the_loss_of_events_without_a_history_has_finite_gradients(
    planted: Any, tmp_path: Path
) -> None:
    view = planted[2]
    system = make(tmp_path)
    system.read_words(Vocabulary.of_texts((), view.corpus.queries.text), view.corpus)
    system.model = system.seeded_build(view.corpus)
    instances = JointInstances(view, system.config, system.builder)
    first = {
        task: int(np.flatnonzero(view.examples(task).user == 1)[0])
        for task in ("recommendation", "search")
    }
    search = instances.sizes[0] + first["search"]
    for rows in [first["recommendation"]], [first["recommendation"], search], [search]:
        loss = system.loss(instances.batch(np.array(rows), np.random.default_rng(0)))
        check_the_loss_has_finite_gradients(loss, system.model)


def test_without_searches_it_learns_to_recommend(planted: Any, tmp_path: Path) -> None:
    log = planted[0].log
    dataset = planted[0].with_log(log.keep(log.behaviour == RECOMMENDATION))
    tasks = build_tasks(dataset, SETTINGS)
    system = make(tmp_path, search_negatives="bm25")
    system.fit(TrainingView(dataset, tasks, SETTINGS))
    assert np.isfinite(system.score(tasks["recommendation"].requests(dataset, "test"))).all()


def test_every_step_takes_its_share_of_both_tasks(planted: Any, tmp_path: Path) -> None:
    view = planted[2]
    system = make(tmp_path)
    words = QueryWords.of_corpus(Vocabulary(()), view.corpus, longest=1)
    builder = BatchBuilder(system.config, words, view.corpus.number_of_items)
    instances = JointInstances(view, system.config, builder)
    recommendation, search = instances.sizes
    batches = instances.batches(100, np.random.default_rng(0))
    assert len(batches) == instances.steps(100) == -(-recommendation // 100)
    share = search // (recommendation // 100 + 1) + 1
    assert [np.count_nonzero(rows >= recommendation) for rows in batches] == [share] * len(batches)
    bought = np.concatenate([rows[rows < recommendation] for rows in batches])
    np.testing.assert_array_equal(np.sort(bought), np.arange(recommendation))
    half = batches[0][: len(batches[0]) // 2]
    assert abs(np.count_nonzero(half >= recommendation) - share / 2) <= 1


def test_the_clicks_of_one_search_are_one_session() -> None:
    """Searches 1 (three clicks), 2 (one click) and, after a purchase, 3 (two clicks)."""
    sessions = np.array([1, 1, 1, 2, 0, 3, 3, 0])
    log = EventLog.from_columns(
        user=np.ones(8),
        item=np.arange(11, 19),
        query=np.array([4, 4, 4, 5, 0, 6, 6, 0]),
        behaviour=(sessions > 0).astype(int),
        timestamp=np.array([10, 10, 10, 20, 20, 30, 30, 40]),
        session=sessions,
        number_of_users=1,
    )
    one = np.array([1], dtype=np.int32)
    events = EventSet(np.array([7]), one, 6 * one, np.array([-1]))
    requests = Requests("recommendation", log, events, [""] * 7, one[:, None])
    window = history_window(
        requests, UniSARConfig(recommendation_history=3, search_history=2, session_items=2)
    )
    np.testing.assert_array_equal(window.items, [[15]])
    np.testing.assert_array_equal(window.queries, [[5, 6]])
    np.testing.assert_array_equal(window.clicks, [[[14, 0], [16, 17]]])
    np.testing.assert_array_equal(window.session_times, [[20, 30]])
    # At equal times the purchase stands first.
    item_places, session_places = merged_places(window.item_times, window.session_times)
    np.testing.assert_array_equal(item_places, [[0]])
    np.testing.assert_array_equal(session_places, [[1, 2]])
    single = history_window(
        requests, UniSARConfig(recommendation_history=3, search_history=4, session_items=1)
    )
    np.testing.assert_array_equal(single.clicks[..., 0], [[13, 14, 16, 17]])
    np.testing.assert_array_equal(single.queries, [[4, 5, 6, 6]])
