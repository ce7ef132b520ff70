"""eSASRec: SASRec's objective by a sampled softmax, on LiGR layers.

Tikhonovich, Zelinskiy, Petrov, Spirina, Semenov, Savchenko and Kuliev, "eSASRec: Enhancing
Transformer-based Recommendations in a Modular Fashion", RecSys 2025. Written anew after the
behaviour of https://github.com/MTSWebServices/RecTools (0.19.0, Apache-2.0), whose parameter names
are kept, and of https://github.com/blondered/transformer_benchmark (commit 2b03992, Apache-2.0).
What differs: epochs are selected on the suite's validation lists, negatives are drawn from all
items with a training event, items of the history are candidates like others, and slots that are
padding in a whole batch are left out where they change nothing. The rows of the paper's ablations
are options: mixed negatives with and without the correction of their rates, and other losses.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.sequential.base import Asked, SequentialConfig, SequentialSystem
from baselines.sequential.sampled_softmax import SampledSequences, products
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.systems.space import DROPOUT, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

Loss = Literal["sampled_softmax", "gbce", "bce", "softmax"]


class ESASRecTraining(TrainingSettings):
    """The library's optimiser and the published schedule for Amazon data."""

    epochs: int = Field(default=200, ge=0)
    batch_size: int = Field(default=128, ge=1)
    """Users an optimiser step."""
    betas: tuple[float, float] = (0.9, 0.98)
    patience: int | None = Field(default=50, ge=1)


class ESASRecConfig(SequentialConfig):
    """The library's names, with the values published for Amazon data."""

    history_length: int = Field(default=50, ge=1)
    """Items that are read, and targets of a user; ``session_max_len``."""
    n_factors: int = Field(default=64, ge=1)
    """Width of the item vectors and of the layers."""
    n_blocks: int = Field(default=1, ge=1)
    n_heads: int = Field(default=1, ge=1)
    """Attention heads; they divide ``n_factors``."""
    ff_factors_multiplier: int = Field(default=4, ge=1)
    """Hidden width of a feed-forward part, in widths of the layers."""
    bias_in_ff: bool = False
    """Whether the feed-forward parts have biases."""
    dropout_rate: float = Field(default=0.2, ge=0, lt=1)
    """On embeddings, attention probabilities, hidden feed-forward units, and both sub-layers."""
    drops_items: bool = False
    """Dropout on the whole item table too, once a step, as up to version 0.15 of the library."""
    use_key_padding_mask: bool = True
    """Whether padding is left out of attention; the library's own default is false."""
    loss: Loss = "sampled_softmax"
    """"softmax" is over all items, "bce" and "gbce" are binary cross-entropies of sampled ones."""
    gbce_t: float = Field(default=0.75, ge=0, le=1)
    """How far "gbce" corrects the overconfidence that sampling brings; 0 is "bce"."""
    logits_t: float = Field(default=1.0, gt=0)
    """What training divides logits by."""
    n_negatives: int = Field(default=256, ge=1)
    """Drawn for each target."""
    mixed_ratio: float = Field(default=0.0, ge=0, le=1)
    """Share of the negatives that is drawn from the batch's own items."""
    logq: bool = False
    """Whether logits are lowered by the logarithm of the item's share of the training events."""
    training: TrainingSettings = ESASRecTraining()

    search_space: ClassVar[SearchSpace] = {
        **SequentialConfig.search_space,
        "dropout_rate": DROPOUT,
        "n_blocks": Whole(1, 4),
    }


class PositionTable(nn.Module):
    """A vector for each slot, counted from the newest item on; (length, dim) of a window."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.pos_emb = nn.Embedding(length, dim)

    def forward(self, length: int) -> torch.Tensor:
        """Those of a window of ``length`` slots, oldest first."""
        return self.pos_emb.weight[:length].flip(0)


class SwiGLU(nn.Module):
    """A gated feed-forward part; (batch, length, dim)."""

    def __init__(self, dim: int, hidden: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.ff_linear_1 = nn.Linear(dim, hidden, bias)
        self.ff_linear_2 = nn.Linear(hidden, dim, bias)
        self.ff_linear_3 = nn.Linear(dim, hidden, bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout follows the gate."""
        hidden = F.silu(self.ff_linear_1(x)) * self.ff_linear_3(x)  # (batch, length, hidden)
        return self.ff_linear_2(self.dropout(hidden))


