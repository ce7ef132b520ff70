"""Which products an accelerator may round, by a job's precision."""

from __future__ import annotations

import pytest
import torch

from benchmark.systems.precisions import products_in


def flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", False), ("tf32", True), ("bf16", False)]
)
def test_products_are_rounded_under_tf32_only(precision: str, expected: bool) -> None:
    before = flags()
    with products_in(precision, "cuda:1"):
        assert flags() == (expected, expected)
    assert flags() == before


def test_the_flags_are_restored_after_an_error() -> None:
    before = flags()
    with pytest.raises(KeyError), products_in("tf32", "cuda"):
        raise KeyError
    assert flags() == before


def test_a_cpu_is_left_alone() -> None:
    before = flags()
    with products_in("tf32", "cpu"):
        assert flags() == before
