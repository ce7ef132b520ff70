"""LETTER: TIGER with codes that are also collaborative and diverse, and a temperature in its loss.

Wang et al., "Learnable Item Tokenization for Generative Recommendation", CIKM 2024. Written anew
after the behaviour of https://github.com/HonghuiBao2000/LETTER (commit 8d0154e, without a licence),
its form on TIGER. The RQ-VAE is that of LC-Rec with two more terms: the quantised latent of an item
is to be most like the item's vector of a trained SASRec, among those of the batch, and the codes of
a level are to be most like one of those that they are grouped with.

What differs: texts are the data set's, encoded by BGE instead of LLaMA; vectors of items come from
the suite's SASRec, trained on the training part only, and give the codes their width; items without
a training event have no part in that term. The size-bounded k-means start looks at a sample of the
items, and is a plain one where they are few; codes are grouped anew every so many steps instead of
every epoch, each time from the same random numbers; a code that is alone in its group has no
positive. Items with equal codes get free last codes. The T5 has the tokens of the codes only.
Epochs are selected on the suite's validation lists, not by a loss that holds the temperature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field

from baselines.generative_recommendation.tiger import TIGER, TIGERConfig, Vocabulary
from benchmark.data.dataset import IntArray
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.balanced import balanced_assignment, balanced_centres, costs_of
from benchmark.kit.identifiers.kmeans import kmeans_centres
from benchmark.kit.identifiers.learned import LearnedIdentifiers
from benchmark.kit.identifiers.learning import learn_codes, standardised
from benchmark.kit.identifiers.quantiser import Codebook, CodebookChange, straight_through
from benchmark.kit.identifiers.rqvae import (
    RQVAE,
    VECTORS,
    Reconstructed,
    RQVAEConfig,
)
from benchmark.kit.identifiers.settings import Resolution
from benchmark.kit.text.pieces import IGNORED
from benchmark.kit.training import Batch, Instances, TrainingSettings
from benchmark.systems.contract import FloatArray, RunContext
from benchmark.systems.space import Choice, Real, SearchSpace
from benchmark.systems.upstream import upstream
from benchmark.systems.view import TrainingView

COLLABORATIVE_SYSTEM = "sasrec-bce"
"""The system whose item vectors the codes are aligned with."""

COLLABORATIVE, HAS_EVENTS = "collaborative", "has_events"

END_TOKEN = 1
"""Behind every input and every identifier; codes come after it."""

REMOVED = 1e12
"""What the logit of a code itself is lowered by."""

LARGEST_GROUP, SMALLEST_GROUP = 60, 10
"""Bounds of the codes of a group, where a codebook is large."""

START_ROUNDS, SMALLEST_CLUSTER = 10, 50
"""Of the size-bounded k-means that codebooks start with."""


class LETTERTokensConfig(RQVAEConfig):
    """The RQ-VAE of the released scripts; ``latent_size`` is taken from SASRec's vectors."""

    hidden_sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128, 64)
    kmeans_iterations: int | None = Field(default=None, ge=1)
    """Absent for the size-bounded start; else as elsewhere."""
    bounded_rows: int = Field(default=4096, ge=1)
    """Items, at most, that the size-bounded start looks at."""
    reconstruction: Literal["mse", "l1"] = "mse"
    """What of the differences to the vectors is averaged: their squares or their sizes."""
    collisions: Resolution = "assignment"
    warmup_epochs: float = Field(default=0, ge=0)
    alignment: float = Field(default=0.02, ge=0)
    """Weight of the likeness to SASRec's vectors; the paper's alpha."""
    diversity: float = Field(default=1e-4, ge=0)
    """Weight of the likeness within groups of codes; the paper's beta."""
    groups: int = Field(default=10, ge=1)
    """Groups of the codes of a level."""
    regroup_every: int = Field(default=100, ge=1)
    """Steps between two groupings."""
    training: TrainingSettings = TrainingSettings(
        epochs=20_000,
        batch_size=1024,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-4,
        patience=None,
        validate_every=2000,
    )


