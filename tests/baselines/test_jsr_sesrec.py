"""JSR and SESRec: they learn planted rules, score anybody, and come back to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.joint.base import TASKS, Candidates, JointNegativesConfig
from baselines.joint.jsr import JSR, JSRConfig, JSRInstances, JSRTraining
from baselines.joint.layers import encode_once
from baselines.joint.sesrec import SESRec, SESRecConfig, SESRecInstances, SESRecTraining
from benchmark.data.dataset import RECOMMENDATION, SEARCH, IntArray
from benchmark.errors import SystemFailure
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.instances.touched import FirstTouches
from benchmark.kit.text.words import QueryWords, Vocabulary
from benchmark.protocol.requests import Requests, TrainingExamples
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import (
    check_missing_histories_and_unknown_queries_are_scored,
    check_scores_are_the_same,
    check_the_loss_has_finite_gradients,
    hit_rate,
    loaded_into,
)
from tests.baselines.planted import World, in_turns, items_of_texts, world_in
from tests.training import SEED, expect

BOUGHT, TASTES, QUERIES, USERS, ROUNDS = 36, 3, 8, 90, 12
ITEMS = BOUGHT + QUERIES
UNKNOWN_WORDS = QUERIES + 1
SETTINGS = ProtocolSettings(negatives=19)


def world_of(bought: IntArray, behaviours: tuple[int, ...] = (RECOMMENDATION, SEARCH)) -> World:
    """Users who buy ``bought`` (users, rounds), and after each purchase find what a query names.

    All item texts match all queries, the longer ones less well.
    """
    query = np.random.default_rng(5).integers(QUERIES, size=bought.shape)
    texts = ["", *["ware " + "x " * number for number in range(1, ITEMS + 1)]]
    asked = [f"ware kind {number}" for number in range(QUERIES)]
    queries = ["", *asked, "words of nobody", ""]
    dataset = in_turns(items_of_texts(texts), queries, bought, 1 + BOUGHT + query, query + 1)
    log = dataset.log
    return world_in(dataset.with_log(log.keep(np.isin(log.behaviour, behaviours))), SETTINGS)


@pytest.fixture(scope="module")
def tastes() -> World:
    """Each user buys all items of one of three tastes, in an order that says nothing."""
    random = np.random.default_rng(6)
    of_taste = 1 + np.arange(BOUGHT).reshape(TASTES, -1)
    assert of_taste.shape[1] == ROUNDS
    users = np.arange(USERS) % TASTES
    return world_of(random.permuted(of_taste[users], axis=1))


@pytest.fixture(scope="module")
def cycle() -> World:
    """Each user goes round a cycle of half of the items, from a place that says nothing.

    On a cycle of all of them some seeds have learned nothing by the last epoch.
    """
    start = np.random.default_rng(7).integers(BOUGHT // 2, size=(USERS, 1))
    return world_of(1 + (start + np.arange(ROUNDS)) % (BOUGHT // 2))


def context(folder: Path) -> RunContext:
    return RunContext(SEED, folder, ArtifactStore(folder))


def make_jsr(folder: Path, epochs: int = 1, **changes: Any) -> JSR:
    training = JSRTraining(
        epochs=epochs,
        batch_size=64,
        learning_rate=0.01,
        schedule="constant",
        weight_decay=0.0,
        validate_every=0,
    )
    small: dict[str, Any] = {
        "embedding_size": 4,
        "hidden_sizes": (16,),
        "dropout": 0.0,
        "embedding_deviation": 0.1,
        "recommendation_negatives": "uniform",
        "search_negatives": "uniform",
        "query_words": 4,
    }
    return JSR(JSRConfig(**{**small, **changes}, training=training), context(folder))


def make_sesrec(folder: Path, epochs: int = 1, **changes: Any) -> SESRec:
    training = SESRecTraining(
        epochs=epochs,
        batch_size=64,
        learning_rate=0.005,
        schedule="linear",
        weight_decay=0.0,
        validate_every=0,
    )
    small: dict[str, Any] = {
        "recommendation_history": 2,
        "search_history": 1,
        "dropout": 0.0,
        "negatives": 20,
        "recommendation_negatives": "uniform",
        "search_negatives": "uniform",
        "alignment_negatives": 16,
        "predictor_sizes": (32, 16),
        "query_words": 4,
        "search_head": True,
        "search_weight": 1.0,
    }
    return SESRec(SESRecConfig(**{**small, **changes}, training=training), context(folder))


MAKERS = {"jsr": make_jsr, "sesrec": make_sesrec}


@pytest.fixture(scope="module")
def fitted(
    tastes: World, cycle: World, tmp_path_factory: Any
) -> dict[str, tuple[JSR | SESRec, World]]:
    """Both systems, each with the world that it has learned."""
    systems: dict[str, tuple[JSR | SESRec, World]] = {
        "jsr": (make_jsr(tmp_path_factory.mktemp("jsr"), 8), tastes),
        "sesrec": (make_sesrec(tmp_path_factory.mktemp("sesrec"), 20), cycle),
    }
    for system, world in systems.values():
        system.fit(world[2])
    return systems


def requests_of(world: World, task: str) -> Requests:
    dataset, tasks, _ = world
    return tasks[task].requests(dataset, "test")


# ------------------------------------------------------------------------------------ both systems


@pytest.mark.training
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", MAKERS)
def test_it_learns_the_planted_rule(name: str, task: str, fitted: Any) -> None:
    system, (dataset, tasks, _) = fitted[name]
    expect(hit_rate(system, dataset, tasks[task]), above=0.9)


@pytest.mark.parametrize("name", MAKERS)
def test_saved_and_loaded_it_scores_the_same_to_the_bit(
    name: str, fitted: Any, tmp_path: Path
) -> None:
    system, world = fitted[name]
    loaded = loaded_into(MAKERS[name](tmp_path / "other"), system, tmp_path, world[2].corpus)
    check_scores_are_the_same(loaded, system, *(requests_of(world, task) for task in TASKS))


@pytest.mark.parametrize("name", MAKERS)
def test_fitted_again_it_scores_the_same(name: str, tastes: World, tmp_path: Path) -> None:
    requests = requests_of(tastes, "recommendation")
    scores = []
    for folder in ("first", "second"):
        system = MAKERS[name](tmp_path / folder)
        system.fit(tastes[2])
        scores.append(system.score(requests))
    np.testing.assert_array_equal(scores[0], scores[1])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_list_is_scored_like_its_candidates_one_by_one(name: str, task: str, fitted: Any) -> None:
    system, world = fitted[name]
    requests = requests_of(world, task).select(slice(0, 5))
    alone = requests.select(np.repeat(np.arange(5), requests.candidates.shape[1]))
    one_by_one = system.score(alone.with_candidates(requests.candidates.reshape(-1, 1)))
    np.testing.assert_allclose(
        system.score(requests),
        one_by_one.reshape(requests.candidates.shape),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seen", [(0, 0), (3, 0), (0, 3), (1, 1)])
@pytest.mark.parametrize("name", MAKERS)
def test_missing_histories_and_unknown_queries_are_scored(
    name: str, seen: tuple[int, int], task: str, fitted: Any
) -> None:
    system, (dataset, tasks, _) = fitted[name]
    check_missing_histories_and_unknown_queries_are_scored(system, dataset, tasks[task], seen)


@pytest.mark.parametrize("name", MAKERS)
def test_one_task_is_enough(name: str, tastes: World, tmp_path: Path) -> None:
    bought = tastes[0].log.item[tastes[0].log.behaviour == RECOMMENDATION].reshape(USERS, ROUNDS)
    for behaviour, task in zip((RECOMMENDATION, SEARCH), TASKS, strict=True):
        world = world_of(bought, (behaviour,))
        system = MAKERS[name](tmp_path / task, search_negatives="bm25")
        system.fit(world[2])
        assert np.isfinite(system.score(requests_of(world, task))).all()


# ------------------------------------------------------------------------------------------- events


@pytest.mark.parametrize("name", MAKERS)
def test_an_epoch_has_every_event_once_and_both_tasks_in_every_step(
    name: str, tastes: World, tmp_path: Path
) -> None:
    view = tastes[2]
    if name == "jsr":
        words = QueryWords.of_corpus(Vocabulary.of_view(view), view.corpus, longest=50)
        instances: Any = JSRInstances(view, make_jsr(tmp_path).config, TASKS, words)
    else:
        instances = SESRecInstances(view, make_sesrec(tmp_path).config, TASKS)
    number = len(view.examples("recommendation"))
    batches = instances.batches(100, np.random.default_rng(0))
    assert len(batches) == instances.steps(100)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(len(instances)))
    share = (len(instances) - number) / len(batches)
    for rows in batches:
        half = rows[: len(rows) // 2]
        assert abs(np.count_nonzero(rows >= number) - share) <= 1
        assert abs(np.count_nonzero(half >= number) - share / 2) <= 1


def touched_before(view: TrainingView, examples: TrainingExamples, items: np.ndarray) -> np.ndarray:
    """Whether the user of each example has touched each of (examples, any) items before it."""
    first = FirstTouches(view.log, view.corpus.number_of_items)
    return first.row(examples.user[:, None], items) < examples.position[:, None]


@pytest.mark.parametrize("law", ["uniform", "popularity"])
def test_negatives_are_no_items_of_the_user_but_what_search_lists_hold(
    law: Any, tastes: World
) -> None:
    view = tastes[2]
    known = set(zip(view.log.user.tolist(), view.log.item.tolist(), strict=True))
    config = JointNegativesConfig(recommendation_negatives=law, search_negatives=law)
    candidates = Candidates(view, config)
    for task in TASKS:
        examples = view.examples(task)
        drawn = candidates.of(examples, np.random.default_rng(0))
        np.testing.assert_array_equal(drawn[:, 0], examples.target)
        drawn = drawn[:, 1:]
        touched = touched_before(view, examples, drawn)
        assert touched.any() == (task == "search")
        pairs = zip(np.repeat(examples.user, 4).tolist(), drawn.ravel().tolist(), strict=True)
        assert task == "search" or not known & set(pairs)


def test_hard_negatives_of_searches_come_from_behind_the_lists(tastes: World) -> None:
    view = tastes[2]
    examples = view.examples("search")
    behind = np.unique(HardNegatives(view, 200).hits)[1:]
    shares = []
    for law in ("bm25", "uniform"):
        config = JointNegativesConfig(negatives=3, search_negatives=law)
        drawn = Candidates(view, config).of(examples, np.random.default_rng(0))[:, 1:]
        untouched = drawn[~touched_before(view, examples, drawn)]
        shares.append(np.isin(untouched, behind).mean())
    assert shares[0] > 1.2 * shares[1]


# --------------------------------------------------------------------------------------------- JSR


@pytest.mark.training
@pytest.mark.parametrize("changes", [{"item_text": True}, {"loss": "hinge"}])
def test_the_options_of_jsr_learn_as_well(
    changes: dict[str, Any], tastes: World, tmp_path: Path
) -> None:
    system = make_jsr(tmp_path, 12, **changes)
    system.fit(tastes[2])
    expect(hit_rate(system, tastes[0], tastes[1]["search"]), above=0.9)


def test_an_unknown_user_gets_the_mean_of_the_others(fitted: Any) -> None:
    users = fitted["jsr"][0].model.users.weight
    torch.testing.assert_close(users[0], users[1:].mean(dim=0))


def test_jsr_validates_with_the_vectors_that_it_scores_with(tastes: World, tmp_path: Path) -> None:
    view, seen = tastes[2], []
    system = make_jsr(tmp_path)
    training = JSRTraining(epochs=3, schedule="constant", validate_every=1)
    system.config = system.config.model_copy(update={"training": training})
    validate = view.validate

    def watched(scorer: Any, tasks: Any) -> Any:
        users = scorer.model.users.weight
        seen.append((users[0].clone(), users[1:].mean(dim=0)))
        return validate(scorer, tasks)

    view.validate = watched
    try:
        system.fit(view)
    finally:
        del view.validate
    assert len(seen) == 3
    for unknown, mean in seen:
        torch.testing.assert_close(unknown, mean)


def test_words_search_network_and_biases_of_jsr_do_not_decay(tastes: World, tmp_path: Path) -> None:
    system = make_jsr(tmp_path)
    corpus = tastes[2].corpus
    system.read_words(Vocabulary.of_texts((), corpus.queries.text), corpus)
    system.model = system.build(tastes[2].corpus)
    decaying, spared = system.parameter_groups()
    assert "weight_decay" not in decaying and spared["weight_decay"] == 0.0
    names = {id(parameter): name for name, parameter in system.model.named_parameters()}
    assert {names[id(parameter)] for parameter in decaying["params"]} == {
        "items.weight",
        "users.weight",
        *(name for name in names.values() if "recommendation" in name and "weight" in name),
    }
    assert len(decaying["params"]) + len(spared["params"]) == len(names)


def test_a_reader_of_the_table_learns_that_jsr_reads_no_history(tmp_path: Path) -> None:
    assert any("no history" in sentence for sentence in make_jsr(tmp_path).stand_ins())


def test_jsr_reads_no_history(fitted: Any) -> None:
    system, (dataset, tasks, _) = fitted["jsr"]
    requests = requests_of((dataset, tasks, fitted["jsr"][1][2]), "recommendation")
    events = tasks["recommendation"].test
    nothing = replace(
        events,
        seen_recommendation=np.zeros_like(events.seen_recommendation),
        seen_search=np.zeros_like(events.seen_search),
    )
    blind = Requests(
        "recommendation", dataset.log, nothing, dataset.queries.text, requests.candidates
    )
    np.testing.assert_array_equal(system.score(blind), system.score(requests))


# ------------------------------------------------------------------------------------------ SESRec


def test_without_a_search_head_sesrec_ranks_for_no_query(cycle: World, tmp_path: Path) -> None:
    system = make_sesrec(tmp_path, search_head=False)
    system.fit(cycle[2])
    assert system.tasks == ("recommendation",) and not system.stand_ins()
    assert np.isfinite(system.score(requests_of(cycle, "recommendation"))).all()
    with pytest.raises(SystemFailure, match="search_head=true"):
        system.score(requests_of(cycle, "search"))


@pytest.mark.parametrize("shape", [(3, 2), (9, 5)])
def test_encoding_every_id_once_changes_nothing(shape: tuple[int, int]) -> None:
    table = torch.nn.Embedding(10, 4)
    ids = torch.arange(shape[0] * shape[1]).reshape(shape) % 10
    torch.testing.assert_close(encode_once(table, ids, rows=10), table(ids))


def test_ids_that_training_never_touches_stay_at_zero(fitted: Any) -> None:
    model = fitted["sesrec"][0].model
    assert not model.users.ids.weight[0].any()
    assert not model.query_ids.weight[UNKNOWN_WORDS].any()
    assert model.query_ids.weight[1 : QUERIES + 1].any(dim=1).all()


def test_the_loss_of_events_without_a_history_has_finite_gradients(
    cycle: World, tmp_path: Path
) -> None:
    view = cycle[2]
    system = make_sesrec(tmp_path)
    system.read_words(Vocabulary.of_texts((), view.corpus.queries.text), view.corpus)
    system.model = system.build(view.corpus)
    instances = SESRecInstances(view, system.config, TASKS)
    first = int(np.flatnonzero(view.examples("recommendation").user == 1)[0])
    loss = system.loss(instances.batch(np.array([first]), np.random.default_rng(0)))
    check_the_loss_has_finite_gradients(loss, system.model)
