"""LETTER: what its codes learn, how the T5 reads them, and that it comes back to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.generative_recommendation import tiger
from baselines.generative_recommendation.letter import (
    COLLABORATIVE,
    HAS_EVENTS,
    LETTER,
    LETTERConfig,
    LETTERModel,
    LETTERTokensConfig,
    LETTERVocabulary,
    alignment_loss,
    bounded_start,
    diversity_loss,
    grouped,
    learn_letter_codes,
    loss_of,
)
from baselines.sequential.sasrec_bce import SASRecBCE
from benchmark.errors import BenchmarkError
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.quantiser import Codebook
from benchmark.kit.identifiers.rqvae import VECTORS
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import SMALL_T5, Planted, going_round, planted_in, toy_encoder
from tests.training import SEED, expect

ITEMS, USERS, EVENTS, DIM, CODE_WIDTH = 32, 60, 12, 16, 8
LISTS = ProtocolSettings(negatives=19)
TOKENS: dict[str, Any] = {
    "sizes": (8, 8),
    "epsilons": (0.0, 0.003),
    "hidden_sizes": (16,),
    "groups": 3,
    "regroup_every": 2,
    "training": {"epochs": 4, "batch_size": 16, "validate_every": 2},
}
SMALL: dict[str, Any] = {
    "identifiers": TOKENS,
    "history_length": 2,
    **SMALL_T5,
}
QUICK = {"epochs": 30, "batch_size": 32, "learning_rate": 0.01, "validate_every": 0}
UPSTREAM = {
    "sasrec-bce": {
        "history_length": 5,
        "hidden_units": CODE_WIDTH,
        "training": {"epochs": 2, "validate_every": 0},
    }
}


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(going_round(USERS, ITEMS, EVENTS), LISTS)


@pytest.fixture(scope="module", autouse=True)
def _toy_encoder() -> Iterator[None]:
    with toy_encoder(tiger, DIM):
        yield


def make(folder: Path, **changes: Any) -> LETTER:
    config = LETTERConfig(**{**SMALL, "training": QUICK, **changes})
    artifacts = ArtifactStore(folder / "artifacts")
    return LETTER(config, RunContext(SEED, folder, artifacts, upstream=UPSTREAM))


@pytest.fixture(scope="module")
def fitted(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> LETTER:
    system = make(tmp_path_factory.mktemp("letter"))
    system.fit(planted[2])
    return system


@pytest.mark.training
def test_the_next_item_is_learned(fitted: LETTER, planted: Any) -> None:
    dataset, task, _ = planted
    expect(hit_rate(fitted, dataset, task), above=0.8)


def test_every_item_has_codes_of_its_own(fitted: LETTER) -> None:
    assert fitted.figures["distinct"] == ITEMS
    assert fitted.identifiers.sizes == (8, 8)


def test_a_loaded_system_scores_alike_to_the_bit(
    fitted: LETTER, planted: Any, tmp_path: Path
) -> None:
    dataset, task, view = planted
    empty = LETTER(fitted.config, fitted.context)
    loaded = loaded_into(empty, fitted, tmp_path, view.corpus)
    check_scores_are_the_same(loaded, fitted, task.requests(dataset, "test"))


def test_sasrec_has_to_be_declared(planted: Any, tmp_path: Path) -> None:
    system = make(tmp_path)
    system.context = RunContext(SEED, tmp_path, ArtifactStore(tmp_path / "artifacts"))
    with pytest.raises(BenchmarkError, match="sasrec-bce"):
        system.fit(planted[2])


def test_sasrec_gives_vectors_of_all_items(planted: Any, tmp_path: Path) -> None:
    config = SASRecBCE.Config.model_validate(UPSTREAM["sasrec-bce"])
    system = SASRecBCE(config, RunContext(SEED, tmp_path, ArtifactStore(tmp_path)))
    system.fit(planted[2])
    vectors = system.item_embeddings()
    assert vectors.shape == (ITEMS + 1, CODE_WIDTH) and vectors.dtype == np.float32
    assert not vectors[0].any() and vectors[1:].any(axis=1).all()
    vectors[1] = 0
    assert system.item_embeddings()[1].any()


# --------------------------------------------------------------------------------------- the codes


def model_of(**changes: Any) -> LETTERModel:
    torch.manual_seed(0)
    config = LETTERTokensConfig(**{**TOKENS, "latent_size": CODE_WIDTH, **changes})
    return LETTERModel(DIM, config)


def batch_of(rows: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        VECTORS: torch.randn(rows, DIM),
        COLLABORATIVE: torch.randn(rows, CODE_WIDTH),
        HAS_EVENTS: torch.ones(rows, 1),
    }


def test_a_positive_is_another_code_of_the_group_and_each_of_them_is_drawn() -> None:
    model = model_of()
    model.groups[:] = torch.tensor([0, 1, 0, 2, 1, 0, 0, 3])
    codes = torch.arange(8).repeat(200)[:, None].expand(-1, 2)
    positives = model.draw_positives(codes)
    of_group = {0: {0, 2, 5, 6}, 1: {1, 4}}
    for members in of_group.values():
        for code in members:
            assert set(positives[codes == code].tolist()) == members - {code}
    assert (positives[(codes == 3) | (codes == 7)] == -1).all()


def test_a_code_without_a_positive_has_no_part() -> None:
    codebook, codes = torch.randn(5, 3), torch.tensor([0, 1, 2])
    some = diversity_loss(codebook, codes, torch.tensor([3, -1, 4]))
    same = diversity_loss(codebook, codes[[0, 2]], torch.tensor([3, 4]))
    torch.testing.assert_close(some, same)
    assert float(diversity_loss(codebook, codes, torch.tensor([-1, -1, -1]))) == 0


def test_items_without_events_are_neither_rows_nor_columns_of_the_alignment() -> None:
    dense, collaborative = torch.randn(4, 3), torch.randn(4, 3)
    some = torch.tensor([True, False, True, True])
    found = alignment_loss(dense, collaborative, some)
    torch.testing.assert_close(
        found, alignment_loss(dense[some], collaborative[some], torch.ones(3, dtype=torch.bool))
    )
    assert float(alignment_loss(dense, collaborative, torch.zeros(4, dtype=torch.bool))) == 0


def test_codes_are_grouped_anew_every_so_many_steps_and_the_state_remembers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = model_of(), batch_of(20)
    calls = 0
    group = model._group_codes

    def counted() -> None:
        nonlocal calls
        calls += 1
        group()

    monkeypatch.setattr(model, "_group_codes", counted)
    for _ in range(5):
        model.loss(batch)
    assert calls == 3 and int(model.state_dict()["steps"]) == 5
    assert model.state_dict()["groups"].any()


def test_groups_have_bounded_sizes_also_of_small_and_of_tiny_codebooks() -> None:
    random = np.random.default_rng(0)
    for size, most in ((8, 60), (3, 60), (1, 60), (130, 60)):
        codebook = random.normal(size=(size, 4)).astype(np.float32)
        members = np.bincount(grouped(codebook, 10))
        assert members.sum() == size and members.max() <= most
        assert members.min() >= min(2, size)
    np.testing.assert_array_equal(grouped(codebook, 10), grouped(codebook * 1e-6, 10))


def test_the_start_bounds_the_sizes_where_there_are_rows_enough() -> None:
    random = np.random.default_rng(0)
    heap, others = 0.01 * random.normal(size=(56, 2)), 5 * random.normal(size=(8, 2))

    def started(rows: Any) -> Any:
        codebook = Codebook(4, 2)
        residual = torch.from_numpy(rows.astype(np.float32))
        with torch.no_grad():
            bounded_start(4096, np.random.default_rng(0))(codebook, residual)
        assert bool(codebook.initialised)
        return codebook.weight.detach().norm(dim=1).numpy()

    # 64 rows make clusters of 8 to 32, so that one centre is too few for the heap of 56.
    assert (started(np.concatenate([heap, others])) < 0.1).sum() >= 2
    # Of 7 rows no cluster could have two, and sizes are free.
    assert (started(np.concatenate([heap[:4], others[:3]])) < 0.1).sum() == 1


def test_codes_are_as_wide_as_the_vectors_of_sasrec(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(ITEMS, DIM)).astype(np.float32)
    collaborative = random.normal(size=(ITEMS, 5)).astype(np.float32)
    context = RunContext(SEED, tmp_path, ArtifactStore(tmp_path))
    config = LETTERTokensConfig(**TOKENS, standardise=True)
    learned = learn_letter_codes(vectors, collaborative, np.arange(ITEMS) > 3, config, context)
    assert learned.identifiers.report().distinct == ITEMS


# ----------------------------------------------------------------------------------- the generator


def test_histories_end_with_the_end_and_an_empty_one_is_the_end_alone() -> None:
    codes = np.array([[0, 2], [1, 0]])
    vocabulary = LETTERVocabulary(Identifiers.of_items(codes, (2, 3)))
    assert vocabulary.size == 7
    assert vocabulary.of_item.tolist() == [[0, 0, 0], [2, 6, 1], [3, 4, 1]]
    histories = np.array([[1, 2], [2, 0], [0, 0]], dtype=np.int32)
    ids, mask = vocabulary.inputs(np.zeros(3, dtype=np.int32), histories)
    assert ids.tolist() == [[2, 6, 3, 4, 1], [3, 4, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert mask.tolist() == (ids > 0).tolist()


def test_a_temperature_below_one_sharpens_the_loss() -> None:
    logits, labels = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.tensor([[0, -100]])
    plain = torch.nn.functional.cross_entropy(logits[0, :1], labels[0, :1])
    torch.testing.assert_close(loss_of(logits, labels, 1.0), plain)
    assert loss_of(logits, labels, 0.5) < plain
