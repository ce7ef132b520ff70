"""FMLP-Rec: learnable filters in the frequency domain and MLPs over the item history.

Zhou, Yu, Zhao and Wen, "Filter-enhanced MLP is All You Need for Sequential Recommendation", WWW
2022. Written anew after the behaviour of https://github.com/Woeee/FMLP-Rec, commit 51acc8c (without
a licence), whose parameter names are kept. A filter mixes every slot with every other one, so only
the last slot may be read, every prefix is an instance of its own, and padding takes part in the
computation: row 0 of the item table is a random vector that is never trained. What differs:
negatives follow the law of the lists, which by default leaves out all items of the user, where the
original avoids those of the prefix;
epochs are selected by the suite's validation NDCG@5 instead of MRR; the cross-entropy is computed
from logits, so it cannot saturate; and the last block computes the last slot alone, with equal
numbers. The repository's second network, self-attention in place of the filters, is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.sequential.base import TASK, HistorySystem
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.modules import as_long
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import (
    DROPOUT,
    LEARNING_RATE,
    WEIGHT_DECAY,
    SearchSpace,
    UntilPatience,
    Whole,
)
from benchmark.systems.view import Corpus, TrainingView

LAYER_NORM_EPSILON = 1e-12

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "swish": F.silu,
}


class FMLPRecConfig(SystemConfig):
    """The original's names and defaults; ``history_length`` is its ``max_seq_length``."""

    history_length: int = Field(default=50, ge=1)
    """Items that the network reads; shorter histories are padded to exactly this length."""
    hidden_size: int = Field(default=64, ge=1)
    """Length of the item vectors and of the state of each slot."""
    num_hidden_layers: int = Field(default=2, ge=1)
    """Blocks of a filter and an MLP."""
    hidden_act: Literal["gelu", "relu", "swish"] = "gelu"
    """Between the two layers of each MLP."""
    hidden_dropout_prob: float = Field(default=0.5, ge=0, lt=1)
    """On the embeddings and on the output of each filter and each MLP."""
    initializer_range: float = Field(default=0.02, ge=0)
    """Standard deviation of the initial weights of tables and MLPs."""
    loss: Literal["bce", "bpr"] = "bce"
    """Binary cross-entropy of target and negative, as released; or the paper's pairwise loss."""
    training_events: Literal["latest", "all"] = "latest"
    """Targets: each user's latest ``history_length`` events, and no older input, as released; or
    all events with their full histories."""
    training: TrainingSettings = TrainingSettings(epochs=200, batch_size=256)
    """Adam 1e-3 without decay; ``patience`` counts epochs."""

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.weight_decay": WEIGHT_DECAY,
        "training.epochs": UntilPatience(),
        "hidden_dropout_prob": DROPOUT,
        "num_hidden_layers": Whole(1, 3),
    }


