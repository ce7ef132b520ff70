"""Learning identifiers: what a model must offer, and the way from vectors to codes.

The codebooks start as k-means centres, the model is trained by the suite's loop and keeps the
weights with the fewest collisions, every item gets its nearest codes, and collisions are resolved.
As published, training is counted in epochs and any validation may be selected; with few items that
is a handful of steps, and the fewest collisions are found before anything was learned. So training
may be counted in steps, and selection wait for the warm-up's end.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.card import quality
from benchmark.kit.identifiers.collisions import (
    Coded,
    collision_rate,
    with_counter,
    with_free_codes,
    with_transported_codes,
)
from benchmark.kit.identifiers.learned import LearnedIdentifiers
from benchmark.kit.identifiers.quantiser import (
    CodebookChange,
    kmeans_start,
    restart_unused,
)
from benchmark.kit.identifiers.settings import QuantisationConfig
from benchmark.kit.identifiers.value import Identifiers
from benchmark.kit.training import Batch, Instances, TrainingHistory, TrainingSettings, train
from benchmark.systems.contract import FloatArray, RunContext
from benchmark.systems.view import ValidationMetrics

COLLISION_RATE = "collision rate"
LOW_USE = 0.8
"""A level of which fewer codes are used than this share is reported as collapsed."""

_ITEMS_AT_ONCE = 8192

EARLY = 0.25
"""Weights that were selected in this first part of training are reported as an early choice."""


class IdentifierModel(nn.Module, ABC):
    """A model that is trained on batches of vectors and gives items one or more identifiers."""

    @abstractmethod
    def encode(self, batch: Batch) -> torch.Tensor:
        """(batch, dim) the latents that are quantised."""

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch, codes assigned as in training."""

    @abstractmethod
    def change_codebooks(self, latent: torch.Tensor, change: CodebookChange) -> None:
        """Apply ``change`` to every codebook by what it sees of ``latent`` (batch, dim)."""

    @abstractmethod
    def coded(self, latent: torch.Tensor) -> dict[str, Coded]:
        """For each kind of identifier the nearest codes of ``latent`` (items, dim)."""


