"""How many requests a generative system scores at once: a number, or as many as fit into memory.

What scoring holds at a time is computed from the sizes of the network and of the lists, so that a
run cuts its requests in the same way each time. It is a bound: all candidates of a list are taken
to be nodes of every level of its tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from benchmark.data.dataset import LongArray
from benchmark.kit.decoding.causal import NODES_OF_A_BLOCK
from benchmark.kit.training.micro_batches import AUTO, Limit, PartCosts, cuts, room_for_parts

ScoringBatchSize = Annotated[int, Field(ge=1)] | Literal["auto"]
"""Requests that are scored at once; "auto" takes as many as fit into the device's memory, on a CPU
into 2 GiB."""

_FLOAT, _LONG = 4, 8  # bytes


def batches_of(
    size: ScoringBatchSize, tokens: LongArray, model: Any, nodes: int, depth: int, codes: int
) -> Iterator[LongArray]:
    """Rows of requests in batches of similar lengths.

    Args:
        size: requests a batch.
        tokens: (requests,) of each prompt.
        model: a T5 or a causal language model, on its device.
        nodes: of a level of a request's tree, at most.
        depth: levels of the tree.
        codes: different tokens that identifiers are made of.
    """
    limit = Limit(instances=None if size == AUTO else size)
    if size == AUTO:
        device = torch.device(model.device)
        # Gradients and optimiser are counted too, since validation scores while they are there.
        room = room_for_parts(model, device)
        costs_of = request_costs if model.config.is_encoder_decoder else causal_request_costs
        limit = Limit(room=room, costs=costs_of(model.config, nodes, depth, codes))
    for cut in cuts(tokens, tokens * 0, limit):
        yield cut.rows


def request_costs(config: Any, nodes: int, depth: int, codes: int) -> PartCosts:
    """Bytes that scoring a request by a T5 takes, by the length of its prompt."""
    inner = config.num_heads * config.d_kv
    keys_and_values = 2 * config.num_decoder_layers * inner * _FLOAT
    hidden = (2 * config.d_ff + 8 * config.d_model + 4 * inner) * _FLOAT
    each_node = depth * keys_and_values + hidden + 2 * codes * _FLOAT + 16 * _LONG
    each_token = keys_and_values + hidden + 2 * nodes * config.num_heads * _FLOAT
    each_pair = 4 * config.num_heads * _FLOAT
    return PartCosts((float(nodes * each_node), float(each_token), float(each_pair), 0.0, 0.0, 0.0))


def causal_request_costs(config: Any, nodes: int, depth: int, codes: int) -> PartCosts:
    """The same by a causal language model, whose blocks of nodes hold the prompt once more each."""
    width, heads = config.hidden_size, config.num_attention_heads
    inner = heads * (getattr(config, "head_dim", None) or width // heads)
    forward = getattr(config, "intermediate_size", None) or 4 * width
    blocks = -(-nodes // NODES_OF_A_BLOCK)
    keys_and_values = 2 * config.num_hidden_layers * inner * _FLOAT
    hidden = (3 * forward + 8 * width + 4 * inner) * _FLOAT
    # A node's attention has a place for each level of each other node of its block.
    beside = 2 * heads * depth * NODES_OF_A_BLOCK * _FLOAT
    each_node = 2 * depth * keys_and_values + hidden + beside + 2 * codes * _FLOAT + 16 * _LONG
    each_token = (1 + blocks) * keys_and_values + hidden + 2 * nodes * heads * _FLOAT
    each_pair = 4 * heads * _FLOAT
    return PartCosts((float(nodes * each_node), float(each_token), float(each_pair), 0.0, 0.0, 0.0))
