"""TEM: a small transformer reads the query and what the user bought; its query state ranks items.

Bi, Ai and Croft, "A Transformer-based Embedding Model for Personalized Product Search", SIGIR 2020,
in the form of https://github.com/kepingbi/ProdSearch, commit 449335b (Apache-2.0), whose parameter
names are kept. The query vector, the losses and what differs from the original in words, negatives
and selection are QEM's (see ``prodsearch.py``). Differences of its own: a training history holds
events before the search only, where the original shows all other purchases, later ones too; the
gains of layer norms start at one, where the original draws them from N(0, 1)
(``layer_norm_gains="normal"``); the history is 5 items long, as the suite's other search systems
have it, not 20; target and negatives share one encoding, so one dropout mask.
``form="joint_framework"`` is the history encoder of frameworks for joint search and recommendation
on their inputs (see ``joint_framework.py``). The plain TEM of such a framework is not public.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from baselines.personalized_search.base import (
    HistoryConfig,
    SearchNetwork,
    initialise,
    real_slots,
)
from baselines.personalized_search.joint_framework import HistoryNetwork
from baselines.personalized_search.prodsearch import (
    ProdSearch,
    ProdSearchConfig,
    ProdSearchNetwork,
)
from benchmark.kit.layers import attend, sinusoids
from benchmark.systems.space import Choice, SearchSpace, Whole

_LAYER_NORM_EPSILON = 1e-6  # of the original form


class TEMConfig(ProdSearchConfig, HistoryConfig):
    """The fields of QEM, the history and the transformer."""

    feed_forward_size: int = Field(default=128, ge=1)
    """Width of the layer between; that of the form "joint_framework" is usually 64."""
    positions: bool = True
    """Whether sinusoids of the position are added, in the form "original"."""
    layer_norm_gains: Literal["ones", "normal"] = "ones"
    """How the gains of layer norms start: at one, or, as released, drawn from N(0, 1)."""
    separate_history_table: bool = False
    """Whether history items have vectors of their own. Original form."""

    search_space: ClassVar[SearchSpace] = {
        **ProdSearchConfig.search_space,
        "positions": Choice((True, False)),
        "layers": Whole(1, 2),
    }


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of positions of a sequence to all of it."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.linear_keys = nn.Linear(size, size)
        self.linear_values = nn.Linear(size, size)
        self.linear_query = nn.Linear(size, size)
        self.final_linear = nn.Linear(size, size)

    def forward(
        self, asking: torch.Tensor, states: torch.Tensor, is_real: torch.Tensor
    ) -> torch.Tensor:
        """What positions ``asking`` (batch, asking, size) gather from ``states``; the same shape.

        Args:
            states: (batch, length, size).
            is_real: (batch, length) which of them may be looked at.
        """
        context = attend(
            self.linear_query(asking),
            self.linear_keys(states),
            self.linear_values(states),
            self.heads,
            is_real[:, None, None, :],
            self.dropout if self.training else 0.0,
        )
        return self.final_linear(context)


class FeedForward(nn.Module):
    """A layer norm of its own, then two layers at each position; (batch, length, size)."""

    def __init__(self, size: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(size, eps=_LAYER_NORM_EPSILON)
        self.w_1 = nn.Linear(size, inner)
        self.w_2 = nn.Linear(inner, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """What is added to ``states``, dropout applied."""
        inner = F.gelu(self.w_1(self.layer_norm(states)), approximate="tanh")
        return self.dropout(self.w_2(self.dropout(inner)))


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each added to its input; the first layer norms no input."""

    def __init__(self, config: TEMConfig, is_first: bool) -> None:
        super().__init__()
        size, dropout = config.embedding_size, config.dropout
        self.layer_norm = nn.Identity() if is_first else nn.LayerNorm(size, eps=_LAYER_NORM_EPSILON)
        self.self_attn = MultiHeadAttention(size, config.heads, dropout)
        self.feed_forward = FeedForward(size, config.feed_forward_size, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, states: torch.Tensor, is_real: torch.Tensor, wanted: int | None = None
    ) -> torch.Tensor:
        """(batch, length, size) → the same, or only the first ``wanted`` positions of it."""
        normed = self.layer_norm(states)
        gathered = self.self_attn(normed[:, :wanted], normed, is_real)
        states = states[:, :wanted] + self.dropout(gathered)
        return states + self.feed_forward(states)


class Encoder(nn.Module):
    """The original's transformer: positions, layers, and a layer norm at the end."""

    def __init__(self, config: TEMConfig) -> None:
        super().__init__()
        self.positions = config.positions
        self.transformer_inter = nn.ModuleList(
            EncoderLayer(config, is_first=number == 0) for number in range(config.layers)
        )
        self.layer_norm = nn.LayerNorm(config.embedding_size, eps=_LAYER_NORM_EPSILON)

    def forward(
        self, states: torch.Tensor, is_real: torch.Tensor, wanted: int | None = None
    ) -> torch.Tensor:
        """States (batch, length, size) → the same; ``is_real`` (batch, length).

        Args:
            wanted: positions that are returned, the first ones; the last layer makes no others.
        """
        states = states * is_real[..., None]
        if self.positions:
            states = states + sinusoids(states.shape[1], states.shape[2]).to(states)
        for layer in self.transformer_inter[:-1]:
            states = layer(states, is_real)
        states = self.transformer_inter[-1](states, is_real, wanted)
        return self.layer_norm(states)


class OriginalTEM(ProdSearchNetwork):
    """ProdSearch's model: the query, then the items of the history, oldest first."""

    config: TEMConfig

    def __init__(self, number_of_items: int, word_rows: int, config: TEMConfig) -> None:
        super().__init__(number_of_items, word_rows, config)
        if config.separate_history_table:
            self.hist_product_emb = nn.Embedding(
                number_of_items + 1, config.embedding_size, padding_idx=0
            )
            initialise(self.hist_product_emb, config.embedding_deviation)
        self.transformer_encoder = Encoder(config)
        initialise(self.transformer_encoder)
        if config.layer_norm_gains == "normal":
            for module in self.transformer_encoder.modules():
                if isinstance(module, nn.LayerNorm):
                    nn.init.normal_(module.weight)

    def user_vectors(self, words: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """The encoder's state of the query, (batch, size)."""
        return self.states(words, history, wanted=1)[:, 0]

    def states(
        self, words: torch.Tensor, history: torch.Tensor, wanted: int | None = None
    ) -> torch.Tensor:
        """The encoder's states (batch, 1 + length, size), first that of the query.

        Args:
            words: (batch, words).
            history: (batch, length) items, oldest first, padded on the right.
            wanted: positions that are returned, the first ones; all if absent.
        """
        table = self.hist_product_emb if self.config.separate_history_table else self.product_emb
        sequence = torch.cat([self.query_vectors(words)[:, None], table(history)], dim=1)
        return self.transformer_encoder(sequence, real_slots(history), wanted)


class TEM(ProdSearch):
    """The transformer-based embedding model."""

    Config = TEMConfig

    def network(self, number_of_items: int, word_rows: int) -> SearchNetwork:
        """One of the two forms."""
        if self.config.form == "original":
            return OriginalTEM(number_of_items, word_rows, self.config)
        return HistoryNetwork(number_of_items, word_rows, self.config)
