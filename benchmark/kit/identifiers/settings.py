"""How models that quantise vectors are made and trained, as a configuration says it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmark.kit.identifiers.quantiser import Gradient, Reduction
from benchmark.kit.identifiers.sinkhorn import SMALLEST_EPSILON
from benchmark.kit.training import TrainingSettings
from benchmark.systems.contract import SystemConfig

Resolution = Literal["released", "assignment", "counter", "none"]
Quantiser = Literal["rq-vae", "rq-kmeans"]
Selected = Literal["any_time", "after_warmup"]


class QuantisationConfig(SystemConfig):
    """What all models that quantise vectors by auto-encoders have in common."""

    quantiser: Quantiser = "rq-vae"
    """"rq-kmeans" learns no auto-encoder: the codes of a level are the k-means centres of what the
    levels before it leave of the vectors themselves, over all items (as in arXiv 2508.10478)."""
    hidden_sizes: tuple[int, ...] = (512, 256, 128, 64)
    """Widths between the vectors and the latent; decoders have them in reverse."""
    latent_size: int = Field(default=32, ge=1)
    """Width of an encoder's output."""
    bias: bool = True
    """Whether linear layers have biases."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Before each linear layer."""
    batch_norm: bool = False
    """After each linear layer but the last."""
    initialisation: Literal["xavier-normal", "torch"] = "xavier-normal"
    """Of the linear layers; Xavier's comes with biases of zero."""
    commitment: float = Field(default=0.25, ge=0)
    """Weight of pulling a residual to its code, relative to pulling the code to the residual."""
    quantisation_weight: float = Field(default=1.0, ge=0)
    """Weight of the codebook and commitment terms beside the reconstruction."""
    reduction: Reduction = "mean"
    """Of every error: the mean over elements and levels, or the sum over them."""
    gradient: Gradient = "first_level"
    """Which levels' commitment reaches the encoder."""
    kmeans_iterations: int | None = Field(default=100, ge=1)
    """Most iterations of the codebooks' k-means start; a uniform start if absent."""
    kmeans_rows: Literal["batch", "all"] = "batch"
    """What is clustered: the first training batch or all items."""
    restart_unused: bool = False
    """At every validation, move codes that no item has to the residuals of random items."""
    sinkhorn_rounds: int = Field(default=50, ge=1)
    """Normalisations of rows and columns where a level is assigned evenly."""
    standardise: bool = False
    """Bring each dimension of the vectors to mean 0 and deviation 1. The elements of vectors of
    length one are tiny, and so is their reconstruction error beside other terms; residual k-means,
    which has none, takes the vectors as they are."""
    collisions: Resolution = "released"
    """What happens to items with equal identifiers; see ``benchmark.kit.identifiers.collisions``.
    "released" may leave some."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps of training, rounded up to whole validations; ``training.epochs`` if absent.
    The same number of epochs is many steps or few, as items are many or few."""
    validations: int = Field(default=20, ge=1)
    """With ``steps``, how often collisions are counted; else ``training.validate_every`` says."""
    warmup_epochs: float = Field(default=50, ge=0)
    """Epochs in which the learning rate rises; counted in steps of this data."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps in which it rises, instead of ``warmup_epochs``."""
    selected: Selected = "any_time"
    """Which validations the weights with the fewest collisions are chosen from."""
    training: TrainingSettings = TrainingSettings(
        epochs=500,
        batch_size=1024,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-5,
        schedule="linear",
        gradient_clip=1.0,
        patience=None,
        validate_every=10,
    )
    """A batch counts items; validation counts collisions of nearest codes over all items."""

    @model_validator(mode="after")
    def _settings_act(self) -> QuantisationConfig:
        """Refuse what would change nothing, or leave nothing to choose from."""
        if self.quantiser == "rq-kmeans" and self.kmeans_iterations is None:
            raise ValueError("quantiser rq-kmeans needs kmeans_iterations, at least 1")
        if self.training.warmup_steps:
            raise ValueError("training.warmup_steps has no effect here; set warmup_steps beside it")
        if self.steps is not None and (self.warmup_steps or 0) >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be below steps {self.steps}")
        return self


Sizes = tuple[Annotated[int, Field(ge=1)], ...]
"""Codes of each level."""


def checked_epsilons(sizes: tuple[int, ...], epsilons: tuple[float, ...]) -> None:
    """Raise ``ValueError`` unless there is an epsilon for each level, 0 or large enough."""
    if len(sizes) != len(epsilons):
        raise ValueError(f"there are {len(sizes)} levels and {len(epsilons)} epsilons")
    if any(0 < epsilon < SMALLEST_EPSILON for epsilon in epsilons):
        raise ValueError(f"an epsilon must be 0 (nearest codes) or at least {SMALLEST_EPSILON}")
