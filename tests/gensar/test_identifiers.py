"""GenSAR's joint identifiers: what the two share, every mode, and their way to disk and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from benchmark.errors import SystemFailure
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import FloatArray, RunContext
from gensar.identifiers import (
    JointIdentifierConfig,
    JointIdentifiers,
    JointRQVAE,
    learn_joint_identifiers,
)

ITEMS, SEMANTIC_SIZE, COLLABORATIVE_SIZE = 96, 20, 12
SMALL: dict[str, Any] = {
    "shared_sizes": (4, 4),
    "specific_sizes": (6, 8),
    "hidden_sizes": (24,),
    "latent_size": 8,
    "warmup_epochs": 1,
    "training": {
        "epochs": 8,
        "batch_size": 48,
        "learning_rate": 0.005,
        "validate_every": 4,
        "checkpoint_seconds": 1e9,
    },
}
UNVALIDATED = SMALL["training"] | {"validate_every": 0}


def vectors(size: int, seed: int) -> FloatArray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(8, size))[random.integers(8, size=ITEMS)]
    return (centres + 0.3 * random.normal(size=(ITEMS, size))).astype(np.float32)


def learn(
    folder: Path, semantic_seed: int = 1, collaborative_seed: int = 2, **changes: Any
) -> JointIdentifiers:
    config = JointIdentifierConfig.model_validate(SMALL | changes)
    return learn_joint_identifiers(
        vectors(SEMANTIC_SIZE, semantic_seed),
        vectors(COLLABORATIVE_SIZE, collaborative_seed),
        config,
        RunContext(5, folder, ArtifactStore(folder)),
    )


def test_the_two_identifiers_share_their_first_codes_only(tmp_path: Path) -> None:
    both = learn(tmp_path)
    semantic, collaborative = both.semantic.codes, both.collaborative.codes
    assert semantic.shape == collaborative.shape == (ITEMS + 1, 4)
    assert both.semantic.sizes == both.collaborative.sizes == (4, 4, 6, 8)
    np.testing.assert_array_equal(semantic[:, :2], collaborative[:, :2])
    assert (semantic[:, 2] != collaborative[:, 2]).any()
    assert (semantic[:, 3] != collaborative[:, 3]).any()


def test_the_report_has_the_figures_of_both(tmp_path: Path) -> None:
    both = learn(tmp_path)
    assert set(both.report) == {"semantic", "collaborative"}
    for kind, figures in both.report.items():
        report = getattr(both, kind).report()
        assert figures["distinct"] == report.distinct
        assert figures["codebook_use_4"] == report.codebook_use[3]
        assert figures["sharing_before"] > 0


@pytest.mark.parametrize("mode", ["joint", "no_shared", "shared_only", "semantic_only"])
def test_free_codes_make_all_identifiers_distinct(mode: str, tmp_path: Path) -> None:
    both = learn(tmp_path, mode=mode, collisions="assignment")
    assert all(figures["sharing"] == 0 for figures in both.report.values())
    assert both.semantic.sizes == both.collaborative.sizes == (4, 4, 6, 8)


def test_without_shared_levels_each_kind_has_its_own_first_codes(tmp_path: Path) -> None:
    both = learn(tmp_path, mode="no_shared")
    assert (both.semantic.codes[:, 0] != both.collaborative.codes[:, 0]).any()


def test_without_shared_levels_the_kinds_do_not_influence_each_other(tmp_path: Path) -> None:
    """Up to the common norm of the gradient and the common choice of the best epoch."""
    apart: dict[str, Any] = {
        "mode": "no_shared",
        "training": UNVALIDATED | {"gradient_clip": None},
    }
    one = learn(tmp_path / "one", **apart)
    other = learn(tmp_path / "other", collaborative_seed=9, **apart)
    np.testing.assert_array_equal(one.semantic.codes, other.semantic.codes)
    assert (one.collaborative.codes != other.collaborative.codes).any()


def test_with_shared_levels_the_kinds_influence_each_other(tmp_path: Path) -> None:
    one = learn(tmp_path / "one", training=UNVALIDATED)
    other = learn(tmp_path / "other", collaborative_seed=9, training=UNVALIDATED)
    assert (one.semantic.codes != other.semantic.codes).any()


@pytest.mark.parametrize("mode", ["shared_only", "semantic_only", "collaborative_only"])
def test_one_identifier_serves_both_tasks(mode: str, tmp_path: Path) -> None:
    both = learn(tmp_path, mode=mode)
    np.testing.assert_array_equal(both.semantic.codes, both.collaborative.codes)
    assert len(both.report) == 1


@pytest.mark.parametrize(
    ("mode", "unread"),
    [("semantic_only", "collaborative_seed"), ("collaborative_only", "semantic_seed")],
)
def test_an_identifier_of_one_embedding_ignores_the_other(
    mode: str, unread: str, tmp_path: Path
) -> None:
    plain = learn(tmp_path / "plain", mode=mode)
    changed = learn(tmp_path / "changed", mode=mode, **{unread: 9})
    np.testing.assert_array_equal(plain.semantic.codes, changed.semantic.codes)


@pytest.mark.parametrize(
    "mode", ["joint", "no_shared", "shared_only", "semantic_only", "collaborative_only"]
)
def test_residual_k_means_gives_every_kind_of_identifiers(mode: str, tmp_path: Path) -> None:
    both = learn(tmp_path, mode=mode, quantiser="rq-kmeans", collisions="assignment")
    assert all(figures["sharing"] == 0 for figures in both.report.values())
    shared = {"joint": 2, "no_shared": 0}.get(mode, 4)
    semantic, collaborative = both.semantic.codes[1:], both.collaborative.codes[1:]
    # Only resolving collisions may part codes that are equal by construction.
    same = (semantic[:, :shared] == collaborative[:, :shared]).all(axis=1)
    assert same.mean() > 0.9
    assert not list(tmp_path.glob("*.jsonl")), "nothing is trained"


def test_residual_k_means_does_not_depend_on_the_scale_of_one_embedding(tmp_path: Path) -> None:
    config = JointIdentifierConfig.model_validate(SMALL | {"quantiser": "rq-kmeans"})
    text, users = vectors(SEMANTIC_SIZE, 1), vectors(COLLABORATIVE_SIZE, 2)
    codes = [
        learn_joint_identifiers(
            text * factor, users, config, RunContext(5, tmp_path, ArtifactStore(tmp_path))
        ).semantic.codes
        for factor in (np.float32(1), np.float32(64))  # a power of two: the same bits
    ]
    np.testing.assert_array_equal(codes[0], codes[1])


def test_shared_codes_explain_both_embeddings(tmp_path: Path) -> None:
    """Two embeddings of the same eight groups, which two levels of four codes can tell apart."""
    group = np.arange(ITEMS) % 8
    random = np.random.default_rng(3)
    tables = [
        (random.normal(size=(8, size))[group] + 0.05 * random.normal(size=(ITEMS, size)))
        for size in (SEMANTIC_SIZE, COLLABORATIVE_SIZE)
    ]
    config = JointIdentifierConfig.model_validate(SMALL | {"quantiser": "rq-kmeans"})
    both = learn_joint_identifiers(
        *(table.astype(np.float32) for table in tables),
        config,
        RunContext(5, tmp_path, ArtifactStore(tmp_path)),
    )
    for figures in both.report.values():
        assert figures["variance_explained_2"] > 0.9
        assert figures["variance_explained_1"] < figures["variance_explained_2"]


def test_the_config_says_how_many_levels_are_shared() -> None:
    number = {
        mode: JointIdentifierConfig.model_validate(SMALL | {"mode": mode}).number_of_shared_levels
        for mode in ("joint", "no_shared", "shared_only", "semantic_only", "collaborative_only")
    }
    assert list(number.values()) == [2, 0, 4, 4, 4]


def test_the_paper_s_model_has_the_original_s_size() -> None:
    model = JointRQVAE(768, 64, JointIdentifierConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_618_560


def test_identifiers_come_back_as_they_were(tmp_path: Path) -> None:
    both = learn(tmp_path / "run")
    both.save(tmp_path / "saved")
    loaded = JointIdentifiers.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.semantic.codes, both.semantic.codes)
    np.testing.assert_array_equal(loaded.collaborative.codes, both.collaborative.codes)
    assert loaded.report == both.report


def test_tables_of_different_lengths_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemFailure, match="96 semantic vectors and 95 collaborative ones"):
        learn_joint_identifiers(
            vectors(SEMANTIC_SIZE, 1),
            vectors(COLLABORATIVE_SIZE, 2)[1:],
            JointIdentifierConfig.model_validate(SMALL),
            RunContext(5, tmp_path, ArtifactStore(tmp_path)),
        )


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"shared_sizes": (4,)}, "1 levels and 2 epsilons"),
        ({"specific_epsilons": (0.0, 0.002)}, "at least 0.003"),
        (
            {
                "shared_sizes": (),
                "shared_epsilons": (),
                "specific_sizes": (),
                "specific_epsilons": (),
            },
            "at least one level",
        ),
    ],
)
def test_levels_that_cannot_be_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        JointIdentifierConfig.model_validate(SMALL | changes)