class LETTERConfig(TIGERConfig):
    """The sizes of the released script, and the values that the author names for Instruments."""

    identifiers: LETTERTokensConfig = LETTERTokensConfig()
    user_tokens: int = Field(default=0, ge=0, le=0)
    """The method has none."""
    width: int = Field(default=128, ge=1)
    beam_size: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.7, gt=0)
    """What logits are divided by in training; 1 is the plain loss of the released script."""
    warmup_share: float = Field(default=0.01, ge=0, lt=1)
    """The part of all steps in which the learning rate rises."""
    training: TrainingSettings = TrainingSettings(
        epochs=200,
        batch_size=1024,
        optimizer="adamw",
        learning_rate=5e-4,
        weight_decay=0.01,
        schedule="cosine",
        gradient_clip=1.0,
        patience=20,
    )
    """A batch counts prefixes of users' histories."""

    search_space: ClassVar[SearchSpace] = {
        **TIGERConfig.search_space,
        "training.weight_decay": Choice((0.0, 1e-4, 1e-3, 1e-2)),
        "temperature": Choice((0.6, 0.7, 0.8, 0.9, 1.0)),
        "identifiers.alignment": Real(1e-3, 0.1, log=True),
    }


# --------------------------------------------------------------------------------------- the codes


@dataclass(frozen=True)
class Terms:
    """The parts of the loss of a batch: ``diversity`` is (levels,), the others are scalars."""

    total: torch.Tensor
    reconstruction: torch.Tensor
    quantisation: torch.Tensor
    diversity: torch.Tensor
    alignment: torch.Tensor


class LETTERModel(RQVAE):
    """The RQ-VAE with both terms. Batches also hold SASRec's vectors and who has events.

    ``groups`` (levels, codes) says which codes of a level are grouped, and ``steps`` how many
    losses were computed: both go with the weights, so that training that is taken up again goes on
    alike.
    """

    config: LETTERTokensConfig
    groups: torch.Tensor
    steps: torch.Tensor

    def __init__(self, input_size: int, config: LETTERTokensConfig) -> None:
        super().__init__(input_size, config)
        self.register_buffer("groups", torch.zeros(len(config.sizes), max(config.sizes)).long())
        self.register_buffer("steps", torch.tensor(0))

    def loss(self, batch: Batch) -> torch.Tensor:
        """All terms, with positives drawn from torch's generator."""
        if int(self.steps) % self.config.regroup_every == 0:
            self._group_codes()
        self.steps += 1
        done = self(batch[VECTORS], balanced=True)
        return self.terms(batch, done, self.draw_positives(done.quantised.codes)).total

    def terms(self, batch: Batch, done: Reconstructed, positives: torch.Tensor) -> Terms:
        """The terms of a forward pass.

        Args:
            positives: (batch, levels) codes; -1 where a code is alone in its group.
        """
        config = self.config
        reconstruction, quantisation = self.losses(batch[VECTORS], done)
        if config.reconstruction == "l1":
            reconstruction = F.l1_loss(done.reconstruction, batch[VECTORS])
        diversity = torch.stack(
            [
                diversity_loss(level.weight, codes, wanted)
                for level, codes, wanted in zip(
                    self.quantiser.levels, done.quantised.codes.T, positives.T, strict=True
                )
            ]
        )
        dense = straight_through(done.latent, done.quantised.vectors)
        alignment = alignment_loss(dense, batch[COLLABORATIVE], batch[HAS_EVENTS][:, 0] > 0)
        quantisation = quantisation + config.diversity * diversity.mean()
        total = reconstruction + config.quantisation_weight * quantisation
        total = total + config.alignment * alignment
        return Terms(total, reconstruction, quantisation, diversity, alignment)

    def draw_positives(self, codes: torch.Tensor) -> torch.Tensor:
        """For ``codes`` (batch, levels) each another code of its group, -1 where there is none."""
        drawn = []
        for level, chosen in enumerate(codes.T):
            group = self.groups[level, : self.config.sizes[level]]
            members = group.bincount()
            order = group.argsort(stable=True)
            place = torch.empty_like(order)
            place[order] = torch.arange(len(order), device=order.device)
            first = members.cumsum(0) - members
            others = members[group[chosen]] - 1
            own = place[chosen] - first[group[chosen]]
            number = (torch.rand(len(chosen), device=chosen.device) * others).long()
            number = number.minimum((others - 1).clamp(min=0))
            number = number + (number >= own)
            place_of = (first[group[chosen]] + number).clamp(max=len(order) - 1)
            drawn.append(torch.where(others > 0, order[place_of], -1))
        return torch.stack(drawn, dim=1)

    @torch.no_grad()
    def _group_codes(self) -> None:
        for level, codebook in enumerate(self.quantiser.levels):
            groups = grouped(codebook.weight.float().cpu().numpy(), self.config.groups)
            self.groups[level, : len(groups)] = torch.from_numpy(groups)


