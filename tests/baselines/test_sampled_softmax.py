"""eSASRec, HSTU and SASRec by sampled softmaxes: they learn, and what they learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.sequential.base import Asked
from baselines.sequential.esasrec import ESASRec, MixedSequences
from baselines.sequential.hstu import HSTU, HSTUTime
from baselines.sequential.sampled_softmax import SampledSequences, products
from baselines.sequential.sasrec_ssm import SASRecSSM
from benchmark.kit.training import TrainingSettings
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import hit_rate, loaded_into
from tests.baselines.planted import (
    Planted,
    along_one_cycle,
    dataset_of_sequences,
    planted_in,
    view_of_sequences,
)
from tests.golden.loading import requests_for
from tests.training import SEED, expect

ITEMS, USERS, EVENTS = 40, 60, 12
LISTS = ProtocolSettings(negatives=19)
EMPTY = 1
HISTORIES = np.array([[5, 0, 0, 0], [0, 0, 0, 0], [7, 3, 9, 11], [2, 4, 0, 0]])
EVERYTHING = np.tile(np.arange(1, ITEMS + 1), (len(HISTORIES), 1))

LEARNING = TrainingSettings(epochs=40, batch_size=10, learning_rate=0.01, validate_every=0)
SMALL_E = {"history_length": 10, "n_factors": 32, "dropout_rate": 0.1, "n_negatives": 20}
SMALL = {
    "history_length": 10,
    "embedding_dim": 32,
    "num_blocks": 1,
    "num_heads": 2,
    "dropout_rate": 0.1,
    "num_negatives": 20,
}
LEARNERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "esasrec": (ESASRec, SMALL_E),
    "esasrec, gbce": (ESASRec, SMALL_E | {"loss": "gbce"}),
    "esasrec, mixed": (ESASRec, SMALL_E | {"mixed_ratio": 0.5, "logq": True}),
    "sasrec-ssm": (SASRecSSM, SMALL),
    "hstu": (HSTU, SMALL | {"linear_dropout_rate": 0.1}),
    "hstu, shared negatives": (HSTU, SMALL | {"linear_dropout_rate": 0.1, "negatives": "shared"}),
    "hstu-time": (HSTUTime, SMALL | {"linear_dropout_rate": 0.1}),
}
ROWS = ("esasrec", "sasrec-ssm", "hstu", "hstu-time")


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(along_one_cycle(USERS, ITEMS, EVENTS), LISTS)


def make(name: str, folder: Path, **changes: Any) -> Any:
    kind, config = LEARNERS[name]
    return kind(kind.Config(**config | changes), RunContext(SEED, folder, ArtifactStore(folder)))


def trained_briefly(name: str, folder: Path, view: TrainingView) -> Any:
    system = make(name, folder, training=LEARNING.model_copy(update={"epochs": 1}))
    system.fit(view)
    return system


@pytest.mark.training
@pytest.mark.parametrize("name", LEARNERS)
def test_the_planted_next_item_is_learned(name: str, planted: Planted, tmp_path: Path) -> None:
    dataset, task, view = planted
    system = make(name, tmp_path, training=LEARNING)
    system.fit(view)
    expect(hit_rate(system, dataset, task), above=0.9)


@pytest.mark.parametrize("name", ROWS)
def test_a_loaded_system_scores_alike_to_the_bit_and_anybody(
    name: str, planted: Planted, tmp_path: Path
) -> None:
    view = planted[2]
    system = trained_briefly(name, tmp_path / "run", view)
    loaded = loaded_into(make(name, tmp_path / "other"), system, tmp_path, view.corpus)
    scores = system.score(requests_for(HISTORIES, EVERYTHING))
    np.testing.assert_array_equal(scores, loaded.score(requests_for(HISTORIES, EVERYTHING)))
    assert np.isfinite(scores).all()
    popularity = np.bincount(view.log.item, minlength=ITEMS + 1)[1:]
    assert np.array_equal(scores[EMPTY], popularity) == (name != "esasrec")


def test_esasrec_reads_a_window_of_padding_where_there_is_no_history(
    planted: Planted, tmp_path: Path
) -> None:
    system = trained_briefly("esasrec", tmp_path, planted[2])
    nothing = np.zeros((2, 4), dtype=np.int64)
    scores = system.score(requests_for(nothing, EVERYTHING[:2]))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert len(np.unique(scores[0])) == ITEMS


@pytest.mark.parametrize("name", ROWS)
def test_the_amount_of_padding_changes_nothing(name: str, planted: Planted, tmp_path: Path) -> None:
    system = make(name, tmp_path)
    system.model = system.seeded_build(planted[2].corpus).eval()
    short = torch.tensor([[3, 5, 2], [4, 1, 0]])
    wide = torch.cat([short, torch.zeros(2, 5, dtype=torch.int64)], dim=1)
    if system.padding == "left":
        short, wide = short.sort(dim=1).values, wide.sort(dim=1, stable=True).values
    lengths, nobody = torch.tensor([3, 2]), torch.tensor([0, 0])
    with torch.no_grad():
        scores = [
            system.scores_of_all(Asked(items, lengths, nobody, 0 * items, nobody + 9))
            for items in (short, wide)
        ]
    torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "reads"), [("hstu", False), ("hstu-time", True)])
def test_only_the_bias_of_time_knows_when_it_is_asked(
    name: str, reads: bool, planted: Planted, tmp_path: Path
) -> None:
    system = make(name, tmp_path)
    system.model = system.seeded_build(planted[2].corpus).eval()
    items, lengths = torch.tensor([[3, 5, 2]]), torch.tensor([3])
    times = torch.tensor([[10, 20, 30]])
    with torch.no_grad():
        soon, late = (
            system.scores_of_all(Asked(items, lengths, lengths, times, torch.tensor([asked_at])))
            for asked_at in (31, 10**6)
        )
    assert torch.equal(soon, late) != reads
    assert bool(system.stand_ins()) == reads


@pytest.mark.parametrize("padding", ["left", "right"])
def test_an_instance_is_a_user_and_the_first_item_is_no_target(padding: Any) -> None:
    view = view_of_sequences([[11, 12, 13, 14, 15, 16], [21], [31, 32]])
    sequences = SampledSequences(view, 4, 3, np.arange(1, 61), padding=padding)
    batch = sequences.batch(np.arange(2), np.random.default_rng(0))
    short = [31, 0, 0, 0] if padding == "right" else [0, 0, 0, 31]
    assert batch["items"].tolist() == [[12, 13, 14, 15], short]
    assert batch["targets"].tolist() == [[13, 14, 15, 16], [32 * (item > 0) for item in short]]
    assert len(sequences) == 2 and batch["negatives"].shape == (5, 3)
    # Events of these logs are a second apart.
    real = batch["items"] > 0
    assert (batch["target_times"] - batch["times"])[real].tolist() == [1] * 5
    assert not batch["times"][~real].any() and not batch["target_times"][~real].any()


def test_a_batch_is_as_long_as_its_longest_history() -> None:
    view = view_of_sequences([[11, 12, 13], [31, 32]])
    for trims, length in ((True, 2), (False, 8)):
        sequences = SampledSequences(view, 8, 3, np.arange(1, 61), negatives="shared", trims=trims)
        batch = sequences.batch(np.arange(2), np.random.default_rng(0))
        assert batch["items"].shape == (2, length)
        assert batch["negatives"].shape == (3,)


def test_negatives_of_esasrec_are_items_with_a_training_event_and_of_the_batch() -> None:
    view = view_of_sequences([[11, 12, 13, 14], [21, 22], [31, 32]])
    config = ESASRec.Config(n_negatives=200, mixed_ratio=0.5, logq=True)
    sequences = MixedSequences(view, config)
    batch = sequences.batch(np.array([0, 1]), np.random.default_rng(0))
    mixed, uniform = batch["negatives"].split(100, dim=1)
    assert set(mixed.unique().tolist()) == {11, 12, 13, 21}
    assert set(uniform.unique().tolist()) == {11, 12, 13, 14, 21, 22, 31, 32}
    shares = batch["log_q"].exp()
    assert shares[11] == shares[32] == pytest.approx(1 / 8) and shares[0] == shares[60] == 1


def test_both_ways_to_multiply_agree() -> None:
    torch.manual_seed(0)
    states, table = torch.randn(5, 8), torch.randn(400, 8)
    chosen = torch.randint(400, (5, 6))
    assert len(table) > 64 * chosen.shape[1]
    by_gather = products(states, table, chosen)
    by_product = products(states, table, chosen.repeat(1, 2))[:, :6]
    torch.testing.assert_close(by_gather, by_product)
    shared = products(states, table, chosen[0])
    torch.testing.assert_close(shared[0], by_gather[0])


def test_initial_values_are_the_published_ones(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = dataset_of_sequences([[1, 2, 3]], 2000)
    corpus = TrainingView(wide, build_tasks(wide, LISTS), LISTS).corpus
    esasrec: Any = make("esasrec", tmp_path).build(corpus).network
    assert float(esasrec.ids_emb.weight.detach().std()) == pytest.approx(
        (2 / (2001 + 32)) ** 0.5, rel=0.02
    )
    assert esasrec.ids_emb.weight[0].abs().min() > 0
    hstu: Any = make("hstu", tmp_path).build(corpus).network
    assert float(hstu.item_emb.weight.detach().abs().max()) <= 0.04
    xavier = (2 / (21 + 32)) ** 0.5
    assert float(hstu.pos_emb.weight.detach().std()) == pytest.approx(xavier, rel=0.1)
    sasrec: Any = make("sasrec-ssm", tmp_path).build(corpus).network
    cut = 0.88 * (1 / 32) ** 0.5  # a normal law loses 12 % of its deviation to the cut
    assert float(sasrec.pos_emb.weight.detach().std()) == pytest.approx(cut, rel=0.1)