class LiGRLayer(nn.Module):
    """Attention and feed-forward part, each before its norm and added through a sigmoid gate."""

    def __init__(self, config: ESASRecConfig) -> None:
        super().__init__()
        dim, rate = config.n_factors, config.dropout_rate
        self.multi_head_attn = nn.MultiheadAttention(dim, config.n_heads, rate, batch_first=True)
        self.layer_norm_1, self.layer_norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        hidden = dim * config.ff_factors_multiplier
        self.feed_forward = SwiGLU(dim, hidden, config.bias_in_ff, rate)
        self.gating_linear_1, self.gating_linear_2 = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout_1, self.dropout_2 = nn.Dropout(rate), nn.Dropout(rate)

    def attend(self, x: torch.Tensor, barred: torch.Tensor) -> torch.Tensor:
        """Normed attention (batch, length, dim); ``barred`` (batch * heads, length, length)."""
        a = self.layer_norm_1(x)
        return self.multi_head_attn(a, a, a, attn_mask=barred, need_weights=False)[0]

    def forward(self, x: torch.Tensor, barred: torch.Tensor) -> torch.Tensor:
        """(batch, length, dim). The gates read what the norms have not touched."""
        attended = self.dropout_1(self.attend(x, barred))
        x = x + torch.sigmoid(self.gating_linear_1(x)) * attended
        fed = self.dropout_2(self.feed_forward(self.layer_norm_2(x)))
        return x + torch.sigmoid(self.gating_linear_2(x)) * fed


