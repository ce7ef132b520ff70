"""FMLP-Rec and LRURec: they learn, they cut the instances of the originals, they score anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.sequential.fmlp_rec import FMLPRec, FMLPRecNetwork, PrefixInstances
from baselines.sequential.lrurec import (
    LRURec,
    LRURecNetwork,
    UserWindows,
    recurrence_by_doubling,
    recurrence_by_steps,
)
from benchmark.errors import SystemFailure
from benchmark.kit.modules import TorchSystem
from benchmark.kit.training import TrainingSettings
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import Planted, along_one_cycle, planted_in, view_of_sequences
from tests.golden.loading import requests_for
from tests.training import SEED, expect

ITEMS, USERS, EVENTS = 40, 80, 12
SETTINGS = ProtocolSettings(negatives=19)

SMALL_FMLP = {"history_length": 5, "hidden_size": 32, "hidden_dropout_prob": 0.0}
SMALL_LRU = {"history_length": 10, "hidden_units": 32, "dropout": 0.1, "recurrence_dropout": 0.1}
LEARN_FMLP = TrainingSettings(
    epochs=60, batch_size=50, learning_rate=0.01, schedule="linear", validate_every=0
)
LEARN_LRU = LRURec.Config().training.model_copy(
    update={"epochs": 30, "batch_size": 20, "learning_rate": 0.01, "validate_every": 0}
)
ONE_EPOCH = {"epochs": 1, "validate_every": 0}

LEARNERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "fmlp-rec": (FMLPRec, SMALL_FMLP | {"training": LEARN_FMLP}),
    "fmlp-rec, all events": (
        FMLPRec,
        SMALL_FMLP | {"training": LEARN_FMLP, "training_events": "all"},
    ),
    "fmlp-rec, pairwise": (FMLPRec, SMALL_FMLP | {"training": LEARN_FMLP, "loss": "bpr"}),
    "lrurec": (LRURec, SMALL_LRU | {"training": LEARN_LRU}),
    "lrurec, negatives": (LRURec, SMALL_LRU | {"training": LEARN_LRU, "train_negatives": 20}),
}


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(along_one_cycle(USERS, ITEMS, EVENTS), SETTINGS)


def make(name: str, folder: Path, **changes: Any) -> TorchSystem:
    kind, config = LEARNERS[name]
    return kind(kind.Config(**config | changes), RunContext(SEED, folder, ArtifactStore(folder)))


def trained_briefly(name: str, folder: Path, view: TrainingView) -> TorchSystem:
    training = LEARNERS[name][1]["training"].model_copy(update=ONE_EPOCH)
    system = make(name, folder, training=training)
    system.fit(view)
    return system


@pytest.mark.training
@pytest.mark.parametrize("name", LEARNERS)
def test_the_planted_next_item_is_learned(name: str, planted: Planted, tmp_path: Path) -> None:
    dataset, task, view = planted
    system = make(name, tmp_path)
    system.fit(view)
    expect(hit_rate(system, dataset, task), above=0.9)


# An empty history, one item, a full window; the last row's user is unknown to the training.
HISTORIES = np.array([[0, 0, 0, 0], [0, 0, 0, 5], [7, 3, 9, 11], [0, 0, 2, 4]])
STRANGERS = np.array([1, 2, 3, USERS + 1])
EVERYTHING = np.tile(np.arange(1, ITEMS + 1), (len(HISTORIES), 1))


@pytest.mark.parametrize("name", ["fmlp-rec", "lrurec"])
def test_a_loaded_system_scores_alike_to_the_bit(
    name: str, planted: Planted, tmp_path: Path
) -> None:
    dataset, task, view = planted
    system = trained_briefly(name, tmp_path / "run", view)
    loaded = loaded_into(make(name, tmp_path / "other"), system, tmp_path, view.corpus)
    state = loaded.model.state_dict()
    for key, value in system.model.state_dict().items():
        assert state[key].dtype == value.dtype  # complex ones too
        assert torch.equal(state[key], value)
    asked = task.requests(dataset, "test"), requests_for(HISTORIES, EVERYTHING, STRANGERS)
    check_scores_are_the_same(system, loaded, *asked)


@pytest.mark.parametrize("name", ["fmlp-rec", "lrurec"])
def test_anybody_is_scored_and_alone_as_in_company(
    name: str, planted: Planted, tmp_path: Path
) -> None:
    system = trained_briefly(name, tmp_path, planted[2])
    requests = requests_for(HISTORIES, EVERYTHING, STRANGERS)
    scores = system.score(requests)
    assert np.isfinite(scores).all()
    for row in range(len(HISTORIES)):
        alone = system.score(requests.select(np.array([row])))
        np.testing.assert_allclose(alone[0], scores[row], atol=2e-5)
    shuffled = requests.with_candidates(requests.candidates[:, ::-1])
    np.testing.assert_allclose(system.score(shuffled)[:, ::-1], scores, atol=2e-5)


@pytest.mark.parametrize("kind", [FMLPRec, LRURec])
def test_nothing_to_learn_from_is_a_failure(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = view_of_sequences([[1, 2, 3, 4]])
    none = view.examples("search")
    monkeypatch.setattr(view, "examples", lambda task: none)
    system = kind(kind.Config(), RunContext(0, tmp_path, ArtifactStore(tmp_path)))
    with pytest.raises(SystemFailure, match="no training instances"):
        system.fit(view)


# ------------------------------------------------------------------------------------ FMLP-Rec


def prefixes_of(view: TrainingView, **config: Any) -> list[tuple[list[int], int]]:
    instances = PrefixInstances(view, FMLPRec.Config(history_length=5, **config))
    batch = instances.batch(np.arange(len(instances)), np.random.default_rng(0))
    assert not (batch["negatives"] == batch["targets"]).any()
    return list(zip(batch["items"].tolist(), batch["targets"].tolist(), strict=True))


def test_the_latest_events_are_targets_and_the_first_has_an_empty_history() -> None:
    view = view_of_sequences([[11, 12, 13, 14, 15, 16, 17], [21, 22]])
    assert prefixes_of(view) == [
        ([0, 0, 0, 0, 0], 13),
        ([0, 0, 0, 0, 13], 14),
        ([0, 0, 0, 13, 14], 15),
        ([0, 0, 13, 14, 15], 16),
        ([0, 13, 14, 15, 16], 17),
        ([0, 0, 0, 0, 0], 21),
        ([0, 0, 0, 0, 21], 22),
    ]


def test_all_events_are_targets_on_demand() -> None:
    prefixes = prefixes_of(view_of_sequences([[11, 12, 13, 14, 15, 16, 17]]), training_events="all")
    assert [target for _, target in prefixes] == [11, 12, 13, 14, 15, 16, 17]
    assert prefixes[0][0] == [0, 0, 0, 0, 0]
    assert prefixes[-1][0] == [12, 13, 14, 15, 16]


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_a_filter_is_a_circular_convolution(length: int) -> None:
    torch.manual_seed(0)
    network = FMLPRecNetwork(20, FMLPRec.Config(history_length=length, hidden_size=6)).eval()
    layer: Any = network.item_encoder.layer[0].filterlayer
    x = torch.randn(3, length, 6)
    kernel = torch.fft.irfft(torch.view_as_complex(layer.complex_weight)[0], n=length, dim=0)
    filtered = sum(kernel[shift] * x.roll(shift, dims=1) for shift in range(length))
    expected = layer.LayerNorm(filtered + x)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.last_slot(x), expected[:, -1], atol=1e-5, rtol=1e-5)


def test_padding_is_a_random_vector_that_is_never_trained(planted: Planted, tmp_path: Path) -> None:
    system: Any = trained_briefly("fmlp-rec", tmp_path, planted[2])
    before = system.seeded_build(planted[2].corpus).item_embeddings.weight
    after = system.model.item_embeddings.weight
    assert torch.equal(after[0], before[0])
    assert after[0].abs().min() > 0
    assert not torch.equal(after[1:], before[1:])


# -------------------------------------------------------------------------------------- LRURec


def windows_of(view: TrainingView, length: int = 4) -> list[tuple[list[int], list[int]]]:
    windows = UserWindows(view, length, None)
    pairs = []
    for number in range(len(windows)):
        batch = windows.batch(np.array([number]), np.random.default_rng(0))
        pairs.append((batch["items"][0].tolist(), batch["targets"][0].tolist()))
    return pairs


def test_the_first_item_is_predicted_from_padding() -> None:
    assert windows_of(view_of_sequences([[11, 12, 13], [21], [31, 32, 33, 34]])) == [
        ([0, 11, 12], [11, 12, 13]),
        ([0], [21]),
        ([0, 31, 32, 33], [31, 32, 33, 34]),
    ]


def test_below_twice_the_length_only_the_latest_events_are_targets() -> None:
    assert windows_of(view_of_sequences([[11, 12, 13, 14, 15], [21, 22, 23, 24, 25, 26, 27]])) == [
        ([11, 12, 13, 14], [12, 13, 14, 15]),
        ([23, 24, 25, 26], [24, 25, 26, 27]),
    ]


def test_from_twice_the_length_on_there_are_separate_whole_windows() -> None:
    eight, nine = list(range(11, 19)), list(range(21, 30))
    assert windows_of(view_of_sequences([eight, nine])) == [
        ([0, 15, 16, 17], [15, 16, 17, 18]),
        ([0, 11, 12, 13], [11, 12, 13, 14]),
        ([0, 26, 27, 28], [26, 27, 28, 29]),
        ([0, 22, 23, 24], [22, 23, 24, 25]),
    ]


def test_a_batch_is_as_long_as_its_longest_window() -> None:
    windows = UserWindows(view_of_sequences([[11, 12, 13], [21, 22]]), 50, 7)
    batch = windows.batch(np.array([0, 1]), np.random.default_rng(0))
    assert batch["items"].tolist() == [[0, 11, 12], [0, 0, 21]]
    assert batch["targets"].tolist() == [[11, 12, 13], [0, 21, 22]]
    assert batch["negatives"].shape == (5, 7)
    for row in batch["negatives"][:3]:
        assert not set(row.tolist()) & {0, 11, 12, 13}


def test_both_ways_to_unroll_agree_with_their_gradients() -> None:
    torch.manual_seed(0)
    for length in (1, 2, 7, 8, 13):
        inputs = torch.randn(3, length, 6, dtype=torch.complex64, requires_grad=True)
        factor = torch.polar(torch.rand(6), torch.rand(6)).requires_grad_()
        weight = torch.randn(3, length, 6, dtype=torch.complex64)
        results = []
        for unroll in (recurrence_by_steps, recurrence_by_doubling):
            h = unroll(inputs, factor)
            if length == 1:
                torch.testing.assert_close(h, inputs)
                continue
            results.append((h, *torch.autograd.grad((h * weight).real.sum(), (inputs, factor))))
        for here, there in zip(*results, strict=True):
            torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)


def test_the_length_of_the_padding_does_not_matter() -> None:
    torch.manual_seed(0)
    network = LRURecNetwork(20, LRURec.Config(hidden_units=8)).eval()
    items = torch.tensor([[3, 5, 2], [0, 4, 1], [0, 0, 0]])
    padded = torch.cat([torch.zeros(3, 6, dtype=torch.int64), items], dim=1)
    needed = torch.ones_like(items, dtype=torch.bool)
    expected = network(items, needed).unflatten(0, items.shape)[:, -1]
    for window in (items, padded):
        needed = window > 0
        needed[:, -1] = True
        last = needed.sum(dim=1).cumsum(dim=0) - 1
        torch.testing.assert_close(network(window, needed)[last], expected, atol=1e-6, rtol=1e-5)


def test_initial_values_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    network = LRURecNetwork(200, LRURec.Config())
    nu, theta, gamma = network.model.lru_blocks[0].lru_layer.params_log.exp().detach()
    radius = torch.exp(-nu)
    assert ((radius > 0.8) & (radius < 0.99)).all()
    assert ((theta > 0) & (theta < 2 * np.pi)).all()
    torch.testing.assert_close(gamma, torch.sqrt(1 - radius.square()))
    projection = network.model.lru_blocks[0].lru_layer.in_proj.weight
    for values in (projection.real, projection.imag, network.embedding.token.weight):
        assert values.abs().max() <= 0.04
        assert abs(float(values.detach().std()) - 0.0176) < 0.001  # 0.02, less what the cut takes
    assert network.model.bias.abs().max() > 0


def test_biases_and_norms_do_not_decay(planted: Planted, tmp_path: Path) -> None:
    system: Any = make("lrurec", tmp_path)
    system.model = system.build(planted[2].corpus)
    names = {id(value): name for name, value in system.model.named_parameters()}
    decayed, others = (
        {names[id(one)] for one in group["params"]} for group in system.parameter_groups()
    )
    assert {"embedding.token.weight", "model.lru_blocks.0.lru_layer.params_log"} <= decayed
    assert {"model.bias", "embedding.layer_norm.weight"} <= others
    assert len(decayed) + len(others) == len(names)
