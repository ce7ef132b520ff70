"""RPG: its codes, the rows that it learns from, and both ways to rank the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.generative_recommendation.rpg import RPG, UserRows
from benchmark.errors import SystemFailure
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.optimised import (
    OptimisedProductQuantiser,
    parallel_codes,
    whitened,
)
from benchmark.kit.identifiers.product import ProductQuantiser
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import Planted, going_round, planted_in, view_of_sequences
from tests.golden.loading import requests_for
from tests.training import SEED, expect

ITEMS, USERS, EVENTS = 32, 80, 12
LISTS = ProtocolSettings(negatives=19)
SMALL: dict[str, Any] = {
    "history_length": 4,
    "n_embd": 32,
    "n_head": 2,
    "n_inner": 64,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.0,
    "temperature": 0.1,
}
QUICK = {"epochs": 25, "batch_size": 64, "learning_rate": 0.01, "validate_every": 0}
HISTORIES = np.array([[5, 0, 0, 0], [0, 0, 0, 0], [7, 3, 9, ITEMS]])
EVERYTHING = np.tile(np.arange(1, ITEMS + 1), (len(HISTORIES), 1))


class WithCodes(RPG):
    """Codes drawn at random, and those of the last two items are equal."""

    def _make_identifiers(self, view: TrainingView) -> None:
        codes = np.random.default_rng(2).integers(6, size=(ITEMS, 4))
        codes[-1] = codes[-2]
        self.identifiers = Identifiers.of_items(codes, (6,) * 4)
        self.figures, self.encoder_stand_in = {}, ""


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(going_round(USERS, ITEMS, EVENTS), LISTS)


def make(folder: Path, **changes: Any) -> WithCodes:
    config = RPG.Config(**{**SMALL, "training": QUICK, **changes})
    return WithCodes(config, RunContext(SEED, folder, ArtifactStore(folder / "artifacts")))


@pytest.fixture(scope="module")
def fitted(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> WithCodes:
    system = make(tmp_path_factory.mktemp("rpg"))
    system.fit(planted[2])
    return system


@pytest.mark.training
def test_the_next_item_is_learned(fitted: WithCodes, planted: Any) -> None:
    dataset, task, _ = planted
    expect(hit_rate(fitted, dataset, task), above=0.8)


def test_equal_codes_tie_and_nobody_is_left_out(fitted: WithCodes) -> None:
    scores = fitted.score(requests_for(HISTORIES, EVERYTHING))
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores[:, -1], scores[:, -2])
    assert len(np.unique(scores[1])) == ITEMS - 1


def test_lists_and_the_catalogue_agree_to_the_bit(fitted: WithCodes) -> None:
    requests = requests_for(HISTORIES, EVERYTHING)
    np.testing.assert_array_equal(fitted.score(requests), fitted.score_all_items(requests)[:, 1:])


def test_a_walk_leaves_out_what_it_does_not_reach(fitted: WithCodes) -> None:
    requests = requests_for(HISTORIES, EVERYTHING)
    exact = fitted.score_all_items(requests)
    walking = make(
        fitted.context.folder,
        ranks_catalogue_by="graph",
        num_beams=6,
        n_edges=5,
        propagation_steps=2,
    )
    walking.identifiers, walking.model = fitted.identifiers, fitted.model
    found = walking.score_all_items(requests)
    reached = np.isfinite(found)
    assert (reached.sum(axis=1) == 6).all() and not reached[:, 0].any()
    np.testing.assert_array_equal(found[reached], exact[reached])
    assert walking.ranking_of_all_items() == "a walk that keeps 6 items"
    assert not fitted.ranking_of_all_items()
    wide = make(fitted.context.folder, ranks_catalogue_by="graph", num_beams=90, n_edges=90)
    wide.identifiers, wide.model = fitted.identifiers, fitted.model
    np.testing.assert_array_equal(wide.score_all_items(requests)[:, 1:], exact[:, 1:])


def test_a_loaded_system_scores_alike_to_the_bit(
    fitted: WithCodes, planted: Any, tmp_path: Path
) -> None:
    empty = RPG(fitted.config, RunContext(0, tmp_path, ArtifactStore(tmp_path / "artifacts")))
    loaded = loaded_into(empty, fitted, tmp_path, planted[2].corpus)
    check_scores_are_the_same(loaded, fitted, requests_for(HISTORIES, EVERYTHING))


def test_the_learning_rate_rises_over_a_share_of_the_steps(planted: Any, tmp_path: Path) -> None:
    rows = UserRows(planted[2], 4)
    steps = 25 * rows.steps(64)
    assert make(tmp_path, warmup_share=0.2).training_settings(rows).warmup_steps == steps // 5
    given = make(tmp_path, training=QUICK | {"warmup_steps": 7}, warmup_share=0.2)
    assert given.training_settings(rows).warmup_steps == 7


def test_a_first_row_is_a_target_everywhere_and_later_ones_at_their_end() -> None:
    rows = UserRows(view_of_sequences([[11, 12, 13, 14, 15, 16], [21], [31, 32]]), 3)
    batch = rows.batch(np.arange(len(rows)), np.random.default_rng(0))
    pairs = list(zip(batch["items"].tolist(), batch["targets"].tolist(), strict=True))
    assert pairs == [
        ([11, 12, 13], [12, 13, 14]),
        ([12, 13, 14], [0, 0, 15]),
        ([13, 14, 15], [0, 0, 16]),
        ([31, 0, 0], [32, 0, 0]),
    ]


def test_initial_heads_are_layers_without_weights(fitted: WithCodes, planted: Any) -> None:
    torch.manual_seed(0)
    network: Any = make(fitted.context.folder)
    network.identifiers = fitted.identifiers
    network = network.build(planted[2].corpus).network
    assert not network.pred_heads[0].linear.weight.any()
    assert network.pred_heads[0].linear.bias.any()
    assert float(network.gpt2.wte.weight.detach().std()) == pytest.approx(0.02, rel=0.2)


# ----------------------------------------------------------------------------------- quantisation


def correlated(items: int) -> Any:
    random = np.random.default_rng(0)
    return (random.normal(size=(items, 3)) @ random.normal(size=(3, 8))).astype(np.float32)


def test_a_rotation_makes_blocks_of_correlated_vectors_better() -> None:
    vectors = correlated(300)
    plain = ProductQuantiser.fit(vectors, 4, 8, np.random.default_rng(1))
    error = np.square(vectors - plain.decode(plain.encode(vectors))).sum(axis=1).mean()
    own = OptimisedProductQuantiser.fit(vectors, 4, 8, np.random.default_rng(1))
    assert own.error(vectors) < 0.5 * error


def test_components_are_white() -> None:
    components = whitened(np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32), 4)
    np.testing.assert_allclose(np.cov(components.T), np.eye(4), atol=1e-4)


def test_codes_are_no_more_than_the_items_that_they_are_learned_from() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    trained = np.arange(40) < 30
    sizes, random = (128, 4, 256), np.random.default_rng(0)
    identifiers, error = parallel_codes(vectors, trained, sizes, random)
    assert identifiers.sizes == (30,) * 4 and error == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: whitened(np.zeros((4, 9), dtype=np.float32), 4), "have no 4 components"),
        (
            lambda: OptimisedProductQuantiser.fit(correlated(5), 4, 8, np.random.default_rng(0)),
            "5 vectors cannot make 8 codes",
        ),
        (
            lambda: OptimisedProductQuantiser.fit(correlated(50), 3, 8, np.random.default_rng(0)),
            "cannot be cut into 3 equal blocks",
        ),
        (
            lambda: parallel_codes(
                correlated(6), np.arange(6) > 0, (128, 16, 256), np.random.default_rng(0)
            ),
            "6 items, of vectors of width 8, cannot have 16 codes each",
        ),
    ],
)
def test_too_little_to_quantise_is_a_failure(call: Any, said: str) -> None:
    with pytest.raises(SystemFailure, match=said):
        call()
