"""HSTU: pointwise attention without a softmax, gated, with biases of distance in place and time.

Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
Generative Recommendations", ICML 2024, section 4.1.1. Written anew after the behaviour of
https://github.com/meta-recsys/generative-recommenders (commit db1bf8f, Apache-2.0), its sequential
setting only: item ids, unit vectors, a sampled softmax with a temperature. What differs: epochs are
selected on the suite's validation lists, where the original has none; items of the history are
candidates like others; only slots that some row of a batch uses are computed, which changes
nothing, since attention is divided by the window's constant width; a history of nothing is answered
with popularity, where the original's scores all tie; and one set of negatives can serve all targets
of a step. The bias of time needs to know when the next event takes place: in the original it is
always on, here it is a row of its own beside one that, like other systems, does not know it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from baselines.sequential.base import Asked, SequentialConfig, SequentialSystem
from baselines.sequential.sampled_softmax import Negatives, SampledSequences, products
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.systems.space import DROPOUT, Choice, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

NORM_EPSILON = 1e-6
LARGEST_BUCKET = 128
BUCKET_WIDTH = 0.301
"""Of the natural logarithm of seconds."""
LOGIT_OF_A_HIT = -5e4
"""In place of that of a negative which is the target."""

INITIAL_DEVIATION, INITIAL_CUT = 0.02, 2.0
"""Of the item table: a normal law, cut at so many deviations."""


class NextItemTraining(TrainingSettings):
    """The published optimiser, which has no schedule, decay or clipping, and epochs."""

    epochs: int = Field(default=201, ge=0)
    batch_size: int = Field(default=128, ge=1)
    """Users an optimiser step."""
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    patience: int | None = Field(default=20, ge=1)


class NextItemConfig(SequentialConfig):
    """What HSTU and the repository's SASRec share; the values are those for Amazon Books."""

    history_length: int = Field(default=50, ge=1)
    """Items that are read, and targets of a user; ``max_sequence_length``."""
    output_length: int = Field(default=11, ge=1)
    """Slots behind the history, empty here, that count for the width of the window."""
    embedding_dim: int = Field(default=64, ge=1)
    """Width of the item vectors and of the layers."""
    num_blocks: int = Field(default=4, ge=1)
    num_heads: int = Field(default=4, ge=1)
    """Attention heads of a block."""
    dropout_rate: float = Field(default=0.5, ge=0, lt=1)
    """On embeddings, and in SASRec's blocks."""
    temperature: float = Field(default=0.05, gt=0)
    """What training divides products by."""
    normalisation: Literal["l2", "layer_norm"] = "l2"
    """Of states; item vectors have length one with "l2" and are taken as they are otherwise."""
    negatives: Negatives = "position"
    """"shared" draws one set a step for all targets, for small machines."""
    num_negatives: int = Field(default=512, ge=1)
    training: TrainingSettings = NextItemTraining()

    search_space: ClassVar[SearchSpace] = {
        **SequentialConfig.search_space,
        "dropout_rate": DROPOUT,
        "num_blocks": Whole(1, 4),
        "temperature": Choice((0.03, 0.05, 0.1, 0.2)),
    }

    @property
    def width(self) -> int:
        """Slots of the original's window: those of the history and those behind it."""
        return self.history_length + self.output_length


class NextItemNetwork(nn.Module):
    """Item histories padded with 0 on the right to states; blocks are the subclass's."""

    def __init__(self, number_of_items: int, config: NextItemConfig) -> None:
        super().__init__()
        self.config = config
        # Row 0 is a random vector that reaches no result.
        self.item_emb = nn.Embedding(number_of_items + 1, config.embedding_dim)
        self.pos_emb = nn.Embedding(config.width, config.embedding_dim)
        self.dropout = nn.Dropout(config.dropout_rate)
        cut_normal(self.item_emb.weight, INITIAL_DEVIATION)

    @abstractmethod
    def blocks(self, x: torch.Tensor, items: torch.Tensor, times: Times) -> torch.Tensor:
        """(batch, length, dim) after the last block; what stands at padding is of no account."""

    def embed(self, items: torch.Tensor) -> torch.Tensor:
        """What the first block reads, (batch, length, dim); 0 at padding."""
        scaled = self.item_emb(items) * math.sqrt(self.config.embedding_dim)
        x = self.dropout(scaled + self.pos_emb.weight[: items.shape[1]])
        return x * (items > 0)[:, :, None]

    def forward(self, items: torch.Tensor, times: Times) -> torch.Tensor:
        """States (batch, length, dim) of items (batch, length); 0 at padding."""
        x = self.blocks(self.embed(items), items, times)
        if self.config.normalisation == "l2":
            x = F.normalize(x, dim=-1, eps=NORM_EPSILON)
        else:
            x = normed(x, NORM_EPSILON)
        return x * (items > 0)[:, :, None]

    def table(self) -> torch.Tensor:
        """What states are multiplied with, (items + 1, dim)."""
        weight = self.item_emb.weight
        if self.config.normalisation == "l2":
            return F.normalize(weight, dim=-1, eps=NORM_EPSILON)
        return weight


