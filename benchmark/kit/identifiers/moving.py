"""RQ-VAE whose codes are moving averages of what they stand for, between residual networks.

The quantiser of https://github.com/facebookresearch/liger (commit b6ccc37, ``ID_generation/rqvae``
is Apache-2.0), written anew after its behaviour: no gradient reaches a code; a code that stands for
less than one vector is put onto one of the batch; and every partial sum of codes is to be near the
latent. After van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017,
appendix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from benchmark.kit.identifiers.collisions import Coded
from benchmark.kit.identifiers.learned import LearnedIdentifiers
from benchmark.kit.identifiers.learning import IdentifierModel, learn_codes
from benchmark.kit.identifiers.quantiser import CodebookChange, squared_distances, straight_through
from benchmark.kit.identifiers.rqvae import VECTORS
from benchmark.kit.identifiers.settings import QuantisationConfig
from benchmark.kit.training import Batch
from benchmark.systems.contract import FloatArray, RunContext

DECAY = 0.99
"""Of the averages, a step."""

SMOOTHING = 1e-5
"""Vectors that every code stands for at least, when averages are divided."""

NOISE = 0.01
"""Of vectors that are repeated because there are fewer than codes, over the root of the width."""


class MovingConfig(QuantisationConfig):
    """The published values. Codebooks need no start: the first step puts codes onto vectors."""

    sizes: tuple[int, ...] = (256, 256, 256)
    """Codes of each level."""


class ResidualPerceptron(nn.Module):
    """Linear, LayerNorm and ReLU, each beside a matrix without bias, then a linear layer."""

    def __init__(self, widths: Sequence[int], dropout: float, epsilon: float) -> None:
        super().__init__()
        inner = list(pairwise(widths[:-1]))
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in inner)
        self.norms = nn.ModuleList(nn.LayerNorm(pair[1], eps=epsilon) for pair in inner)
        self.residuals = nn.ModuleList(nn.Linear(*pair, bias=False) for pair in inner)
        self.out_projection = nn.Linear(widths[-2], widths[-1])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., widths[0]) to (..., widths[-1])."""
        x = self.dropout(x)
        for linear, norm, residual in zip(self.linears, self.norms, self.residuals, strict=True):
            x = self.dropout(F.relu(norm(linear(x)))) + residual(x)
        projected: torch.Tensor = self.out_projection(x)
        return projected


@dataclass(frozen=True)
class Summed:
    """A forward pass: ``codes`` (batch, levels), ``inputs`` and ``sums`` (levels, batch, dim).

    ``inputs`` are what each level saw, ``sums`` the chosen codes up to it.
    """

    latent: torch.Tensor
    codes: torch.Tensor
    inputs: torch.Tensor
    sums: torch.Tensor
    reconstruction: torch.Tensor


