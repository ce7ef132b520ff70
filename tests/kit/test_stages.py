"""Stages of a fit: the last sound one is taken up, a damaged one is not, and none is left over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.kit.training import TrainingSettings
from benchmark.kit.training.stages import FinishedStages
from tests.kit.test_training import ExactRows, make_context

NOTHING = np.zeros((2, 0), dtype=np.int64)


def stages(folder: Path) -> FinishedStages:
    return FinishedStages(make_context(folder), "parts", "a learned part", 3)


def filled(value: float) -> nn.Linear:
    network = nn.Linear(2, 2)
    nn.init.constant_(network.weight, value)
    return network


def test_the_last_stage_is_taken_up_and_goes_in_the_end(tmp_path: Path) -> None:
    kept, network = stages(tmp_path), filled(0.0)
    assert kept.resumed(network, NOTHING) is NOTHING and (network.weight == 0).all()
    kept.keep(1, filled(1.0), np.array([[1], [2]]))
    kept.keep(2, filled(2.0), np.array([[1, 3], [2, 4]]))
    found = stages(tmp_path).resumed(network, NOTHING)
    assert found.tolist() == [[1, 3], [2, 4]]
    torch.testing.assert_close(network.weight, torch.full((2, 2), 2.0))
    assert [one.name for one in (tmp_path / "checkpoint" / "parts").iterdir()] == ["2"]
    kept.forget()
    assert not (tmp_path / "checkpoint" / "parts").exists()


def test_a_damaged_stage_is_not_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept, network = stages(tmp_path), filled(0.0)
    kept.keep(1, filled(1.0), np.array([[1], [2]]))
    path = tmp_path / "checkpoint" / "parts" / "1" / "codes.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert kept.resumed(network, NOTHING) is NOTHING and (network.weight == 0).all()
    assert "a learned part is not used" in caplog.text


def test_a_warm_up_is_a_share_of_all_steps_unless_it_is_given() -> None:
    settings = TrainingSettings(epochs=5, batch_size=3)
    steps = 5 * ExactRows().steps(3)
    assert settings.with_warmup(0.5, ExactRows()).warmup_steps == round(0.5 * steps) > 0
    given = TrainingSettings(epochs=5, batch_size=3, warmup_steps=7)
    assert given.with_warmup(0.5, ExactRows()) is given
