"""What decodes the nodes of trees with a T5: all of a level at once, one position each.

A node brings a query only, reads the keys and values of its ancestors, and shares its event's
encoder states with all others. Models are Hugging Face ``T5ForConditionalGeneration`` and its
relatives of the same layout (T5 v1.1, mT5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from benchmark.errors import SystemFailure
from benchmark.kit.decoding.levels import EncodedPrompts, LevelDecoder, ranges
from benchmark.kit.products import WideProducts, linear


@dataclass(frozen=True)
class Encoded(EncodedPrompts):
    """Encoder states (events, length, width), and mask (events, length) of those that are real."""

    states: torch.Tensor
    mask: torch.Tensor

    def __len__(self) -> int:
        return len(self.states)

    @property
    def device(self) -> torch.device:
        """Where the states lie."""
        return self.states.device

    def decoder(self, model: Any) -> NodeDecoder:
        """The decoder of the T5."""
        return NodeDecoder(model, self)

    def split(self, events: int) -> Sequence[Encoded]:
        """Parts of so many events."""
        parts = zip(self.states.split(events), self.mask.split(events), strict=True)
        return [Encoded(states, mask) for states, mask in parts]


def encode(model: Any, inputs: dict[str, torch.Tensor], mask: torch.Tensor) -> Encoded:
    """Run the encoder.

    Args:
        inputs: ``input_ids`` (events, length) or ``inputs_embeds`` (events, length, width).
        mask: (events, length), true or 1 at real tokens.
    """
    with WideProducts():
        states = model.encoder(**inputs, attention_mask=mask.long()).last_hidden_state
    return Encoded(states, mask.bool())


class NodeDecoder(LevelDecoder):
    """The decoder of a T5 for nodes of trees: one call a level, one position a node.

    The weights are read when it is made. Nodes are given in the order of their events. A model with
    ``first_of_level`` (levels + 1,) has an output layer for each level: that of level ``l`` are the
    rows of ``lm_head`` from ``first_of_level[l]`` to ``first_of_level[l + 1]``.
    """

    def __init__(self, model: Any, encoded: Encoded) -> None:
        if model.training:
            raise SystemFailure("a model that decodes must be in evaluation mode.")
        self.model = model
        self.decoder = model.decoder
        self.blocks = list(model.decoder.block)
        attention = self.blocks[0].layer[0].SelfAttention
        self.heads, self.head_width = int(attention.n_heads), int(attention.key_value_proj_dim)
        self.position_bias = attention.compute_bias
        self.device = encoded.device
        self.start_token = int(model.config.decoder_start_token_id)
        self.self_weights = [
            torch.cat([part.weight for part in (own.q, own.k, own.v)])
            for own in (block.layer[0].SelfAttention for block in self.blocks)
        ]
        self.source = [
            self._keys_and_values(block.layer[1].EncDecAttention, encoded.states)
            for block in self.blocks
        ]
        blocked = torch.zeros(encoded.mask.shape, dtype=encoded.states.dtype, device=self.device)
        blocked = blocked.masked_fill(~encoded.mask, torch.finfo(blocked.dtype).min)
        self.source_bias = blocked[:, None, None, :]  # (events, 1, 1, length)
        self.levels: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
        self.ancestors: list[torch.Tensor] = []

    def _keys_and_values(
        self, attention: Any, states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both (events, heads, length, head width)."""
        weight = torch.cat([attention.k.weight, attention.v.weight])
        both = linear(states, weight).unflatten(-1, (2, self.heads, self.head_width))
        keys, values = both.permute(2, 0, 3, 1, 4).contiguous()
        return keys, values

    def restart(self) -> None:
        """Forget all nodes."""
        self.levels, self.ancestors = [], []

    def __call__(
        self, token: torch.Tensor, parent: torch.Tensor, event: torch.Tensor
    ) -> torch.Tensor:
        """One position a node."""
        self.ancestors = [
            *(above.index_select(0, parent) for above in self.ancestors),
            torch.arange(len(token), device=self.device),
        ]
        depth = len(self.ancestors)
        bias = self.position_bias(1, depth, device=self.device, past_seen_tokens=depth - 1)
        own_bias = bias[0, :, 0].T  # (depth, heads)
        place, shape = _places_in_events(event, len(self.source_bias))
        states = self.decoder.embed_tokens(token)
        level: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.levels.append(level)
        for number, block in enumerate(self.blocks):
            states = states + self._read_ancestors(number, block.layer[0], states, own_bias)
            states = states + self._read_source(number, block.layer[1], states, place, shape)
            with WideProducts():
                states = block.layer[2](states)  # position by position, with its own norm and sum
        states = self.decoder.final_layer_norm(states)
        if getattr(self.model.config, "scale_decoder_outputs", False):  # mT5 has no such switch
            states = states * self.model.config.d_model**-0.5
        return states

    def _read_ancestors(
        self, number: int, layer: Any, states: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Self-attention of each node to its ancestors and itself, (nodes, width)."""
        projected = linear(layer.layer_norm(states), self.self_weights[number])
        query, key, value = projected.unflatten(-1, (3, self.heads, self.head_width)).unbind(1)
        self.levels[-1].append((key.contiguous(), value.contiguous()))
        at_levels = list(zip(self.levels, self.ancestors, strict=True))
        scores = torch.stack(
            [(query * level[number][0].index_select(0, rows)).sum(-1) for level, rows in at_levels]
        )  # (depth, nodes, heads)
        weights = (scores + bias[:, None, :]).float().softmax(dim=0).to(states.dtype)
        read = torch.zeros_like(query)
        for (level, rows), weight in zip(at_levels, weights, strict=True):
            read.addcmul_(level[number][1].index_select(0, rows), weight[..., None])
        return linear(read.flatten(1), layer.SelfAttention.o.weight)

    def _read_source(
        self,
        number: int,
        layer: Any,
        states: torch.Tensor,
        place: torch.Tensor,
        shape: tuple[int, int],
    ) -> torch.Tensor:
        """Attention of each node to its event's encoder states, (nodes, width)."""
        query = linear(layer.layer_norm(states), layer.EncDecAttention.q.weight)
        padded = query.new_zeros(shape[0] * shape[1], query.shape[1]).index_copy_(0, place, query)
        queries = padded.view(*shape, self.heads, self.head_width).transpose(1, 2)
        keys, values = self.source[number]
        read = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=self.source_bias, scale=1.0
        )
        flat = read.transpose(1, 2).reshape(shape[0] * shape[1], -1).index_select(0, place)
        return linear(flat, layer.EncDecAttention.o.weight)

    def output_rows(self) -> torch.Tensor:
        """The output layer of the T5."""
        rows: torch.Tensor = self.model.lm_head.weight
        return rows

    def rows_of_level(self) -> torch.Tensor:
        """All rows, or those of the level."""
        rows, first = self.output_rows(), getattr(self.model, "first_of_level", None)
        level = len(self.ancestors) - 1
        return rows if first is None else rows[first[level] : first[level + 1]]


def _places_in_events(event: torch.Tensor, events: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Where nodes stand in a table (events, most nodes of one) when it is laid out flat."""
    counts = torch.bincount(event, minlength=events)
    widest = int(counts.max())
    return event * widest + ranges(counts)[1], (events, widest)