class Vectors(Instances):
    """Items, each a row of one or more named tables (items, dim)."""

    def __init__(self, tables: Mapping[str, FloatArray]) -> None:
        # Copied where it lies in a file that may only be read, of which torch warns.
        self.tables = {
            name: torch.from_numpy(np.require(table, requirements="W"))
            for name, table in tables.items()
        }

    def __len__(self) -> int:
        return len(next(iter(self.tables.values())))

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Rows of the tables; nothing is drawn."""
        index = torch.from_numpy(rows)
        return {name: table.index_select(0, index) for name, table in self.tables.items()}


@dataclass(frozen=True)
class LearnedCodes:
    """For each kind of identifier the nearest codes of all items, and how training went."""

    coded: dict[str, Coded]
    history: TrainingHistory

    def figures(self) -> dict[str, float]:
        """``steps`` of training and the one whose weights were selected; none if none was done."""
        if not self.history.rows:
            return {}
        steps = {row["epoch"]: float(row["step"]) for row in self.history.rows}
        last = steps[max(steps)]
        return {"steps": last, "selected_step": steps.get(self.history.best_epoch, last)}

    def finished(
        self, coded: Coded, vectors: FloatArray, config: QuantisationConfig, epsilon: float
    ) -> LearnedIdentifiers:
        """The identifiers that codes become by :func:`resolved`, and all figures about them.

        Args:
            coded: nearest codes of one kind.
            vectors: (items, dim) what they are of.
            config: the settings.
            epsilon: as for :func:`resolved`.

        Raises:
            SystemFailure: as for :func:`resolved`.
        """
        identifiers = resolved(coded, config, epsilon)
        figures = quality(coded, identifiers, vectors) | self.figures()
        return LearnedIdentifiers(identifiers, figures)


def learn_codes(
    model: IdentifierModel,
    tables: Mapping[str, FloatArray],
    config: QuantisationConfig,
    context: RunContext,
    name: str = "identifiers",
) -> LearnedCodes:
    """Train ``model`` in place and code all items.

    Args:
        model: freshly initialised.
        tables: what its batches hold, (items, dim) each; standardised here if the config says so.
        config: the settings.
        context: where checkpoints go; a killed training goes on from them.
        name: tells apart several trainings of one run.

    Raises:
        SystemFailure: there are no items, a vector is not finite, or training fails.
    """
    instances = Vectors({key: _usable(table, key, config) for key, table in tables.items()})
    if not len(instances):
        raise SystemFailure(f"{name}: there are no items to learn identifiers of.")
    model.to(context.device)
    every = np.arange(len(instances))
    if config.kmeans_iterations is not None:
        model.train()
        order = instances.batches(config.training.batch_size, context.random(name, "order", 0))
        is_first_batch = config.kmeans_rows == "batch" and config.quantiser == "rq-vae"
        start = kmeans_start(config.kmeans_iterations, context.random(name, "k-means"))
        rows = order[0] if is_first_batch else every
        model.change_codebooks(_latents(model, instances, rows, context), start)
    if config.quantiser == "rq-kmeans":
        model.eval()
        coded = model.coded(_latents(model, instances, every, context))
        _warn_of_collapse(coded, context, name)
        return LearnedCodes(coded, TrainingHistory())

    def validate() -> ValidationMetrics:
        latent = _latents(model, instances, every, context)
        if config.restart_unused:
            # The global generator is seeded by the epoch here; so are, hence, the draws.
            seed = int(torch.randint(2**62, ()))
            model.change_codebooks(latent, restart_unused(np.random.default_rng(seed)))
        coded = model.coded(latent)
        return {kind: {COLLISION_RATE: collision_rate(one.codes)} for kind, one in coded.items()}

    settings = training_settings(config, instances)
    history = train(
        model,
        instances,
        model.loss,
        settings,
        context,
        validate,
        name=name,
        selected_by=_fewest_collisions,
        selected_from=settings.warmup_steps if config.selected == "after_warmup" else 0,
    )
    if history.best_share < EARLY:
        is_free = config.selected == "any_time"
        context.logger.warning(
            "%s: the fewest collisions were found after %.0f%% of training, before much was "
            "learned; %s.",
            name,
            100 * history.best_share,
            "set identifiers.selected to after_warmup, or train for fewer steps"
            if is_free
            else "train for fewer steps, or warm up for more",
        )
    model.eval()
    coded = model.coded(_latents(model, instances, every, context))
    _warn_of_collapse(coded, context, name)
    return LearnedCodes(coded, history)


def resolved(coded: Coded, config: QuantisationConfig, epsilon: float) -> Identifiers:
    """Identifiers of items 1, 2, …, after the collisions were resolved as the config says.

    Args:
        coded: nearest codes.
        config: the settings.
        epsilon: of the last level, as it was trained; the released loop uses its own for 0.

    Raises:
        SystemFailure: there are more items than identifiers, and each was to have its own.
    """
    if config.collisions == "released":
        codes = with_transported_codes(coded, epsilon, config.sinkhorn_rounds)
    elif config.collisions == "assignment":
        codes = with_free_codes(coded)
    elif config.collisions == "counter":
        codes = with_counter(coded.codes)
    else:
        codes = coded.codes
    counter = (int(codes[:, -1].max()) + 1,) if codes.shape[1] > len(coded.sizes) else ()
    return Identifiers.of_items(codes, (*coded.sizes, *counter))


def _usable(table: FloatArray, name: str, config: QuantisationConfig) -> FloatArray:
    if not np.isfinite(table).all():
        raise SystemFailure(f"the {name} vectors hold a value that is not finite.")
    if config.standardise and config.quantiser == "rq-vae":
        return standardised(table)
    return np.ascontiguousarray(table, dtype=np.float32)


def standardised(vectors: FloatArray) -> FloatArray:
    """Each dimension of (items, dim) with mean 0 and deviation 1; a constant one with 0."""
    deviation = vectors.std(axis=0)
    scaled = (vectors - vectors.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return np.ascontiguousarray(scaled, dtype=np.float32)


def training_settings(config: QuantisationConfig, instances: Instances) -> TrainingSettings:
    """The settings of the loop, with steps as epochs of this data and the warm-up in steps."""
    each = instances.steps(config.training.batch_size)  # steps an epoch
    changes: dict[str, int] = {}
    if config.steps is not None:
        epochs = math.ceil(config.steps / each)
        every = max(1, round(epochs / config.validations))
        changes = {"epochs": math.ceil(epochs / every) * every}
        if config.training.validate_every:
            changes["validate_every"] = every
    warmup = config.warmup_steps
    changes["warmup_steps"] = round(config.warmup_epochs * each) if warmup is None else warmup
    return config.training.model_copy(update=changes)


def _fewest_collisions(metrics: ValidationMetrics) -> float:
    return -float(np.mean([values[COLLISION_RATE] for values in metrics.values()]))


@torch.no_grad()
def _latents(
    model: IdentifierModel, instances: Vectors, rows: NDArray[np.int64], context: RunContext
) -> torch.Tensor:
    """(rows, dim) on the run's device."""
    random = context.random("latents")
    parts = []
    for start in range(0, len(rows), _ITEMS_AT_ONCE):
        batch = instances.batch(rows[start : start + _ITEMS_AT_ONCE], random)
        parts.append(model.encode({key: value.to(context.device) for key, value in batch.items()}))
    return torch.cat(parts)


def _warn_of_collapse(coded: Mapping[str, Coded], context: RunContext, name: str) -> None:
    for kind, one in coded.items():
        for level, (codes, size) in enumerate(zip(one.codes.T, one.sizes, strict=True), start=1):
            # No level can use more codes than there are items.
            use = len(np.unique(codes)) / min(size, len(codes))
            if use < LOW_USE:
                context.logger.warning(
                    "%s: %s identifiers use %.0f%% of the codes of level %d; the codebook has "
                    "collapsed unless the items are few or alike.",
                    name,
                    kind,
                    100 * use,
                    level,
                )
