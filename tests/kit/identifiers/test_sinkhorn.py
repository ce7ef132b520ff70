"""Balanced assignment: the plan is that of plain rescaling, and it spreads a batch."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.kit.identifiers.sinkhorn import balanced_codes, centred, transport_plan


def distances(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).random(shape, dtype=np.float32))


def rescaled(given: torch.Tensor, epsilon: float, rounds: int) -> torch.Tensor:
    """The published scheme, normalising the whole matrix time and again."""
    rows, codes = given.shape
    plan = torch.exp(-centred(given).double() / epsilon)
    plan = plan / plan.sum()
    for _ in range(rounds):
        plan = plan / plan.sum(dim=1, keepdim=True) / rows
        plan = plan / plan.sum(dim=0, keepdim=True) / codes
    return plan * rows


def test_centred_distances_reach_from_minus_one_to_one() -> None:
    found = centred(5 + 3 * distances(7, 4))
    assert abs(float(found.min()) + 1) < 1e-4
    assert abs(float(found.max()) - 1) < 1e-4


def test_the_plan_is_that_of_rescaling_the_matrix() -> None:
    for epsilon in (0.003, 0.05):
        given = distances(40, 8)
        expected = rescaled(given, epsilon, 50)
        torch.testing.assert_close(
            transport_plan(given, epsilon, 50), expected, rtol=1e-9, atol=1e-15
        )


def test_columns_get_equal_shares() -> None:
    columns = transport_plan(distances(40, 8), 0.003, 50).sum(dim=0)
    torch.testing.assert_close(columns, torch.full((8,), 40 / 8, dtype=torch.float64))


def test_matrices_of_a_stack_are_problems_of_their_own() -> None:
    stack = distances(5, 6, 4) * torch.arange(1, 6)[:, None, None]
    one_by_one = torch.stack([transport_plan(one, 0.05, 20) for one in stack])
    torch.testing.assert_close(transport_plan(stack, 0.05, 20), one_by_one)


def test_a_batch_near_one_code_is_spread_over_all() -> None:
    given = distances(64, 4)
    given[:, 0] = 0.01 * given[:, 0]
    assert (given.argmin(dim=1) == 0).float().mean() > 0.9
    members = balanced_codes(given, 0.05, 50).bincount(minlength=4)
    assert members.min() >= 64 // 4 - 2
