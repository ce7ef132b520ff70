"""UnifiedSSR: one encoder for the product branch and the query branch, for both tasks.

Xie, Liu, Cong and Chen, "UnifiedSSR: A Unified Framework of Sequential Search and Recommendation",
WWW 2024; original https://github.com/JennyXieJiayi/UnifiedSSR, commit e65dd2e (Apache-2.0), whose
parameter names are kept. One network is pre-trained on the sequences of both tasks, then a copy of
it is fine-tuned on each. As released, every encoder layer reads the input, so only the last one
counts, and session windows never move (``layer_wiring`` says more); what nothing trains is frozen.

What differs: attention looks back only, where the release shows every position but the last its
own target (``causal=False``); the loss does not saturate (``loss="released"``); a user's first
search, which the release never trains or scores, is both, by the query branch alone
(``first_searches=False``); sequences are padded to one length, so session windows do not depend on
the batch; pre-training sees training events only, where the release may see held-out ones; each
stage keeps the weights of its best validation NDCG@5 and stops when that rises no more; the vectors
of the unknown user and of users without a training sequence stay at zero, and words that no
training query holds are left out; negatives follow the law of the lists, where the release draws
any item but the target. A recommendation request without any history is scored from the padding
item, its position and the user's vector.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn

from baselines.joint.annotated_transformer import (
    Attention,
    Embeddings,
    FeedForward,
    LayerNorm,
    Sublayer,
    visible_keys,
)
from baselines.joint.base import TASKS, silence_untrained
from benchmark.data.dataset import IntArray
from benchmark.errors import SystemFailure
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.instances.sequences import SequenceWindows, padded_right, sequence_windows
from benchmark.kit.layers import sinusoids
from benchmark.kit.modules import as_long, load_state, save_state
from benchmark.kit.text.word_system import WordSystem
from benchmark.kit.text.words import QueryWords, Vocabulary
from benchmark.kit.training import Batch, Instances, TrainingSettings, in_batches, train
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import DROPOUT, LEARNING_RATE, Real, SearchSpace, UntilPatience
from benchmark.systems.view import Corpus, TrainingView

_PRETRAINED = "pretrained.safetensors"
_LOSS_GUARD = 1e-24  # what the release adds to a probability before the logarithm
_SMALLEST_WEIGHT = 0.1  # of a branch of the search


class UnifiedSSRTraining(TrainingSettings):
    """The original's settings, with the learning rate of a vector size of 32."""

    batch_size: int = Field(default=128, ge=1)
    """Sequences of one task an optimiser step."""
    learning_rate: float = Field(default=2.8e-3, gt=0)
    """The original: 1 over the root of (vector size times ``warmup_steps``)."""
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = Field(default=1e-9, gt=0)
    schedule: Literal["constant", "linear", "cosine", "inverse-root", "plateau"] = "inverse-root"
    warmup_steps: int = Field(default=4000, ge=0)
    validate_every: int = Field(default=4, ge=0)
    patience: int | None = Field(default=3, ge=1)


class UnifiedSSRConfig(SystemConfig):
    """The original's settings."""

    embedding_size: int = Field(default=32, ge=1)
    """Dimensions of all vectors; the layer between in a feed-forward has twice as many."""
    layers: int = Field(default=2, ge=1)
    """Encoder layers; see ``layer_wiring``."""
    layer_wiring: Literal["last_only", "stacked"] = "last_only"
    """As released, where all layers but the last are without effect, or one on top of the other."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; they divide ``embedding_size``."""
    sessions: int = Field(default=2, ge=1)
    """Session windows in a sequence."""
    session_weight: float = Field(default=0.1, ge=0)
    """Weight of the loss that correlates the sessions."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """On inputs, on what a sublayer adds, and inside the feed-forward."""
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    causal: bool = True
    """Whether a position attends to earlier ones only; the release lets it see its own target."""
    loss: Literal["softplus", "released"] = "softplus"
    """The logistic loss, or the release's form, whose gradient vanishes for a large logit."""
    first_searches: bool = True
    """Whether a user's first search is trained, by the query branch alone; the release does not."""
    history_length: int = Field(default=30, ge=1)
    """Latest events of the task that are read; sequences are padded to it."""
    query_words: int = Field(default=50, ge=1)
    """Words of a query that are read, the first ones."""
    negatives: int = Field(default=4, ge=1)
    """Negatives of each position, drawn anew. The original draws from all items but the target."""
    bm25_negatives: int = Field(default=0, ge=0)
    """Further negatives of a search, drawn from BM25 hits; where it has none, uniform ones too."""
    bm25_pool: int = Field(default=200, ge=1)
    """Such hits are the best so many of those that no evaluation list can hold."""
    pretraining: TrainingSettings = UnifiedSSRTraining()
    """How the network is trained on both tasks."""
    training: TrainingSettings = UnifiedSSRTraining()
    """How its copies are fine-tuned, each on one task; no epochs leave the copies as they are."""

    search_space: ClassVar[SearchSpace] = {
        "pretraining.learning_rate": LEARNING_RATE,
        "pretraining.epochs": UntilPatience(),
        "training.learning_rate": LEARNING_RATE,
        "training.epochs": UntilPatience(),
        "dropout": DROPOUT,
        "session_weight": Real(0.01, 1.0, log=True),
    }

    @model_validator(mode="after")
    def _sizes_fit(self) -> UnifiedSSRConfig:
        if self.embedding_size % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the size {self.embedding_size}")
        return self


