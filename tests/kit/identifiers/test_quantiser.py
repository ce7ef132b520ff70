"""Codebooks and residual quantisers: starts, restarts, gradients, precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.kit.identifiers.kmeans import kmeans_centres
from benchmark.kit.identifiers.quantiser import (
    Gradient,
    ResidualQuantiser,
    kmeans_start,
    restart_unused,
    straight_through,
)

DIM = 6


def vectors(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, DIM)).astype("float32"))


def quantiser(gradient: Gradient = "first_level", *sizes: int) -> ResidualQuantiser:
    torch.manual_seed(2)
    sizes = sizes or (4, 4, 4)
    made = ResidualQuantiser(
        sizes,
        DIM,
        epsilons=[0.0] * len(sizes),
        rounds=50,
        commitment=0.25,
        gradient=gradient,
        reduction="mean",
    )
    made.change(vectors(50), kmeans_start(100, np.random.default_rng(1)))
    return made


def test_levels_quantise_what_the_ones_before_left() -> None:
    made, latent = quantiser(), vectors(20)
    done = made(latent, balanced=False)
    rest = latent
    for level, codebook in enumerate(made.levels):
        expected = torch.cdist(rest, codebook.weight).argmin(dim=1)
        assert torch.equal(done.codes[:, level], expected)
        torch.testing.assert_close(done.inputs[level], rest)
        rest = rest - codebook.weight[expected]
    torch.testing.assert_close(done.residual, rest)
    torch.testing.assert_close(done.vectors, latent - rest)


@pytest.mark.parametrize("gradient", ["first_level", "all_levels"])
def test_commitment_reaches_the_latent_from(gradient: Gradient) -> None:
    made, latent = quantiser(gradient), vectors(20).requires_grad_()
    done = made(latent, balanced=False)
    of_levels = [
        torch.autograd.grad(loss.sum(), latent, retain_graph=True)[0].abs().sum() > 0
        for loss in done.losses.unbind(dim=1)
    ]
    assert of_levels == [True, gradient == "all_levels", gradient == "all_levels"]


@pytest.mark.parametrize("gradient", ["first_level", "all_levels"])
def test_every_codebook_is_pulled_to_its_residuals(gradient: Gradient) -> None:
    made, latent = quantiser(gradient), vectors(20)
    before = made(latent, balanced=False).losses.mean().item()
    made(latent, balanced=False).losses.mean().backward()
    for codebook in made.levels:
        assert codebook.weight.grad is not None
        assert codebook.weight.grad.abs().sum() > 0
        codebook.weight.data -= 0.5 * codebook.weight.grad
    assert made(latent, balanced=False).losses.mean().item() < before


def test_straight_through_has_one_value_and_the_others_gradient() -> None:
    latent, quantised = vectors(3).requires_grad_(), vectors(3, seed=1)
    copied = straight_through(latent, quantised)
    torch.testing.assert_close(copied, quantised)
    (gradient,) = torch.autograd.grad(copied.sum(), latent)
    assert torch.equal(gradient, torch.ones_like(latent))


def test_a_quantiser_without_levels_leaves_everything() -> None:
    made = ResidualQuantiser(
        (), DIM, epsilons=(), rounds=1, commitment=1, gradient="all_levels", reduction="sum"
    )
    latent = vectors(5)
    done = made(latent, balanced=True)
    assert done.codes.shape == done.losses.shape == (5, 0)
    assert torch.equal(done.residual, latent)
    assert not done.vectors.any()


def test_codes_are_chosen_in_float32_under_autocast() -> None:
    made, latent = quantiser("first_level", 16, 16), vectors(200)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        done = made(latent, balanced=False)
    assert done.vectors.dtype == torch.float32
    assert torch.equal(done.codes, made(latent, balanced=False).codes)


def test_a_start_is_made_once_and_remembered_in_the_weights() -> None:
    made = quantiser()
    other = ResidualQuantiser(
        (4, 4, 4),
        DIM,
        epsilons=(0, 0, 0),
        rounds=50,
        commitment=0.25,
        gradient="first_level",
        reduction="mean",
    )
    other.load_state_dict(made.state_dict())
    other.change(vectors(50, seed=9), kmeans_start(100, np.random.default_rng(5)))
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_only_unused_codes_restart_and_they_start_at_residuals() -> None:
    made, latent = quantiser("first_level", 8), vectors(30)
    (codebook,) = made.levels
    codebook.weight.data[5:] = 100.0
    before = codebook.weight.detach().clone()
    made.change(latent, restart_unused(np.random.default_rng(0)))
    assert torch.equal(codebook.weight[:5], before[:5])
    found = (codebook.weight[5:, None] == latent).all(dim=2).any(dim=1)
    assert found.all()


def test_centres_of_distinct_groups_are_their_means() -> None:
    random = np.random.default_rng(4)
    means = 50 * random.normal(size=(5, DIM)).astype("float32")
    rows = np.concatenate([mean + random.normal(size=(40, DIM)) for mean in means]).astype(
        "float32"
    )
    centres = kmeans_centres(rows, 5, 100, random)
    gaps = np.abs(centres[:, None] - means).max(axis=2).min(axis=1)
    assert gaps.max() < 1
    assert centres.dtype == np.float32


def test_fewer_rows_than_codes_are_all_centres_and_the_rest_lie_beside_them() -> None:
    rows = vectors(3).numpy()
    repeated = np.concatenate([rows, rows, rows])
    centres = kmeans_centres(repeated, 7, 100, np.random.default_rng(1))
    assert centres.shape == (7, DIM)
    assert len(np.unique(centres, axis=0)) == 7
    gaps = np.abs(centres[:, None] - rows).max(axis=2)
    assert (gaps.min(axis=0) == 0).all()
    assert gaps.min(axis=1).max() < 0.1
