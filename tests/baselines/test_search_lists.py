"""Systems that learn from sampled negatives learn what search lists are full of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baselines.joint.unifiedssr import UnifiedSSR
from baselines.personalized_search.tem import TEM
from benchmark.kit.training import TrainingSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.baselines.touched import TouchedWorld, share_of_touched_first, touched_world
from tests.training import SEED, expect

QUICK: dict[str, Any] = {"validate_every": 0, "schedule": "constant", "learning_rate": 0.003}
SYSTEMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "tem": (
        TEM,
        {
            "embedding_deviation": 0.1,
            "positions": False,
            "training": TrainingSettings(epochs=60, batch_size=384, **QUICK),
        },
    ),
    "unifiedssr": (
        UnifiedSSR,
        {
            "history_length": 4,
            "dropout": 0.1,
            "pretraining": TrainingSettings(epochs=10, batch_size=64, **QUICK),
            "training": TrainingSettings(epochs=40, batch_size=64, **QUICK),
        },
    ),
}


@pytest.fixture(scope="module")
def world() -> TouchedWorld:
    return touched_world()


@pytest.mark.training
@pytest.mark.parametrize("name", SYSTEMS)
def test_what_the_user_has_already_is_seldom_ranked_first(
    name: str, world: TouchedWorld, tmp_path: Path
) -> None:
    """With negatives that are drawn from all items but the target it is, in more than half."""
    kind, config = SYSTEMS[name]
    system = kind(kind.Config(**config), RunContext(SEED, tmp_path, ArtifactStore(tmp_path)))
    system.fit(world.view)
    expect(share_of_touched_first(system, world), below=0.15)
