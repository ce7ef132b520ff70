"""UniSAR: transitions within and between search and recommendation, for both tasks at once.

Shi et al., "UniSAR: Modeling User Transition Behaviors between Search and Recommendation", SIGIR
2024; original https://github.com/TengShi-RUC/UniSAR, commit 1a14a24, without a licence, so this is
written from a description of what it computes. The numbers are the original's, the arithmetic is
rearranged. Search events attend to recommendation events and the reverse, so the original's masked
encoder over the merged list is two cross-attentions here. The original copies both fused histories
for every candidate; here one product pools them for all candidates. Contrastive pairs that occur
many times in a batch are computed once and counted. What differs: what is undefined for an empty
history (attention, pooling, contrastive loss) is zero or left out; scores are logits, without the
sigmoid that ties them at 0 and 1; histories are those of the suite's protocol; negatives are drawn
afresh in every step instead of being fixed in the data, and those of a search are no longer the
best BM25 hits, which are what is ranked in the end; queries that no training event asks are not
among the contrastive negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.joint.base import (
    SPACE,
    TASKS,
    ContrastingInstances,
    JointSystem,
    alternating,
    logistic_loss,
    logits_of_all,
)
from baselines.joint.batches import BatchBuilder
from baselines.joint.histories import JointHistoryConfig
from baselines.joint.layers import (
    Attribute,
    BilinearContrast,
    EncoderLayer,
    EntityTables,
    FusionLayer,
    QueryItemContrast,
    TaskExperts,
    bilinear_form,
)
from benchmark.data.dataset import IntArray
from benchmark.files import atomic_path
from benchmark.kit.layers import hidden_layers
from benchmark.kit.modules import as_long
from benchmark.kit.text.words import Vocabulary
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.kit.training.optimizers import decay_groups
from benchmark.protocol.requests import Requests, TrainingExamples
from benchmark.systems.space import Choice, Real, SearchSpace
from benchmark.systems.view import Corpus, TrainingView


class UniSARTraining(TrainingSettings):
    """The original's settings on Amazon; the rate falls where validation stands still."""

    batch_size: int = Field(default=1024, ge=1)
    """Recommendation events a step. The search events of an epoch are spread over its steps."""
    weight_decay: float = Field(default=1e-5, ge=0)
    """Adam's, not applied to biases (the original has 3e-5 on KuaiSAR)."""
    schedule: Literal["constant", "linear", "cosine", "plateau"] = "plateau"
    patience: int | None = Field(default=6, ge=1)


class UniSARConfig(JointHistoryConfig):
    """The original's settings on Amazon; KuaiSAR's in brackets (and 5 items a session)."""

    embedding_size: int = Field(default=64, ge=1)
    """Width of items, queries, users and of both transformers."""
    item_id_size: int = Field(default=32, ge=1)
    user_id_size: int = Field(default=32, ge=1)
    word_size: int = Field(default=32, ge=1)
    """Widths of the tables that are mapped to ``embedding_size``."""
    query_words: int = Field(default=50, ge=1)
    """Words a query or an item text, the first ones."""
    item_words: bool = False
    """Whether an item is its id and the words of its text, or its id alone (true)."""
    layers: int = Field(default=1, ge=1)
    """Layers of each encoder and of each fusion."""
    heads: int = Field(default=2, ge=1)
    """Attention heads; they divide ``embedding_size``."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    experts: int = Field(default=4, ge=1)
    """Experts of each task, and as many shared ones."""
    expert_size: int = Field(default=64, ge=1)
    tower_sizes: tuple[int, int] = (128, 64)
    predictor_sizes: tuple[int, int] = (200, 80)
    """Hidden widths of each task's tower and of the network from the tower to the score."""
    contrastive_negatives: int = Field(default=1024, ge=1)
    """Items, and queries, that every step contrasts with the clicked items and their queries."""
    query_item_weight: float = Field(default=0.1, ge=0)
    """Weight of the loss that aligns queries with their clicked items (0.001)."""
    query_item_temperature: float = Field(default=0.1, gt=0)
    """Where its learned temperature starts (0.5)."""
    transition_weight: float = Field(default=0.01, ge=0)
    """Weight of the loss that aligns both views of one history (0.1)."""
    transition_temperature: float = Field(default=0.1, gt=0)
    """Where its learned temperature starts."""
    search_weight: float = Field(default=0.01, ge=0)
    """Weight of the search loss beside the recommendation loss (0.1)."""
    training: TrainingSettings = UniSARTraining()

    search_space: ClassVar[SearchSpace] = {
        **SPACE,
        "search_negatives": Choice(("bm25", "popularity", "uniform")),
        "search_weight": Real(0.01, 2.0, log=True),
        "query_item_weight": Real(0.001, 1.0, log=True),
        "transition_weight": Real(0.001, 1.0, log=True),
    }


