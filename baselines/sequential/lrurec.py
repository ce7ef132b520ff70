"""LRURec: diagonal complex linear recurrences over the item history.

Yue, Wang, He, Zeng, McAuley and Wang, "Linear Recurrent Units for Sequential Recommendation", WSDM
2024. Written anew after the behaviour of https://github.com/yueqirex/LRURec, commit e02a559
(without a licence), whose parameter names are kept. Where code and paper differ, the code is
followed: the input scale also multiplies the bias and the first input, and the MLP has one
activation, not two. What differs: epochs are selected by NDCG@5 on the suite's validation lists
instead of Recall@10 on the catalogue; items of the history are candidates like others; the
recurrence is unrolled by the device's cheapest way; and padding is left out of the computation, but
for the slot that a user's first item is predicted from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.sequential.base import TASK, HistorySystem
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.instances.sequences import sequence_windows
from benchmark.kit.modules import as_long
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.kit.training.optimizers import decay_groups
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import (
    DROPOUT,
    LEARNING_RATE,
    Choice,
    SearchSpace,
    UntilPatience,
    Whole,
)
from benchmark.systems.view import Corpus, TrainingView

SMALLEST_RADIUS, LARGEST_RADIUS = 0.8, 0.99
"""The ring that the initial eigenvalues of a recurrence are drawn from."""

INITIAL_DEVIATION, INITIAL_CUT = 0.02, 2.0
"""Of the initial weights: a normal law, cut at so many deviations."""


class LRURecConfig(SystemConfig):
    """The defaults that are in force in the original for Amazon."""

    history_length: int = Field(default=50, ge=2)
    """Items that the network reads, and targets of a training window; ``bert_max_len``."""
    hidden_units: int = Field(default=64, ge=1)
    """Length of the item vectors; a recurrence has twice as many states. ``bert_hidden_units``."""
    num_blocks: int = Field(default=2, ge=1)
    """Blocks of a recurrence and an MLP; ``bert_num_blocks``."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """On the embeddings and in the MLPs; 0.6 is best on sparse data. ``bert_dropout``."""
    recurrence_dropout: float = Field(default=0.2, ge=0, lt=1)
    """On the output of each recurrence; ``bert_attn_dropout``."""
    train_negatives: int | None = Field(default=None, ge=1)
    """Negatives drawn for each target, in place of the softmax over the catalogue; the original
    draws 100 on its data set of long sequences."""
    training: TrainingSettings = TrainingSettings(
        epochs=500,
        batch_size=128,
        optimizer="adamw",
        epsilon=1e-9,
        weight_decay=0.01,
        gradient_clip=5.0,
        validate_every=3,
    )
    """A batch counts windows. Biases and LayerNorms do not decay. The original validates every
    1,000 steps, about 2.5 epochs of its Amazon data; ``patience`` counts validations."""

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.weight_decay": Choice((0.0, 1e-3, 1e-2, 1e-1)),
        "training.epochs": UntilPatience(),
        "dropout": DROPOUT,
        "recurrence_dropout": DROPOUT,
        "num_blocks": Whole(1, 3),
    }


class ComplexLinear(nn.Module):
    """A complex matrix and bias, applied between real and complex vectors in real arithmetic."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, dtype=torch.complex64))
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=torch.complex64))

    def of_real(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """``scale * (W x + b)`` of real ``x`` (…, inputs), complex (…, outputs)."""
        weight = torch.view_as_real(self.weight * scale[:, None])  # (outputs, inputs, 2)
        pairs = F.linear(
            x,
            weight.transpose(1, 2).flatten(0, 1),  # (outputs * 2, inputs)
            torch.view_as_real(self.bias * scale).flatten(),
        )
        return torch.view_as_complex(pairs.float().unflatten(-1, (-1, 2)))

    def real_part(self, h: torch.Tensor) -> torch.Tensor:
        """``Re(W h + b)`` of complex ``h`` (…, inputs), real (…, outputs)."""
        weight = torch.stack([self.weight.real, -self.weight.imag], dim=2)  # (outputs, inputs, 2)
        return F.linear(torch.view_as_real(h).flatten(-2), weight.flatten(1), self.bias.real)


@dataclass(frozen=True)
class Slots:
    """The slots of (batch, length) histories that are computed at all: most of them are padding.

    ``place`` (slots,) are their positions in the flattened histories, rising; ``is_item`` (slots,)
    is false at padding.
    """

    shape: tuple[int, int]
    place: torch.Tensor
    is_item: torch.Tensor


class LRULayer(nn.Module):
    """A linear recurrence, dropout, residual sum and LayerNorm; (slots, dim) to (slots, dim)."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        states = 2 * dim
        self.params_log = nn.Parameter(_initial_recurrence(states))
        self.in_proj = ComplexLinear(dim, states)
        self.out_proj = ComplexLinear(states, dim)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor, slots: Slots) -> torch.Tensor:
        """The recurrence is the only part in which slots meet."""
        nu, theta, gamma = self.params_log.exp()  # (states,) each
        h = recurrence(self.in_proj.of_real(x, gamma), torch.polar(torch.exp(-nu), theta), slots)
        return self.layer_norm(self.dropout(self.out_proj.real_part(h)) + x)


def recurrence(inputs: torch.Tensor, factor: torch.Tensor, slots: Slots) -> torch.Tensor:
    """``h[t] = inputs[t] + factor * h[t - 1]`` within each history, shape of ``inputs``.

    Padding keeps its own input and passes nothing on.

    Args:
        inputs: (slots, states), complex.
        factor: (states,), complex.
        slots: with every slot of an item, and the items of a history in one run.
    """
    is_item = slots.is_item[:, None]
    spread = inputs.new_zeros(slots.shape[0] * slots.shape[1], inputs.shape[1])
    spread = spread.index_copy(0, slots.place, inputs * is_item)
    unroll = recurrence_by_steps if inputs.device.type == "cpu" else recurrence_by_doubling
    h = unroll(spread.unflatten(0, slots.shape), factor).flatten(0, 1)
    return torch.where(is_item, h.index_select(0, slots.place), inputs)


def recurrence_by_steps(inputs: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """:func:`recurrence` of (batch, length, states), slot after slot: least work, for a CPU."""
    first, *later = inputs.unbind(dim=1)  # (batch, states) each
    states = [first]
    for one in later:
        states.append(torch.addcmul(one, factor, states[-1]))
    return torch.stack(states, dim=1)


def recurrence_by_doubling(inputs: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """:func:`recurrence_by_steps` in log2(length) passes: fewest kernels, for a GPU."""
    h, span = inputs, 1
    while span < inputs.shape[1]:
        # Here h[t] covers the inputs of ``span`` slots up to t; after this pass, twice as many.
        h = h + factor * F.pad(h[:, :-span], (0, 0, span, 0))
        factor = factor * factor
        span *= 2
    return h


def _initial_recurrence(states: int) -> torch.Tensor:
    """Logarithms of nu, theta and gamma, (3, states), for eigenvalues on a ring."""
    radius, angle = torch.rand(states), torch.rand(states)
    inner, outer = SMALLEST_RADIUS**2, LARGEST_RADIUS**2
    log_nu = torch.log(-0.5 * torch.log(radius * (outer - inner) + inner))
    log_theta = torch.log(2 * math.pi * angle)
    magnitude = torch.exp(-torch.exp(log_nu))
    log_gamma = 0.5 * torch.log1p(-magnitude.square())
    return torch.stack([log_nu, log_theta, log_gamma])


class FeedForward(nn.Module):
    """Two layers at each slot, four times wider between them; (slots, dim) to (slots, dim)."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(dim, 4 * dim)
        self.w_2 = nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout follows the activation and the second layer."""
        hidden = self.dropout(F.gelu(self.w_1(x)))
        return self.layer_norm(self.dropout(self.w_2(hidden)) + x)


class LRUBlock(nn.Module):
    """A recurrence and an MLP."""

    def __init__(self, config: LRURecConfig) -> None:
        super().__init__()
        self.lru_layer = LRULayer(config.hidden_units, config.recurrence_dropout)
        self.feed_forward = FeedForward(config.hidden_units, config.dropout)

    def forward(self, x: torch.Tensor, slots: Slots) -> torch.Tensor:
        """(slots, dim) to (slots, dim)."""
        return self.feed_forward(self.lru_layer(x, slots))


class ItemEmbedding(nn.Module):
    """The item table with dropout and LayerNorm, in this order; row 0 (padding) is trained."""

    def __init__(self, rows: int, config: LRURecConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(rows, config.hidden_units)
        self.layer_norm = nn.LayerNorm(config.hidden_units)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """(slots,) to (slots, dim)."""
        return self.layer_norm(self.dropout(self.token(items)))


class LRUModel(nn.Module):
    """The blocks, and a bias for each item."""

    def __init__(self, rows: int, config: LRURecConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(rows))
        self.lru_blocks = nn.ModuleList(LRUBlock(config) for _ in range(config.num_blocks))

    def forward(self, x: torch.Tensor, slots: Slots) -> torch.Tensor:
        """(slots, dim) to (slots, dim)."""
        for block in self.lru_blocks:
            x = block(x, slots)
        return x


class LRURecNetwork(nn.Module):
    """Item histories to a state for each slot; the logit of an item is a product plus a bias."""

    def __init__(self, number_of_items: int, config: LRURecConfig) -> None:
        super().__init__()
        self.embedding = ItemEmbedding(number_of_items + 1, config)
        self.model = LRUModel(number_of_items + 1, config)
        self._initialise()

    def _initialise(self) -> None:
        """A cut normal law for all but LayerNorms and recurrences, biases included."""
        for name, parameter in self.named_parameters():
            if "layer_norm" not in name and "params_log" not in name:
                values = parameter.detach()
                cut = INITIAL_CUT * INITIAL_DEVIATION
                nn.init.trunc_normal_(
                    torch.view_as_real(values) if values.is_complex() else values,
                    std=INITIAL_DEVIATION,
                    a=-cut,
                    b=cut,
                )

    def forward(self, items: torch.Tensor, needed: torch.Tensor) -> torch.Tensor:
        """States (slots, dim) of the needed slots, history after history.

        Args:
            items: (batch, any length), padded with 0 on the left.
            needed: (batch, length), true at all items and where padding is read.
        """
        place = needed.flatten().nonzero()[:, 0]
        chosen = items.flatten()[place]
        slots = Slots((items.shape[0], items.shape[1]), place, chosen > 0)
        return self.model(self.embedding(chosen), slots)

    def all_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (slots, rows) of the whole table, row 0 included, for states (slots, dim)."""
        return F.linear(states, self.embedding.token.weight, self.model.bias)

    def logits(self, states: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Logits (batch, candidates) for states (batch, dim) and candidates (batch, candidates)."""
        products = torch.einsum("bd,bcd->bc", states, self.embedding.token(candidates))
        return products + self.model.bias[candidates]


class UserWindows(Instances):
    """One instance a user, or several for users with many events.

    A user with fewer than twice ``length`` events has one window: the latest ``length`` events are
    targets, each predicted from those before it, the user's very first event from padding. A user
    with more has as many whole windows as fit, counted from the end, and the first target of each
    is predicted from padding. Batches have ``items`` and ``targets`` (batch, longest of the batch),
    padded on the left, 0 where a slot has no target, and, with a number of negatives, ``negatives``
    (targets, number) in the order of the targets.
    """

    def __init__(self, view: TrainingView, length: int, number_of_negatives: int | None) -> None:
        windows = sequence_windows(view, length + 1, TASK, shortest=1)
        items = windows.items(view.log, np.arange(len(windows)))  # (windows, length + 1)
        events = np.diff(view.log.recommendation.offsets)[windows.user]
        inputs, targets = items[:, :-1], np.where(windows.is_target, items, 0)[:, 1:]
        is_long = events >= 2 * length
        inputs[is_long, 0] = 0
        is_whole = windows.rows[:, 1] >= 0
        keep = (is_whole | ~is_long) & _is_newest(windows.user, is_long) & targets.any(axis=1)
        self.items, self.targets, self.events = inputs[keep], targets[keep], windows.rows[keep, 1:]
        # A window has one slot more than inputs where its first target is predicted from padding.
        self.slots = (items[keep, 1:] > 0).sum(axis=1)
        self.number_of_negatives = number_of_negatives
        self.negatives = NegativeSampler(view)

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather windows, without the slots that are padding in all of them."""
        longest = int(self.slots[rows].max())
        targets = self.targets[rows][:, -longest:]
        batch = {"items": as_long(self.items[rows][:, -longest:]), "targets": as_long(targets)}
        if self.number_of_negatives is not None:
            events = self.events[rows][:, -longest:][targets > 0]
            slots = np.repeat(events[:, None], self.number_of_negatives, axis=1)
            batch["negatives"] = as_long(self.negatives.draw_one_per_slot(slots, random))
        return batch


def _is_newest(user: NDArray[np.int32], is_long: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """False for the second window of a user who should have one; windows come newest first."""
    repeated = np.zeros(len(user), dtype=bool)
    repeated[1:] = user[1:] == user[:-1]
    return is_long | ~repeated


class LRURec(HistorySystem):
    """The linear recurrent recommender. A history of nothing is a slot of padding, trained too."""

    Config = LRURecConfig
    config: LRURecConfig
    model: LRURecNetwork

    def build(self, corpus: Corpus) -> LRURecNetwork:
        """A fresh network."""
        return LRURecNetwork(corpus.number_of_items, self.config)

    def instances(self, view: TrainingView) -> UserWindows:
        """What the network learns from."""
        return UserWindows(view, self.config.history_length, self.config.train_negatives)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All but the biases and LayerNorms decay."""
        return decay_groups(
            self.model, lambda name: "bias" not in name and "layer_norm" not in name
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy, mean over the targets; slots without one never meet the item table."""
        items, targets = batch["items"], batch["targets"]
        needed = (items > 0) | (targets > 0)
        targets = targets[needed]  # (slots,)
        states = self.model(items, needed)[targets > 0]  # (targets, dim)
        targets = targets[targets > 0]
        if "negatives" not in batch:
            return F.cross_entropy(self.model.all_logits(states), targets)
        candidates = torch.cat([batch["negatives"], targets[:, None]], dim=1)
        last = torch.full_like(targets, candidates.shape[1] - 1)
        return F.cross_entropy(self.model.logits(states, candidates), last)

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """One encoding a history, then products with the candidates."""
        candidates = self.on_device(requests.candidates)
        return self.model.logits(self._last_states(requests), candidates)

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """One encoding a history, then one product with the item table."""
        return self.model.all_logits(self._last_states(requests))

    def _last_states(self, requests: Requests) -> torch.Tensor:
        """(batch, dim) the state at the end of each history."""
        history = requests.history(self.config.history_length, TASK, "left")
        longest = max(int(history.count.max()), 1)
        items = self.on_device(history.items[:, -longest:])
        needed = items > 0
        needed[:, -1] = True
        last = needed.sum(dim=1).cumsum(dim=0) - 1  # (batch,)
        return self.model(items, needed)[last]
