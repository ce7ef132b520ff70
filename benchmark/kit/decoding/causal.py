"""Decoding the nodes of trees with a causal language model, one position a node.

A prompt is read once; its keys and values are kept, and the hidden state of its last token is that
of the root. Below it nodes stand side by side in blocks of one event: a block reads the keys and
values of its prompt and of its nodes' ancestors, through a mask that shows a node no other branch,
at the position that it has in its own branch. So a model of the library "transformers" serves as it
is, whatever its attention, as long as it takes such masks and positions and its logits are a
product of its last hidden states (``can_decode`` finds out). Scores are those of ``generate`` with
``prefix_allowed_tokens_fn``; see ``benchmark.kit.decoding.search`` for the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from benchmark.errors import SystemFailure
from benchmark.kit.decoding.levels import EncodedPrompts, LevelDecoder, ranges
from benchmark.kit.products import WideProducts

NODES_OF_A_BLOCK = 64
"""Nodes of one event that stand side by side. A block's attention grows with its square, and each
block holds the prompt's keys and values once more."""

_PLACES_AT_ONCE = {"cpu": 65_536, "cuda": 1_048_576}
"""Positions of keys and values, over all blocks, that are read at once."""

KeysAndValues = tuple[tuple[torch.Tensor, torch.Tensor], ...]
"""For each layer both (…, heads, length, head width) or, of nodes, (nodes, heads, head width)."""


@dataclass(frozen=True)
class ReadPrompts(EncodedPrompts):
    """Prompts as a causal model has read them.

    ``layers`` are keys and values (events, heads, length, head width), ``mask`` (events, length)
    says which places are real, the first of a row, and ``last`` (events, width) is the hidden state
    of the last of these.
    """

    layers: KeysAndValues
    mask: torch.Tensor
    last: torch.Tensor

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def device(self) -> torch.device:
        """Where the prompts lie."""
        return self.mask.device

    def decoder(self, model: Any) -> CausalDecoder:
        """What decodes below these prompts."""
        return CausalDecoder(model, self)

    def split(self, events: int) -> Sequence[ReadPrompts]:
        """Parts of so many events."""
        parts = []
        for start in range(0, len(self), events):
            rows = slice(start, start + events)
            layers = tuple((keys[rows], values[rows]) for keys, values in self.layers)
            parts.append(ReadPrompts(layers, self.mask[rows], self.last[rows]))
        return parts


def read(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> ReadPrompts:
    """Run the model over prompts.

    Args:
        model: a causal language model of transformers.
        ids: (events, length), padded on the right.
        mask: (events, length), true at real tokens, of which each row has one at least.
    """
    with WideProducts():
        output = model.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=True)
    states = output.last_hidden_state
    last = states[torch.arange(len(ids), device=ids.device), mask.long().sum(dim=1) - 1]
    return ReadPrompts(_of_cache(output.past_key_values), mask.bool(), last)


def _of_cache(cache: Any) -> KeysAndValues:
    return tuple((layer.keys, layer.values) for layer in cache.layers)


