"""SESRec: recommendation from both histories, each split into what they share and what they do not.

Si et al., "When Search Meets Recommendation: Learning Disentangled Search Representation for
Recommendation", SIGIR 2023 (arXiv 2305.10822); original
https://github.com/Ethan00Si/SESREC-SIGIR-2023, commit de9c0ae, without a licence, so this is
written from a description of what it computes. Both histories are encoded; a co-attention weighs
the events of each by the other, and those above average are the similar ones. A triplet loss pulls
a history towards its similar events, a contrastive one queries towards their clicked items.

As in the original, histories are always padded to their full length, since padding has a part in
the co-attention, and no gradient passes the split. What differs: a history without events, which
gives NaN there, is encoded and pooled as zeros; scores are logits, without the sigmoid that ties
them; a history is encoded once and not once a candidate; training events are shuffled; negatives
follow the law of the lists that are ranked, not of the data; ids that training never touches
start at zero; early stopping does not wait for the smallest learning rate. The model reads no query
of the request and ranks for none; ``search_head`` adds a second prediction network that does, as
later papers on joint models describe it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from baselines.joint.base import (
    SPACE,
    TASKS,
    ContrastingInstances,
    JointSystem,
    logistic_loss,
    logits_of_all,
    silence_untrained,
)
from baselines.joint.histories import JointHistoryConfig, distinct_clicks, history_window
from baselines.joint.layers import (
    Attribute,
    EntityTables,
    HistoryEncoder,
    QueryItemContrast,
    bilinear_form,
    encode_once,
)
from benchmark.data.dataset import IntArray
from benchmark.errors import SystemFailure
from benchmark.kit.layers import hidden_layers
from benchmark.kit.modules import as_long
from benchmark.kit.text.words import PADDING_WORD, training_queries
from benchmark.kit.training import Batch, TrainingSettings
from benchmark.protocol.requests import Events, Requests, TrainingExamples
from benchmark.systems.space import Real, SearchSpace
from benchmark.systems.view import Corpus, TrainingView

_PADDING_LOGIT = -1e12  # finite: the co-attention of a history without events is uniform


class SESRecTraining(TrainingSettings):
    """The original's settings on Amazon."""

    epochs: int = Field(default=30, ge=0)
    batch_size: int = Field(default=256, ge=1)
    """Training events an optimiser step."""
    weight_decay: float = Field(default=1e-5, ge=0)
    schedule: Literal["constant", "linear", "cosine", "plateau"] = "plateau"
    plateau_patience: int = Field(default=5, ge=0)
    plateau_minimum: float = Field(default=1e-5, ge=0)


