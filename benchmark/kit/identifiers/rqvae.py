"""RQ-VAE: an auto-encoder whose latent is quantised level by level; or residual k-means without it.

The identifiers of Rajput et al., "Recommender Systems with Generative Retrieval" (NeurIPS 2023),
and of the systems that followed it. Written anew after the behaviour of https://github.com/EdoardoBotta/RQ-VAE-Recommender
(commit 0e4ae0c) and https://github.com/RUCAIBox/LC-Rec (commit e6f1b3b): the options make either.
What differs: the codebooks' k-means start is made before the first step, on the rows of the first
batch; it does not fail where there are fewer rows than codes; and it is remembered in the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from benchmark.kit.identifiers.collisions import Coded
from benchmark.kit.identifiers.learned import LearnedIdentifiers
from benchmark.kit.identifiers.learning import IdentifierModel, learn_codes
from benchmark.kit.identifiers.quantiser import (
    CodebookChange,
    Quantised,
    ResidualQuantiser,
    over_levels,
    squared_errors,
    straight_through,
)
from benchmark.kit.identifiers.settings import QuantisationConfig, Sizes, checked_epsilons
from benchmark.kit.training import Batch
from benchmark.systems.contract import FloatArray, RunContext

VECTORS = "vectors"


class RQVAEConfig(QuantisationConfig):
    """One encoder, one identifier; as many levels as ``sizes``."""

    sizes: Sizes = Field(default=(256, 256, 256, 256), min_length=1)
    """Codes of each level."""
    epsilons: tuple[float, ...] = (0.0, 0.0, 0.0, 0.003)
    """Above 0, training assigns the level's codes evenly within a batch, the looser the larger."""

    @model_validator(mode="after")
    def _an_epsilon_a_level(self) -> RQVAEConfig:
        checked_epsilons(self.sizes, self.epsilons)
        return self


class MultiLayerPerceptron(nn.Module):
    """Linear layers with ReLU between them; (batch, widths[0]) to (batch, widths[-1])."""

    def __init__(self, widths: Sequence[int], config: QuantisationConfig) -> None:
        super().__init__()
        layers = [nn.Linear(*pair, bias=config.bias) for pair in pairwise(widths)]
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(width) if config.batch_norm else nn.Identity() for width in widths[1:-1]
        )
        self.dropout = nn.Dropout(config.dropout)
        if config.initialisation == "xavier-normal":
            for layer in layers:
                nn.init.xavier_normal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Neither norm nor ReLU follows the last layer."""
        *inner, last = self.layers
        for layer, norm in zip(inner, self.norms, strict=True):
            x = F.relu(norm(layer(self.dropout(x))))
        projected: torch.Tensor = last(self.dropout(x))
        return projected


def latent_size(input_size: int, config: QuantisationConfig) -> int:
    """The width of what is quantised: the encoder's output, or the vectors if there is none."""
    return input_size if config.quantiser == "rq-kmeans" else config.latent_size


def encoder_and_decoder(input_size: int, config: QuantisationConfig) -> tuple[nn.Module, nn.Module]:
    """From vectors to latents, and back by the same widths; residual k-means leaves them be."""
    if config.quantiser == "rq-kmeans":
        return nn.Identity(), nn.Identity()
    widths = (input_size, *config.hidden_sizes, config.latent_size)
    return MultiLayerPerceptron(widths, config), MultiLayerPerceptron(widths[::-1], config)


def residual_quantiser(
    sizes: Sequence[int], epsilons: Sequence[float], dim: int, config: QuantisationConfig
) -> ResidualQuantiser:
    """A quantiser with the config's losses."""
    return ResidualQuantiser(
        sizes,
        dim,
        epsilons=epsilons,
        rounds=config.sinkhorn_rounds,
        commitment=config.commitment,
        gradient=config.gradient,
        reduction=config.reduction,
    )


@dataclass(frozen=True)
class Reconstructed:
    """A forward pass: ``latent`` (batch, latent_size), ``reconstruction`` (batch, input_size)."""

    latent: torch.Tensor
    quantised: Quantised
    reconstruction: torch.Tensor


class RQVAE(IdentifierModel):
    """Encoder, residual quantiser, decoder; its batches hold ``vectors`` (batch, input_size)."""

    def __init__(self, input_size: int, config: RQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = encoder_and_decoder(input_size, config)
        self.quantiser = residual_quantiser(
            config.sizes, config.epsilons, latent_size(input_size, config), config
        )

    def forward(self, vectors: torch.Tensor, balanced: bool) -> Reconstructed:
        """Quantise and reconstruct; ``balanced`` levels assign evenly, as in training."""
        latent = self.encoder(vectors)
        quantised = self.quantiser(latent, balanced)
        return Reconstructed(
            latent, quantised, self.decoder(straight_through(latent, quantised.vectors))
        )

    def losses(self, vectors: torch.Tensor, done: Reconstructed) -> tuple[torch.Tensor, ...]:
        """Reconstruction and quantisation loss of a forward pass, each the mean over the batch."""
        reduction = self.config.reduction
        reconstruction = squared_errors(done.reconstruction, vectors, reduction).mean()
        return reconstruction, over_levels(done.quantised.losses, reduction)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Reconstruction plus weighted quantisation loss."""
        vectors = batch[VECTORS]
        reconstruction, quantisation = self.losses(vectors, self(vectors, balanced=True))
        return reconstruction + self.config.quantisation_weight * quantisation

    def encode(self, batch: Batch) -> torch.Tensor:
        """(batch, latent_size)."""
        latent: torch.Tensor = self.encoder(batch[VECTORS])
        return latent

    def change_codebooks(self, latent: torch.Tensor, change: CodebookChange) -> None:
        """Level by level."""
        self.quantiser.change(latent, change)

    def coded(self, latent: torch.Tensor) -> dict[str, Coded]:
        """One kind of identifier."""
        return {VECTORS: coded_by(self.quantiser, latent)}


@torch.no_grad()
def coded_by(quantiser: ResidualQuantiser, latent: torch.Tensor) -> Coded:
    """The nearest codes of ``latent`` (items, dim)."""
    codes = quantiser(latent, balanced=False).codes
    return Coded(
        codes.cpu().numpy(),
        latent.float().cpu().numpy(),
        tuple(book.weight.detach().cpu().numpy().copy() for book in quantiser.levels),
    )


def learn_identifiers(
    vectors: FloatArray, config: RQVAEConfig, context: RunContext, name: str = "identifiers"
) -> LearnedIdentifiers:
    """Train an RQ-VAE on ``vectors`` and give every item its identifier.

    Args:
        vectors: (items, dim) float32; row r is of item r + 1.
        config: the settings.
        context: seed, device and folder; a killed training goes on from its checkpoint.
        name: tells apart several trainings of one run.

    Raises:
        SystemFailure: the vectors are none or not finite, or identifiers cannot be distinct.
    """
    torch.manual_seed(int(context.random(name, "initialisation").integers(2**62)))
    model = RQVAE(vectors.shape[1], config)
    learned = learn_codes(model, {VECTORS: vectors}, config, context, name)
    return learned.finished(learned.coded[VECTORS], vectors, config, config.epsilons[-1])