class CausalDecoder(LevelDecoder):
    """A causal language model for nodes of trees; see the head of this file.

    Nodes are given in the order of their events.
    """

    start_token = 0
    """The root is the prompt itself; no token leads to it."""

    def __init__(self, model: Any, prompts: ReadPrompts) -> None:
        if model.training:
            raise SystemFailure("a model that decodes must be in evaluation mode.")
        self.model, self.prompts = model, prompts
        self.device = prompts.device
        self.lengths = prompts.mask.sum(dim=1)
        self.restart()

    def restart(self) -> None:
        """Forget all nodes."""
        self.is_root = True
        self.levels: list[KeysAndValues] = []
        self.ancestors: list[torch.Tensor] = []

    def output_rows(self) -> torch.Tensor:
        """The output layer."""
        rows: torch.Tensor = self.model.get_output_embeddings().weight
        return rows

    def __call__(
        self, token: torch.Tensor, parent: torch.Tensor, event: torch.Tensor
    ) -> torch.Tensor:
        """The last states of the prompts for roots, and then one position a node."""
        if self.is_root:
            self.is_root = False
            return self.prompts.last[event]
        self.ancestors = [above.index_select(0, parent) for above in self.ancestors]
        blocks = _Blocks.of(event, len(self.prompts))
        at_once = _PLACES_AT_ONCE["cpu" if self.device.type == "cpu" else "cuda"]
        length = self.prompts.mask.shape[1] + (len(self.levels) + 1) * blocks.width
        read_parts = [
            self._read(blocks, token, part)
            for part in torch.arange(blocks.number, device=self.device).split(
                max(1, at_once // length)
            )
        ]
        states = torch.cat([part[0] for part in read_parts]).index_select(0, blocks.place)
        layers = zip(*(part[1] for part in read_parts), strict=True)
        self.levels.append(
            tuple(
                (
                    torch.cat([keys for keys, _ in parts]).index_select(0, blocks.place),
                    torch.cat([values for _, values in parts]).index_select(0, blocks.place),
                )
                for parts in layers
            )
        )
        self.ancestors.append(torch.arange(len(token), device=self.device))
        return states

    def _read(
        self, blocks: _Blocks, token: torch.Tensor, part: torch.Tensor
    ) -> tuple[torch.Tensor, KeysAndValues]:
        """Hidden states (places, width) of the blocks ``part``, and their own keys and values.

        Both of the latter are (places, heads, head width) for each layer.
        """
        from transformers import DynamicCache

        width, event = blocks.width, blocks.event[part]
        cache = DynamicCache()
        rows = [blocks.laid_out(above, part) for above in self.ancestors]  # (blocks, width) each
        for number, (keys, values) in enumerate(self.prompts.layers):
            above = [(level[number], row) for level, row in zip(self.levels, rows, strict=True)]
            seen = [
                torch.cat([prompt[event], *(_beside(own[side], row) for own, row in above)], dim=2)
                for side, prompt in enumerate((keys, values))
            ]
            cache.update(seen[0], seen[1], number)
        with WideProducts():
            output = self.model.base_model(
                input_ids=blocks.laid_out(token, part),
                attention_mask=self._mask(event, width, keys.dtype),
                position_ids=(self.lengths[event] + len(self.levels))[:, None].expand(-1, width),
                past_key_values=cache,
                use_cache=True,
            )
        own = tuple(
            (
                keys[:, :, -width:].transpose(1, 2).flatten(0, 1),
                values[:, :, -width:].transpose(1, 2).flatten(0, 1),
            )
            for keys, values in _of_cache(output.past_key_values)
        )
        return output.last_hidden_state.flatten(0, 1), own

    def _mask(self, event: torch.Tensor, width: int, dtype: torch.dtype) -> torch.Tensor:
        """(blocks, 1, width, places) what is added to the scores of attention.

        A node sees its prompt, and of each level what stands in its own column.
        """
        own = torch.eye(width, dtype=torch.bool, device=self.device)
        own = own.repeat(1, len(self.levels) + 1).expand(len(event), -1, -1)
        prompt = self.prompts.mask[event][:, None].expand(-1, width, -1)
        is_seen = torch.cat([prompt, own], dim=2)[:, None]
        hidden = torch.zeros(is_seen.shape, dtype=dtype, device=self.device)
        return hidden.masked_fill_(~is_seen, torch.finfo(dtype).min)


def _beside(own: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Keys or values of nodes (nodes, heads, head width) as (blocks, heads, width, head width).

    Args:
        rows: (blocks, width) which nodes.
    """
    return own[rows].transpose(1, 2)


@dataclass(frozen=True)
class _Blocks:
    """How nodes stand in blocks of one event.

    ``place`` (nodes,) is that of each in a table (``number``, ``width``) laid out flat, ``event``
    (number,) whose nodes a block has. What is empty in the table is like the first node, and nobody
    reads it.
    """

    place: torch.Tensor
    event: torch.Tensor
    width: int

    @property
    def number(self) -> int:
        return len(self.event)

    @classmethod
    def of(cls, event: torch.Tensor, events: int) -> _Blocks:
        """Of nodes whose ``event`` (nodes,) is rising."""
        counts = torch.bincount(event, minlength=events)
        width = min(NODES_OF_A_BLOCK, int(counts.max()))
        of_event = (counts + width - 1) // width
        inner = ranges(counts)[1]
        first = (of_event.cumsum(0) - of_event)[event]
        place = (first + inner // width) * width + inner % width
        return cls(place, ranges(of_event)[0], width)

    def laid_out(self, values: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """(len(part), width) values (nodes,) as they stand in the blocks ``part``."""
        table = values.new_zeros(self.number * self.width).index_copy_(0, self.place, values)
        return table.view(self.number, self.width)[part]


@torch.no_grad()
def can_decode(model: Any) -> bool:
    """Whether node by node a model gives the log-probabilities that it gives in one piece.

    It does not where logits are more than a product of hidden states, where positions cannot be
    given, or where masks are not taken. Two prompts and a few nodes are tried; the model is in
    evaluation mode then.
    """
    model.eval()
    device = model.get_input_embeddings().weight.device
    ids = torch.tensor([[3, 4, 5], [6, 7, 0]], device=device) % model.config.vocab_size
    mask = torch.tensor([[True, True, True], [True, True, False]], device=device)
    node = torch.tensor([8, 9, 10, 11], device=device) % model.config.vocab_size
    below = torch.tensor([12, 13, 14, 15], device=device) % model.config.vocab_size
    event = torch.tensor([0, 0, 1, 1], device=device)
    try:
        decoder = CausalDecoder(model, read(model, ids, mask))
        roots = torch.arange(2, device=device)
        decoder(roots, roots, roots)
        found = [decoder(node, event, event), decoder(below, torch.arange(4, device=device), event)]
        rows = decoder.output_rows()
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False
    for number in range(4):
        prompt = ids[event[number]][mask[event[number]]]
        whole = torch.cat([prompt, node[number : number + 1], below[number : number + 1]])
        wanted = model(input_ids=whole[None], use_cache=False).logits[0, -2:].float()
        for state, logits in zip(found, wanted, strict=True):
            scores = F.linear(state[number], rows).float()
            near = (scores.log_softmax(dim=0) - logits.log_softmax(dim=0)).abs().max()
            if not near < _NEAR:
                return False
    return True


_NEAR = 1e-2
"""Log-probabilities that differ by less are equal but for rounding."""
