"""Fused optimisers: where they are used, and that they do the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmark.kit import optimizers
from benchmark.kit.modules import copy_of_state
from benchmark.kit.optimizers import is_fused
from benchmark.kit.training import TrainingSettings, train
from tests.kit.test_training import ExactRows, make_context, seeded_model, square_error


def weights(device: str, dtype: torch.dtype = torch.float32) -> list[Any]:
    return [SimpleNamespace(device=torch.device(device), is_complex=lambda: dtype.is_complex)] * 2


@pytest.mark.parametrize(
    ("optimizer", "on_cuda", "on_cpu"),
    [
        ("adam", True, False),
        ("adamw", True, True),
        ("sgd", True, False),
        ("adagrad", False, False),
    ],
)
def test_accelerators_fuse_what_they_can_and_a_cpu_what_it_always_did(
    optimizer: str, on_cuda: bool, on_cpu: bool
) -> None:
    assert is_fused(optimizer, weights("cuda:0")) is on_cuda
    assert is_fused(optimizer, weights("cpu")) is on_cpu
    assert not is_fused(optimizer, weights("cuda:0") + weights("cpu", torch.complex64))
    assert not is_fused("adam", weights("cuda:0") + weights("cpu"))


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


def test_on_a_cpu_adam_is_not_fused(tmp_path: Path) -> None:
    model = seeded_model()
    made = optimizers.make_optimizer(model.parameters(), TrainingSettings(optimizer="adam"))
    assert made.defaults["fused"] is False
