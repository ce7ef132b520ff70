"""TIGER: its tokens, the rule that it learns, its beam, and that it comes back to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.generative_recommendation import tiger
from baselines.generative_recommendation.tiger import TIGER, Prefixes, TIGERConfig, Vocabulary
from benchmark.kit.decoding.identifier_system import CatalogueRanking
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import SMALL_T5, Planted, going_round, planted_in, toy_encoder
from tests.training import SEED, expect

ITEMS, USERS, EVENTS, DIM = 32, 80, 12, 16
SETTINGS = ProtocolSettings(negatives=19)
SMALL: dict[str, Any] = {
    "identifiers": {
        "sizes": (8, 8),
        "epsilons": (0.0, 0.0),
        "hidden_sizes": (16,),
        "latent_size": 8,
        "training": {"epochs": 5, "validate_every": 5},
    },
    "user_tokens": 7,
    "history_length": 2,
    **SMALL_T5,
}
QUICK = {
    "epochs": 40,
    "batch_size": 32,
    "learning_rate": 0.01,
    "schedule": "cosine",
    "validate_every": 0,
}
ONE_STEP = {"epochs": 1, "batch_size": 1024}


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(going_round(USERS, ITEMS, EVENTS), SETTINGS)


@pytest.fixture(scope="module", autouse=True)
def _toy_encoder() -> Iterator[None]:
    with toy_encoder(tiger, DIM):
        yield


def make(folder: Path, training: dict[str, Any], **changes: Any) -> TIGER:
    config = TIGERConfig(**{**SMALL, **changes, "training": training})
    return TIGER(config, RunContext(SEED, folder, ArtifactStore(folder / "artifacts")))


@pytest.fixture(scope="module")
def fitted(planted: Any, tmp_path_factory: Any) -> TIGER:
    system = make(tmp_path_factory.mktemp("tiger"), QUICK)
    system.fit(planted[2])
    return system


def test_a_published_t5_gives_all_but_the_token_vectors(planted: Any, tmp_path: Path) -> None:
    published = Seq2Seq.of_config(
        {"vocab_size": 40, "d_model": 24, "d_kv": 4, "d_ff": 20, "num_layers": 1, "num_heads": 3},
        is_tied=False,
    )
    folder = tmp_path / "published"
    published.t5.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    system = make(tmp_path, QUICK | {"epochs": 0}, backbone={"model": str(folder)})
    system.fit(planted[2])
    own, theirs = system.model.own_state(), published.own_state()
    assert own.keys() == theirs.keys() and not system.model.is_tied
    for name, weight in own.items():
        if name in ("shared.weight", "lm_head.weight"):
            assert weight.shape == (-(-system.vocabulary.size // 8) * 8, 24)
            assert 0.9 < float(weight.std()) < 1.1
        else:
            assert torch.equal(weight, theirs[name]), name
    assert any(sentence.startswith("The backbone published") for sentence in system.stand_ins())
    (tmp_path / "kept").mkdir()
    system.save(tmp_path / "kept")
    shutil.rmtree(folder)
    stored = TIGER(system.config, system.context)
    stored.load(tmp_path / "kept", planted[2].corpus)
    requests = planted[1].requests(planted[0], "test")
    np.testing.assert_array_equal(stored.score(requests), system.score(requests))


def with_settings(system: TIGER, **changes: Any) -> TIGER:
    """The same model with other scoring."""
    other = TIGER(system.config.model_copy(update=changes), system.context)
    other.identifiers, other.vocabulary = system.identifiers, system.vocabulary
    other.model = system.model
    return other


@pytest.mark.training
@pytest.mark.parametrize("scoring", ["beam", "exact"])
def test_the_next_item_is_learned(fitted: TIGER, planted: Any, scoring: str) -> None:
    dataset, task, _ = planted
    expect(hit_rate(with_settings(fitted, scoring=scoring), dataset, task), above=0.9)


def test_a_beam_ranks_as_many_candidates_as_it_is_wide(fitted: TIGER, planted: Any) -> None:
    dataset, task, _ = planted
    requests = task.requests(dataset, "test")
    exact = with_settings(fitted, scoring="exact").score(requests)
    assert np.isfinite(exact).all()
    narrow = with_settings(fitted, beam_size=4).score(requests)
    kept = np.isfinite(narrow)
    assert (kept.sum(axis=1) == 4).all()
    np.testing.assert_allclose(narrow[kept], exact[kept], atol=1e-4)


def test_scores_do_not_depend_on_the_batch_or_the_column(fitted: TIGER, planted: Any) -> None:
    dataset, task, _ = planted
    requests = task.requests(dataset, "test")
    scores = fitted.score(requests)
    small_batches = with_settings(fitted, scoring_batch_size=7).score(requests)
    np.testing.assert_allclose(small_batches, scores, atol=1e-4)
    order = np.random.default_rng(1).permutation(scores.shape[1])
    moved = fitted.score(requests.with_candidates(requests.candidates[:, order]))
    np.testing.assert_allclose(moved, scores[:, order], atol=1e-4)


def test_a_runs_precision_holds_where_identifiers_are_generated(
    fitted: TIGER, planted: Any
) -> None:
    dataset, task, _ = planted
    requests = task.requests(dataset, "test")
    exact = with_settings(fitted, scoring="exact")
    rounded = TIGER(exact.config, replace(fitted.context, precision="bf16"))
    rounded.identifiers, rounded.vocabulary = fitted.identifiers, fitted.vocabulary
    rounded.model = fitted.model
    for of in ("score", "score_all_items"):
        single, half = getattr(exact, of)(requests), getattr(rounded, of)(requests)
        assert half.dtype == np.float32
        known = np.isfinite(single)
        difference = np.abs(half[known] - single[known])
        assert 1e-4 < difference.max() < 1.0, "bf16 was not in force, or is far off"


def test_the_whole_catalogue_can_be_searched(fitted: TIGER, planted: Any) -> None:
    dataset, task, _ = planted
    requests = task.requests(dataset, "test")
    every = np.broadcast_to(np.arange(1, ITEMS + 1, dtype=np.int32), (len(requests), ITEMS))
    exact = with_settings(fitted, scoring="exact").score(requests.with_candidates(every))
    items, scores = with_settings(fitted, beam_size=ITEMS).recommend(requests, 5)
    assert (items.dtype, scores.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(items, 1 + np.argsort(-exact, axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :5], atol=1e-4)


def test_a_beam_over_the_catalogue_says_how_wide_it_is_and_reaches_so_many_items(
    fitted: TIGER, planted: Any
) -> None:
    dataset, task, _ = planted
    requests = task.requests(dataset, "test")
    for scoring, beam_size, exact_up_to, reached in (
        ("beam", 3, ITEMS, 7),
        ("beam", 9, ITEMS, 9),
        ("exact", 3, ITEMS - 1, 7),
        ("exact", 3, ITEMS, ITEMS),
    ):
        ranking = CatalogueRanking(beam_size=7, exact_up_to=exact_up_to)
        changes = {"scoring": scoring, "beam_size": beam_size, "catalogue": ranking}
        system = with_settings(fitted, **changes)
        scores = system.score_all_items(requests.without_candidates())
        assert (np.isfinite(scores[:, 1:]).sum(axis=1) == reached).all()
        expected = f"a beam of {reached} identifiers" if reached < ITEMS else ""
        assert system.ranking_of_all_items() == expected


def test_a_stored_system_scores_the_same(fitted: TIGER, planted: Any, tmp_path: Path) -> None:
    dataset, task, view = planted
    empty = TIGER(fitted.config, fitted.context)
    stored = loaded_into(empty, fitted, tmp_path, view.corpus)
    check_scores_are_the_same(stored, fitted, task.requests(dataset, "test"))
    assert stored.stand_ins() == fitted.stand_ins()
    assert "toy" in stored.stand_ins()[0]
    assert stored.identifier_quality() == fitted.identifier_quality()
    quality = stored.identifier_quality()["semantic"]
    assert quality["distinct"] == ITEMS
    assert {"alignment_1", "variance_explained_1", "selected_step"} <= quality.keys()


def test_equal_seeds_give_equal_systems(planted: Any, tmp_path: Path) -> None:
    dataset, task, view = planted
    requests = task.requests(dataset, "test")
    scores = []
    for name in ("one", "other"):
        system = make(tmp_path / name, ONE_STEP)
        system.fit(view)
        scores.append(system.score(requests))
    np.testing.assert_array_equal(scores[0], scores[1])


def test_inputs_are_the_user_and_the_codes_of_the_history() -> None:
    codes = np.array([[-1, -1], [0, 1], [2, 0]], dtype=np.int32)
    vocabulary = Vocabulary(Identifiers(codes, (3, 2)), user_tokens=4)
    assert vocabulary.of_item.tolist() == [[0, 0], [1, 5], [3, 4]]
    assert vocabulary.size == 1 + 3 + 2 + 4
    users, histories = np.array([1, 6]), np.array([[2, 1, 0], [0, 0, 0]])
    ids, mask = vocabulary.inputs(users, histories)
    assert ids.tolist() == [[7, 3, 4, 1, 5], [8, 0, 0, 0, 0]]
    assert mask.tolist() == [[True] * 5, [True, False, False, False, False]]


def test_the_unknown_user_has_no_token_not_even_that_of_others() -> None:
    codes = np.array([[-1], [0], [1]], dtype=np.int32)
    vocabulary = Vocabulary(Identifiers(codes, (2,)), user_tokens=4)
    users, histories = np.array([0, 4, 0]), np.array([[2, 1], [2, 1], [0, 0]])
    ids, mask = vocabulary.inputs(users, histories)
    assert ids.tolist() == [[0, 2, 1], [3, 2, 1], [0, 0, 0]]
    assert mask.tolist() == [[False, True, True], [True, True, True], [True, False, False]]


def test_nobody_is_read_as_padding() -> None:
    codes = np.array([[-1], [0]], dtype=np.int32)
    vocabulary = Vocabulary(Identifiers(codes, (1,)), user_tokens=0)
    ids, mask = vocabulary.inputs(np.array([3]), np.array([[0, 0]]))
    assert ids.tolist() == [[0]] and mask.tolist() == [[True]]


def test_every_prefix_but_the_empty_one_is_an_instance(planted: Any) -> None:
    view = planted[2]
    examples = view.examples("recommendation")
    first_events = np.unique(examples.user).size
    system = Vocabulary(
        Identifiers.of_items(np.arange(ITEMS)[:, None].astype(np.int32), (ITEMS,)), user_tokens=0
    )
    instances = Prefixes(view, system, 2)
    assert len(instances) == len(examples) - first_events
    random = np.random.default_rng(0)
    batches = instances.batches(16, random)
    assert sorted(np.concatenate(batches)) == list(range(len(instances)))
    rows = np.flatnonzero(instances.lengths == 1)[:2]
    batch = instances.batch(rows, random)
    assert batch["input_ids"].shape == (2, 1)
    assert torch.equal(batch["labels"][:, 0], torch.from_numpy(instances.targets[rows]).long())


def test_the_default_network_has_the_papers_number_of_parameters() -> None:
    codes = np.zeros((2, 4), dtype=np.int32)
    codes[0] = -1
    system = TIGER(TIGERConfig(), RunContext(0, Path(), ArtifactStore(Path())))
    system.identifiers = Identifiers(codes, (256, 256, 256, 256))
    system._make_model()
    embeddings = system.model.t5.shared.weight.numel()
    assert embeddings == 3025 * 384
    assert round((system.number_of_parameters() - embeddings) / 1e4) == 1338  # 13.38 million
