"""GenSAR as a whole: it learns planted rules of both tasks, resumes, and comes back to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.dataset import Dataset
from benchmark.overrides import merged
from benchmark.protocol.settings import ProtocolSettings
from benchmark.run.suite import load_suite
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose
from benchmark.systems.configuration import configure, load_preset
from benchmark.systems.contract import RunContext
from gensar import gensar as module
from gensar.gensar import GenSAR, GenSARConfig
from tests.baselines.checks import (
    check_a_list_is_scored_like_its_candidates_one_by_one,
    check_missing_histories_and_unknown_queries_are_scored,
    check_scores_are_the_same,
    hit_rate,
    loaded_into,
)
from tests.baselines.planted import World, in_turns, items_of_texts, world_in
from tests.training import SEED, expect

CYCLE, FOUND, USERS, ROUNDS = 20, 16, 80, 9
ITEMS = CYCLE + FOUND
SETTINGS = ProtocolSettings(negatives=15)
TASKS = ("recommendation", "search")

TINY_T5 = {
    "width": 48,
    "layers": 2,
    "heads": 2,
    "head_width": 16,
    "feed_forward": 96,
    "text_tokens": 100,
    "dropout": 0.0,
}
SMALL: dict[str, Any] = {
    "backbone": {"model": "scratch", "scratch": TINY_T5},
    "text_encoder": "packaged",
    "identifiers": {
        "shared_sizes": (6,),
        "shared_epsilons": (0.0,),
        "specific_sizes": (8,),
        "specific_epsilons": (0.0,),
        "hidden_sizes": (16,),
        "latent_size": 8,
        "collisions": "assignment",
        "standardise": True,
        "warmup_epochs": 1,
        "training": {"epochs": 4, "batch_size": 24, "validate_every": 4},
    },
    "pseudo_queries": {
        "backbone": {"model": "scratch", "scratch": TINY_T5},
        "queries_per_item": 3,
        "most_query_tokens": 8,
        "training": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01},
    },
    "prompts": "short",
    "recommendation_history": 1,
    "search_history": 1,
    "tasks": {
        "next_search_item": "all",
        "next_query": 4,
        "pseudo_query": 4,
        "text_to_identifier": 2,
        "identifier_to_text": 2,
    },
    "training": {
        "epochs": 20,
        "batch_size": 32,
        "micro_batch_size": None,
        "learning_rate": 0.003,
        "validate_every": 0,
    },
}
ONE_EPOCH = {"training": {"epochs": 1, "batch_size": 256}}


def planted_dataset() -> Dataset:
    """Each user goes round a cycle of items, and finds in between what the query asks for."""
    random = np.random.default_rng(5)
    start = random.integers(CYCLE, size=USERS)
    query = random.integers(FOUND, size=(USERS, ROUNDS))
    bought = 1 + (start[:, None] + np.arange(ROUNDS)) % CYCLE
    items = items_of_texts(["", *[f"thing {number}" for number in range(1, ITEMS + 1)]])
    asked = [f"kind {chr(ord('a') + number)}" for number in range(FOUND)]
    queries = ["", *asked, "words of nobody", ""]  # the last two are never asked
    return in_turns(items, queries, bought, 1 + CYCLE + query, query + 1)


class FittedUpstream:
    """Stands for the trained recommender: an arbitrary vector an item."""

    def item_embeddings(self, source: str) -> Any:
        vectors = np.random.default_rng(1).normal(size=(ITEMS + 1, 12)).astype(np.float32)
        vectors[0] = 0
        return vectors


@pytest.fixture(scope="module", autouse=True)
def stands_for_upstream() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "upstream", lambda context, view, name: FittedUpstream())
        yield


@pytest.fixture(scope="module")
def planted() -> World:
    return world_in(planted_dataset(), SETTINGS)


def make(folder: Path, artifacts: Path | None = None, **changes: Any) -> GenSAR:
    config = GenSARConfig(**merged(SMALL, changes))
    store = ArtifactStore(folder / "artifacts" if artifacts is None else artifacts)
    return GenSAR(config, RunContext(SEED, folder, store))


@pytest.fixture(scope="module")
def root(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("gensar")
    return folder


@pytest.fixture(scope="module")
def fitted(planted: Any, root: Path) -> GenSAR:
    system = make(root, scoring="exact")
    system.fit(planted[2])
    return system


# What it learns


@pytest.mark.training
@pytest.mark.parametrize("task", TASKS)
def test_it_learns_the_planted_rule(task: str, planted: Any, fitted: GenSAR) -> None:
    dataset, tasks, _ = planted
    expect(hit_rate(fitted, dataset, tasks[task]), above=0.9)


def test_beam_and_exact_likelihood_rank_with_one_generator(
    planted: Any, fitted: GenSAR, root: Path
) -> None:
    dataset, tasks, view = planted
    beam = make(root / "beam", root / "artifacts", scoring="beam", beam_size=100)
    beam.fit(view)
    assert len(list((root / "artifacts").glob("generator-*.lock"))) == 1
    asked = [task.requests(dataset, "test") for task in tasks.values()]
    check_scores_are_the_same(beam, fitted, *asked)


def test_a_narrow_beam_leaves_candidates_without_a_score(
    planted: Any, fitted: GenSAR, root: Path
) -> None:
    dataset, tasks, view = planted
    narrow = make(root / "narrow", root / "artifacts", scoring="beam", beam_size=3)
    narrow.fit(view)
    requests = tasks["search"].requests(dataset, "test")
    scores, exact = narrow.score(requests), fitted.score(requests)
    kept = np.isfinite(scores)
    assert (kept.sum(axis=1) <= 3).all() and (scores[~kept] == -np.inf).all()
    np.testing.assert_allclose(scores[kept], exact[kept], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_the_whole_catalogue_can_be_searched(
    task: str, planted: Any, fitted: GenSAR, root: Path
) -> None:
    dataset, tasks, view = planted
    wide = make(root / "wide", root / "artifacts", beam_size=view.corpus.number_of_items)
    wide.fit(view)
    requests = tasks[task].requests(dataset, "test")
    every = np.arange(1, view.corpus.number_of_items + 1, dtype=np.int32)
    lists = np.broadcast_to(every, (len(requests), len(every)))
    exact = fitted.score(requests.with_candidates(lists))
    found, _ = wide.recommend(requests, 5)
    assert found.dtype == np.int32
    of_found = np.take_along_axis(exact, found - 1, axis=1)
    np.testing.assert_allclose(of_found, -np.sort(-exact, axis=1)[:, :5], rtol=1e-4, atol=1e-4)


# Files, artifacts and checkpoints


def test_saved_and_loaded_it_scores_the_same_to_the_bit(
    planted: Any, fitted: GenSAR, tmp_path: Path
) -> None:
    dataset, tasks, view = planted
    empty = make(tmp_path / "other", scoring="exact")
    loaded = loaded_into(empty, fitted, tmp_path, view.corpus)
    assert loaded.number_of_parameters() == fitted.number_of_parameters() > 0
    assert loaded.identifier_quality() == fitted.identifier_quality()
    for figures in loaded.identifier_quality().values():
        assert {"alignment_1", "variance_explained_1", "selected_step"} <= figures.keys()
    asked = [task.requests(dataset, "test") for task in tasks.values()]
    check_scores_are_the_same(loaded, fitted, *asked)


class Stopped(Exception):
    """What stands for a crash."""


def test_a_killed_training_goes_on_to_the_same_weights(
    planted: Any, root: Path, fitted: GenSAR, tmp_path: Path
) -> None:
    view = planted[2]
    changes = {"training": {"epochs": 2, "batch_size": 128, "checkpoint_seconds": 0}}
    whole = make(tmp_path / "whole", root / "artifacts-of-whole", **changes)
    whole.fit(view)

    def stop_after_the_first_epoch(message: str) -> None:
        if "training: epoch 1/" in message:
            raise Stopped

    killed = make(tmp_path / "killed", **changes)
    killed.context = replace(killed.context, progress=stop_after_the_first_epoch)
    with pytest.raises(Stopped):
        killed.fit(view)
    resumed = make(tmp_path / "killed", **changes)
    resumed.fit(view)
    for name, weight in whole.backbone.model.own_state().items():
        np.testing.assert_array_equal(resumed.backbone.model.own_state()[name], weight)


def test_other_training_tasks_share_the_identifiers(
    planted: Any, fitted: GenSAR, root: Path
) -> None:
    other = make(root / "no-query", root / "artifacts", tasks={"next_query": 0}, **ONE_EPOCH)
    other.fit(planted[2])
    assert len(list((root / "artifacts").glob("joint-identifiers-*.lock"))) == 1
    assert len(list((root / "artifacts").glob("generator-*.lock"))) == 2
    np.testing.assert_array_equal(
        other.identifiers.semantic.codes, fitted.identifiers.semantic.codes
    )


# What it is asked


@pytest.mark.parametrize("task", TASKS)
def test_a_list_is_scored_like_its_candidates_one_by_one(
    task: str, planted: Any, fitted: GenSAR
) -> None:
    dataset, tasks, _ = planted
    requests = tasks[task].requests(dataset, "test").select(slice(0, 3))
    check_a_list_is_scored_like_its_candidates_one_by_one(fitted, requests)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seen", [(0, 0), (3, 0), (0, 3)])
def test_missing_histories_and_unknown_queries_are_scored(
    task: str, seen: tuple[int, int], planted: Any, fitted: GenSAR
) -> None:
    dataset, tasks, _ = planted
    check_missing_histories_and_unknown_queries_are_scored(fitted, dataset, tasks[task], seen)


# Configuration


def test_what_stands_in_is_said(fitted: GenSAR) -> None:
    backbone, encoder, writer = fitted.stand_ins()
    assert "t5-small" in backbone and "bge" in encoder and "doc2query" in writer


def test_the_defaults_are_the_papers() -> None:
    config = GenSARConfig()
    training = config.training
    assert (config.scoring, config.beam_size) == ("beam", 30)
    assert (config.recommendation_history, config.search_history) == (5, 5)
    assert (training.epochs, training.batch_size, training.learning_rate) == (200, 8192, 1e-3)
    assert (training.schedule, training.weight_decay, config.warmup_share) == ("cosine", 1e-7, 0.01)
    assert config.pseudo_queries.queries_per_item == 20


@pytest.mark.parametrize("preset", ["laptop", "laptop-long", "smoke", "paper"])
def test_the_exact_row_differs_in_nothing_but_the_scoring(preset: str) -> None:
    both = [
        configure(choose(name), load_preset(preset).overrides_for(name)).model_dump()
        for name in ("gensar", "gensar-exact")
    ]
    assert [config.pop("scoring") for config in both] == ["beam", "exact"]
    assert both[0] == both[1]


@pytest.mark.parametrize("preset", ["laptop", "laptop-long", "smoke", "paper"])
def test_every_ablation_can_be_configured_and_is_another_one(preset: str) -> None:
    overrides = load_preset(preset).overrides_for("gensar")
    rows = [row for row in load_suite("ablations").chosen_systems() if row.settings]
    plain = configure(choose("gensar"), overrides)
    configured = [configure(row, overrides, row.settings) for row in rows]
    assert len(rows) >= 15
    changed = [str(config) for config in configured if config != plain]
    assert len(set(changed)) == len(changed) >= len(rows) - 1  # one may be the preset's own


@pytest.mark.parametrize(
    "changes",
    [
        {"marks_behaviour": False},
        {"history_of": "recommendation"},
        {"swaps_identifiers": True},
        {"identifiers": {"mode": "semantic_only", "collisions": "counter"}},
        {"identifiers": {"mode": "no_shared"}},
        {"identifiers": {"quantiser": "rq-kmeans"}},
        {
            "identifiers": {"mode": "bi_encoder"},
            "bi_encoder": {"pairs_per_epoch": 32, "training": {"epochs": 1, "batch_size": 16}},
        },
        {"prompts": "instruction", "tasks": {"pseudo_query": 0}},
    ],
    ids=str,
)
def test_ablations_train_and_rank(changes: Any, planted: Any, root: Path, tmp_path: Path) -> None:
    dataset, tasks, view = planted
    system = make(tmp_path, root / "artifacts", **merged(ONE_EPOCH, changes))
    system.fit(view)
    for task in TASKS:
        requests = tasks[task].requests(dataset, "test").select(slice(0, 8))
        assert np.isfinite(system.score(requests)).any(axis=1).all()
