"""Codebooks, and the residual quantiser that is a row of them.

A vector is written as the number of its nearest code, what is left of it as the number of the
nearest code of the next level, and so on. Published implementations differ in two ways that change
what an encoder learns, so both are named settings here. The gradient: where each level passes on a
straight-through copy and the next residual is taken from that, it is constant, and of the
commitment terms only the first level's reaches the encoder ("first_level"); where the chosen code
alone is detached, all of them do ("all_levels"). The reduction: errors are the mean over all
elements and levels ("mean"), or the sum over a vector's elements and over the levels, in the mean
over the batch ("sum"). Either must hold for the reconstruction too, or the codebooks collapse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.kit.identifiers.kmeans import kmeans_centres
from benchmark.kit.identifiers.sinkhorn import balanced_codes

Gradient = Literal["first_level", "all_levels"]
Reduction = Literal["mean", "sum"]


def squared_errors(found: torch.Tensor, wanted: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """(batch,) the mean or the sum of the squared differences of two (batch, dim)."""
    squares = (found - wanted).square()
    return squares.mean(dim=1) if reduction == "mean" else squares.sum(dim=1)


def over_levels(losses: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """One loss from (batch, levels): the mean over the batch, the mean or the sum over levels."""
    return losses.mean() if reduction == "mean" else losses.sum(dim=1).mean()


def straight_through(latent: torch.Tensor, quantised: torch.Tensor) -> torch.Tensor:
    """The values of ``quantised`` with the gradient of ``latent``."""
    return latent + (quantised - latent).detach()


def squared_distances(vectors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """(batch, size) of ``vectors`` (batch, dim) to ``codes`` (size, dim)."""
    lengths = vectors.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)
    return torch.addmm(lengths, vectors, codes.T, alpha=-2)


class Codebook(nn.Module):
    """The codes of one level, (size, dim).

    ``epsilon`` above 0 assigns a training batch to the codes evenly. ``initialised`` goes with the
    weights, so training that is taken up again does not start the codes anew.
    """

    initialised: torch.Tensor

    def __init__(self, size: int, dim: int, epsilon: float = 0.0, rounds: int = 50) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, dim).uniform_(-1 / size, 1 / size))
        self.register_buffer("initialised", torch.tensor(False))
        self.epsilon, self.rounds = epsilon, rounds

    def codes(self, residual: torch.Tensor, balanced: bool) -> torch.Tensor:
        """(batch,) the code of each row of ``residual`` (batch, dim): the nearest one.

        With ``balanced``, and where the level has an epsilon, the batch is spread over all codes.
        """
        distances = squared_distances(residual, self.weight)
        if balanced and self.epsilon > 0:
            return balanced_codes(distances, self.epsilon, self.rounds)
        return distances.argmin(dim=1)


@dataclass(frozen=True)
class Quantised:
    """What a residual quantiser makes of a batch.

    ``codes`` (batch, levels) long; ``vectors`` (batch, dim) the sum of the chosen codes, without a
    gradient; ``residual`` (batch, dim) what is left; ``inputs`` (levels) of (batch, dim), what each
    level saw; ``losses`` (batch, levels) codebook and commitment terms.
    """

    codes: torch.Tensor
    vectors: torch.Tensor
    residual: torch.Tensor
    inputs: tuple[torch.Tensor, ...]
    losses: torch.Tensor


class ResidualQuantiser(nn.Module):
    """Codebooks one after the other, each of what the ones before it left; there may be none."""

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        epsilons: Sequence[float],
        rounds: int,
        commitment: float,
        gradient: Gradient,
        reduction: Reduction,
    ) -> None:
        super().__init__()
        self.codebooks = nn.ModuleList(
            Codebook(size, dim, epsilon, rounds)
            for size, epsilon in zip(sizes, epsilons, strict=True)
        )
        self.commitment, self.gradient, self.reduction = commitment, gradient, reduction

    @property
    def levels(self) -> tuple[Codebook, ...]:
        """The codebooks, first level first."""
        return cast("tuple[Codebook, ...]", tuple(self.codebooks))

    def forward(self, latent: torch.Tensor, balanced: bool) -> Quantised:
        """Quantise ``latent`` (batch, dim) in float32, whatever precision it comes in."""
        with torch.autocast(latent.device.type, enabled=False):
            residual = latent.float()
            vectors = torch.zeros_like(residual)
            inputs, codes, losses = [], [], []
            for codebook in self.levels:
                inputs.append(residual)
                code = codebook.codes(residual.detach(), balanced)
                vector = F.embedding(code, codebook.weight)
                to_code = squared_errors(vector, residual.detach(), self.reduction)
                to_residual = squared_errors(residual, vector.detach(), self.reduction)
                losses.append(to_code + self.commitment * to_residual)
                codes.append(code)
                vectors = vectors + vector.detach()
                residual = residual - vector.detach()
                if self.gradient == "first_level":
                    residual = residual.detach()
        rows = len(latent)
        return Quantised(
            codes=torch.stack(codes, dim=1) if codes else latent.new_zeros(rows, 0).long(),
            vectors=vectors,
            residual=residual,
            inputs=tuple(inputs),
            losses=torch.stack(losses, dim=1) if losses else residual.new_zeros(rows, 0),
        )

    @torch.no_grad()
    def change(self, latent: torch.Tensor, change: CodebookChange) -> torch.Tensor:
        """Change the codebooks, each by the residuals that the changed ones before it leave.

        Returns:
            (batch, dim) the residuals that all of them leave of ``latent`` (batch, dim).
        """
        residual = latent.float()
        for codebook in self.levels:
            change(codebook, residual)
            residual = residual - codebook.weight[codebook.codes(residual, balanced=False)]
        return residual


CodebookChange = Callable[[Codebook, torch.Tensor], None]
"""Sets the weights of a codebook by the residuals (batch, dim) that it is given."""


def kmeans_start(iterations: int, random: np.random.Generator) -> CodebookChange:
    """Set a codebook to the k-means centres of the residuals, unless it has been set before."""

    def change(codebook: Codebook, residual: torch.Tensor) -> None:
        if codebook.initialised:
            return
        rows = residual.cpu().numpy()
        centres = kmeans_centres(rows, len(codebook.weight), iterations, random)
        codebook.weight.copy_(torch.from_numpy(centres))
        codebook.initialised.fill_(True)

    return change


def restart_unused(random: np.random.Generator) -> CodebookChange:
    """Move the codes that are nearest to no residual to residuals drawn at random."""

    def change(codebook: Codebook, residual: torch.Tensor) -> None:
        uses = codebook.codes(residual, balanced=False).bincount(minlength=len(codebook.weight))
        unused = (uses == 0).nonzero()[:, 0]
        rows = torch.from_numpy(random.integers(len(residual), size=len(unused)))
        codebook.weight[unused] = residual[rows.to(residual.device)]

    return change
