"""Balanced assignment of residuals to codes by optimal transport.

The scheme of "Adapting Large Language Models by Integrating Collaborative Semantics for
Recommendation" (Zheng et al., ICDE 2024; https://github.com/RUCAIBox/LC-Rec, commit e6f1b3b): a
batch is spread evenly over the codes of a level, so that few of its rows end with the same. The
original rescales the whole matrix in each round; here the two scaling vectors are kept apart, which
gives the same plan and touches the matrix for products only.
"""

from __future__ import annotations

import torch

SMALLEST_EPSILON = 0.003
"""Below it, products of two kernel entries leave the range of float64."""


def centred(distances: torch.Tensor) -> torch.Tensor:
    """(…, rows, codes) distances moved and scaled into [-1, 1], each matrix for itself."""
    largest = distances.amax(dim=(-2, -1), keepdim=True)
    smallest = distances.amin(dim=(-2, -1), keepdim=True)
    middle = (largest + smallest) / 2
    return (distances - middle) / (largest - middle + 1e-5)


def transport_plan(distances: torch.Tensor, epsilon: float, rounds: int) -> torch.Tensor:
    """How much of each row goes to each code, (…, rows, codes) float64.

    The last normalisation is that of the columns: each sums to rows / codes, while the rows sum to
    one nearly.

    Args:
        distances: (…, rows, codes) squared distances, each matrix a problem of its own.
        epsilon: the smaller, the nearer the plan keeps to the smallest distances.
        rounds: alternations of row and column normalisation.
    """
    rows, codes = distances.shape[-2:]
    kernel = torch.exp(-centred(distances).double() / epsilon)
    of_codes = kernel.new_ones(*kernel.shape[:-2], codes, 1)
    of_rows = kernel.new_ones(*kernel.shape[:-2], rows, 1)
    for _ in range(rounds):
        of_rows = (rows * (kernel @ of_codes)).reciprocal()
        of_codes = (codes * (kernel.mT @ of_rows)).reciprocal()
    return rows * of_rows * kernel * of_codes.mT


def balanced_codes(distances: torch.Tensor, epsilon: float, rounds: int) -> torch.Tensor:
    """(…, rows) the code that gets most of each row."""
    return transport_plan(distances, epsilon, rounds).argmax(dim=-1)
