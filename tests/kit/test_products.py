"""Products by oneDNN: exact, the same for a row in any company, and only where they can be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.kit import products
from benchmark.kit.products import WideProducts, linear

wide = pytest.mark.skipif(
    not products.has_wide_products(), reason="oneDNN finds no vectors of 512 bits here"
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that oneDNN was given."""
    given: list[tuple[int, ...]] = []
    by_onednn = torch.ops.mkldnn._linear_pointwise

    class Operations:
        @staticmethod
        def _linear_pointwise(states, *rest):
            given.append(tuple(states.shape))
            return by_onednn(states, *rest)

    monkeypatch.setattr(torch.ops, "mkldnn", Operations)
    return given


@pytest.mark.parametrize("shape", [(1, 64), (31, 64), (32, 64), (3, 21, 64), (0, 64)])
@torch.no_grad()
def test_it_is_a_linear_layer(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    states, weight, bias = torch.randn(shape), torch.randn(48, 64), torch.randn(48)
    exact = F.linear(states.double(), weight.double(), bias.double())
    torch.testing.assert_close(linear(states, weight, bias).double(), exact, atol=2e-5, rtol=0)
    torch.testing.assert_close(linear(states, weight), F.linear(states, weight))


@wide
@torch.no_grad()
def test_a_row_has_one_result_in_any_company() -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(300, 512), torch.randn(256, 512)
    whole = linear(states, weight)
    for rows in (1, 2, 33, 299):
        assert linear(states[:rows], weight).equal(whole[:rows])
        assert linear(states[-rows:], weight).equal(whole[-rows:])


@wide
@torch.no_grad()
def test_few_shapes_occur(calls: list[tuple[int, ...]]) -> None:
    weight = torch.randn(8, 16)
    for rows in (1, 31, 32, 33):
        linear(torch.randn(rows, 16), weight)
    assert calls == [(32, 16), (32, 16), (32, 16), (64, 16)]


def test_others_are_torchs(calls: list[tuple[int, ...]]) -> None:
    states, weight = torch.randn(4, 8), torch.randn(8, 8, requires_grad=True)
    linear(states, weight).sum().backward()
    assert weight.grad is not None  # so it can be trained through
    with torch.no_grad():
        assert linear(states.double(), weight.double()).dtype == torch.float64
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert linear(states, weight).dtype == torch.bfloat16
    assert not calls


@wide
@torch.no_grad()
def test_modules_use_it_while_it_lasts(calls: list[tuple[int, ...]]) -> None:
    layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    states = torch.randn(5, 8)
    before = layers(states)
    assert not calls
    with WideProducts():
        during = layers(states)
    assert len(calls) == 2
    torch.testing.assert_close(during, before)
    layers(states)
    assert len(calls) == 2