Times = tuple[torch.Tensor, torch.Tensor]
"""Seconds (batch, length) of the items, and of what follows each: the next item or the request."""


class RelativeBias(nn.Module):
    """What attention adds for the distance of two slots, the same for all heads of a block."""

    def __init__(self, width: int, with_time: bool) -> None:
        super().__init__()
        self.width = width
        self.position = nn.Parameter(torch.empty(2 * width - 1).normal_(std=INITIAL_DEVIATION))
        self.time: nn.Parameter | None = None
        if with_time:
            buckets = torch.empty(LARGEST_BUCKET + 1)
            self.time = nn.Parameter(buckets.normal_(std=INITIAL_DEVIATION))

    def forward(self, times: Times) -> torch.Tensor:
        """(batch or 1, queries, keys).

        The time of a pair is that from the key to what is to be predicted after the query.
        """
        before, after = times
        slots = torch.arange(before.shape[1], device=before.device)
        bias = self.position[self.width - 1 + slots - slots[:, None]][None]
        if self.time is not None:
            bias = bias + self.time[bucket_of(after[:, :, None] - before[:, None, :])]
        return bias


def bucket_of(seconds: torch.Tensor) -> torch.Tensor:
    """The buckets 0 … 128 of differences in seconds, by their logarithm; of the same shape."""
    size = seconds.abs().clamp(min=1).float().log() / BUCKET_WIDTH
    return size.long().clamp(0, LARGEST_BUCKET)


class HSTULayer(nn.Module):
    """One block; (batch, length, dim) to the same."""

    def __init__(self, config: HSTUConfig) -> None:
        super().__init__()
        self.heads, self.width = config.num_heads, config.width
        self.parts = [config.num_heads * n for n in (config.dv, config.dv, config.dqk, config.dqk)]
        projection = torch.empty(config.embedding_dim, sum(self.parts))
        self.uvqk = nn.Parameter(projection.normal_(std=INITIAL_DEVIATION))
        self.bias: RelativeBias | None = None
        if config.bias != "none":
            self.bias = RelativeBias(config.width, config.bias == "position_and_time")
        self.dropout = nn.Dropout(config.linear_dropout_rate)
        self.o = nn.Linear(self.parts[0], config.embedding_dim)
        nn.init.xavier_uniform_(self.o.weight)

    def forward(self, x: torch.Tensor, times: Times) -> torch.Tensor:
        """Causal; a slot's output depends on no later slot, so not on padding behind it."""
        projected = F.silu(normed(x, NORM_EPSILON) @ self.uvqk)
        u, *others = projected.split(self.parts, dim=-1)
        # (batch, heads, length, width of a head) each
        v, q, k = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in others)
        scores = q @ k.mT  # (batch, heads, queries, keys)
        if self.bias is not None:
            scores = scores + self.bias(times)[:, None]
        attention = (F.silu(scores) / self.width).tril()
        read = (attention @ v).transpose(1, 2).flatten(2)  # (batch, length, heads * dv)
        return self.o(self.dropout(u * normed(read, NORM_EPSILON))) + x


class HSTUConfig(NextItemConfig):
    """HSTU's own sizes, with the values for Amazon Books."""

    dqk: int = Field(default=16, ge=1)
    """Width of queries and keys of a head."""
    dv: int = Field(default=16, ge=1)
    """Width of values and gates of a head."""
    linear_dropout_rate: float = Field(default=0.5, ge=0, lt=1)
    """Before the last layer of each block."""
    bias: Literal["none", "position", "position_and_time"] = "position"
    """What attention knows of distances. That of time reads when the next event takes place."""

    search_space: ClassVar[SearchSpace] = {
        **NextItemConfig.search_space,
        "linear_dropout_rate": DROPOUT,
    }