class SESRecConfig(JointHistoryConfig):
    """The original's settings on Amazon; those of its commercial data in brackets."""

    item_size: int = Field(default=32, ge=1)
    """Dimensions of the item table, and of both encoders (with attributes, 48)."""
    user_size: int = Field(default=32, ge=1)
    """Dimensions of the user table (16)."""
    query_size: int = Field(default=16, ge=1)
    """Dimensions of the table of query ids (32)."""
    word_size: int = Field(default=16, ge=1)
    """Dimensions of the word table (32)."""
    recommendation_history: int = Field(default=15, ge=1)
    """How many of the user's latest recommendation events are read (150)."""
    search_history: int = Field(default=15, ge=1)
    """How many of the user's latest search sessions are read (25, of 5 items each)."""
    query_words: int = Field(default=15, ge=1)
    """Words of a query that are read, the first ones (6)."""
    layers: int = Field(default=1, ge=1)
    """Layers of each encoder."""
    heads: int = Field(default=4, ge=1)
    """Attention heads; they divide the encoders' width (2)."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    predictor_sizes: tuple[int, int] = (200, 80)
    """Hidden widths of the network from interests, user and item to the score."""
    alignment_weight: float = Field(default=0.1, ge=0)
    """Weight of the contrastive loss between queries and their clicked items."""
    alignment_temperature: float = Field(default=0.1, gt=0)
    """Where its learned temperature starts."""
    alignment_negatives: int = Field(default=1024, ge=1)
    """Items, and queries, that every step contrasts with the clicked items and their queries."""
    triplet_weight: float = Field(default=0.001, ge=0)
    """Weight of the loss that pulls a history towards its similar events."""
    triplet_margin: float = Field(default=0.1, ge=0)
    search_head: bool = False
    """Whether a second prediction network ranks for queries. Ours."""
    search_weight: float = Field(default=0.1, ge=0)
    """Weight of its loss beside that of recommendation."""
    training: TrainingSettings = SESRecTraining()

    search_space: ClassVar[SearchSpace] = {
        **SPACE,
        "alignment_weight": Real(0.001, 1.0, log=True),
        "triplet_weight": Real(0.0001, 0.1, log=True),
    }

    @model_validator(mode="after")
    def _sizes_fit(self) -> SESRecConfig:
        if self.item_size % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the size {self.item_size}")
        return self


class CoAttention(nn.Module):
    """Weighs the events of each history by how they fit the other one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.affinity = bilinear_form(size)
        self.by_recommendation = nn.Parameter(torch.empty(1, size))
        self.by_search = nn.Parameter(torch.empty(1, size))
        for parameter in (self.by_recommendation, self.by_search):
            nn.init.xavier_normal_(parameter)

    def forward(
        self,
        items: torch.Tensor,
        sessions: torch.Tensor,
        item_is_event: torch.Tensor,
        session_is_event: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of the recommendation and of the search events, each (batch, length)."""
        affinity = torch.tanh(items @ self.affinity @ sessions.transpose(1, 2))
        of_items = torch.einsum("bs,bis->bi", sessions @ self.by_search[0], affinity)
        of_sessions = torch.einsum("bi,bis->bs", items @ self.by_recommendation[0], affinity)
        return (
            of_items.masked_fill(~item_is_event, _PADDING_LOGIT).softmax(dim=-1),
            of_sessions.masked_fill(~session_is_event, _PADDING_LOGIT).softmax(dim=-1),
        )


class History(NamedTuple):
    """One encoded history and its split; shapes (batch, length, size) and (batch, length)."""

    states: torch.Tensor
    is_event: torch.Tensor
    weights: torch.Tensor
    similar: torch.Tensor
    dissimilar: torch.Tensor

    @classmethod
    def split(cls, states: torch.Tensor, is_event: torch.Tensor, weights: torch.Tensor) -> History:
        """Events of at least average weight are similar; an empty part becomes all events."""
        average = 1.0 / is_event.sum(dim=1, keepdim=True).clamp(min=1)
        parts = []
        for part in (weights >= average, weights < average):
            part = part & is_event
            parts.append(torch.where(part.any(dim=1, keepdim=True), part, is_event))
        return cls(states, is_event, weights, *parts)

    def rows(self, rows: torch.Tensor) -> History:
        """The histories at ``rows``."""
        return History(*(part[rows] for part in self))


def triplet_loss(history: History, margin: float) -> torch.Tensor:
    """How much nearer the weighted sum is to the similar events than to the others; a mean."""
    anchor = torch.einsum("bl,bld->bd", history.weights, history.states)
    near, far = (
        F.pairwise_distance(anchor, _mean(history.states, part))
        for part in (history.similar, history.dissimilar)
    )
    return torch.relu(near - far + margin).mean()


def _mean(x: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The mean (batch, size) of the chosen ones of (batch, length, size); zero of none."""
    weight = chosen.to(x.dtype)
    return torch.einsum("bl,bld->bd", weight, x) / weight.sum(dim=1, keepdim=True).clamp(min=1)


class TargetPooling(nn.Module):
    """Pools all, similar and dissimilar events for every candidate by one bilinear form."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = bilinear_form(size)

    def forward(self, history: History, candidates: torch.Tensor) -> torch.Tensor:
        """Candidates (batch, candidates, size) → (batch, candidates, 3 · size)."""
        logits = torch.einsum("bld,bcd->bcl", history.states @ self.weight, candidates)
        parts = torch.stack([history.is_event, history.similar, history.dissimilar], dim=1)
        chosen = parts | ~history.is_event.any(dim=1)[:, None, None]  # (batch, 3, length)
        masked = logits[:, :, None].masked_fill(~chosen[:, None], -torch.inf)
        # The states of a history without events are zero, and so is what is pooled of them.
        return torch.einsum("bcpl,bld->bcpd", masked.softmax(dim=-1), history.states).flatten(2)


class SESRecNetwork(nn.Module):
    """The network, from ids to logits.

    Args:
        item_rows, user_rows, word_rows: sizes of the tables; item 0 and word 0 are padding.
        query_words: (queries, words) word ids of every query; query 0 is padding.
        sources: kinds of search that a session may come from.
        item_attributes, user_attributes: further attributes, in the order of their vectors.
    """

    query_words: torch.Tensor

    def __init__(
        self,
        config: SESRecConfig,
        item_rows: int,
        user_rows: int,
        word_rows: int,
        query_words: torch.Tensor,
        sources: int = 1,
        item_attributes: Sequence[Attribute] = (),
        user_attributes: Sequence[Attribute] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("query_words", query_words, persistent=False)
        self.item_tables = EntityTables(item_rows, config.item_size, item_attributes)
        self.users = EntityTables(user_rows, config.user_size, user_attributes)
        size = self.item_tables.size
        self.item_projection = nn.Linear(size, size)
        self.query_ids = nn.Embedding(len(query_words), config.query_size)
        self.words = nn.Embedding(word_rows, config.word_size)
        self.query_projection = nn.Linear(config.query_size + config.word_size, size)
        self.sources = nn.Embedding(sources, size)
        shape = config.layers, size, config.heads, config.dropout
        self.recommendation_encoder = HistoryEncoder(config.recommendation_history, *shape)
        self.search_encoder = HistoryEncoder(config.search_history, *shape)
        self.co_attention = CoAttention(size)
        self.recommendation_pooling = TargetPooling(size)
        self.search_pooling = TargetPooling(size)
        inputs = 7 * size + self.users.size
        self.predictor = self._predictor(inputs)
        self.search_predictor = self._predictor(inputs + size) if config.search_head else None
        self.alignment = QueryItemContrast(size, config.alignment_temperature)
        for module in self.modules():
            if isinstance(module, (nn.Embedding, nn.Linear)):
                nn.init.xavier_normal_(module.weight)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def _predictor(self, inputs: int) -> nn.Sequential:
        sizes, dropout = (inputs, *self.config.predictor_sizes), self.config.dropout
        return nn.Sequential(*hidden_layers(*sizes, dropout=dropout), nn.Linear(sizes[-1], 1))

    def encode_items(self, items: torch.Tensor) -> torch.Tensor:
        """Ids of any shape → (…, size); the padding item has a vector too."""
        return encode_once(self._items, items, self.item_tables.ids.num_embeddings)

    def encode_queries(
        self, queries: torch.Tensor, new_words: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Ids of any shape → (…, size): the id beside the mean of its words, then a layer.

        Args:
            queries: ids; those beyond the table are of new queries, whose ids count as zero.
            new_words: (new queries, words) word ids of these.
        """
        if new_words is None:
            return encode_once(self._queries, queries, len(self.query_words))
        is_new = queries >= len(self.query_words)
        ids = self.query_ids(queries.masked_fill(is_new, 0))
        means = torch.cat([self._means(self.query_words), self._means(new_words)])
        return self._joined(torch.where(is_new[..., None], 0.0, ids), F.embedding(queries, means))

    def _items(self, items: torch.Tensor) -> torch.Tensor:
        return self.item_projection(torch.cat(self.item_tables.vectors_of(items), dim=-1))

    def _queries(self, queries: torch.Tensor) -> torch.Tensor:
        mean = self._means(self.query_words[queries.flatten()]).unflatten(0, queries.shape)
        return self._joined(self.query_ids(queries), mean)

    def _means(self, words: torch.Tensor) -> torch.Tensor:
        return F.embedding_bag(words, self.words.weight, mode="mean", padding_idx=PADDING_WORD)

    def _joined(self, ids: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
        return self.query_projection(torch.cat([ids, means], dim=-1))

    def encode_searches(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Query with source, and mean of clicked items, each (batch, search_history, size)."""
        clicks = batch["clicks"]
        clicked = (clicks > 0)[..., None]
        total = (self.encode_items(clicks) * clicked).sum(dim=2)
        queries = self.encode_queries(batch["queries"], batch.get("new_words"))
        queries = queries + self.sources(batch["sources"])
        return queries, total / clicked.sum(dim=2).clamp(min=1)

    def histories(self, batch: Batch) -> tuple[History, History]:
        """Encode and split the recommendation and the search history of every event."""
        items, is_item = self.encode_items(batch["history"]), batch["history"] > 0
        queries, clicked = self.encode_searches(batch)
        is_session = (batch["clicks"] > 0).any(dim=-1)
        items = self.recommendation_encoder(items, is_item)
        sessions = self.search_encoder(queries + clicked, is_session)
        weights = self.co_attention(items, sessions, is_item, is_session)
        return (
            History.split(items, is_item, weights[0]),
            History.split(sessions, is_session, weights[1]),
        )

    def interests(
        self, histories: tuple[History, History], candidates: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both histories pooled for ``candidates`` (batch, candidates, size), three times each."""
        return (
            self.recommendation_pooling(histories[0], candidates),
            self.search_pooling(histories[1], candidates),
        )

    def logits(
        self,
        histories: tuple[History, History],
        users: torch.Tensor,
        candidates: torch.Tensor,
        queries: torch.Tensor | None = None,
        new_words: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scores before the sigmoid.

        Args:
            users: (batch,) ids.
            candidates: (batch, candidates) ids.
            queries: (batch,) ids, which the search head reads; none for recommendation.
            new_words: as for :meth:`encode_queries`.

        Returns:
            (batch, candidates).
        """
        number = candidates.shape[1]
        targets = self.encode_items(candidates)
        user = torch.cat(self.users.vectors_of(users), dim=-1)
        user = user[:, None].expand(-1, number, -1)
        parts = [*self.interests(histories, targets), user, targets]
        predictor: nn.Module = self.predictor
        if queries is not None:
            if self.search_predictor is None:
                raise SystemFailure("SESRec: it ranks for queries with search_head=true only.")
            predictor = self.search_predictor
            asked = self.encode_queries(queries, new_words)
            parts.append(asked[:, None].expand(-1, number, -1))
        return predictor(torch.cat(parts, dim=-1)).squeeze(-1)

    def alignment_loss(self, batch: Batch) -> torch.Tensor:
        """The mean over the clicks of all search histories; a click that recurs counts again."""
        rows = self.item_tables.ids.num_embeddings
        pairs, _, pair = distinct_clicks(batch["queries"], batch["clicks"], rows)
        if not len(pair):
            return 0.0 * (self.alignment.weight.sum() + self.alignment.temperature)
        count = torch.bincount(pair)
        queries, query = pairs[0].unique(return_inverse=True)
        items, item = pairs[1].unique(return_inverse=True)
        of_pair = self.alignment(
            self.encode_queries(queries),
            self.encode_items(items),
            torch.stack([query, item]),
            self.encode_queries(batch["negative_queries"]),
            self.encode_items(batch["negative_items"]),
        )
        return (of_pair * count).sum() / count.sum()


def history_tensors(events: Events, config: SESRecConfig) -> Batch:
    """The latest events of both histories, padded on the right to their full lengths.

    ``history`` (events, recommendation_history); ``queries`` and ``sources`` (events,
    search_history), ``clicks`` (events, search_history, session_items).
    """
    window = history_window(events, config, whole=True)
    return {
        "history": as_long(window.items),
        "queries": as_long(window.queries),
        "sources": as_long(np.zeros_like(window.queries)),
        "clicks": as_long(window.clicks),
    }


class SESRecInstances(ContrastingInstances):
    """Events with both histories, target and negatives, and what the alignment contrasts."""

    def __init__(self, view: TrainingView, config: SESRecConfig, tasks: Sequence[str]) -> None:
        super().__init__(view, config, tasks, config.alignment_negatives)
        self.config = config

    def tensors(
        self, chosen: dict[str, tuple[TrainingExamples, IntArray]], random: np.random.Generator
    ) -> Batch:
        """What :func:`history_tensors` gives, and users, candidates, asked and is_search."""
        parts = [
            history_tensors(events, self.config)
            | {
                "users": as_long(events.user),
                "candidates": as_long(candidates),
                "asked": as_long(events.query),
                "is_search": torch.full((len(events),), task == "search"),
            }
            for task, (events, candidates) in chosen.items()
        ]
        batch = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        items, queries = self.contrast(random)
        return batch | {"negative_items": as_long(items), "negative_queries": as_long(queries)}


class Losses(NamedTuple):
    """The parts of the loss and their weighted sum."""

    clicks: torch.Tensor
    alignment: torch.Tensor
    triplet: torch.Tensor
    total: torch.Tensor


class SESRec(JointSystem):
    """Recommendation with both histories; search by the optional head only."""

    Config = SESRecConfig
    config: SESRecConfig
    model: SESRecNetwork
    scoring_batch_size = 128

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that this configuration ranks for."""
        return TASKS if self.config.search_head else ("recommendation",)

    def build(self, corpus: Corpus) -> SESRecNetwork:
        """The network for the vocabulary at hand."""
        return SESRecNetwork(
            self.config,
            item_rows=corpus.number_of_items + 1,
            user_rows=corpus.number_of_users + 1,
            word_rows=self.vocabulary.number_of_ids,
            query_words=as_long(self.words.ids),
        )

    def trained_tasks(self, view: TrainingView) -> tuple[str, ...]:
        """The tasks that the model ranks for, if there are events of them."""
        tasks = self.tasks_of(view)
        if not tasks:
            raise SystemFailure(f"SESRec: no training event of {' or '.join(self.tasks)}.")
        return tasks

    def instances(self, view: TrainingView) -> SESRecInstances:
        """Events of these tasks."""
        return SESRecInstances(view, self.config, self.trained_tasks(view))

    def prepare(self, view: TrainingView) -> None:
        """Users, queries and words that training never reads start, and stay, at zero."""
        read = self.model.query_words.cpu().numpy()[training_queries(view)]
        silence_untrained(self.model.users.ids.weight, view.log.user)
        silence_untrained(self.model.query_ids.weight, view.log.query)
        silence_untrained(self.model.words.weight, read)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The weighted sum of all losses."""
        return self.losses(batch).total

    def losses(self, batch: Batch) -> Losses:
        """The losses of a batch; histories of both tasks' events are encoded together."""
        config, model = self.config, self.model
        histories = model.histories(batch)
        alignment = model.alignment_loss(batch)
        triplet = torch.stack([triplet_loss(one, config.triplet_margin) for one in histories]).sum()
        parts = []
        for search, weight in ((False, 1.0), (True, config.search_weight)):
            rows = torch.nonzero(batch["is_search"] == search)[:, 0]
            if len(rows):
                logits = model.logits(
                    (histories[0].rows(rows), histories[1].rows(rows)),
                    batch["users"][rows],
                    batch["candidates"][rows],
                    batch["asked"][rows] if search else None,
                )
                parts.append(weight * logistic_loss(logits))
        clicks = torch.stack(parts).sum()
        total = clicks + config.alignment_weight * alignment + config.triplet_weight * triplet
        return Losses(clicks, alignment, triplet, total)

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """Every history is encoded once and pooled for all candidates by one product."""
        return self._logits_of(requests)(self.on_device(requests.candidates))

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """Every history is encoded once and pooled for some items of the catalogue at a time."""
        return logits_of_all(self._logits_of(requests), requests, self.device)

    def _logits_of(self, requests: Requests) -> Callable[[torch.Tensor], torch.Tensor]:
        """The logits of candidates (requests, candidates), given the encoded histories."""
        batch = history_tensors(requests, self.config)
        if requests.new_queries:
            words = self.vocabulary.encode(requests.new_queries, self.config.query_words)
            batch["new_words"] = as_long(words)
        batch = {key: value.to(self.device) for key, value in batch.items()}
        histories, new_words = self.model.histories(batch), batch.get("new_words")
        users = self.on_device(requests.user)
        is_search = requests.task == "search"
        queries = self.on_device(requests.query) if is_search else None
        return lambda candidates: self.model.logits(
            histories, users, candidates, queries, new_words
        )

    def stand_ins(self) -> tuple[str, ...]:
        """The search head, if it is there."""
        if self.config.search_head:
            return ("SESRec's search head is an addition; the original ranks for no query.",)
        return ()
