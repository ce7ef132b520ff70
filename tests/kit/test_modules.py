"""Weights to files and back, tied weights included."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmark.kit.modules import copy_of_state, load_state, save_state


class Tied(nn.Module):
    """An embedding whose table is the output layer's weight too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.table.weight
        self.register_buffer("steps", torch.tensor(7))


def test_weights_and_buffers_come_back_to_the_bit(tmp_path: Path) -> None:
    model, other = Tied(), Tied()
    save_state(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(load_state(tmp_path / "model.safetensors"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert other.output.weight is other.table.weight
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_copied_state_does_not_follow_the_model() -> None:
    model = nn.Linear(2, 2)
    before = copy_of_state(model)
    with torch.no_grad():
        model.weight += 1
    assert not torch.equal(before["weight"], model.weight)
    assert not before["weight"].requires_grad
