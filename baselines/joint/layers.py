"""Parts of the joint systems' networks: tables, a contrast, encoders of histories, experts.

The tables and the contrast of queries with their clicked items are UniSAR's and SESRec's alike. Of
the encoders, UniSAR's layers are torch's transformer under torch's names and can look at another
history too; SESRec's have positions and a leaky ReLU. A history without events gives zero and not
NaN in both. The experts are those of Progressive Layered Extraction (Tang et al., RecSys 2020), in
one level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from baselines.joint.base import TASKS
from benchmark.kit.layers import attend, hidden_layers

_SMALL_EPSILON = 1e-8  # of the layer norms of a history's own encoder


@dataclass(frozen=True)
class Attribute:
    """A categorical attribute of items or users: a value for every id, shape (ids,)."""

    name: str
    values: torch.Tensor
    number_of_values: int
    size: int  # width of its table


class EntityTables(nn.Module):
    """Tables of the ids of items or users, and of their attributes."""

    def __init__(self, rows: int, id_size: int, attributes: Sequence[Attribute] = ()) -> None:
        super().__init__()
        self.ids = nn.Embedding(rows, id_size)
        self.tables = nn.ModuleDict()
        for attribute in attributes:
            self.tables[attribute.name] = nn.Embedding(attribute.number_of_values, attribute.size)
            self.register_buffer(f"{attribute.name}_values", attribute.values, persistent=False)
        self.size = id_size + sum(attribute.size for attribute in attributes)

    def vectors_of(self, ids: torch.Tensor) -> list[torch.Tensor]:
        """The vectors (…, width) of ids (…) and of each of their attributes."""
        values = {name: getattr(self, f"{name}_values")[ids] for name in self.tables}
        return [self.ids(ids), *(self.tables[name](value) for name, value in values.items())]


def encode_once(
    encode: Callable[[torch.Tensor], torch.Tensor], ids: torch.Tensor, rows: int
) -> torch.Tensor:
    """``encode(ids)`` for ids of any shape, computed once an id where that is less work.

    Args:
        encode: maps ids of any shape to (…, size).
        rows: how many ids there are.
    """
    if ids.numel() <= rows:
        return encode(ids)
    return F.embedding(ids, encode(torch.arange(rows, device=ids.device)))


def bilinear_form(size: int) -> nn.Parameter:
    """A matrix (size, size) between two vectors, Xavier normal at the start."""
    form = nn.Parameter(torch.empty(size, size))
    nn.init.xavier_normal_(form)
    return form


class BilinearContrast(nn.Module):
    """The weights of a contrast: a bilinear form, and a temperature that is learned."""

    def __init__(self, size: int, temperature: float) -> None:
        super().__init__()
        self.weight = bilinear_form(size)
        self.temperature = nn.Parameter(torch.tensor(temperature))


class QueryItemContrast(BilinearContrast):
    """InfoNCE between queries and clicked items in both directions, one bilinear form for both."""

    def forward(
        self,
        queries: torch.Tensor,
        items: torch.Tensor,
        pairs: torch.Tensor,
        negative_queries: torch.Tensor,
        negative_items: torch.Tensor,
    ) -> torch.Tensor:
        """The loss of each pair, (pairs,).

        Args:
            queries, items: (rows, size), each distinct one once.
            pairs: (2, pairs): row of the query and row of the clicked item.
            negative_queries, negative_items: (negatives, size), contrasted with every pair.
        """
        query, item = pairs
        to_items = self._directed(queries, query, items, item, negative_items)
        to_queries = self._directed(items, item, queries, query, negative_queries)
        return 0.5 * (to_items + to_queries)

    def _directed(
        self,
        sources: torch.Tensor,
        source: torch.Tensor,
        targets: torch.Tensor,
        target: torch.Tensor,
        negatives: torch.Tensor,
    ) -> torch.Tensor:
        """Cross-entropy (pairs,) of the target among the negatives.

        The sum over the negatives depends on the source alone, so it is taken once a source.
        """
        asked, place = source.unique(return_inverse=True)
        projected = F.embedding(asked, sources) @ self.weight  # (sources, size)
        against = (torch.tanh(projected @ negatives.T) / self.temperature).logsumexp(dim=1)
        product = (F.embedding(place, projected) * F.embedding(target, targets)).sum(dim=-1)
        positive = torch.tanh(product) / self.temperature
        return torch.logaddexp(positive, F.embedding(place, against[:, None])[:, 0]) - positive


class Attention(nn.Module):
    """Multi-head attention that gives zero where there is nothing to attend to."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * size, size))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * size))
        self.out_proj = nn.Linear(size, size)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, visible: torch.Tensor
    ) -> torch.Tensor:
        """From (batch, length, size) to (batch, others, size), ``visible`` (batch, others)."""
        any_visible = visible.any(dim=1)
        # A row of nothing attends to all of its padding, and the result is struck out below.
        mask = visible | ~any_visible[:, None]
        query, key, value = self._projected(queries, keys)
        context = attend(
            query,
            key,
            value,
            self.heads,
            mask[:, None, None, :],
            self.dropout if self.training else 0.0,
        )
        return self.out_proj(context) * any_visible[:, None, None]

    def _projected(self, queries: torch.Tensor, keys: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values; all by one product where states attend to themselves."""
        if queries is keys:
            return F.linear(keys, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        size = queries.shape[-1]
        weights = self.in_proj_weight.split([size, 2 * size])
        biases = self.in_proj_bias.split([size, 2 * size])
        both = F.linear(keys, weights[1], biases[1]).chunk(2, dim=-1)
        return (F.linear(queries, weights[0], biases[0]), *both)


class EncoderLayer(nn.Module):
    """Attention to a list of events, then two layers at each position; norms after the sums."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(size, heads, dropout)
        self.linear1 = nn.Linear(size, size)
        self.linear2 = nn.Linear(size, size)
        self.norm1 = nn.LayerNorm(size)
        self.norm2 = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, keys: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """States ``x`` (batch, length, size) that attend to ``keys`` (batch, others, size)."""
        x = self.norm1(x + self.dropout(self.self_attn(x, keys, visible)))
        hidden = self.linear2(self.dropout(torch.relu(self.linear1(x))))
        return self.norm2(x + self.dropout(hidden))


class FusionLayer(nn.Module):
    """The decoder layer of the transformer without a causal mask."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(size, heads, dropout)
        self.multihead_attn = Attention(size, heads, dropout)
        self.linear1 = nn.Linear(size, size)
        self.linear2 = nn.Linear(size, size)
        self.norm1 = nn.LayerNorm(size)
        self.norm2 = nn.LayerNorm(size)
        self.norm3 = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, memory: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Attend within ``x``, then to ``memory``: two views (batch, length, size) of one list."""
        x = self.norm1(x + self.dropout(self.self_attn(x, x, visible)))
        x = self.norm2(x + self.dropout(self.multihead_attn(x, memory, visible)))
        hidden = self.linear2(self.dropout(torch.relu(self.linear1(x))))
        return self.norm3(x + self.dropout(hidden))


class PostNormLayer(nn.Module):
    """Self-attention, then two layers with a leaky ReLU at each position; norms after the sums."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(size, heads, batch_first=True)
        self.attention_norm = nn.LayerNorm(size, eps=_SMALL_EPSILON)
        self.inner = nn.Linear(size, size)
        self.outer = nn.Linear(size, size)
        self.feed_forward_norm = nn.LayerNorm(size, eps=_SMALL_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """(batch, length, size), ``padding`` (batch, length) true for no event; one is not."""
        attended, _ = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)
        x = self.attention_norm(x + self.dropout(attended))
        hidden = self.outer(F.leaky_relu(self.inner(x)))
        return self.feed_forward_norm(x + self.dropout(hidden))


class HistoryEncoder(nn.Module):
    """Positions and layers over one history."""

    def __init__(self, length: int, layers: int, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.positions = nn.Embedding(length, size)
        self.layers = nn.ModuleList(PostNormLayer(size, heads, dropout) for _ in range(layers))

    def forward(self, x: torch.Tensor, is_event: torch.Tensor) -> torch.Tensor:
        """(batch, length, size) → the same, zeros for a history without events."""
        has_event = is_event.any(dim=1)
        padding = ~is_event & has_event[:, None]
        x = x + self.positions.weight
        for layer in self.layers:
            x = layer(x, padding)
        return torch.where(has_event[:, None, None], x, 0.0)


class TaskExperts(nn.Module):
    """Experts of each task and shared ones, a gate a task over its own and the shared, towers.

    The experts of a group are one layer, their outputs side by side.

    Args:
        inputs: width of what the experts read.
        experts: of each task, and as many shared ones.
        size: width of an expert.
        tower_sizes: widths of the layers of each task's tower.
    """

    def __init__(
        self, inputs: int, experts: int, size: int, tower_sizes: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.size, self.number = size, 2 * experts
        self.shared = nn.Linear(inputs, experts * size)
        self.own = nn.ModuleList(nn.Linear(inputs, experts * size) for _ in TASKS)
        self.gates = nn.ModuleList(nn.Linear(inputs, self.number) for _ in TASKS)
        self.dropout = nn.Dropout(dropout)
        self.towers = nn.ModuleList(
            nn.Sequential(*hidden_layers(size, *tower_sizes, dropout=dropout)) for _ in TASKS
        )

    def forward(
        self, task: int, per_candidate: torch.Tensor, per_request: torch.Tensor
    ) -> torch.Tensor:
        """The tower's output (batch, candidates, tower_sizes[-1]).

        The inputs of the experts are ``per_candidate`` (batch, candidates, any) followed by
        ``per_request`` (batch, any), which is multiplied once and not once a candidate.
        """
        layers: list[Any] = [self.own[task], self.shared, self.gates[task]]
        weight = torch.cat([layer.weight for layer in layers])
        bias = torch.cat([layer.bias for layer in layers])
        first, rest = weight.split([per_candidate.shape[-1], per_request.shape[-1]], dim=1)
        sums = F.linear(per_candidate, first) + F.linear(per_request, rest, bias)[:, None]
        hidden, gate = sums.split([self.number * self.size, self.number], dim=-1)
        experts = self.dropout(torch.relu(hidden)).unflatten(-1, (self.number, self.size))
        mixed = gate.softmax(dim=-1).unsqueeze(-2) @ experts  # (batch, candidates, 1, size)
        return self.towers[task](mixed.squeeze(-2))
