"""Parts of networks that have no weights of their own."""

from __future__ import annotations

import math

import torch
from torch import nn

from benchmark.kit.layers import attend, hidden_layers, sinusoids


def test_attention_by_heads_is_torchs_own() -> None:
    torch.manual_seed(0)
    batch, length, others, size, heads = 2, 3, 5, 8, 4
    module = nn.MultiheadAttention(size, heads, batch_first=True)
    states, seen = torch.randn(batch, length, size), torch.randn(batch, others, size)
    visible = torch.arange(others) < torch.tensor([[5], [2]])
    of_queries, of_keys, of_values = module.in_proj_weight.chunk(3)
    context = attend(
        states @ of_queries.T,
        seen @ of_keys.T,
        seen @ of_values.T,
        heads,
        visible[:, None, None, :],
    )
    assert context.shape == (batch, length, size)
    expected, _ = module(states, seen, seen, key_padding_mask=~visible)
    torch.testing.assert_close(module.out_proj(context), expected)


def test_attention_drops_weights_only_if_asked_to() -> None:
    torch.manual_seed(0)
    states, visible = torch.randn(1, 4, 6), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    plain, again, dropped = (
        attend(states, states, states, 2, visible, share) for share in (0.0, 0.0, 0.5)
    )
    assert torch.equal(plain, again)
    assert not torch.allclose(plain, dropped)


def test_positions_are_sines_and_cosines_of_falling_frequency() -> None:
    table = sinusoids(7, 5)  # an odd size has one sine more
    assert table.shape == (7, 5)
    for place, column in ((3, 0), (6, 1), (2, 4)):
        angle = place / 10000 ** ((column - column % 2) / 5)
        expected = math.cos(angle) if column % 2 else math.sin(angle)
        assert math.isclose(table[place, column].item(), expected, rel_tol=1e-5)


def test_hidden_layers_have_a_relu_and_dropout_each() -> None:
    layers = hidden_layers(4, 3, 2, dropout=0.25)
    kinds = [type(layer) for layer in layers]
    assert kinds == 2 * [nn.Linear, nn.ReLU, nn.Dropout]
    assert [tuple(layer.weight.shape) for layer in layers[::3]] == [(3, 4), (2, 3)]
    assert {layer.p for layer in layers[2::3]} == {0.25}
    assert hidden_layers(4, dropout=0.25) == []
