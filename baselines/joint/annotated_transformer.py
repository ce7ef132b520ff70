"""The transformer's parts as "The Annotated Transformer" has them, which UnifiedSSR is built of.

Its names of parameters are kept. Unlike torch's, the layer norm divides by the unbiased deviation,
and tables are scaled by the root of their width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmark.kit.layers import attend


class Embeddings(nn.Module):
    """A table whose vectors are scaled by the root of their size: ids (...) → (..., size)."""

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        self.lut = nn.Embedding(rows, size)
        self.scale = math.sqrt(size)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up."""
        return self.lut(ids) * self.scale

    def means(self, ids: torch.Tensor) -> torch.Tensor:
        """The mean vector of the ids but 0, (..., ids) → (..., size); that of 0 if all are 0."""
        counted = ids > 0
        counted = counted | F.pad(~counted.any(dim=-1, keepdim=True), (0, ids.shape[-1] - 1))
        weights = counted / counted.sum(dim=-1, keepdim=True)
        means = F.embedding_bag(
            ids.flatten(0, -2),
            self.lut.weight,
            mode="sum",
            per_sample_weights=weights.flatten(0, -2).to(self.lut.weight.dtype),
        )
        return means.view(*ids.shape[:-1], -1) * self.scale


class LayerNorm(nn.Module):
    """Divides by the unbiased deviation, to which a constant is added: (..., size) → the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(size))
        self.b_2 = nn.Parameter(torch.zeros(size))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Normalise the last dimension."""
        centred = states - states.mean(dim=-1, keepdim=True)
        return self.a_2 * centred / (states.std(dim=-1, keepdim=True) + 1e-6) + self.b_2


class Attention(nn.Module):
    """Multi-head attention; the four linears are of queries, keys, values and of the result."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.linears = nn.ModuleList(nn.Linear(size, size) for _ in range(4))

    def forward(
        self, states: torch.Tensor, others: torch.Tensor, visible: torch.Tensor
    ) -> torch.Tensor:
        """From ``states`` to ``others``, both (batch, length, size).

        Args:
            visible: (batch, 1, length, length) which of ``others`` each state may look at, at
                least one.
        """
        of_queries, of_keys, of_values, of_context = self.linears
        context = attend(
            of_queries(states),
            of_keys(others),
            of_values(others),
            self.heads,
            visible,
            self.dropout if self.training else 0.0,
        )
        return of_context(context)


class FeedForward(nn.Module):
    """Two layers at each position, (batch, length, size) → the same."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, 2 * size)
        self.w_2 = nn.Linear(2 * size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Apply both layers."""
        return self.w_2(self.dropout(torch.relu(self.w_1(states))))


class Sublayer(nn.Module):
    """The layer norm before a sublayer."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = LayerNorm(size)


def visible_keys(is_real: torch.Tensor, causal: bool) -> torch.Tensor:
    """Which positions each one may attend to, (batch, 1, length, length) of (batch, length).

    A position to which nothing is left attends to itself, so no result is undefined.
    """
    length = is_real.shape[1]
    every = torch.ones(length, length, dtype=torch.bool, device=is_real.device)
    visible = is_real[:, None, :] & (every.tril() if causal else every)
    itself = torch.eye(length, dtype=torch.bool, device=is_real.device)
    return (visible | (itself & ~visible.any(dim=2, keepdim=True)))[:, None]