class HSTUTimeConfig(HSTUConfig):
    """The published form."""

    bias: Literal["none", "position", "position_and_time"] = "position_and_time"


class HSTUNetwork(NextItemNetwork):
    """Blocks of :class:`HSTULayer`."""

    def __init__(self, number_of_items: int, config: HSTUConfig) -> None:
        super().__init__(number_of_items, config)
        nn.init.xavier_normal_(self.pos_emb.weight)
        self.layers = nn.ModuleList(HSTULayer(config) for _ in range(config.num_blocks))

    def blocks(self, x: torch.Tensor, items: torch.Tensor, times: Times) -> torch.Tensor:
        """(batch, length, dim)."""
        for layer in self.layers:
            x = layer(x, times)
        return x


def sampled_softmax(
    states: torch.Tensor,
    table: torch.Tensor,
    targets: torch.Tensor,
    negatives: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Mean cross-entropy of ``targets`` (targets,) among themselves and their negatives.

    Args:
        states: (targets, dim).
        table: (items + 1, dim).
        negatives: (targets, number), or (number,) for all; one that is the target is left out.
    """
    positive = (states * F.embedding(targets, table)).sum(dim=1) / temperature
    negative = products(states, table, negatives) / temperature
    negative = negative.masked_fill(negatives == targets[:, None], LOGIT_OF_A_HIT)
    every = torch.cat([positive[:, None], negative], dim=1)  # (targets, 1 + number)
    return (torch.logsumexp(every, dim=1) - positive).mean()


class NextItemSystem(SequentialSystem):
    """A network of this kind, its loss, and products of its last state with item vectors."""

    config: NextItemConfig
    padding = "right"

    def instances(self, view: TrainingView) -> Instances:
        """One instance a user; negatives are any items of the catalogue."""
        return SampledSequences(
            view,
            self.config.history_length,
            self.config.num_negatives,
            np.arange(1, view.corpus.number_of_items + 1),
            padding="right",
            negatives=self.config.negatives,
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean over all targets of the batch."""
        network: Any = self.model.network
        targets = batch["targets"]
        states = network(batch["items"], (batch["times"], batch["target_times"]))
        real = targets > 0
        return sampled_softmax(
            states[real],
            network.table(),
            targets[real],
            batch["negatives"],
            self.config.temperature,
        )

    def candidate_scores(self, asked: Asked, candidates: torch.Tensor) -> torch.Tensor:
        """One encoding a history, then products with the candidates."""
        network: Any = self.model.network
        return torch.einsum("bd,bcd->bc", self.last_states(asked), network.table()[candidates])

    def scores_of_all(self, asked: Asked) -> torch.Tensor:
        """One encoding a history, then one product with the item table."""
        network: Any = self.model.network
        return self.last_states(asked) @ network.table().T

    def last_states(self, asked: Asked) -> torch.Tensor:
        """(batch, dim) the state at the last item of each history, 0 for one of nothing."""
        longest = max(int(asked.lengths.max()), 1)
        items, before = asked.items[:, :longest], asked.times[:, :longest]
        last = (asked.lengths - 1).clamp(min=0)[:, None]  # (batch, 1)
        after = before.roll(-1, dims=1).scatter(1, last, asked.asked_at[:, None])
        states: torch.Tensor = self.model.network(items, (before, after))
        return states.take_along_dim(last[:, :, None], dim=1)[:, 0]


class HSTU(NextItemSystem):
    """HSTU that knows the order of the history, and no times."""

    Config = HSTUConfig
    config: HSTUConfig

    def network(self, corpus: Corpus) -> nn.Module:
        """A fresh :class:`HSTUNetwork`."""
        return HSTUNetwork(corpus.number_of_items, self.config)


class HSTUTime(HSTU):
    """HSTU as published: it also knows how long ago each item was when the request is made."""

    Config = HSTUTimeConfig

    def stand_ins(self) -> tuple[str, ...]:
        """What it knows beside the history."""
        return ("HSTU with a bias of time knows when the event that it predicts takes place.",)


def normed(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """LayerNorm over the last dimension, without parameters."""
    return F.layer_norm(x, x.shape[-1:], eps=epsilon)


def cut_normal(weight: torch.Tensor, deviation: float) -> None:
    """Fill ``weight`` in place by a normal law, cut at two deviations."""
    cut = INITIAL_CUT * deviation
    nn.init.trunc_normal_(weight, std=deviation, a=-cut, b=cut)
