"""SASRec as its paper trains it: every position, one sampled negative each, binary cross-entropy.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, in the form of the PyTorch
port https://github.com/pmixer/SASRec.pytorch, commit fde8a9c (Apache-2.0), whose parameter names
are kept. Against RecBole's form (``sasrec``): padding on the left, embeddings scaled by sqrt(dim),
a LayerNorm at the end, ReLU, and the loss. As in the port, padded slots are not masked: they are
attended to. What differs: epochs are selected on the suite's validation lists (the port looks at
the test set), and a history of nothing is answered with popularity.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.sequential.base import TASK, Asked, SequentialConfig, SequentialSystem
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.instances.sequences import sequence_windows
from benchmark.kit.modules import as_long
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.systems.contract import FloatArray
from benchmark.systems.space import DROPOUT, Choice, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

LAYER_NORM_EPSILON = 1e-8


class SASRecBCETraining(TrainingSettings):
    """The port's settings; validation every 20 epochs, as it does."""

    epochs: int = Field(default=1000, ge=0)
    batch_size: int = Field(default=128, ge=1)
    """Users an optimiser step."""
    betas: tuple[float, float] = (0.9, 0.98)
    validate_every: int = Field(default=20, ge=0)
    """An epoch is one pass over the users, so it is short."""


class SASRecBCEConfig(SequentialConfig):
    """The port's names and defaults; ``history_length`` is its ``maxlen``."""

    history_length: int = Field(default=200, ge=1)
    hidden_units: int = Field(default=50, ge=1)
    num_blocks: int = Field(default=2, ge=1)
    num_heads: int = Field(default=1, ge=1)
    """Attention heads; they divide ``hidden_units``."""
    dropout_rate: float = Field(default=0.2, ge=0, lt=1)
    norm_first: bool = False
    """LayerNorm before each part (pre-norm) instead of after its residual sum (post-norm)."""
    l2_emb: float = Field(default=0.0, ge=0)
    """Weight of the sum of squares of the item table in the loss."""
    training: TrainingSettings = SASRecBCETraining()

    search_space: ClassVar[SearchSpace] = {
        **SequentialConfig.search_space,
        "dropout_rate": DROPOUT,
        "num_blocks": Whole(1, 3),
        "norm_first": Choice((False, True)),
    }


class FeedForward(nn.Module):
    """Two layers at each position, as convolutions of width one; (batch, length, dim)."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(dim, dim, kernel_size=1)
        self.conv2 = nn.Conv1d(dim, dim, kernel_size=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout follows each layer."""
        hidden = torch.relu(self.dropout(self.conv1(x.transpose(1, 2))))  # (batch, dim, length)
        return self.dropout(self.conv2(hidden)).transpose(1, 2)


