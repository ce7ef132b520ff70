"""LIGER: both heads learn, what is proposed comes first, and codes move after their vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.generative_recommendation import liger
from baselines.generative_recommendation.liger import LIGER, LIGERConfig, proposed
from benchmark.kit.identifiers.learning import standardised
from benchmark.kit.identifiers.moving import (
    MovingConfig,
    MovingRQVAE,
    repeated,
)
from benchmark.kit.identifiers.rqvae import VECTORS
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import SMALL_T5, Planted, going_round, planted_in, toy_encoder
from tests.golden.loading import requests_for
from tests.training import SEED, expect

ITEMS, USERS, EVENTS, DIM = 30, 60, 12, 16
COLD = 2
LISTS = ProtocolSettings(negatives=19)
SMALL: dict[str, Any] = {
    "identifiers": {
        "sizes": (8, 8),
        "hidden_sizes": (16,),
        "latent_size": 8,
        "training": {"epochs": 5, "batch_size": 16},
    },
    "history_length": 2,
    **SMALL_T5,
    "decoder_layers": 1,
    "input_dropout": 0.0,
    "projection_sizes": (32,),
    "proposals": 4,
}
QUICK = {"epochs": 30, "batch_size": 32, "learning_rate": 0.005, "validate_every": 0}
HISTORIES = np.array([[5, 0], [0, 0], [7, ITEMS + COLD]])
EVERYTHING = np.tile(np.arange(1, ITEMS + COLD + 1), (len(HISTORIES), 1))


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(going_round(USERS, ITEMS, EVENTS, COLD), LISTS)


@pytest.fixture(scope="module", autouse=True)
def _toy_encoder() -> Iterator[None]:
    with toy_encoder(liger, DIM):
        yield


@pytest.fixture(scope="module")
def fitted(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> LIGER:
    folder = tmp_path_factory.mktemp("liger")
    config = LIGERConfig(**SMALL, training=QUICK)
    system = LIGER(config, RunContext(SEED, folder, ArtifactStore(folder / "artifacts")))
    system.fit(planted[2])
    return system


def by(system: LIGER, head: str, **changes: Any) -> LIGER:
    """The same model ranked otherwise."""
    other = LIGER(system.config.model_copy(update={"ranks_by": head, **changes}), system.context)
    other.identifiers, other.model = system.identifiers, system.model
    return other


@pytest.mark.training
@pytest.mark.parametrize("head", ["hybrid", "dense", "generative"])
def test_the_next_item_is_learned(fitted: LIGER, planted: Any, head: str) -> None:
    dataset, task, _ = planted
    expect(hit_rate(by(fitted, head), dataset, task), above=0.8)


def test_the_written_and_the_cold_come_first_by_the_dense_head(fitted: LIGER) -> None:
    requests = requests_for(HISTORIES, EVERYTHING)
    both, dense = fitted.score(requests), by(fitted, "dense").score(requests)
    written = by(fitted, "generative").score(requests)
    assert np.isfinite(both).all()
    first = both == dense
    for row in range(len(HISTORIES)):
        best = set(np.argsort(-written[row])[:4].tolist())
        assert set(np.flatnonzero(first[row]).tolist()) == best | {ITEMS, ITEMS + 1}
        assert both[row][first[row]].min() > both[row][~first[row]].max()
        others = np.flatnonzero(~first[row])
        order = np.argsort(-dense[row][others])
        assert (np.diff(both[row][others][order]) <= 0).all()


def test_the_catalogue_is_ranked_by_proposals_alone(fitted: LIGER) -> None:
    requests = requests_for(HISTORIES, EVERYTHING)
    scores = fitted.score_all_items(requests)
    reached = np.isfinite(scores)
    assert (reached.sum(axis=1) == 4 + COLD).all() and not reached[:, 0].any()
    lists = fitted.score(requests)
    np.testing.assert_allclose(scores[:, 1:][reached[:, 1:]], lists[reached[:, 1:]], atol=1e-5)
    assert "4 proposals" in fitted.ranking_of_all_items()
    everything = by(fitted, "dense").score_all_items(requests)
    assert np.isfinite(everything[:, 1:]).all()
    assert not by(fitted, "dense").ranking_of_all_items()
    written = by(fitted, "generative").score_all_items(requests)[:, 1:]
    np.testing.assert_allclose(written, by(fitted, "generative").score(requests), atol=1e-4)


def test_an_item_that_stands_twice_takes_one_place_of_the_proposals() -> None:
    items = torch.tensor([[3, 1, 3, 2, 4]])
    written = torch.tensor([[-1.0, -2.0, -1.0, -3.0, -torch.inf]])
    nobody = torch.zeros(5, dtype=torch.bool)
    found = proposed(written, items, nobody, 2)
    assert found.tolist() == [[True, True, True, False, False]]
    assert proposed(written, items, nobody, 9).tolist() == [[True, True, True, True, False]]
    cold = torch.tensor([False, False, False, False, True])
    assert proposed(written, items, cold, 1).tolist() == [[True, False, True, False, True]]


def test_a_loaded_system_scores_alike_to_the_bit(
    fitted: LIGER, planted: Any, tmp_path: Path
) -> None:
    dataset, task, view = planted
    empty = LIGER(fitted.config, fitted.context)
    loaded = loaded_into(empty, fitted, tmp_path, view.corpus)
    check_scores_are_the_same(loaded, fitted, task.requests(dataset, "test"))


def test_initial_values_are_the_published_ones(fitted: LIGER) -> None:
    torch.manual_seed(0)
    model = liger.LIGERModel(fitted.identifiers, DIM, fitted.config)
    assert float(model.t5.shared.weight.detach().std()) == pytest.approx(1, rel=0.1)
    norm = model.t5.encoder.final_layer_norm.weight
    np.testing.assert_allclose(norm.detach(), 0.02)
    assert model.t5.lm_head.weight is model.t5.shared.weight


# --------------------------------------------------------------------------------------- the codes


def test_constant_dimensions_are_zero_after_standardising() -> None:
    vectors = np.array([[1.0, 5.0], [3.0, 5.0]], dtype=np.float32)
    np.testing.assert_array_equal(standardised(vectors), [[-1, 0], [1, 0]])


def test_the_first_step_puts_codes_onto_vectors_and_evaluation_moves_none() -> None:
    torch.manual_seed(0)
    config = MovingConfig(sizes=(8,), hidden_sizes=(6,), latent_size=4, kmeans_iterations=None)
    model, batch = MovingRQVAE(5, config), {VECTORS: torch.randn(20, 5)}
    before = model.codebooks.clone()
    model.eval().loss(batch)
    assert torch.equal(model.codebooks, before)
    inputs = model.train()(batch[VECTORS]).inputs[0]
    model.loss(batch)
    distance = torch.cdist(model.codebooks[0], inputs.detach()).min(dim=1).values
    assert float(distance.max()) < 1e-3


def test_few_vectors_are_repeated_with_noise() -> None:
    vectors = torch.zeros(3, 4)
    assert repeated(vectors, 3) is vectors
    more = repeated(vectors, 7)
    assert more.shape == (9, 4) and 0 < float(more.max()) < 0.01 / 4**0.5