class MovingRQVAE(IdentifierModel):
    """Encoder, levels of moving averages, decoder; batches hold ``vectors`` (batch, input_size).

    ``codebooks`` (levels, codes, dim) are ``totals`` over ``counts`` (levels, codes), smoothed.
    """

    codebooks: torch.Tensor
    counts: torch.Tensor
    totals: torch.Tensor

    def __init__(self, input_size: int, config: MovingConfig) -> None:
        super().__init__()
        self.config = config
        widths = (input_size, *config.hidden_sizes, config.latent_size)
        self.encoder = ResidualPerceptron(widths, config.dropout, epsilon=1e-5)
        self.decoder = ResidualPerceptron(widths[::-1], config.dropout, epsilon=1e-5)
        shape = (len(config.sizes), config.sizes[0], config.latent_size)
        codes = torch.randn(shape)
        self.register_buffer("codebooks", codes)
        self.register_buffer("counts", torch.zeros(shape[:2]))
        self.register_buffer("totals", codes.clone())

    def forward(self, vectors: torch.Tensor) -> Summed:
        """Quantise and reconstruct, by nearest codes."""
        latent = self.encoder(vectors).float()
        left, inputs, sums, codes = latent.detach(), [], [], []
        total = torch.zeros_like(left)
        with torch.autocast(left.device.type, enabled=False):  # distances need all their digits
            for codebook in self.codebooks:
                inputs.append(left)
                code = squared_distances(left, codebook).argmin(dim=1)
                total = total + codebook[code]
                left = left - codebook[code]
                codes.append(code)
                sums.append(total)
        reconstruction = self.decoder(straight_through(latent, total))
        return Summed(
            latent,
            torch.stack(codes, dim=1),
            torch.stack(inputs),
            torch.stack(sums),
            reconstruction,
        )

    def terms(self, vectors: torch.Tensor, done: Summed) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean squared error of the reconstruction, and of all partial sums to the latent."""
        return F.mse_loss(done.reconstruction, vectors), (done.latent - done.sums).square().mean()

    def loss(self, batch: Batch) -> torch.Tensor:
        """Both terms, the second weighted; in training, codes move after they were used."""
        vectors = batch[VECTORS]
        done = self(vectors)
        reconstruction, commitment = self.terms(vectors, done)
        if self.training:
            for level in range(len(self.codebooks)):
                pool = repeated(done.inputs[level], self.codebooks.shape[1])
                self.move(level, done, pool[torch.randperm(len(pool), device=pool.device)])
        total: torch.Tensor = reconstruction + self.config.commitment * commitment
        return total

    @torch.no_grad()
    def move(self, level: int, done: Summed, spare: torch.Tensor) -> None:
        """Take a batch into the averages of a level.

        Args:
            spare: (codes or more, dim); the k-th is where code k goes if it is hardly used.
        """
        counts, totals = self.counts[level], self.totals[level]
        size = len(counts)
        chosen = F.one_hot(done.codes[:, level], size).to(totals.dtype)  # (batch, codes)
        with torch.autocast(totals.device.type, enabled=False):
            summed = chosen.T @ done.inputs[level]
        counts.mul_(DECAY).add_(chosen.sum(dim=0), alpha=1 - DECAY)
        totals.mul_(DECAY).add_(summed, alpha=1 - DECAY)
        unused = counts < 1
        totals[unused] = spare[:size][unused]
        counts[unused] = 1.0
        every = counts.sum()
        smoothed = every * (counts + SMOOTHING) / (every + size * SMOOTHING)
        self.codebooks[level] = totals / smoothed[:, None]

    def encode(self, batch: Batch) -> torch.Tensor:
        """(batch, latent_size)."""
        latent: torch.Tensor = self.encoder(batch[VECTORS])
        return latent

    def change_codebooks(self, latent: torch.Tensor, change: CodebookChange) -> None:
        """Nothing: codes that hardly stand for anything are moved in every step."""

    @torch.no_grad()
    def coded(self, latent: torch.Tensor) -> dict[str, Coded]:
        """The nearest codes."""
        left, codes = latent.float(), []
        for codebook in self.codebooks:
            codes.append(squared_distances(left, codebook).argmin(dim=1))
            left = left - codebook[codes[-1]]
        books = tuple(codebook.cpu().numpy().copy() for codebook in self.codebooks)
        numbers = torch.stack(codes, dim=1).cpu().numpy()
        return {VECTORS: Coded(numbers, latent.float().cpu().numpy(), books)}


def repeated(vectors: torch.Tensor, number: int, noise: torch.Tensor | None = None) -> torch.Tensor:
    """``vectors`` (batch, dim), or, if they are fewer than ``number``, copies with noise.

    Args:
        noise: uniform between 0 and 1, of the result's shape; drawn if absent.
    """
    if len(vectors) >= number:
        return vectors
    tiled = vectors.repeat(-(-number // len(vectors)), 1)
    if noise is None:
        noise = torch.rand_like(tiled)
    return tiled + noise * NOISE / vectors.shape[1] ** 0.5


def learn_moving_codes(
    vectors: FloatArray, trained: NDArray[np.bool_], config: MovingConfig, context: RunContext
) -> LearnedIdentifiers:
    """Train the quantiser on some items and give all their identifiers.

    Args:
        vectors: (items, dim), standardised.
        trained: (items,) which to learn from.
    """
    torch.manual_seed(int(context.random("identifiers", "initialisation").integers(2**62)))
    model = MovingRQVAE(vectors.shape[1], config)
    learned = learn_codes(model, {VECTORS: vectors[trained]}, config, context)
    with torch.no_grad():
        every = torch.from_numpy(vectors).to(context.device)
        coded = model.coded(model.encode({VECTORS: every}))[VECTORS]
    return learned.finished(coded, vectors, config, epsilon=0.0)
