"""P5-CID: identifiers stay apart, prompts read as sentences, and it learns a planted rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.generative_recommendation.p5_cid import (
    P5CID,
    P5CIDConfig,
    PrefixPrompts,
    Prompts,
    item_text,
    user_texts,
)
from baselines.generative_recommendation.wordings import P5_CID, SEQUENTIAL, STRAIGHTFORWARD
from benchmark.data.dataset import Dataset
from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.collaborative import collaborative_identifiers, with_branch_of_unseen
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import (
    check_a_narrow_beam_drops_candidates_and_exact_scores_do_not,
    check_killed_in_training_it_ends_as_if_it_had_not_been,
    check_scores_are_the_same,
    hit_rate,
    loaded_into,
)
from tests.baselines.planted import Planted, numbered_items, planted_in, recommended, small_t5
from tests.training import SEED, expect

CYCLE, USERS, ROUNDS = 24, 150, 8
ITEMS = CYCLE + 2  # the last two are never bought
SETTINGS = ProtocolSettings(negatives=9)
SMALL: dict[str, Any] = {
    "backbone": small_t5(embedding_deviation=0.3),
    "clusters": 4,
    "largest_cluster": 8,
    "history_length": 2,
    "prompts": "short",
    "whole_word_deviation": 0.3,
}
QUICK: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 32,
    "learning_rate": 0.005,
    "schedule": "linear",
    "weight_decay": 0.0,
    "validate_every": 0,
}


def planted_dataset() -> Dataset:
    """Each user goes round a cycle of items from a place of its own."""
    start = np.random.default_rng(5).integers(CYCLE, size=(USERS, 1))
    return recommended(numbered_items(ITEMS), 1 + (start + np.arange(ROUNDS)) % CYCLE)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(planted_dataset(), SETTINGS)


def make(folder: Path, training: dict[str, Any] = QUICK, **changes: Any) -> P5CID:
    config = P5CIDConfig(**{**SMALL, "training": training, **changes})
    return P5CID(config, RunContext(SEED, folder, ArtifactStore(folder)))


@pytest.fixture(scope="module")
def fitted(planted: Planted, tmp_path_factory: Any) -> P5CID:
    system = make(tmp_path_factory.mktemp("p5"))
    system.fit(planted[2])
    return system


# ------------------------------------------------------------------------------------- identifiers


@pytest.mark.parametrize("numbering", ["openp5", "method1", "method2", "cid_iid"])
def test_identifiers_are_distinct_and_none_begins_another(numbering: Any) -> None:
    random = np.random.default_rng(0)
    item, offsets = random.integers(1, 71, size=800), np.arange(0, 801, 8)
    config = P5CIDConfig(clusters=4, largest_cluster=9, numbering=numbering)
    identifiers, names = collaborative_identifiers(item, offsets, 90, config)  # 20 have no event
    rows = [tuple(row[row >= 0]) for row in identifiers.codes[1:]]
    assert len(set(rows)) == 90 and len(set(names)) == len(names)
    assert not any(row[:length] in rows for row in rows for length in range(1, len(row)))


def test_unseen_items_fill_a_branch_of_their_own() -> None:
    paths = np.full((12, 1), -1)
    paths[:5, 0] = [0, 0, 1, 1, 1]
    branch = with_branch_of_unseen(paths, largest=3)
    assert branch[:5].tolist() == [[0, -1], [0, -1], [1, -1], [1, -1], [1, -1]]
    assert branch[5:].tolist() == [[2, 0], [2, 0], [2, 0], [2, 1], [2, 1], [2, 1], [2, 2]]


def test_clusters_must_be_fewer_than_the_items_of_the_largest() -> None:
    with pytest.raises(ValueError, match="must be larger than clusters"):
        P5CIDConfig(clusters=10, largest_cluster=10)


# ----------------------------------------------------------------------------------------- prompts


def prompts_of(style: str) -> tuple[Prompts, TextTokenizer]:
    texts = [part for family in P5_CID[style] for part in family]
    tokenizer = TextTokenizer.trained_on([*texts, "item_ ,", *user_texts(3)], 300)
    tokenizer.add(["<CI0>", "<CI1>"])
    return Prompts(tokenizer, ["", "<CI0><CI1>", "<CI1><CI1>"], 3, style), tokenizer


def test_prompts_are_the_tokens_of_whole_sentences() -> None:
    prompts, tokenizer = prompts_of("instruction")
    history = "item_<CI0><CI1> , item_<CI1><CI1>"
    wordings = SEQUENTIAL + STRAIGHTFORWARD
    for number, wording in enumerate(wordings):
        pieces = prompts.pieces(np.array([2]), np.array([[0, 1, 2]]), np.array([number]))
        found = prompts.inputs(pieces, "last_word")["input_ids"][0].tolist()
        sentence = wording.format(user="user_2", history=history)
        assert found == [*tokenizer.marked([sentence]).ids.tolist(), tokenizer.end]


def test_users_and_items_are_one_word_each() -> None:
    prompts, _ = prompts_of("short")
    pieces = prompts.pieces(np.array([2]), np.array([[1, 2]]), np.array([0]))
    batch = prompts.inputs(pieces, "last_word")
    user = int(prompts.tokens.lengths[prompts.first_user + 2])
    assert batch["whole_words"][0].tolist() == [1] * user + [2, 2, 3, 4, 4, 4]
    assert prompts.inputs(pieces, "no_word")["whole_words"][0, -1] == 0


@pytest.mark.parametrize("style", ["short", "instruction"])
def test_the_unknown_user_is_not_named(style: str) -> None:
    prompts, tokenizer = prompts_of(style)
    for number, wording in enumerate(wordings := sum(P5_CID[style], ())):
        pieces = prompts.pieces(np.array([0]), np.array([[0, 1]]), np.array([number]))
        sentence = wording.format(user="", history=item_text("<CI0><CI1>", style))
        found = prompts.inputs(pieces, "last_word")["input_ids"][0].tolist()
        assert found == [*tokenizer.marked([sentence]).ids.tolist(), tokenizer.end]
    assert len(wordings) > 1


def test_whole_words_do_not_depend_on_the_other_prompts_of_a_batch() -> None:
    prompts, _ = prompts_of("short")
    pieces = prompts.pieces(np.array([1, 2]), np.array([[0, 2], [1, 2]]), np.array([0, 0]))
    together = prompts.inputs(pieces, "last_word")
    alone = prompts.inputs(pieces[:1], "last_word")
    width = alone["whole_words"].shape[1]
    assert together["whole_words"][0, :width].tolist() == alone["whole_words"][0].tolist()
    assert not together["whole_words"][0, width:].any()


def test_every_prefix_is_asked_for_as_often_as_configured(planted: Planted, fitted: P5CID) -> None:
    view = planted[2]
    config = P5CIDConfig(**SMALL, wordings_per_prefix=3, straightforward_prompts=2)
    instances = PrefixPrompts(view, fitted.prompts, config)
    examples = view.examples("recommendation")
    with_history = int((examples.history(1, "recommendation").items > 0).sum())
    assert len(instances) == 3 * with_history + 2 * len(examples)
    rows = np.concatenate(instances.batches(64, np.random.default_rng(0)))
    assert np.array_equal(np.sort(rows), np.arange(len(instances)))
    last = instances.batch(np.array([len(instances) - 1]), np.random.default_rng(0))
    user = fitted.prompts.tokens.lengths[fitted.prompts.first_user + USERS]
    assert last["input_ids"].shape == (1, user + 1)  # the user and the end, no item


# -------------------------------------------------------------------------------------- the system


@pytest.mark.training
def test_it_learns_what_follows_the_last_item(planted: Planted, fitted: P5CID) -> None:
    dataset, task, _ = planted
    expect(hit_rate(fitted, dataset, task), above=0.9)


def test_a_narrow_beam_drops_candidates_and_exact_scores_do_not(
    planted: Planted, fitted: P5CID, tmp_path: Path
) -> None:
    check_a_narrow_beam_drops_candidates_and_exact_scores_do_not(make, fitted, planted, tmp_path)


def test_saved_and_loaded_it_scores_the_same_to_the_bit(
    planted: Planted, fitted: P5CID, tmp_path: Path
) -> None:
    dataset, task, view = planted
    loaded = loaded_into(make(tmp_path / "other"), fitted, tmp_path, view.corpus)
    check_scores_are_the_same(loaded, fitted, task.requests(dataset, "test"))
    assert loaded.identifier_quality() == fitted.identifier_quality()
    quality = loaded.identifier_quality()["collaborative"]
    assert quality["sharing"] == 0 and {"alignment_1", "tail_items"} <= quality.keys()


def test_killed_in_training_it_ends_as_if_it_had_not_been(planted: Planted, tmp_path: Path) -> None:
    dataset, task, view = planted
    requests = task.requests(dataset, "test").select(slice(0, 8))
    training = QUICK | {"epochs": 2, "batch_size": 256, "checkpoint_seconds": 0.0}
    check_killed_in_training_it_ends_as_if_it_had_not_been(
        lambda folder: make(folder, training),
        view,
        requests,
        tmp_path,
        killed_in=(PrefixPrompts, "batch"),
        after=4,
    )


def test_without_recommendation_events_it_says_so(planted: Planted, tmp_path: Path) -> None:
    dataset = planted[0].with_log(planted[0].log.keep(np.zeros(len(planted[0].log), dtype=bool)))
    tasks = build_tasks(planted[0], SETTINGS)
    view = TrainingView(planted[0], tasks, SETTINGS)
    view.log = dataset.log
    view._events = {}
    with pytest.raises(SystemFailure, match="no recommendation events"):
        make(tmp_path).fit(view)
