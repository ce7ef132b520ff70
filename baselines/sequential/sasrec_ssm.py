"""SASRec with the loss of HSTU: a sampled softmax over unit vectors with a temperature.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, as
https://github.com/meta-recsys/generative-recommenders (commit db1bf8f, Apache-2.0) builds and
trains it beside HSTU; written anew after its behaviour. It differs from ``hstu`` in the blocks
alone, so a comparison of the two is one of the blocks, and one with ``sasrec-bce`` shows what the
loss does. What else differs from the original is told in ``hstu``.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import nn

from baselines.sequential.hstu import (
    NextItemConfig,
    NextItemNetwork,
    NextItemSystem,
    Times,
    cut_normal,
    normed,
)
from benchmark.systems.view import Corpus

LAYER_NORM_EPSILON = 1e-8


class SASRecSSMConfig(NextItemConfig):
    """The values for Amazon Books; ``num_heads`` divides ``embedding_dim``."""

    ffn_hidden_dim: int = Field(default=64, ge=1)
    """Units between the two layers of the feed-forward part."""


class SASRecBlock(nn.Module):
    """Attention of normed queries to the values as they are, then a feed-forward part."""

    def __init__(self, config: SASRecSSMConfig) -> None:
        super().__init__()
        dim, rate, hidden = config.embedding_dim, config.dropout_rate, config.ffn_hidden_dim
        self.attention = nn.MultiheadAttention(dim, config.num_heads, rate, batch_first=True)
        self.inner, self.outer = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(rate)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)

    def forward(self, x: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
        """(batch, length, dim); ``future`` (length, length) is what a slot does not see."""
        queries = normed(x, LAYER_NORM_EPSILON)
        read = self.attention(queries, x, x, attn_mask=future, need_weights=False)[0]
        y = normed(queries + read, LAYER_NORM_EPSILON)
        hidden = self.dropout(torch.relu(self.inner(y)))  # (batch, length, hidden)
        return y + self.dropout(self.outer(hidden))


class SASRecSSMNetwork(NextItemNetwork):
    """Blocks of :class:`SASRecBlock`; times are not read."""

    def __init__(self, number_of_items: int, config: SASRecSSMConfig) -> None:
        super().__init__(number_of_items, config)
        cut_normal(self.pos_emb.weight, math.sqrt(1 / config.embedding_dim))
        self.layers = nn.ModuleList(SASRecBlock(config) for _ in range(config.num_blocks))

    def blocks(self, x: torch.Tensor, items: torch.Tensor, times: Times) -> torch.Tensor:
        """(batch, length, dim); 0 at padding after each block."""
        length, real = items.shape[1], (items > 0)[:, :, None]
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        for layer in self.layers:
            x = layer(x, future) * real
        return x


class SASRecSSM(NextItemSystem):
    """SASRec by a sampled softmax."""

    Config = SASRecSSMConfig
    config: SASRecSSMConfig

    def network(self, corpus: Corpus) -> nn.Module:
        """A fresh :class:`SASRecSSMNetwork`."""
        return SASRecSSMNetwork(corpus.number_of_items, self.config)