class SASRecNetwork(nn.Module):
    """Causal self-attention over item histories padded with 0 on the left."""

    def __init__(self, number_of_items: int, config: SASRecBCEConfig) -> None:
        super().__init__()
        dim, rate, blocks = config.hidden_units, config.dropout_rate, config.num_blocks
        self.norm_first = config.norm_first
        self.item_emb = nn.Embedding(number_of_items + 1, dim, padding_idx=0)
        # Positions count from 1 at the first slot of the window; padded slots have position 0.
        self.pos_emb = nn.Embedding(config.history_length + 1, dim, padding_idx=0)
        self.emb_dropout = nn.Dropout(rate)
        self.attention_layernorms = nn.ModuleList(_norm(dim) for _ in range(blocks))
        self.attention_layers = nn.ModuleList(
            nn.MultiheadAttention(dim, config.num_heads, rate, batch_first=True)
            for _ in range(blocks)
        )
        self.forward_layernorms = nn.ModuleList(_norm(dim) for _ in range(blocks))
        self.forward_layers = nn.ModuleList(FeedForward(dim, rate) for _ in range(blocks))
        self.last_layernorm = _norm(dim)
        self._initialise()

    def _initialise(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)
        with torch.no_grad():
            self.item_emb.weight[0] = 0.0
            self.pos_emb.weight[0] = 0.0

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """States (batch, length, dim) of items (batch, length)."""
        length = items.shape[1]
        slots = torch.arange(1, length + 1, device=items.device)
        x = self.item_emb(items) * math.sqrt(self.item_emb.embedding_dim)
        x = self.emb_dropout(x + self.pos_emb(slots * (items > 0)))
        future = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        blocks = zip(
            self.attention_layernorms,
            self.attention_layers,
            self.forward_layernorms,
            self.forward_layers,
            strict=True,
        )
        for attention_norm, attention, forward_norm, feed_forward in blocks:
            if self.norm_first:
                x = x + _attend(attention, attention_norm(x), future)
                x = x + feed_forward(forward_norm(x))
            else:
                x = attention_norm(x + _attend(attention, x, future))
                x = forward_norm(x + feed_forward(x))
        return self.last_layernorm(x)

    def scores(self, items: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Scores (batch, candidates) of the item after each row of ``items``."""
        last = self(items)[:, -1]  # (batch, dim)
        return torch.einsum("bd,bcd->bc", last, self.item_emb(candidates))

    def scores_of_all(self, items: torch.Tensor) -> torch.Tensor:
        """Scores (batch, number_of_items + 1) of all items after each row of ``items``."""
        return self(items)[:, -1] @ self.item_emb.weight.T

    def loss(
        self, items: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor
    ) -> torch.Tensor:
        """Binary cross-entropy of targets and negatives, each averaged over the real targets.

        Args:
            items, targets, negatives: (batch, length); a target 0 is no target.
        """
        chosen = targets > 0
        states = self(items)[chosen]  # (targets, dim)
        positive = (states * self.item_emb(targets[chosen])).sum(dim=-1)
        negative = (states * self.item_emb(negatives[chosen])).sum(dim=-1)
        return F.softplus(-positive).mean() + F.softplus(negative).mean()


def _norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)


def _attend(attention: nn.Module, x: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
    return attention(x, x, x, attn_mask=future, need_weights=False)[0]


class UserSequences(Instances):
    """One instance a user: the latest items, each the target of the one before.

    Batches have ``items``, ``targets`` and ``negatives``, (batch, length), padded on the left.
    """

    def __init__(self, view: TrainingView, length: int) -> None:
        windows = sequence_windows(view, length + 1, TASK, last_only=True)
        items = windows.items(view.log, np.arange(len(windows)))
        targets = np.where(windows.is_target, items, 0)[:, 1:]
        keep = targets.any(axis=1)
        self.items, self.targets = items[keep, :-1], targets[keep]
        self.events = np.where(targets > 0, windows.rows[:, 1:], -1)[keep]
        self.negatives = NegativeSampler(view)

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather users; draw a negative for each target."""
        drawn = self.negatives.draw_one_per_slot(self.events[rows], random)
        return {
            "items": as_long(self.items[rows]),
            "targets": as_long(self.targets[rows]),
            "negatives": as_long(drawn),
        }


class SASRecBCE(SequentialSystem):
    """The paper's SASRec."""

    Config = SASRecBCEConfig
    config: SASRecBCEConfig
    padding = "left"

    def network(self, corpus: Corpus) -> nn.Module:
        """A fresh :class:`SASRecNetwork`."""
        return SASRecNetwork(corpus.number_of_items, self.config)

    def instances(self, view: TrainingView) -> Instances:
        """One instance a user."""
        return UserSequences(view, self.config.history_length)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The network's loss, and the penalty on the item table."""
        network: Any = self.model.network
        loss = network.loss(batch["items"], batch["targets"], batch["negatives"])
        if self.config.l2_emb:
            loss = loss + self.config.l2_emb * network.item_emb.weight.square().sum()
        return loss

    def candidate_scores(self, asked: Asked, candidates: torch.Tensor) -> torch.Tensor:
        """One encoding a history, then products with the candidates."""
        network: Any = self.model.network
        return network.scores(asked.items, candidates)

    def scores_of_all(self, asked: Asked) -> torch.Tensor:
        """One encoding a history, then one product with the item table."""
        network: Any = self.model.network
        return network.scores_of_all(asked.items)

    def item_embeddings(self) -> FloatArray:
        """(items + 1, hidden_units) float32, the vectors of all items; row 0 (padding) is zero."""
        network: Any = self.model.network
        table: torch.Tensor = network.item_emb.weight
        return table.detach().float().cpu().numpy().copy()