# ------------------------------------------------------------------------------------- networks


class EncoderLayer(nn.Module):
    """Attention to the own branch, attention to the other one, feed-forward."""

    def __init__(self, config: UnifiedSSRConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.self_attn = Attention(size, config.heads, config.attention_dropout)
        self.cross_attn = Attention(size, config.heads, config.attention_dropout)
        self.feed_forward = FeedForward(size, config.dropout)
        self.sublayer = nn.ModuleList(Sublayer(size) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, states: torch.Tensor, others: torch.Tensor, visible: torch.Tensor
    ) -> torch.Tensor:
        """States of one branch (batch, length, size) that see those of the other.

        ``others`` is not normalised. ``visible`` is as for :class:`Attention`, the same for both.
        """
        own, cross, last = (cast(Sublayer, sublayer).norm for sublayer in self.sublayer)
        normalised = own(states)
        states = states + self.dropout(self.self_attn(normalised, normalised, visible))
        states = states + self.dropout(self.cross_attn(cross(states), others, visible))
        return states + self.dropout(self.feed_forward(last(states)))


class Encoder(nn.Module):
    """The layers that both branches share, and a layer norm at the end."""

    def __init__(self, config: UnifiedSSRConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.embedding_size)
        self.is_stacked = config.layer_wiring == "stacked"
        if not self.is_stacked:
            self.layers[:-1].requires_grad_(False)

    def forward(
        self, branches: list[torch.Tensor], visible: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """The states of each of one or two branches, all (batch, length, size).

        One branch alone sees itself in the place of the other. ``visible`` has one mask a branch.
        """
        for layer in self.layers if self.is_stacked else self.layers[-1:]:
            seen = branches[::-1]
            branches = [
                layer(states, others, mask)
                for states, others, mask in zip(branches, seen, visible, strict=True)
            ]
        return [self.norm(states) for states in branches]


class Sessions(NamedTuple):
    """What the session step makes of a branch.

    ``windows`` (batch, sessions, 2) are first and last position, as fractions of positions too;
    ``states`` (batch, length, size) are those of the branch, twice as large inside a window;
    ``vectors`` (batch, sessions, size) are the mean states of the windows, zero for an empty one.
    """

    windows: torch.Tensor
    states: torch.Tensor
    vectors: torch.Tensor


class SessionCoder(nn.Module):
    """Windows from two numbers a segment: how far to move its centre, and how wide to be."""

    anchor: torch.Tensor

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.width_bias = nn.Parameter(torch.tensor(0.5 * math.log(5.0 / 3.0)))
        self.register_buffer("anchor", (torch.arange(number) + 0.5) / number)

    def forward(self, offsets: torch.Tensor) -> torch.Tensor:
        """Windows (batch, sessions, 2) within [0, 1] of (batch, sessions, 2)."""
        move, width = offsets.unbind(dim=-1)
        centre = self.anchor + torch.tanh(move) / self.number
        half = torch.relu(torch.tanh(width + self.width_bias)) / self.number
        return torch.stack([centre - half, centre + half], dim=-1).clamp(0.0, 1.0)


class SessionPartition(nn.Module):
    """Proposes windows over a sequence.

    Whether an event is in a window is a hard comparison, so no gradient reaches the proposals.
    """

    def __init__(self, config: UnifiedSSRConfig) -> None:
        super().__init__()
        self.number = config.sessions
        self.offset_predictor = nn.Linear(config.embedding_size, 2, bias=False)
        self.sub_seq_coder = SessionCoder(config.sessions)
        self.requires_grad_(False)

    def forward(self, states: torch.Tensor, is_real: torch.Tensor) -> Sessions:
        """Sessions of states (batch, length, size) of which ``is_real`` (batch, length) count."""
        with torch.no_grad():
            segments = F.adaptive_avg_pool1d(states.transpose(1, 2), self.number).transpose(1, 2)
            offsets = self.offset_predictor(torch.relu(segments))
            windows = self.sub_seq_coder(offsets) * states.shape[1]
            place = torch.arange(states.shape[1], device=states.device)
            inside = (windows[..., :1] <= place) & (place <= windows[..., 1:])
            inside &= is_real[:, None, :]  # (batch, sessions, length)
            share = inside / inside.sum(dim=2, keepdim=True).clamp(min=1)
        doubled = states * (1.0 + inside.any(dim=1)[..., None])
        return Sessions(windows, doubled, share.to(states.dtype) @ states)


def mean_of_nonzero(values: torch.Tensor) -> torch.Tensor:
    """The mean of all values that are not 0; 0 if all are."""
    return values.sum() / torch.count_nonzero(values).clamp(min=1)


def within_correlation(vectors: torch.Tensor) -> torch.Tensor:
    """How alike neighbouring sessions (batch, sessions, size) are, a loss."""
    return mean_of_nonzero(F.cosine_similarity(vectors[:, 1:], vectors[:, :-1], dim=-1).abs())


def between_correlation(products: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """That of each branch, less how alike sessions of the same number in both branches are."""
    alike = mean_of_nonzero(F.cosine_similarity(products, queries, dim=-1))
    return within_correlation(products) + within_correlation(queries) - alike


class UnifiedSSRNetwork(nn.Module):
    """The network, from ids to logits. Product 0, word 0 and user 0 have vectors of their own."""

    def __init__(
        self, user_rows: int, item_rows: int, word_rows: int, config: UnifiedSSRConfig
    ) -> None:
        super().__init__()
        self.config = config
        size = config.embedding_size
        self.u_embed = Embeddings(user_rows, size)
        self.p_embed = Embeddings(item_rows, size)
        self.q_t_embed = Embeddings(word_rows, size)
        self.encoder = Encoder(config)
        self.seq_partition = SessionPartition(config)
        self.next_product_search_w = nn.Parameter(torch.tensor(0.5))
        self.dropout = nn.Dropout(config.dropout)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.zeros_(self.seq_partition.offset_predictor.weight)
        with torch.no_grad():
            self.u_embed.lut.weight[0] = 0.0

    def encode_products(self, users: torch.Tensor, products: torch.Tensor) -> torch.Tensor:
        """The states of the product branch alone, (batch, length, size).

        Args:
            users: (batch,).
            products: (batch, length), oldest first, padded with 0 on the right.
        """
        states = self._with_user_and_place(self.p_embed(products), users)
        return self.encoder([states], [visible_keys(products > 0, self.config.causal)])[0]

    def encode_both(
        self, users: torch.Tensor, products: torch.Tensor, words: torch.Tensor, asked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The states of product branch and query branch, both (batch, length, size).

        Args:
            users: (batch,).
            products: (batch, length), at each position the product before its query, so 0 comes
                first; padded with 0 on the right.
            words: (batch, length, words) of the queries, padded with 0.
            asked: (batch, length) which positions have a query.
        """
        branches = [
            self._with_user_and_place(self.p_embed(products), users),
            self._with_user_and_place(self.q_t_embed.means(words), users),
        ]
        causal = self.config.causal
        visible = [visible_keys(products > 0, causal), visible_keys(asked, causal)]
        of_products, of_queries = self.encoder(branches, visible)
        return of_products, of_queries

    def _with_user_and_place(self, vectors: torch.Tensor, users: torch.Tensor) -> torch.Tensor:
        places = sinusoids(vectors.shape[1], vectors.shape[2]).to(vectors)
        return self.dropout(vectors + self.u_embed(users)[:, None] + places)

    def recommendation_states(
        self, users: torch.Tensor, products: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States (batch, length, size) that products are compared with, and the session loss."""
        sessions = self.seq_partition(self.encode_products(users, products), products > 0)
        return sessions.states, within_correlation(sessions.vectors)

    def search_states(
        self, users: torch.Tensor, products: torch.Tensor, words: torch.Tensor, asked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States of both branches, and the session loss; arguments as for :meth:`encode_both`.

        At the first position, which has no product, only that of the query branch means anything.
        Sessions begin after it.
        """
        states = self.encode_both(users, products, words, asked)
        parts = [self.seq_partition(branch[:, 1:], asked[:, 1:]) for branch in states]
        of_products, of_queries = (
            torch.cat([branch[:, :1], part.states], dim=1)
            for branch, part in zip(states, parts, strict=True)
        )
        return of_products, of_queries, between_correlation(*(part.vectors for part in parts))

    def branch_weights(self, has_product: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of product branch and query branch in a search, shaped as ``has_product``."""
        weight = torch.where(has_product, self.next_product_search_w, 0.0)
        return weight, 1.0 - weight

    def recommendation_vectors(self, users: torch.Tensor, products: torch.Tensor) -> torch.Tensor:
        """What products are compared with after the last one of (batch, length), (batch, size)."""
        states, _ = self.recommendation_states(users, products)
        last = (products > 0).sum(dim=1).sub(1).clamp(min=0)
        return _at(states, last)

    def search_vectors(
        self, users: torch.Tensor, products: torch.Tensor, words: torch.Tensor, asked: torch.Tensor
    ) -> torch.Tensor:
        """The same for the last query; arguments as for :meth:`encode_both`."""
        of_products, of_queries, _ = self.search_states(users, products, words, asked)
        last = asked.sum(dim=1) - 1
        for_products, for_queries = self.branch_weights(last > 0)
        mixed = for_products[:, None] * _at(of_products, last)
        return mixed + for_queries[:, None] * _at(of_queries, last)

    def products_with_all(self, states: torch.Tensor) -> torch.Tensor:
        """Inner products (batch, number_of_items + 1) of states (batch, size) with all vectors."""
        return states @ self.p_embed.lut.weight.T * self.p_embed.scale

    def products_with(self, states: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Inner products (..., items) of states (..., size) with the vectors of ``items``."""
        return torch.einsum("...d,...nd->...n", states, self.p_embed(items))

    def recommendation_loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of the targets, and the session loss."""
        states, session_loss = self.recommendation_states(batch["users"], batch["products"])
        return _mean_over(self._losses(states, batch), batch["is_target"]), session_loss

    def search_loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of the targets, weighted over both branches, and the session loss."""
        with torch.no_grad():
            self.next_product_search_w.clamp_(_SMALLEST_WEIGHT, 1.0 - _SMALLEST_WEIGHT)
        of_products, of_queries, session_loss = self.search_states(
            batch["users"], batch["products"], batch["words"], batch["asked"]
        )
        for_products, for_queries = self.branch_weights(batch["products"] > 0)
        losses = for_products * self._losses(of_products, batch)
        losses = losses + for_queries * self._losses(of_queries, batch)
        return _mean_over(losses, batch["is_target"]), session_loss

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch of one task; a batch of searches has words."""
        of_targets, of_sessions = (
            self.search_loss(batch) if "words" in batch else self.recommendation_loss(batch)
        )
        return of_targets + self.config.session_weight * of_sessions

    def _losses(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss at each position, (batch, length): that of the target and of each negative."""
        items = torch.cat([batch["targets"][..., None], batch["negatives"]], dim=-1)
        logits = self.products_with(states, items)  # (batch, length, 1 + negatives)
        target, negatives = logits[..., 0], logits[..., 1:]
        if self.config.loss == "released":
            as_true = -torch.log(torch.sigmoid(target) + _LOSS_GUARD)
            as_false = -torch.log(1.0 - torch.sigmoid(negatives) + _LOSS_GUARD)
            return as_true + as_false.sum(dim=-1)
        return F.softplus(-target) + F.softplus(negatives).sum(dim=-1)


def _at(states: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """The state (batch, size) at one position (batch,) of each row."""
    return states[torch.arange(len(states), device=states.device), place]


def _mean_over(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp(min=1)


# ------------------------------------------------------------------------------------ instances


def as_wide_as_needed(words: IntArray) -> torch.Tensor:
    """Words (…, any width) as a tensor without the last columns, in which no text has a word."""
    used = np.flatnonzero((words > 0).reshape(-1, words.shape[-1]).any(axis=0))
    return as_long(words[..., : 1 + int(used.max(initial=0))])


class SequenceInstances(Instances):
    """Windows of the users' training sequences, those of recommendation first, then of search.

    A batch is of one task. It has ``users`` (batch,), ``products``, ``targets`` and ``is_target``
    (batch, length) and ``negatives`` (batch, length, negatives); one of searches has ``asked``
    (batch, length) and ``words`` (batch, length, words) too, and is one position longer.
    """

    def __init__(
        self,
        view: TrainingView,
        words: QueryWords,
        config: UnifiedSSRConfig,
        tasks: tuple[str, ...] = TASKS,
    ) -> None:
        self.log, self.words, self.config = view.log, words, config
        firsts = config.first_searches
        self.windows: dict[str, SequenceWindows] = {
            task: sequence_windows(
                view,
                config.history_length + 1,
                task,
                shortest=1 if task == "search" and firsts else 2,
            )
            for task in tasks
        }
        self.tasks = tasks
        self.first = np.cumsum([0, *(len(self.windows[task]) for task in tasks)])
        needs_hits = config.bm25_negatives and len(self.windows.get("search", ()))
        hits = HardNegatives(view, config.bm25_pool) if needs_hits else None
        self.samplers = {task: NegativeSampler(view, task, hits=hits) for task in tasks}

    def __len__(self) -> int:
        return int(self.first[-1])

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """Batches of one task each, in random order."""
        found: list[NDArray[np.int64]] = []
        for start, stop in pairwise(self.first):
            found += in_batches(start + random.permutation(stop - start), batch_size)
        return [found[number] for number in random.permutation(len(found))]

    def steps(self, batch_size: int) -> int:
        """The batches of all tasks."""
        return sum(math.ceil(size / batch_size) for size in np.diff(self.first).tolist())

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather windows of the task of the first row; draw their negatives."""
        number = int(np.searchsorted(self.first, rows[0], side="right")) - 1
        task = self.tasks[number]
        windows, chosen = self.windows[task], rows - self.first[number]
        rows = windows.rows[chosen]  # of the log, -1 where padded
        count = (rows >= 0).sum(axis=1)
        items = padded_right(windows.items(self.log, chosen), count)
        events = padded_right(rows + 1, count) - 1
        is_target = padded_right(windows.is_target[chosen], count)
        users = as_long(windows.user[chosen])
        if task == "recommendation":
            batch = self._with_negatives(task, events[:, 1:], is_target[:, 1:], random)
            return batch | {"users": users, "products": as_long(items[:, :-1])}
        queries = np.where(events >= 0, self.log.query[np.maximum(events, 0)], 0)
        is_target[:, 0] &= self.config.first_searches & self._is_first(events[:, 0])
        batch = self._with_negatives(task, events, is_target, random)
        return batch | {
            "users": users,
            "products": as_long(np.pad(items[:, :-1], ((0, 0), (1, 0)))),
            "words": as_wide_as_needed(self.words.of(queries)),
            "asked": torch.from_numpy(events >= 0),
        }

    def _is_first(self, events: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which log rows (events,) are the first search of their user."""
        index = self.log.search
        first: NDArray[np.bool_] = (
            index.count_before[events] == index.offsets[self.log.user[events]]
        )
        return first

    def _with_negatives(
        self,
        task: str,
        events: NDArray[np.int64],
        is_target: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> Batch:
        """Targets, and negatives where there is one, of log rows ``events`` (batch, length)."""
        further = self.config.bm25_negatives if task == "search" else 0
        number = self.config.negatives + further
        negatives = np.zeros((*events.shape, number), dtype=np.int64)
        negatives[is_target] = self.samplers[task].draw(events[is_target], number, random, further)
        return {
            "targets": as_long(np.where(events >= 0, self.log.item[np.maximum(events, 0)], 0)),
            "is_target": torch.from_numpy(is_target),
            "negatives": torch.from_numpy(negatives),
        }


# --------------------------------------------------------------------------------------- system


class UnifiedSSR(WordSystem):
    """One network a task, both from the same pre-training."""

    Config = UnifiedSSRConfig

    model: nn.ModuleDict

    def network(self, corpus: Corpus) -> UnifiedSSRNetwork:
        """A freshly initialised network for the words at hand."""
        return UnifiedSSRNetwork(
            corpus.number_of_users + 1,
            corpus.number_of_items + 1,
            self.vocabulary.number_of_ids,
            self.config,
        )

    def build(self, corpus: Corpus) -> nn.ModuleDict:
        """A network for each task, both alike."""
        network = self.network(corpus)
        return nn.ModuleDict({task: copy.deepcopy(network) for task in TASKS})

    def fit(self, view: TrainingView) -> None:
        """Pre-train on all tasks, then fine-tune on each; keep the best weights of each stage.

        The network of a task without training sequences stays as pre-trained.
        """
        config: UnifiedSSRConfig = self.config
        self.read_words(Vocabulary.of_view(view), view.corpus)
        self.model = cast(nn.ModuleDict, self.seeded_build(view.corpus))
        instances = {task: SequenceInstances(view, self.words, config, (task,)) for task in TASKS}
        tasks = tuple(task for task in TASKS if len(instances[task]))
        if not tasks:
            raise SystemFailure("UnifiedSSR learns from sequences, and no user has one.")
        self._silence_users_without_sequences(instances)
        self._pretrain(view, tasks)
        for task in tasks:
            self._train(task, self._network_of(task), instances[task], config.training, view)

    def _silence_users_without_sequences(self, instances: dict[str, SequenceInstances]) -> None:
        """Users whom training never reads start, and stay, at zero, as the unknown user does."""
        read = [windows.user for one in instances.values() for windows in one.windows.values()]
        for task in TASKS:
            silence_untrained(self._network_of(task).u_embed.lut.weight, np.concatenate(read))

    def _pretrain(self, view: TrainingView, tasks: tuple[str, ...]) -> None:
        """Train one network on ``tasks``, or read it where an interrupted run has written it."""
        config: UnifiedSSRConfig = self.config
        separate, path = self.model, self.context.folder / _PRETRAINED
        network = self._network_of(TASKS[0])
        if path.is_file():
            network.load_state_dict(load_state(path, self.device))
        else:
            self.model = nn.ModuleDict({task: network for task in TASKS})
            instances = SequenceInstances(view, self.words, config, tasks)
            self._train("pretraining", network, instances, config.pretraining, view)
            self.model = separate
            save_state(network.state_dict(), path)
        for task in TASKS[1:]:
            self._network_of(task).load_state_dict(network.state_dict())

    def _train(
        self,
        name: str,
        network: UnifiedSSRNetwork,
        instances: SequenceInstances,
        settings: TrainingSettings,
        view: TrainingView,
    ) -> None:
        train(
            network,
            instances,
            network.loss,
            settings,
            self.context,
            lambda: view.validate(self, instances.tasks),
            name=name,
            parameter_groups=[{"params": [p for p in network.parameters() if p.requires_grad]}],
        )

    def _network_of(self, task: str) -> UnifiedSSRNetwork:
        return cast(UnifiedSSRNetwork, self.model[task])

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """One encoding a request, one product a candidate."""
        candidates = self.on_device(requests.candidates)
        return self._network_of(requests.task).products_with(self._vectors(requests), candidates)

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """One encoding a request, one product with the vectors of all items."""
        return self._network_of(requests.task).products_with_all(self._vectors(requests))

    def _vectors(self, requests: Requests) -> torch.Tensor:
        """What products are compared with, (batch, size)."""
        network = self._network_of(requests.task)
        history = requests.history(self.config.history_length, requests.task, "right")
        users, products = (self.on_device(ids) for ids in (requests.user, history.items))
        if requests.task == "recommendation":
            return network.recommendation_vectors(users, products)
        every = np.arange(len(requests))
        queries = np.pad(history.queries, ((0, 0), (0, 1)))
        queries[every, history.count] = requests.query
        asked = np.arange(queries.shape[1])[None, :] <= history.count[:, None]
        return network.search_vectors(
            users,
            F.pad(products, (1, 0)),
            as_wide_as_needed(self.words.of(queries, requests.new_queries)).to(self.device),
            torch.from_numpy(asked).to(self.device),
        )
