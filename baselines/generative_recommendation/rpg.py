"""RPG: an item is many unordered codes, all of which are predicted at once.

Hou et al., "Generating Long Semantic IDs in Parallel for Recommendation", KDD 2025. Written anew
after the behaviour of https://github.com/facebookresearch/RPG_KDD2025 (commit a7463a2, CC BY-NC
4.0), whose parameter names are kept. The score of an item is the mean of the log-probabilities of
its codes, so a candidate list is ranked exactly by one forward pass, without a beam.

What differs: texts are the data set's item texts, encoded by BGE instead of OpenAI's
text-embedding-3-large; the quantiser is our own, where the original calls faiss; the learning rate
rises over a share of the steps, since the original's 10,000 are most of a training on small data;
epochs are selected on the suite's validation lists; a user without a history is a window with one
item of padding. The catalogue is ranked exactly, as the original does in validation; its walk over
a graph of alike items is an option, and begins at items that are drawn once for all requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.encoders import BGE
from baselines.generative_recommendation.base import LONGEST_TEXT, ItemCodes
from baselines.sequential.base import TASK, Asked, SequentialConfig, SequentialSystem
from benchmark.data.dataset import LongArray
from benchmark.errors import SystemFailure
from benchmark.files import sha256_of_arrays
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.learned import LearnedIdentifiers
from benchmark.kit.identifiers.optimised import parallel_codes
from benchmark.kit.instances.sequences import target_mask
from benchmark.kit.modules import as_long
from benchmark.kit.pretrained.finding import PUBLISHED
from benchmark.kit.text.encoders import encoder_part, text_vectors
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.systems.contract import PretrainedPart
from benchmark.systems.space import DROPOUT, Choice, Real, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView


class RPGConfig(SequentialConfig):
    """The original's names, with the values of its README."""

    encoder: str = PUBLISHED
    """Which sentence encoder: "published" for BGE and nothing else, "packaged" (MiniLM), "auto" for
    the former where it can be had and else the latter, a folder, or a hub name."""
    pca_width: int = Field(default=128, ge=1)
    """Components of the text vectors that are quantised; the original takes 128 of 768."""
    n_codebook: int = Field(default=16, ge=1)
    """Codes of an item. The components are the largest multiple of it that the items allow."""
    codebook_size: int = Field(default=256, ge=2)
    """Values of a code; no more than there are items with a training event."""
    history_length: int = Field(default=50, ge=1)
    n_embd: int = Field(default=448, ge=1)
    """Width of code vectors and states."""
    n_layer: int = Field(default=2, ge=1)
    n_head: int = Field(default=4, ge=1)
    """Attention heads; they divide ``n_embd``."""
    n_inner: int = Field(default=1024, ge=1)
    """Hidden width of the feed-forward parts."""
    embd_pdrop: float = Field(default=0.5, ge=0, lt=1)
    attn_pdrop: float = Field(default=0.5, ge=0, lt=1)
    resid_pdrop: float = Field(default=0.0, ge=0, lt=1)
    temperature: float = Field(default=0.03, gt=0)
    """What cosines are divided by."""
    ranks_catalogue_by: Literal["scores", "graph"] = "scores"
    """The catalogue exactly, or by a walk that leaves out what it does not reach."""
    num_beams: int = Field(default=100, ge=1)
    """Items that the walk keeps."""
    n_edges: int = Field(default=100, ge=1)
    """Alike items that it looks at beside each, itself included."""
    propagation_steps: int = Field(default=3, ge=0)
    warmup_share: float = Field(default=0.4, ge=0, lt=1)
    """The part of all steps in which the learning rate rises."""
    training: TrainingSettings = TrainingSettings(
        epochs=150,
        batch_size=256,
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="cosine",
        gradient_clip=1.0,
        patience=20,
    )
    """A batch counts rows. The published rates are 0.001 to 0.01, by data set."""

    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": Real(1e-3, 1e-2, log=True),
        "training.epochs": Whole(10, 150, log=True, is_budget=True),
        "temperature": Choice((0.01, 0.03, 0.05, 0.07)),
        "n_codebook": Choice((4, 8, 16, 32)),
        "embd_pdrop": DROPOUT,
        "attn_pdrop": DROPOUT,
    }

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The sentence encoder."""
        return (encoder_part(self.encoder, BGE[0]),)


class ResidualHead(nn.Module):
    """A layer that is added to what it reads; (..., dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the same shape."""
        return x + F.silu(self.linear(x))


class RPGNetwork(nn.Module):
    """A causal Transformer over items, each the mean of its codes, and a head for each code.

    ``tokens`` (items + 1, codes) are rows of the table of codes, 0 for padding; it is not saved.
    """

    tokens: torch.Tensor

    def __init__(self, identifiers: Identifiers, config: RPGConfig) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2Model

        self.digits, self.codes = identifiers.levels, identifiers.sizes[0]
        self.temperature = config.temperature
        sizes = config.model_dump(
            include={"n_embd", "n_layer", "n_head", "n_inner"}
            | {"embd_pdrop", "attn_pdrop", "resid_pdrop"}
        )
        self.gpt2 = GPT2Model(
            GPT2Config(
                vocab_size=self.digits * self.codes + 2,  # padding, and an end that nobody reads
                n_positions=config.history_length,
                layer_norm_epsilon=1e-12,
                use_cache=False,
                bos_token_id=None,  # GPT-2's own are beyond this vocabulary
                eos_token_id=None,
                **sizes,
            )
        )
        self.pred_heads = nn.ModuleList(ResidualHead(config.n_embd) for _ in range(self.digits))
        self.register_buffer("tokens", as_long(tokens_of(identifiers)), persistent=False)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """States (batch, length, dim) of items (batch, length), padded with 0 on the right."""
        vectors = self.gpt2.wte(self.tokens[items]).mean(dim=2)
        states: torch.Tensor = self.gpt2(inputs_embeds=vectors).last_hidden_state
        return states

    def headed(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, digits, dim) what the heads make of states (rows, dim)."""
        return torch.stack([head(states) for head in self.pred_heads], dim=1)

    def code_vectors(self) -> torch.Tensor:
        """(digits, codes, dim), of length one."""
        table = self.gpt2.wte.weight[1:-1].unflatten(0, (self.digits, self.codes))
        return F.normalize(table, dim=-1)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, digits, codes) of the next item, for states (rows, dim)."""
        heads = F.normalize(self.headed(states), dim=-1)
        return torch.einsum("rjd,jcd->rjc", heads, self.code_vectors()) / self.temperature

    def digit_losses(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(digits,) mean cross-entropies of targets (rows,) after states (rows, dim)."""
        logits = self.logits(states)
        codes = self.codes_of(targets)
        losses = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
        return losses.unflatten(0, codes.shape).mean(dim=0)

    def codes_of(self, items: torch.Tensor) -> torch.Tensor:
        """(..., digits) the codes of items; those of padding are 0."""
        first = 1 + self.codes * torch.arange(self.digits, device=items.device)
        return (self.tokens[items] - first).clamp(min=0)

    def scores(self, log_probabilities: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """(batch, items) mean log-probabilities of the codes of items (items,) or (batch, items).

        The digits are added one after the other, so that lists and the catalogue agree to the bit.
        """
        codes = self.codes_of(items).expand(len(log_probabilities), -1, -1)
        total = torch.zeros(codes.shape[:2], device=items.device)
        for digit in range(self.digits):
            total = total + log_probabilities[:, digit].gather(1, codes[:, :, digit])
        return total / self.digits


def tokens_of(identifiers: Identifiers) -> LongArray:
    """(items + 1, digits) rows of the table of codes; 0 for padding."""
    codes = identifiers.codes.astype(np.int64)
    first = 1 + identifiers.sizes[0] * np.arange(identifiers.levels)
    return np.where(codes >= 0, codes + first, 0)


# ------------------------------------------------------------------------ a walk over alike items


@torch.no_grad()
def similarities(network: RPGNetwork, items: torch.Tensor) -> torch.Tensor:
    """(rows, items + 1) how alike the vectors of codes are, 0 to 1; padding is like nothing."""
    vectors = network.code_vectors()
    cosines = vectors @ vectors.mT  # (digits, codes, codes)
    every = network.codes_of(torch.arange(len(network.tokens), device=items.device))
    own = network.codes_of(items)
    total = torch.zeros(len(items), len(every), device=items.device)
    for digit in range(network.digits):
        total = total + (1 + cosines[digit][own[:, digit]][:, every[:, digit]]) / 2
    total = total / network.digits
    total[:, 0] = 0.0
    total[items == 0] = 0.0
    return total


@torch.no_grad()
def neighbours(network: RPGNetwork, edges: int, rows_at_once: int = 1024) -> torch.Tensor:
    """(items + 1, edges) the items that each is most like, itself among them."""
    every = torch.arange(len(network.tokens), device=network.tokens.device)
    edges = min(edges, len(every) - 1)
    return torch.cat(
        [similarities(network, part).topk(edges).indices for part in every.split(rows_at_once)]
    )


def walk(
    network: RPGNetwork,
    log_probabilities: torch.Tensor,
    alike: torch.Tensor,
    start: torch.Tensor,
    steps: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Beams of items and their scores, (batch, beams) each: the start, then each step, best first.

    A beam that is wider than what it reaches ends with items of score -inf.

    Args:
        log_probabilities: (batch, digits, codes).
        alike: (items + 1, edges), as :func:`neighbours` makes it.
        start: (batch, beams) items.
    """
    beams = start
    yield beams, network.scores(log_probabilities, beams)
    for _ in range(steps):
        reached = alike[beams].flatten(1).sort(dim=1).values  # (batch, beams * edges)
        scores = network.scores(log_probabilities, reached)
        scores[:, 1:].masked_fill_(reached[:, 1:] == reached[:, :-1], -torch.inf)
        scores, place = scores.topk(min(start.shape[1], reached.shape[1]), dim=1)
        beams = reached.gather(1, place)
        yield beams, scores


# ----------------------------------------------------------------------------------- the system


class UserRows(Instances):
    """What the original learns from: a row of a user's first items, and one for each later item.

    Of the first row, which has one item more than ``length``, every item but the first is a target;
    of the others the last one alone. Batches have ``items`` and ``targets`` (batch, longest of the
    batch), padded with 0 on the right.
    """

    def __init__(self, view: TrainingView, length: int) -> None:
        index = view.log.recommendation
        count = np.diff(index.offsets)
        rows = np.where(count > 1, 1 + np.maximum(count - length - 1, 0), 0)
        user = np.repeat(np.arange(len(count)), rows)
        number = np.arange(len(user)) - np.repeat(np.cumsum(rows) - rows, rows)
        place = (index.offsets[user] + number)[:, None] + np.arange(length + 1)
        inside = place < index.offsets[user + 1][:, None]
        position = index.positions[np.where(inside, place, 0)]
        items = np.where(inside, view.log.item[position], 0)
        is_target = inside & target_mask(view, TASK)[position]
        is_target[number > 0, :-1] = False
        # A row's last item is read by nobody.
        read = np.where(inside[:, 1:], items[:, :-1], 0)
        targets = np.where(is_target, items, 0)[:, 1:]
        keep = targets.any(axis=1)
        self.items, self.targets = read[keep], targets[keep]

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Gather; nothing is drawn."""
        items = self.items[rows]
        longest = int((items > 0).sum(axis=1).max())
        targets = self.targets[rows][:, :longest]
        return {"items": as_long(items[:, :longest]), "targets": as_long(targets)}


class RPG(ItemCodes, SequentialSystem):
    """The parallel recommender. After ``fit`` or ``load`` there are ``identifiers``."""

    Config = RPGConfig
    config: RPGConfig
    padding = "right"
    reads_empty_histories = True
    codes_are = "parallel"

    _alike: torch.Tensor | None = None

    def fit(self, view: TrainingView) -> None:
        """Learn the codes of all items, then to predict those of the next item."""
        self._make_identifiers(view)
        super().fit(view)
        self._alike = None

    def _make_identifiers(self, view: TrainingView) -> None:
        config, context = self.config, self.context
        encoder = self.bge(config.encoder, "item codes are learned")
        bought = view.log.item[view.log.recommendation.positions]
        trained = np.bincount(bought, minlength=view.corpus.number_of_items + 1)[1:] > 0
        if not trained.any():
            raise SystemFailure("there are no recommendation events to learn from.")

        def learn() -> LearnedIdentifiers:
            vectors = text_vectors(context, encoder, view.corpus.items.text, "", LONGEST_TEXT)
            identifiers, error = parallel_codes(
                np.array(vectors[1:]),
                trained,
                (config.pca_width, config.n_codebook, config.codebook_size),
                context.random("codes"),
            )
            figures = {**identifiers.report().as_json(), "quantisation_error": error}
            return LearnedIdentifiers(identifiers, figures)

        determined_by = {
            "texts": view.corpus.fingerprint,
            "encoder": encoder.sha256,
            "settings": [config.pca_width, config.n_codebook, config.codebook_size],
            "learned_from": sha256_of_arrays([trained]),
        }
        self.take_codes("parallel-codes", view, determined_by, learn)

    def network(self, corpus: Corpus) -> nn.Module:
        """A fresh :class:`RPGNetwork` of the codes."""
        return RPGNetwork(self.identifiers, self.config)

    def instances(self, view: TrainingView) -> Instances:
        """Rows as the original cuts them."""
        return UserRows(view, self.config.history_length)

    def training_settings(self, instances: Instances) -> TrainingSettings:
        """The configured ones, with a share of the steps as the warm-up unless it is given."""
        return self.config.training.with_warmup(self.config.warmup_share, instances)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy over targets, then over digits."""
        network: Any = self.model.network
        real = batch["targets"] > 0
        states = network(batch["items"])[real]  # (targets, dim)
        losses: torch.Tensor = network.digit_losses(states, batch["targets"][real])
        return losses.mean()

    def log_probabilities(self, asked: Asked) -> torch.Tensor:
        """(batch, digits, codes) of the item after each history."""
        network: Any = self.model.network
        longest = max(int(asked.lengths.max()), 1)
        states = network(asked.items[:, :longest])
        last = (asked.lengths - 1).clamp(min=0)[:, None, None]  # slot 0 where there is nothing
        logits = network.logits(states.take_along_dim(last, dim=1)[:, 0])
        return torch.log_softmax(logits.float(), dim=-1)

    def candidate_scores(self, asked: Asked, candidates: torch.Tensor) -> torch.Tensor:
        """One encoding a history, then a look-up for each code."""
        network: Any = self.model.network
        found: torch.Tensor = network.scores(self.log_probabilities(asked), candidates)
        return found

    def scores_of_all(self, asked: Asked) -> torch.Tensor:
        """The same of all items, or of those that a walk ends with; -inf for the others."""
        network: Any = self.model.network
        log_probabilities = self.log_probabilities(asked)
        every = torch.arange(len(network.tokens), device=self.device)
        if self.config.ranks_catalogue_by == "scores":
            return network.scores(log_probabilities, every)
        if self._alike is None:
            self._alike = neighbours(network, self.config.n_edges)
        random, items = self.context.random("walk"), len(every) - 1
        start = as_long(random.integers(1, items + 1, size=self.config.num_beams)).to(self.device)
        start = start.expand(len(log_probabilities), -1)
        *_, (beams, scores) = walk(
            network, log_probabilities, self._alike, start, self.config.propagation_steps
        )
        found = torch.full((len(beams), len(every)), -torch.inf, device=self.device)
        return found.scatter_reduce(1, beams, scores, "amax")

    def ranking_of_all_items(self) -> str:
        """The walk, if there is one."""
        if self.config.ranks_catalogue_by == "scores":
            return ""
        return f"a walk that keeps {self.config.num_beams} items"

    def save(self, folder: Path) -> None:
        """Write codes and weights."""
        super().save(folder)
        self.save_codes(folder)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote; no text is encoded again."""
        self.load_codes(folder)
        self._alike = None
        super().load(folder, corpus)
