"""Fused optimisers: where they are used, and that they do the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmark.kit.modules import copy_of_state
from benchmark.kit.training import TrainingSettings, optimizers, train
from benchmark.kit.training.optimizers import decay_groups, is_fused
from tests.kit.test_training import ExactRows, make_context, seeded_model, square_error


@pytest.mark.parametrize("decays", [None, lambda name: name == "0.weight"])
def test_parameters_that_do_not_decay_are_a_group_of_their_own(decays: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
    chosen = decays or (lambda name: "bias" not in name)  # all but the biases by default
    decaying, others = decay_groups(model, decays) if decays else decay_groups(model)
    for name, parameter in model.named_parameters():
        group = decaying if chosen(name) else others
        assert any(one is parameter for one in group["params"]), name
    assert len(decaying["params"]) + len(others["params"]) == 4
    assert others["weight_decay"] == 0.0 and "weight_decay" not in decaying


def weights(device: str, dtype: torch.dtype = torch.float32) -> list[Any]:
    return [SimpleNamespace(device=torch.device(device), is_complex=lambda: dtype.is_complex)] * 2


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_real_weights_of_one_device_are_fused(device: str) -> None:
    assert is_fused(weights(device))
    assert not is_fused(weights(device) + weights(device, torch.complex64))
    assert not is_fused(weights("cuda:0") + weights("cpu"))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_fused_steps_are_those_of_separate_operations(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    settings = TrainingSettings(
        epochs=5,
        batch_size=6,
        optimizer=optimizer,
        learning_rate=0.02,
        weight_decay=0.1,
        schedule="cosine",
        gradient_clip=0.5,
        patience=None,
    )
    for fused in (False, True):
        monkeypatch.setattr(optimizers, "is_fused", lambda *given, fused=fused: fused)
        model = seeded_model()
        folder = make_context(tmp_path / str(fused))
        train(model, ExactRows(), square_error(model), settings, folder)
        states.append(copy_of_state(model))
    for name, weight in states[0].items():
        torch.testing.assert_close(states[1][name], weight, rtol=1e-4, atol=1e-6)