def diversity_loss(
    codebook: torch.Tensor, codes: torch.Tensor, positives: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy to the positives of products with all codes of a level but their own.

    Args:
        codebook: (size, dim).
        codes: (batch,).
        positives: (batch,); rows with -1 are left out.
    """
    products = F.embedding(codes, codebook) @ codebook.T  # (batch, size)
    products = products - REMOVED * F.one_hot(codes, len(codebook))
    losses = F.cross_entropy(products, positives, ignore_index=-1, reduction="sum")
    return losses / (positives >= 0).sum().clamp(min=1)


def alignment_loss(
    dense: torch.Tensor, collaborative: torch.Tensor, has_part: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy of each quantised item to its own vector among those of the batch.

    Args:
        dense, collaborative: (batch, dim).
        has_part: (batch,) the items that are looked at, as rows and as columns.
    """
    dense, collaborative = dense[has_part], collaborative[has_part]
    own = torch.arange(len(dense), device=dense.device)
    total = F.cross_entropy(dense @ collaborative.T, own, reduction="sum")
    return total / max(len(dense), 1)


def grouped(codebook: FloatArray, groups: int) -> NDArray[np.int64]:
    """(size,) the group of each code of (size, dim): k-means with groups of bounded sizes."""
    size = len(codebook)
    number = max(1, min(groups, size // 2))
    smallest = min(max(size // (2 * number), 2 if size > 1 else 1), SMALLEST_GROUP)
    largest = max(LARGEST_GROUP, -(-size // number))
    # Costs are thousandths, so a codebook of tiny vectors is made larger before it is cut.
    deviation = float(codebook.std())
    scaled = codebook / deviation if deviation > 0 else codebook
    random = np.random.default_rng(0)
    centres = balanced_centres(scaled, number, smallest, largest, random)
    return balanced_assignment(costs_of(scaled, centres), smallest, largest)


def bounded_start(most_rows: int, random: np.random.Generator) -> CodebookChange:
    """Set a codebook to the centres of size-bounded k-means of the residuals, or of some of them.

    With fewer than two rows a code the sizes are not bounded.
    """

    def change(codebook: Codebook, residual: torch.Tensor) -> None:
        rows, codes = residual.cpu().numpy(), len(codebook.weight)
        if len(rows) > most_rows:
            rows = rows[np.sort(random.choice(len(rows), most_rows, replace=False))]
        smallest = min(len(rows) // (2 * codes), SMALLEST_CLUSTER)
        if smallest and len(rows) <= 4 * smallest * codes:
            centres = balanced_centres(rows, codes, smallest, 4 * smallest, random)
        else:
            centres = kmeans_centres(rows, codes, START_ROUNDS, random)
        codebook.weight.copy_(torch.from_numpy(centres))
        codebook.initialised.fill_(True)

    return change


def learn_letter_codes(
    vectors: FloatArray,
    collaborative: FloatArray,
    has_events: NDArray[np.bool_],
    config: LETTERTokensConfig,
    context: RunContext,
) -> LearnedIdentifiers:
    """Train a :class:`LETTERModel` and give every item its identifier.

    Args:
        vectors: (items, dim) of the texts.
        collaborative: (items, code width), in the same order.
        has_events: (items,) who has a part in the alignment.

    Raises:
        SystemFailure: vectors are not finite, or identifiers cannot be distinct.
    """
    name = "identifiers"
    torch.manual_seed(int(context.random(name, "initialisation").integers(2**62)))
    if config.standardise:
        vectors = standardised(vectors)
    changes = {"latent_size": collaborative.shape[1], "standardise": False}
    config = config.model_copy(update=changes)
    model = LETTERModel(vectors.shape[1], config).to(context.device)
    if config.kmeans_iterations is None:
        start = bounded_start(config.bounded_rows, context.random(name, "start"))
        with torch.no_grad():
            given = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
            model.change_codebooks(model.encode({VECTORS: given.to(context.device)}), start)
    flags = has_events.astype(np.float32)[:, None]
    tables = {VECTORS: vectors, COLLABORATIVE: collaborative, HAS_EVENTS: flags}
    learned = learn_codes(model, tables, config, context, name)
    return learned.finished(learned.coded[VECTORS], vectors, config, config.epsilons[-1])


# ----------------------------------------------------------------------------------- the generator


class LETTERVocabulary(Vocabulary):
    """Padding, the end, and the codes of each level; ``of_item`` ends with the end."""

    def __init__(self, identifiers: Identifiers) -> None:
        super().__init__(identifiers, user_tokens=0)
        self.codes_of_item = np.where(self.of_item > 0, self.of_item + END_TOKEN, 0)
        ends = np.full((len(self.of_item), 1), END_TOKEN)
        ends[0] = 0
        self.of_item = np.concatenate([self.codes_of_item, ends], axis=1)
        self.size += 1

    def inputs(self, users: IntArray, histories: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        """The codes of each history, then the end; where there is none, the end alone."""
        codes = self.codes_of_item[histories].reshape(len(histories), -1)
        ids = np.pad(codes, ((0, 0), (0, 1)))
        lengths = (ids > 0).sum(axis=1)
        ids[np.arange(len(ids)), lengths] = END_TOKEN
        ids = ids[:, : int(lengths.max(initial=0)) + 1]
        return torch.from_numpy(ids), torch.from_numpy(ids > 0)


def loss_of(logits: torch.Tensor, labels: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean cross-entropy of logits (..., tokens) over labels (...) that are not ignored."""
    flat = (logits / temperature).flatten(0, -2)
    return F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED)


class _HasItemEmbeddings(Protocol):
    def item_embeddings(self) -> FloatArray: ...


class LETTER(TIGER):
    """The generative recommender on learned collaborative codes."""

    Config = LETTERConfig
    config: LETTERConfig

    def learned(self, vectors: FloatArray, view: TrainingView) -> LearnedIdentifiers:
        """Identifiers by :class:`LETTERModel`."""
        fitted = upstream(self.context, view, COLLABORATIVE_SYSTEM)
        collaborative = cast(_HasItemEmbeddings, fitted).item_embeddings()[1:]
        has_events = np.bincount(view.log.item, minlength=len(collaborative) + 1)[1:] > 0
        return learn_letter_codes(
            vectors, collaborative, has_events, self.config.identifiers, self.context
        )

    def learned_from(self, view: TrainingView) -> dict[str, Any]:
        """SASRec and what it is trained on."""
        return {"upstream": dict(self.context.upstream), "view": view.fingerprint}

    def vocabulary_of(self, identifiers: Identifiers) -> Vocabulary:
        """The tokens of inputs and targets."""
        return LETTERVocabulary(identifiers)

    def training_settings(self, instances: Instances) -> TrainingSettings:
        """The configured ones, with a share of the steps as the warm-up unless it is given."""
        return self.config.training.with_warmup(self.config.warmup_share, instances)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Mean cross-entropy of tokens, logits divided by the temperature."""
        labels = batch["labels"]
        logits = self.model.t5(**batch, use_cache=False).logits
        return loss_of(logits, labels, self.config.temperature)