class FilterLayer(nn.Module):
    """A filter over time for each dimension: a product in the frequency domain, of a real signal.

    The weight has shape (1, length // 2 + 1, dim, 2), real and imaginary parts. The product equals
    a circular convolution over the slots, so the newest slot is a neighbour of the oldest one.
    """

    def __init__(self, length: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.length = length
        self.complex_weight = nn.Parameter(0.02 * torch.randn(1, length // 2 + 1, dim, 2))
        self.out_dropout = nn.Dropout(dropout)
        self.LayerNorm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter all slots, (batch, length, dim)."""
        x = x.float()  # the transform knows no half precision
        spectrum = torch.fft.rfft(x, dim=1, norm="ortho")  # (batch, frequencies, dim)
        spectrum = spectrum * torch.view_as_complex(self.complex_weight)
        filtered = torch.fft.irfft(spectrum, n=self.length, dim=1, norm="ortho")
        return self.LayerNorm(self.out_dropout(filtered) + x)

    def last_slot(self, x: torch.Tensor) -> torch.Tensor:
        """The last slot of :meth:`forward`, (batch, dim), as one weighted sum over the slots."""
        x = x.float()
        weight = torch.view_as_complex(self.complex_weight)[0]
        kernel = torch.fft.irfft(weight, n=self.length, dim=0)  # (length, dim)
        filtered = (x * kernel.flip(0)).sum(dim=1)
        return self.LayerNorm(self.out_dropout(filtered) + x[:, -1])


class Intermediate(nn.Module):
    """Two layers at each slot, four times wider between them; (…, dim) to (…, dim)."""

    def __init__(self, dim: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.dense_1 = nn.Linear(dim, 4 * dim)
        self.dense_2 = nn.Linear(4 * dim, dim)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)
        self.LayerNorm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """No dropout between the layers."""
        hidden = self.dense_2(self.activation(self.dense_1(x)))
        return self.LayerNorm(self.dropout(hidden) + x)


class Block(nn.Module):
    """A filter and an MLP."""

    def __init__(self, config: FMLPRecConfig) -> None:
        super().__init__()
        dim, rate = config.hidden_size, config.hidden_dropout_prob
        self.filterlayer = FilterLayer(config.history_length, dim, rate)
        self.intermediate = Intermediate(dim, config.hidden_act, rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All slots, (batch, length, dim) to the same shape."""
        return self.intermediate(self.filterlayer(x))

    def last_slot(self, x: torch.Tensor) -> torch.Tensor:
        """The last slot of :meth:`forward`, (batch, dim)."""
        return self.intermediate(self.filterlayer.last_slot(x))


class Encoder(nn.Module):
    """The blocks, one after another."""

    def __init__(self, config: FMLPRecConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last slot of the last block, (batch, dim), of ``x`` (batch, length, dim)."""
        *earlier, last = self.layer
        for block in earlier:
            x = block(x)
        return cast(Block, last).last_slot(x)


class FMLPRecNetwork(nn.Module):
    """Item histories to user vectors; an item's score is its product with the user vector."""

    def __init__(self, number_of_items: int, config: FMLPRecConfig) -> None:
        super().__init__()
        dim = config.hidden_size
        # `padding_idx` keeps row 0 from being trained. It is filled all the same, see below.
        self.item_embeddings = nn.Embedding(number_of_items + 1, dim, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.history_length, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.item_encoder = Encoder(config)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=config.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def embed(self, items: torch.Tensor) -> torch.Tensor:
        """The input of the first block, (batch, length, dim); padding is an item like others."""
        return self.dropout(
            self.LayerNorm(self.item_embeddings(items) + self.position_embeddings.weight)
        )

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """User vectors (batch, dim) of items (batch, history_length), padded with 0 on the left."""
        return self.item_encoder(self.embed(items))

    def scores(self, items: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Scores (batch, candidates) of the item after each row of ``items``."""
        return torch.einsum("bd,bcd->bc", self(items), self.item_embeddings(candidates))

    def scores_of_all(self, items: torch.Tensor) -> torch.Tensor:
        """Scores (batch, number_of_items + 1) of all items after each row of ``items``."""
        return self(items) @ self.item_embeddings.weight.T


class PrefixInstances(Instances):
    """One instance a training event: the items before it, none at a user's first event.

    Batches have ``items`` (batch, history_length) padded on the left, ``targets`` (batch,) and
    ``negatives`` (batch,).
    """

    def __init__(self, view: TrainingView, config: FMLPRecConfig) -> None:
        examples = view.examples(TASK)
        visible = examples.history_sizes()[0]  # (events,)
        self.length = config.history_length
        if config.training_events == "latest":
            events = np.diff(view.log.recommendation.offsets)[examples.user]
            visible = visible - np.maximum(events - self.length, 0)
        self.examples = examples.select(visible >= 0)
        self.visible = visible[visible >= 0]
        self.negatives = NegativeSampler(view)

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Cut the histories of the chosen events and draw one negative for each."""
        chosen = self.examples.select(rows)
        items = chosen.history(self.length, TASK, "left").items
        inside = np.arange(self.length) >= self.length - self.visible[rows][:, None]
        negatives = self.negatives.draw(chosen.position, 1, random)
        return {
            "items": as_long(np.where(inside, items, 0)),
            "targets": as_long(chosen.target),
            "negatives": as_long(negatives[:, 0]),
        }


class FMLPRec(HistorySystem):
    """The filter-enhanced MLP. A history of nothing is scored like any other: it was trained."""

    Config = FMLPRecConfig
    config: FMLPRecConfig
    model: FMLPRecNetwork

    def build(self, corpus: Corpus) -> FMLPRecNetwork:
        """A fresh network."""
        return FMLPRecNetwork(corpus.number_of_items, self.config)

    def instances(self, view: TrainingView) -> PrefixInstances:
        """What the network learns from."""
        return PrefixInstances(view, self.config)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch of :class:`PrefixInstances`."""
        pairs = torch.stack([batch["targets"], batch["negatives"]], dim=1)  # (batch, 2)
        positive, negative = self.model.scores(batch["items"], pairs).unbind(dim=1)
        if self.config.loss == "bpr":
            return F.softplus(negative - positive).mean()
        return (F.softplus(-positive) + F.softplus(negative)).mean()

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """One encoding a history, then products with the candidates."""
        history = requests.history(self.config.history_length, TASK, "left")
        return self.model.scores(self.on_device(history.items), self.on_device(requests.candidates))

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """One encoding a history, then one product with the item table."""
        history = requests.history(self.config.history_length, TASK, "left")
        return self.model.scores_of_all(self.on_device(history.items))
