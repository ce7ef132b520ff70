"""Parts of networks that systems of several families have, none with weights of its own."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def sinusoids(length: int, size: int) -> torch.Tensor:
    """Position vectors (length, size): sines in even columns, cosines in odd ones."""
    pair = torch.arange(0, size, 2, dtype=torch.float32)
    angle = torch.arange(length)[:, None] * torch.exp(pair * (-math.log(10000.0) / size))
    table = torch.zeros(length, size)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle)[:, : size // 2]
    return table


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    heads: int,
    visible: torch.Tensor,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Scaled dot products of several heads, whose results stand side by side.

    Args:
        queries: (batch, length, size), projected.
        keys, values: (batch, others, size), projected.
        heads: they divide ``size``.
        visible: which keys a query sees, at least one, broadcast to (batch, heads, length, others).
        dropout: the share of the weights that is dropped, now.

    Returns:
        (batch, length, size).
    """
    query, key, value = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (queries, keys, values)
    )  # (batch, heads, length, size / heads)
    context = F.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, dropout_p=dropout
    )
    return context.transpose(1, 2).flatten(2)


def hidden_layers(*sizes: int, dropout: float) -> list[nn.Module]:
    """Linear layers from one of ``sizes`` to the next, each with ReLU and dropout."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return layers