class QueryEncoder(nn.Module):
    """The mean of the word vectors, then a layer; the layer of nothing if there are no words."""

    def __init__(self, word_rows: int, word_size: int, size: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(word_rows, word_size, mode="mean", padding_idx=0)
        self.projection = nn.Linear(word_size, size)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Word ids (queries, words), 0 where there is none → (queries, size) in (-1, 1)."""
        return torch.tanh(self.projection(self.words(words)))


class EntityEncoder(EntityTables):
    """Items or users: the vector of the id and of each attribute, then a layer.

    Args:
        rows: the number of ids.
        texts: (ids, words) word ids of a text, read by the query encoder; none if absent.
        text_size: the width of an encoded text.
    """

    texts: torch.Tensor | None

    def __init__(
        self,
        rows: int,
        id_size: int,
        size: int,
        attributes: Sequence[Attribute] = (),
        texts: torch.Tensor | None = None,
        text_size: int = 0,
    ) -> None:
        super().__init__(rows, id_size, attributes)
        self.register_buffer("texts", texts, persistent=False)
        self.projection = nn.Linear(self.size + (0 if texts is None else text_size), size)

    def forward(self, ids: torch.Tensor, query_encoder: QueryEncoder) -> torch.Tensor:
        """(ids,) → (ids, size) in (-1, 1)."""
        vector, *attributes = self.vectors_of(ids)
        text = [] if self.texts is None else [query_encoder(self.texts[ids])]
        return torch.tanh(self.projection(torch.cat([vector, *text, *attributes], dim=-1)))


class TargetPooling(nn.Module):
    """Pools a history for every candidate by a bilinear attention."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = bilinear_form(size)

    def forward(
        self, history: torch.Tensor, visible: torch.Tensor, candidates: torch.Tensor
    ) -> torch.Tensor:
        """One pooled history a candidate, (batch, candidates, size); zero for an empty history."""
        logits = candidates @ (history @ self.weight).transpose(1, 2)  # (batch, candidates, length)
        any_visible = visible.any(dim=1)
        mask = visible | ~any_visible[:, None]
        weights = logits.masked_fill(~mask[:, None, :], -torch.inf).softmax(dim=-1)
        return (weights @ history) * any_visible[:, None, None]


class TransitionContrast(BilinearContrast):
    """InfoNCE between the two views of one user's events, against the views of all others."""

    def forward(
        self, first: torch.Tensor, second: torch.Tensor, visible: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """The mean loss over both views of the chosen rows; zero if none is chosen.

        Args:
            first, second: (batch, length, size).
            visible: (batch, length), the events to average over.
            rows: (batch,) which rows take part; their histories are not empty.
        """
        number = int(rows.sum())
        if number == 0:
            return 0.0 * (self.weight.sum() + self.temperature)
        views = torch.cat([_mean(view[rows], visible[rows]) for view in (first, second)])
        similarity = torch.tanh(views @ self.weight @ views.T) / self.temperature
        itself = torch.eye(2 * number, dtype=torch.bool, device=views.device)
        partner = torch.arange(2 * number, device=views.device).roll(number)
        return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)


def _mean(x: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """The mean (batch, size) over the visible ones of ``x`` (batch, length, size)."""
    weight = visible.to(x.dtype)
    return (x * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True)


class Histories(NamedTuple):
    """Both lists as vectors, zero at padding, with what is no padding and where it stands.

    Shapes: (batch, recommendation length, size) and (batch, search length, size); masks and places
    without the last dimension. A place counts the events of both lists, merged by time.
    """

    items: torch.Tensor
    sessions: torch.Tensor
    item_visible: torch.Tensor
    session_visible: torch.Tensor
    item_places: torch.Tensor
    session_places: torch.Tensor


class Transitions(NamedTuple):
    """Each list seen through its own kind and through the other; shapes as in Histories."""

    within_recommendation: torch.Tensor
    search_to_recommendation: torch.Tensor
    within_search: torch.Tensor
    recommendation_to_search: torch.Tensor
    item_visible: torch.Tensor
    session_visible: torch.Tensor


class Interests(NamedTuple):
    """Both lists after fusion; shapes as in Histories."""

    recommendation: torch.Tensor
    search: torch.Tensor
    item_visible: torch.Tensor
    session_visible: torch.Tensor


class UniSARModel(nn.Module):
    """The network, from ids to logits.

    Args:
        item_rows, user_rows, word_rows: sizes of the tables; item 0 and word 0 are padding.
        item_texts: (item_rows, words) word ids, for items that are more than an id.
        item_attributes, user_attributes: further attributes, in the order of their vectors.
    """

    def __init__(
        self,
        config: UniSARConfig,
        item_rows: int,
        user_rows: int,
        word_rows: int,
        item_texts: torch.Tensor | None = None,
        item_attributes: Sequence[Attribute] = (),
        user_attributes: Sequence[Attribute] = (),
    ) -> None:
        super().__init__()
        self.config = config
        size = config.embedding_size
        self.queries = QueryEncoder(word_rows, config.word_size, size)
        self.items = EntityEncoder(
            item_rows, config.item_id_size, size, item_attributes, item_texts, size
        )
        self.users = EntityEncoder(user_rows, config.user_id_size, size, user_attributes)
        lengths = config.recommendation_history, config.search_history
        self.merged_positions = nn.Embedding(sum(lengths), size)
        self.recommendation_positions = nn.Embedding(lengths[0], size)
        self.search_positions = nn.Embedding(lengths[1], size)
        shape = size, config.heads, config.dropout
        self.cross_encoder = _stack(EncoderLayer, config.layers, *shape)
        self.recommendation_encoder = _stack(EncoderLayer, config.layers, *shape)
        self.search_encoder = _stack(EncoderLayer, config.layers, *shape)
        self.recommendation_fusion = _stack(FusionLayer, config.layers, *shape)
        self.search_fusion = _stack(FusionLayer, config.layers, *shape)
        self.recommendation_pooling = TargetPooling(size)
        self.search_pooling = TargetPooling(size)
        self.no_query = nn.Parameter(torch.empty(1, size))
        self.experts = TaskExperts(
            5 * size, config.experts, config.expert_size, config.tower_sizes, config.dropout
        )
        sizes = config.tower_sizes[-1], *config.predictor_sizes
        self.predictors = nn.ModuleList(
            nn.Sequential(*hidden_layers(*sizes, dropout=config.dropout), nn.Linear(sizes[-1], 1))
            for _ in TASKS
        )
        self.query_item = QueryItemContrast(size, config.query_item_temperature)
        self.recommendation_contrast = TransitionContrast(size, config.transition_temperature)
        self.search_contrast = TransitionContrast(size, config.transition_temperature)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Xavier-normal tables and layers, zero biases; the experts of a layer one by one."""
        for module in self.modules():
            if isinstance(module, (nn.Embedding, nn.EmbeddingBag, nn.Linear)):
                nn.init.xavier_normal_(module.weight)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for layer in (self.experts.shared, *self.experts.own):
            for expert in layer.weight.split(self.config.expert_size):
                nn.init.xavier_normal_(expert)
        nn.init.xavier_normal_(self.no_query)
        self.items.ids.weight[0] = 0.0

    def encode_items(self, ids: torch.Tensor) -> torch.Tensor:
        """(ids,) → (ids, size); the padding item 0 is zero."""
        return self.items(ids, self.queries) * (ids != 0)[:, None]

    def encode_users(self, ids: torch.Tensor) -> torch.Tensor:
        """(ids,) → (ids, size)."""
        return self.users(ids, self.queries)

    def encode_sessions(
        self, queries: torch.Tensor, clicks: torch.Tensor, clicked: torch.Tensor
    ) -> torch.Tensor:
        """Query and mean of the clicked items, (batch, search_history, size).

        Args:
            queries: (batch, search_history, size).
            clicks: (batch, search_history, session_items, size), zero where there is no click.
            clicked: (batch, search_history, session_items), where there is one. A session without
                a click is padding and zero.
        """
        number = clicked.sum(dim=-1, keepdim=True)
        return (queries + clicks.sum(dim=2) / number.clamp(min=1)) * (number > 0)

    def transitions(self, histories: Histories) -> Transitions:
        """Encode both lists by themselves and through each other."""
        items, sessions, item_visible, session_visible, item_places, session_places = histories
        to_items = items + self.merged_positions(item_places)
        to_sessions = sessions + self.merged_positions(session_places)
        for layer in self.cross_encoder:
            to_items, to_sessions = (
                layer(to_items, to_sessions, session_visible),
                layer(to_sessions, to_items, item_visible),
            )
        items = items + self.recommendation_positions.weight[: items.shape[1]]
        for layer in self.recommendation_encoder:
            items = layer(items, items, item_visible)
        sessions = sessions + self.search_positions.weight[: sessions.shape[1]]
        for layer in self.search_encoder:
            sessions = layer(sessions, sessions, session_visible)
        return Transitions(items, to_items, sessions, to_sessions, item_visible, session_visible)

    def fuse(self, transitions: Transitions) -> Interests:
        """One list from the two views of each."""
        items, to_items, sessions, to_sessions, item_visible, session_visible = transitions
        for layer in self.recommendation_fusion:
            items = layer(items, to_items, item_visible)
        for layer in self.search_fusion:
            sessions = layer(sessions, to_sessions, session_visible)
        return Interests(items, sessions, item_visible, session_visible)

    def pooled(
        self, interests: Interests, candidates: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both lists pooled for each of ``candidates`` (batch, candidates, size), same shape."""
        recommendation, search, item_visible, session_visible = interests
        return (
            self.recommendation_pooling(recommendation, item_visible, candidates),
            self.search_pooling(search, session_visible, candidates),
        )

    def tower(
        self,
        task: int,
        interests: Interests,
        candidates: torch.Tensor,
        users: torch.Tensor,
        queries: torch.Tensor,
    ) -> torch.Tensor:
        """The task's tower (batch, candidates, tower_sizes[1]).

        Args:
            candidates: (batch, candidates, size).
            users, queries: (batch, size); for recommendation the query is ``no_query``.
        """
        per_candidate = torch.cat([*self.pooled(interests, candidates), candidates], dim=-1)
        return self.experts(task, per_candidate, torch.cat([users, queries], dim=-1))

    def logits(
        self,
        task: int,
        interests: Interests,
        candidates: torch.Tensor,
        users: torch.Tensor,
        queries: torch.Tensor,
    ) -> torch.Tensor:
        """Scores (batch, candidates) before the sigmoid; arguments as for :meth:`tower`."""
        tower = self.tower(task, interests, candidates, users, queries)
        return self.predictors[task](tower).squeeze(-1)

    def transition_loss(self, transitions: Transitions) -> torch.Tensor:
        """The alignment of both views, over the rows with events of both kinds."""
        items, to_items, sessions, to_sessions, item_visible, session_visible = transitions
        rows = item_visible.any(dim=1) & session_visible.any(dim=1)
        loss = self.recommendation_contrast(to_items, items, item_visible, rows)
        return loss + self.search_contrast(to_sessions, sessions, session_visible, rows)


def _stack(
    layer: type[nn.Module], number: int, size: int, heads: int, dropout: float
) -> nn.ModuleList:
    return nn.ModuleList(layer(size, heads, dropout) for _ in range(number))


class JointInstances(ContrastingInstances):
    """Training events of both tasks; every step takes some of each.

    An epoch is one pass over the recommendation events, or over the search events where there are
    no others.
    """

    def __init__(self, view: TrainingView, config: UniSARConfig, builder: BatchBuilder) -> None:
        super().__init__(view, config, TASKS, config.contrastive_negatives)
        self.builder = builder
        self.sizes = tuple(len(self.examples[task]) for task in TASKS)

    def __len__(self) -> int:
        return self.sizes[0] or self.sizes[1]

    def batches(self, batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
        """Shuffle both tasks; the search events of a batch stand evenly among the others."""
        recommendation, search = self.sizes
        if not recommendation or not search:
            return Instances.batches(self, batch_size, random)
        order = random.permutation(recommendation)
        steps = -(-recommendation // batch_size)
        share = search // (recommendation // batch_size + 1) + 1
        rounds = -(-steps * share // search)
        searches = recommendation + np.concatenate(
            [random.permutation(search) for _ in range(rounds)]
        )
        return [
            alternating(
                [
                    order[step * batch_size : (step + 1) * batch_size],
                    searches[step * share : (step + 1) * share],
                ]
            )
            for step in range(steps)
        ]

    def tensors(
        self, chosen: dict[str, tuple[TrainingExamples, IntArray]], random: np.random.Generator
    ) -> Batch:
        """What the builder makes of the events, with items and queries to contrast."""
        events, candidates = zip(*chosen.values(), strict=True)
        return self.builder(events, np.concatenate(candidates), self.contrast(random))


class TaskLosses(NamedTuple):
    """The parts of one task's loss and their weighted sum."""

    clicks: torch.Tensor
    query_item: torch.Tensor
    transitions: torch.Tensor
    total: torch.Tensor


def _rows_of_tasks(batch: Batch) -> dict[str, slice]:
    recommendation, search = batch["sizes"].tolist()
    return {
        "recommendation": slice(0, recommendation),
        "search": slice(recommendation, recommendation + search),
    }


class UniSAR(JointSystem):
    """One network for both tasks, trained on both in every step."""

    Config = UniSARConfig
    config: UniSARConfig
    model: UniSARModel
    builder: BatchBuilder
    scoring_batch_size = 64

    def build(self, corpus: Corpus) -> UniSARModel:
        """The network for the vocabulary at hand; the unknown user 0 starts, and stays, at zero."""
        config = self.config
        texts = None
        if config.item_words:
            texts = as_long(self.vocabulary.encode(corpus.items.text, config.query_words))
        model = UniSARModel(
            config,
            item_rows=corpus.number_of_items + 1,
            user_rows=corpus.number_of_users + 1,
            word_rows=self.vocabulary.number_of_ids,
            item_texts=texts,
        )
        with torch.no_grad():
            model.users.ids.weight[0] = 0.0
        return model

    def vocabulary_of(self, view: TrainingView) -> Vocabulary:
        """The words of the training queries and, if they are read, of the item texts."""
        return Vocabulary.of_view(view, reads_items=self.config.item_words)

    def read_words(self, vocabulary: Vocabulary, corpus: Corpus) -> None:
        """Take a vocabulary, and make batches of the queries' words."""
        super().read_words(vocabulary, corpus)
        self.builder = BatchBuilder(self.config, self.words, corpus.number_of_items)

    def instances(self, view: TrainingView) -> JointInstances:
        """Events of both tasks."""
        return JointInstances(view, self.config, self.builder)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All but the biases decay."""
        return decay_groups(self.model)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The weighted sum of the losses of the tasks."""
        losses = self.task_losses(batch)
        weights = {"recommendation": 1.0, "search": self.config.search_weight}
        return torch.stack([weights[task] * losses[task].total for task in losses]).sum()

    def task_losses(self, batch: Batch) -> dict[str, TaskLosses]:
        """The losses of the tasks that the batch has events of; all are encoded together."""
        config, model = self.config, self.model
        items, queries = model.encode_items(batch["items"]), model.queries(batch["words"])
        transitions = model.transitions(self.histories(batch, items, queries))
        interests = model.fuse(transitions)
        of_pair = model.query_item(
            queries,
            items,
            batch["pairs"],
            F.embedding(batch["negative_queries"], queries),
            F.embedding(batch["negative_items"], items),
        )
        found = {}
        for number, (task, rows) in enumerate(_rows_of_tasks(batch).items()):
            if rows.start == rows.stop:
                continue
            own = Interests(*(part[rows] for part in interests))
            logits = self.logits(task, own, batch, rows, items, queries)
            clicks = logistic_loss(logits)
            count = batch["clicks"][number]
            query_item = (of_pair * count).sum() / count.sum().clamp(min=1)
            transition = model.transition_loss(Transitions(*(part[rows] for part in transitions)))
            total = clicks + config.query_item_weight * query_item
            total = total + config.transition_weight * transition
            found[task] = TaskLosses(clicks, query_item, transition, total)
        return found

    def score_batch(self, requests: Requests) -> torch.Tensor:
        """Every history is encoded once and pooled for all candidates by one product."""
        batch, items, queries, interests = self._encoded(requests)
        everything = slice(0, len(requests))
        return self.logits(requests.task, interests, batch, everything, items, queries)

    def score_all_batch(self, requests: Requests) -> torch.Tensor:
        """Every history is encoded once and pooled for some items of the catalogue at a time."""
        batch, _, queries, interests = self._encoded(requests)
        everything = slice(0, len(requests))
        every = torch.arange(requests.number_of_items + 1, device=self.device)
        items = self.model.encode_items(every)  # (items + 1, size)

        def logits_of(candidates: torch.Tensor) -> torch.Tensor:
            asked = batch | {"candidates": candidates}
            return self.logits(requests.task, interests, asked, everything, items, queries)

        return logits_of_all(logits_of, requests, self.device)

    def _encoded(self, requests: Requests) -> tuple[Batch, torch.Tensor, torch.Tensor, Interests]:
        """A batch, the vectors of its distinct items and queries, and the fused histories."""
        batch = self.builder([requests], requests.candidates)
        batch = {key: value.to(self.device) for key, value in batch.items()}
        items = self.model.encode_items(batch["items"])
        queries = self.model.queries(batch["words"])
        interests = self.model.fuse(self.model.transitions(self.histories(batch, items, queries)))
        return batch, items, queries, interests

    def item_embeddings(self, source: Literal["item", "id"] = "item") -> NDArray[np.float32]:
        """Item vectors for other systems, (number_of_items + 1, width); row 0 (padding) is zero.

        Args:
            source: "item" is what every part of the network takes for the item, values in (-1, 1),
                width ``embedding_size``; "id" is the table of ids alone, width ``item_id_size``.
        """
        with torch.inference_mode():
            if source == "id":
                vectors = self.model.items.ids.weight.clone()
                vectors[0] = 0.0
            else:
                number = self.model.items.ids.num_embeddings
                vectors = self.model.encode_items(torch.arange(number, device=self.device))
        return vectors.float().cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write weights, vocabulary, and the item vectors as ``item_embeddings.<source>.npy``."""
        super().save(folder)
        for source in ("item", "id"):
            path = folder / f"item_embeddings.{source}.npy"
            with atomic_path(path) as temporary, temporary.open("wb") as opened:
                np.save(opened, self.item_embeddings(source))

    def histories(self, batch: Batch, items: torch.Tensor, queries: torch.Tensor) -> Histories:
        """The histories of a batch, given the vectors of its distinct items and queries."""
        bought, clicks = batch["history/items"], batch["history/clicks"]
        clicked = clicks > 0
        sessions = self.model.encode_sessions(
            F.embedding(batch["history/queries"], queries), F.embedding(clicks, items), clicked
        )
        return Histories(
            items=F.embedding(bought, items),
            sessions=sessions,
            item_visible=bought > 0,
            session_visible=clicked.any(dim=-1),
            item_places=batch["history/item_places"],
            session_places=batch["history/session_places"],
        )

    def logits(
        self,
        task: str,
        interests: Interests,
        batch: Batch,
        rows: slice,
        items: torch.Tensor,
        queries: torch.Tensor,
    ) -> torch.Tensor:
        """Logits (rows, candidates) of the batch's events at ``rows``, all of one task."""
        users = self.model.encode_users(batch["users"][rows])
        query = (
            F.embedding(batch["query"][rows], queries)
            if task == "search"
            else self.model.no_query.expand(len(users), -1)
        )
        candidates = F.embedding(batch["candidates"][rows], items)
        return self.model.logits(TASKS.index(task), interests, candidates, users, query)
