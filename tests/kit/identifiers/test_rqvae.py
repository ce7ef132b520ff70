"""RQ-VAE: it learns planted clusters, keeps its best weights, resumes, and takes any vectors."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.card import variance_explained
from benchmark.kit.identifiers.collisions import Coded
from benchmark.kit.identifiers.learning import (
    Vectors,
    learn_codes,
    training_settings,
)
from benchmark.kit.identifiers.rqvae import (
    RQVAE,
    VECTORS,
    MultiLayerPerceptron,
    RQVAEConfig,
    learn_identifiers,
)
from benchmark.kit.training import Batch, TrainingSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import FloatArray, RunContext
from tests.training import SEED, expect

COARSE, FINE, ALIKE, DIM = 4, 4, 6, 24
ITEMS = COARSE * FINE * ALIKE
TRAINING: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 48,
    "learning_rate": 0.001,
    "validate_every": 5,
    "checkpoint_seconds": 1e9,
}
SMALL: dict[str, Any] = {
    "sizes": (4, 4, 8),
    "epsilons": (0.0, 0.0, 0.003),
    "hidden_sizes": (32,),
    "latent_size": 8,
    "warmup_epochs": 2,
    "training": TRAINING,
}


def config(**changes: Any) -> RQVAEConfig:
    return RQVAEConfig.model_validate(SMALL | changes)


def context(folder: Path, seed: int = 1 + SEED) -> RunContext:
    return RunContext(seed, folder, ArtifactStore(folder))


def planted() -> FloatArray:
    """Items of 4 groups of 4 groups, (items, dim)."""
    random = np.random.default_rng(7)
    coarse = 4 * random.normal(size=(COARSE, 1, 1, DIM))
    fine = 1 * random.normal(size=(COARSE, FINE, 1, DIM))
    own = 0.1 * random.normal(size=(COARSE, FINE, ALIKE, DIM))
    return (coarse + fine + own).reshape(ITEMS, DIM).astype(np.float32)


def share_of_the_commonest(codes: NDArray[Any]) -> float:
    """How many of the items (groups, members) have the commonest code of their group."""
    return sum(np.bincount(group).max() for group in codes) / codes.size


@pytest.mark.training
def test_items_of_one_cluster_share_the_codes_of_the_first_levels(tmp_path: Path) -> None:
    learned = learn_identifiers(planted(), config(), context(tmp_path))
    codes = learned.identifiers.codes[1:].reshape(COARSE, FINE, ALIKE, 3)
    # Of some starts k-means gives two codes to one group and one to two.
    expect(share_of_the_commonest(codes[..., 0].reshape(COARSE, -1)), above=0.75)
    expect(share_of_the_commonest(codes[..., 1].reshape(-1, ALIKE)), above=0.8)
    assert learned.figures["codebook_use_1"] == 1.0
    assert learned.figures["sharing"] <= learned.figures["sharing_before"]


def test_equal_seeds_give_equal_identifiers(tmp_path: Path) -> None:
    brief = config(training=TRAINING | {"epochs": 5})
    once, again, other = (
        learn_identifiers(planted(), brief, context(tmp_path / str(n), seed)).identifiers.codes
        for n, seed in enumerate((1, 1, 2))
    )
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


@pytest.mark.parametrize("collisions", ["assignment", "counter"])
def test_collisions_are_resolved(collisions: str, tmp_path: Path) -> None:
    vectors = np.repeat(planted()[::6], 6, axis=0)  # six equal items each
    learned = learn_identifiers(vectors, config(collisions=collisions), context(tmp_path))
    assert learned.figures["sharing_before"] == 1.0
    assert learned.figures["sharing"] == 0.0
    assert learned.identifiers.levels == (4 if collisions == "counter" else 3)


def test_collisions_may_be_left(tmp_path: Path) -> None:
    vectors = np.repeat(planted()[::6], 6, axis=0)
    learned = learn_identifiers(vectors, config(collisions="none"), context(tmp_path))
    assert learned.figures["sharing"] == learned.figures["sharing_before"] == 1.0


@pytest.mark.training
def test_the_weights_with_the_fewest_collisions_are_kept(tmp_path: Path) -> None:
    learned = learn_identifiers(planted(), config(collisions="none"), context(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "identifiers.jsonl").read_text().splitlines()]
    rates = [row["validation"][VECTORS]["collision rate"] for row in rows if "validation" in row]
    assert len(rates) == 6
    assert len(set(rates)) > 1
    assert 1 - learned.figures["distinct"] / ITEMS == pytest.approx(min(rates))


class Stopped(Exception):
    """What stands for a crash."""


class Fragile(RQVAE):
    """A model that crashes once at some step."""

    steps_left = -1

    def loss(self, batch: Batch) -> torch.Tensor:
        if self.steps_left == 0:
            raise Stopped
        self.steps_left -= 1
        return super().loss(batch)


@pytest.mark.parametrize("restart", [False, True])
def test_a_killed_training_resumes_to_the_bit(restart: bool, tmp_path: Path) -> None:
    settings = config(
        restart_unused=restart,
        training=TRAINING | {"epochs": 6, "validate_every": 2, "checkpoint_seconds": 0},
    )

    def codes_and_weights(folder: Path, stop_at: int) -> tuple[Any, dict[str, torch.Tensor]]:
        torch.manual_seed(3)
        model = Fragile(DIM, settings)
        model.steps_left = stop_at
        learned = learn_codes(model, {VECTORS: planted()}, settings, context(folder))
        assert learned.history.resumed == (folder.name == "stopped" and stop_at < 0)
        return learned.coded[VECTORS].codes, model.state_dict()

    whole_codes, whole = codes_and_weights(tmp_path / "whole", -1)
    with pytest.raises(Stopped):
        codes_and_weights(tmp_path / "stopped", 7)
    resumed_codes, resumed = codes_and_weights(tmp_path / "stopped", -1)
    np.testing.assert_array_equal(resumed_codes, whole_codes)
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.training
def test_restarts_bring_unused_codes_into_use(tmp_path: Path) -> None:
    """A uniform start of the codebooks collapses: residuals are far from all but a few codes."""
    vectors = 10 + np.random.default_rng(0).normal(size=(200, DIM)).astype(np.float32)
    use = {}
    for restart in (False, True):
        settings = config(
            sizes=(32, 32),
            epsilons=(0, 0),
            kmeans_iterations=None,
            restart_unused=restart,
            collisions="none",
            training=TRAINING | {"epochs": 15, "validate_every": 1},
        )
        figures = learn_identifiers(vectors, settings, context(tmp_path / str(restart))).figures
        use[restart] = figures["codebook_use_1"]
    expect(use[True], above=0.6)
    expect(use[False] / use[True], below=0.5)


@pytest.mark.training
def test_a_collapsed_codebook_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vectors = np.repeat(planted()[:4], 20, axis=0)  # four items, twenty times each
    with caplog.at_level(logging.WARNING, logger="benchmark"):
        learn_identifiers(vectors, config(sizes=(32, 4, 4)), context(tmp_path))
    found = re.search(r"use (\d+)% of the codes of level 1", caplog.text)
    assert found and int(found[1]) <= 12  # 4 of 32


def test_fewer_items_than_codes_are_no_obstacle(tmp_path: Path) -> None:
    settings = config(sizes=(64, 64, 64), collisions="assignment")
    learned = learn_identifiers(planted()[:5], settings, context(tmp_path))
    assert learned.figures["distinct"] == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"quantiser": "rq-kmeans", "kmeans_iterations": None}, "needs kmeans_iterations"),
        ({"training": TRAINING | {"warmup_steps": 5}}, "set warmup_steps beside it"),
        ({"steps": 100, "warmup_steps": 100}, "warmup_steps 100 must be below steps 100"),
        ({"sizes": (0, 4, 8)}, "greater than or equal to 1"),
        ({"sizes": (), "epsilons": ()}, "at least 1 item"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**changes)


def test_standardised_vectors_do_not_depend_on_the_units(tmp_path: Path) -> None:
    vectors, settings = planted(), config(standardise=True, training=TRAINING | {"epochs": 4})
    scaled = vectors * 2.0 ** np.arange(-8, DIM - 8) + 0  # powers of two: the same bits
    plain, other = (
        learn_identifiers(v.astype(np.float32), settings, context(tmp_path / str(n))).identifiers
        for n, v in enumerate((vectors, scaled))
    )
    np.testing.assert_array_equal(plain.codes, other.codes)


def test_a_dimension_that_never_changes_can_be_standardised(tmp_path: Path) -> None:
    vectors = planted()
    vectors[:, 0] = 3.0
    settings = config(standardise=True, training=TRAINING | {"epochs": 2})
    assert learn_identifiers(vectors, settings, context(tmp_path)).figures["items"] == ITEMS


def test_the_start_may_cluster_all_items(tmp_path: Path) -> None:
    settings = config(kmeans_rows="all", training=TRAINING | {"epochs": 0, "batch_size": 2})
    learned = learn_identifiers(planted(), settings, context(tmp_path))
    assert learned.figures["codebook_use_1"] == 1.0


def test_batch_norm_stands_before_every_activation() -> None:
    widths, x = (DIM, 16, 8, 4), torch.from_numpy(planted())
    network = MultiLayerPerceptron(widths, config(batch_norm=True))
    assert [norm.num_features for norm in network.norms] == [16, 8]
    seen = []
    network.layers[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(x)
    expected = torch.relu(
        torch.nn.functional.batch_norm(network.layers[0](x), None, None, training=True)
    )
    torch.testing.assert_close(seen[0], expected)


def test_options_of_the_layers_take_effect() -> None:
    widths = (DIM, 16, 4)
    plain = MultiLayerPerceptron(widths, config(bias=False, initialisation="torch"))
    assert all(layer.bias is None for layer in plain.layers)
    xavier = MultiLayerPerceptron(widths, config())
    assert not any(layer.bias.any() for layer in xavier.layers)
    assert MultiLayerPerceptron(widths, config(dropout=0.5)).dropout.p == 0.5


@pytest.mark.parametrize(
    ("vectors", "complaint"),
    [
        (np.zeros((0, DIM), dtype=np.float32), "no items"),
        (np.full((9, DIM), np.nan, dtype=np.float32), "not finite"),
    ],
)
def test_vectors_that_are_none_are_an_error(
    vectors: FloatArray, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemFailure, match=complaint):
        learn_identifiers(vectors, config(), context(tmp_path))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"epsilons": (0.0, 0.0)}, "3 levels and 2 epsilons"),
        ({"epsilons": (0.0, 0.0, 0.001)}, r"0 \(nearest codes\) or at least 0.003"),
    ],
)
def test_epsilons_that_cannot_be_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        config(**changes)


def test_defaults_hold_for_the_parts_that_a_change_does_not_name() -> None:
    changed = RQVAEConfig.model_validate({"training": {"epochs": 3}})
    default = RQVAEConfig().training
    assert changed.training == default.model_copy(update={"epochs": 3})
    assert isinstance(default, TrainingSettings)


# Training in steps, and what is selected


@pytest.mark.parametrize(("items", "batch"), [(96, 48), (96, 96), (10, 48)])
def test_steps_are_as_many_whatever_the_number_of_items(
    items: int, batch: int, tmp_path: Path
) -> None:
    settings = config(
        steps=40, validations=4, warmup_steps=8, training=TRAINING | {"batch_size": batch}
    )
    learned = learn_identifiers(planted()[:items], settings, context(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "identifiers.jsonl").read_text().splitlines()]
    assert learned.figures["steps"] == rows[-1]["step"] == 40
    assert sum("validation" in row for row in rows) == 4 and "validation" in rows[-1]


def test_steps_are_rounded_up_to_whole_validations() -> None:
    instances = Vectors({VECTORS: planted()})  # 96 items: two steps an epoch
    settings = training_settings(config(steps=25, validations=4, warmup_steps=None), instances)
    assert (settings.epochs, settings.validate_every, settings.warmup_steps) == (15, 3, 4)
    plain = training_settings(config(), instances)
    assert (plain.epochs, plain.validate_every, plain.warmup_steps) == (30, 5, 4)


class Scripted(RQVAE):
    """A model that codes all items alike but at its first, third and last validation."""

    validations = 0

    def coded(self, latent: torch.Tensor) -> dict[str, Coded]:
        found = super().coded(latent)
        self.validations += 1
        distinct = {1: len(latent), 3: len(latent) // 2, 4: 3}.get(self.validations, 1)
        codes = np.zeros_like(found[VECTORS].codes)
        codes[:, 0] = np.arange(len(codes)) % distinct
        return {VECTORS: replace(found[VECTORS], codes=codes)}


@pytest.mark.parametrize(
    ("selected", "step", "is_early"), [("any_time", 10, True), ("after_warmup", 30, False)]
)
def test_weights_of_the_warm_up_are_not_selected(
    selected: str,
    step: int,
    is_early: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = config(steps=60, validations=6, warmup_steps=15, selected=selected)
    with caplog.at_level(logging.WARNING, logger="benchmark"):
        learned = learn_codes(
            Scripted(DIM, settings), {VECTORS: planted()}, settings, context(tmp_path)
        )
    assert learned.figures() == {"steps": 60.0, "selected_step": float(step)}
    assert ("fewest collisions were found after 17% of training" in caplog.text) == is_early
    assert ("set identifiers.selected to after_warmup" in caplog.text) == is_early


def test_the_codebooks_can_start_from_all_items(tmp_path: Path) -> None:
    """The first batch holds a sixth of the items, so it misses some of their sixteen groups."""
    sizes: dict[str, Any] = {"sizes": (16,), "epsilons": (0.0,), "collisions": "none"}
    training = {"training": TRAINING | {"epochs": 0, "batch_size": 16}}
    explained = {
        rows: learn_identifiers(
            planted(), config(kmeans_rows=rows, **sizes, **training), context(tmp_path / rows)
        ).figures["variance_explained_1"]
        for rows in ("batch", "all")
    }
    assert explained["all"] > explained["batch"]


# Residual k-means


def test_residual_k_means_is_k_means_of_what_is_left(tmp_path: Path) -> None:
    settings = config(quantiser="rq-kmeans", sizes=(4, 4), epsilons=(0.0, 0.0), collisions="none")
    vectors = planted()
    learned = learn_identifiers(vectors, settings, context(tmp_path))
    first, second = learned.identifiers.codes[1:].T
    residual = vectors - np.stack([vectors[first == code].mean(axis=0) for code in range(4)])[first]
    centres = np.stack([residual[second == code].mean(axis=0) for code in range(4)])
    nearest = np.square(residual[:, None] - centres).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, second)
    assert not (tmp_path / "identifiers.jsonl").exists() and "steps" not in learned.figures


def test_residual_k_means_finds_planted_groups(tmp_path: Path) -> None:
    settings = config(quantiser="rq-kmeans", sizes=(COARSE, FINE), epsilons=(0.0, 0.0))
    figures = learn_identifiers(planted(), settings, context(tmp_path)).figures
    assert figures["variance_explained_1"] > 0.9
    assert figures["variance_explained_2"] > figures["variance_explained_1"]


# Variance


def test_the_variance_that_codes_explain_is_that_between_their_means() -> None:
    vectors = np.array([[0, 0], [2, 0], [10, 4], [10, 0]], dtype=np.float32)
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 0]])
    # Within the groups of level 1 are left 2 and 8, within those of both levels 0 and 8.
    total = float(np.square(vectors - vectors.mean(axis=0)).sum())
    assert variance_explained(vectors, codes) == pytest.approx([1 - 10 / total, 1 - 8 / total])


def test_codes_of_their_own_explain_everything_and_one_code_nothing() -> None:
    vectors = planted()
    codes = np.stack([np.zeros(ITEMS), np.arange(ITEMS)], axis=1).astype(np.int64)
    assert variance_explained(vectors, codes) == pytest.approx([0, 1], abs=1e-9)