class ESASRecNetwork(nn.Module):
    """Item histories padded with 0 on the left to states; scores are products with item vectors."""

    def __init__(self, number_of_items: int, config: ESASRecConfig) -> None:
        super().__init__()
        dim = config.n_factors
        self.heads, self.masks_padding = config.n_heads, config.use_key_padding_mask
        # Its row 0 is a random vector that is never trained: it stands at padded slots.
        self.ids_emb = nn.Embedding(number_of_items + 1, dim, padding_idx=0)
        self.pos_encoding_layer = PositionTable(config.history_length, dim)
        self.emb_dropout = nn.Dropout(config.dropout_rate)
        self.item_dropout = nn.Dropout(config.dropout_rate if config.drops_items else 0.0)
        self.transformer_blocks = nn.ModuleList(LiGRLayer(config) for _ in range(config.n_blocks))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)

    def table(self) -> torch.Tensor:
        """Item vectors (items + 1, dim), from which row 0 gets no gradient."""
        every = torch.arange(len(self.ids_emb.weight), device=self.ids_emb.weight.device)
        return self.item_dropout(self.ids_emb(every))

    def embed(self, items: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """What the first block reads, (batch, length, dim)."""
        positions = self.pos_encoding_layer(items.shape[1])
        return self.emb_dropout(F.embedding(items, table) + positions)

    def barred(self, items: torch.Tensor) -> torch.Tensor:
        """(batch * heads, length, length) which keys (last) a query does not see.

        No padded slot sees another one, but each sees itself, so that its state stays finite.
        """
        length = items.shape[1]
        slots = torch.arange(length, device=items.device)
        future = (slots > slots[:, None]).expand(len(items), -1, -1)
        if self.masks_padding:
            own = slots == slots[:, None]
            future = (future | (items == 0)[:, None, :]) & ~own
        return future.repeat_interleave(self.heads, dim=0)

    def forward(self, items: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """States (batch, length, dim) of items (batch, length)."""
        x, barred = self.embed(items, table), self.barred(items)
        for block in self.transformer_blocks:
            x = block(x, barred)
        return x


def position_losses(logits: torch.Tensor, config: ESASRecConfig, items: int) -> torch.Tensor:
    """(targets,) the loss of each target; ``logits`` (targets, 1 + negatives), its own first."""
    if config.loss == "sampled_softmax":
        return torch.logsumexp(logits, dim=1) - logits[:, 0]
    positive, negative = logits[:, 0], logits[:, 1:]
    if config.loss == "gbce":
        positive = generalised(positive, negative.shape[1] / (items - 1), config.gbce_t)
    total = F.softplus(-positive) + F.softplus(negative).sum(dim=1)
    return total / logits.shape[1]


def generalised(positive: torch.Tensor, rate: float, t: float) -> torch.Tensor:
    """Logits whose sigmoid is that of ``positive`` to a power: gSASRec's equation for ``t``.

    Args:
        rate: the share of the other items that is sampled, above 0.
    """
    power = rate * (t * (1 - 1 / rate) + 1 / rate)
    tiny = 1e-10
    probability = torch.sigmoid(positive.double()).clamp(tiny, 1 - tiny)
    raised = (probability**-power).clamp(1 + tiny, torch.finfo(torch.float64).max)
    return torch.log((1 / (raised - 1)).clamp(tiny, torch.finfo(torch.float64).max)).float()


def mean_of_positive(losses: torch.Tensor) -> torch.Tensor:
    """The sum over the number of losses above 0: one that vanishes is left out of the mean."""
    return losses.sum() / (losses > 0).sum().clamp(min=1)


class MixedSequences(SampledSequences):
    """:class:`SampledSequences` with negatives of two kinds, and the rates of all that are scored.

    The first columns of ``negatives`` are uniform over the distinct items of the batch, drawn once
    more where they hit the target. With ``logq`` batches have ``log_q`` (items + 1,), the logarithm
    of each item's share of the training events, 0 for items without any.
    """

    def __init__(self, view: TrainingView, config: ESASRecConfig) -> None:
        bought = np.bincount(view.log.item[view.log.recommendation.positions])
        super().__init__(
            view,
            config.history_length,
            config.n_negatives,
            np.flatnonzero(bought),
            # Padding that is seen matters, so then there is as much of it as in scoring.
            trims=config.use_key_padding_mask,
        )
        self.of_batch = int(config.n_negatives * config.mixed_ratio)
        self.log_q: NDArray[np.float32] | None = None
        if config.logq:
            counts = np.bincount(self.rows_of_items.ravel(), minlength=len(view.corpus.items) + 1)
            self.log_q = log_shares(counts)

    def draw(
        self,
        items: NDArray[np.integer],
        targets: NDArray[np.integer],
        random: np.random.Generator,
    ) -> NDArray[np.integer]:
        """(targets, number)."""
        drawn = super().draw(items, targets, random)
        if self.of_batch:
            pool = np.unique(items[items > 0])
            mixed = random.choice(pool, size=(len(targets), self.of_batch))
            again = mixed == targets[:, None]
            mixed[again] = random.choice(pool, size=int(again.sum()))
            drawn[:, : self.of_batch] = mixed
        return drawn

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """As without the rates."""
        batch = super().batch(rows, random)
        if self.log_q is not None:
            batch["log_q"] = torch.from_numpy(self.log_q)
        return batch


def log_shares(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The logarithms of shares, of ``counts`` (items + 1,); padding and absent items have 0."""
    shares = np.where(counts > 0, counts / max(counts[1:].sum(), 1), 1.0)
    shares[0] = 1.0
    return np.log(shares).astype(np.float32)


class ESASRec(SequentialSystem):
    """The enhanced SASRec. A history of nothing is a window of padding, as in the original."""

    Config = ESASRecConfig
    config: ESASRecConfig
    padding = "left"
    reads_empty_histories = True

    def network(self, corpus: Corpus) -> nn.Module:
        """A fresh :class:`ESASRecNetwork`."""
        return ESASRecNetwork(corpus.number_of_items, self.config)

    def instances(self, view: TrainingView) -> Instances:
        """One instance a user."""
        return MixedSequences(view, self.config)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean over the targets."""
        logits = self.logits(batch)
        if self.config.loss == "softmax":
            targets = batch["targets"][batch["targets"] > 0]
            return mean_of_positive(F.cross_entropy(logits, targets, reduction="none"))
        size = len(self.model.popularity) - 1
        return mean_of_positive(position_losses(logits, self.config, size))

    def logits(self, batch: Batch) -> torch.Tensor:
        """(targets, 1 + negatives) the target's first, or of all (targets, items + 1)."""
        network: Any = self.model.network
        table, targets = network.table(), batch["targets"]
        states = network(batch["items"], table)[targets > 0]  # (targets, dim)
        if self.config.loss == "softmax":
            return states @ table.T / self.config.logits_t
        scored = torch.cat([targets[targets > 0][:, None], batch["negatives"]], dim=1)
        logits = products(states, table, scored) / self.config.logits_t
        return logits - batch["log_q"][scored] if "log_q" in batch else logits

    def candidate_scores(self, asked: Asked, candidates: torch.Tensor) -> torch.Tensor:
        """One encoding a history, then products with the candidates."""
        table = self._network.table()
        return torch.einsum("bd,bcd->bc", self._last(asked, table), table[candidates])

    def scores_of_all(self, asked: Asked) -> torch.Tensor:
        """One encoding a history, then one product with the item table."""
        table = self._network.table()
        return self._last(asked, table) @ table.T

    def _last(self, asked: Asked, table: torch.Tensor) -> torch.Tensor:
        return self._network(asked.items, table)[:, -1]  # (batch, dim)

    @property
    def _network(self) -> Any:
        return self.model.network
