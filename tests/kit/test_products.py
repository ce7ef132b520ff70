"""Products by oneDNN: exact, the same for a row in any company, and only where they can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from benchmark.kit import products
from benchmark.kit.products import WideProducts, is_faster_by_onednn, linear
from benchmark.kit.training import Batch, Instances, TrainingSettings, train
from tests.kit.test_training import make_context


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """OneDNN multiplies, as where vectors have 512 bits; it can on any x86-64."""
    monkeypatch.setattr(products, "has_wide_products", lambda: True)


class Rows(Instances):
    """64 rows of ones."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __len__(self) -> int:
        return 64

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        return {"row": torch.ones(len(rows), self.width)}


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


@pytest.mark.usefixtures("wide")
@torch.no_grad()
def test_a_row_has_one_result_in_any_company() -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(300, 512), torch.randn(256, 512)
    whole = linear(states, weight)
    for rows in (1, 2, 33, 299):
        assert linear(states[:rows], weight).equal(whole[:rows])
        assert linear(states[-rows:], weight).equal(whole[-rows:])


@pytest.mark.usefixtures("wide")
@torch.no_grad()
def test_few_shapes_occur(calls: list[tuple[int, ...]]) -> None:
    weight = torch.randn(8, 16)
    for rows in (1, 31, 32, 33):
        linear(torch.randn(rows, 16), weight)
    assert calls == [(32, 16), (32, 16), (32, 16), (64, 16)]


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("frozen", ["nothing", "states", "weight"])
def test_it_is_learned_through(frozen: str, calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    given = [torch.randn(7, 30, 256), torch.randn(300, 256), torch.randn(300)]
    weights = torch.randn(7, 30, 300)
    gradients = []
    for kind, function in ((torch.float64, F.linear), (torch.float32, linear)):
        inputs = [one.to(kind).requires_grad_() for one in given]
        if frozen != "nothing":
            inputs[("states", "weight").index(frozen)].requires_grad_(False)
        (function(*inputs) * weights.to(kind)).sum().backward()
        gradients.append([one.grad for one in inputs])
    assert len(calls) == 3 - (frozen != "nothing")  # the product and its gradients
    for exact, found in zip(*gradients, strict=True):
        assert (exact is None) == (found is None)
        if exact is not None and found is not None:
            torch.testing.assert_close(found.double(), exact, atol=2e-4, rtol=1e-5)


@pytest.mark.usefixtures("wide")
def test_matrices_on_the_right_are_layers_too(calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    states, table = torch.randn(64, 300), torch.randn(400, 300)
    exact = states @ table.T
    with torch.no_grad(), WideProducts():
        found = [states @ table.T, states.matmul(table.T), torch.matmul(states, table.T)]
        assert (table.T[None] @ table[None]).shape == (1, 300, 300)  # of more than two dimensions
        assert (states.double() @ table.T.double()).dtype == torch.float64
    assert calls == [(64, 300)] * 3
    for product in found:
        torch.testing.assert_close(product, exact, atol=1e-4, rtol=1e-5)


@pytest.mark.usefixtures("wide")
def test_wide_models_are_trained_by_it(calls: list[tuple[int, ...]], tmp_path: Path) -> None:
    for width, is_wide in ((64, False), (256, True)):
        model = nn.Linear(width, width)
        assert is_faster_by_onednn(model) is is_wide
        train(
            model,
            Rows(width),
            lambda batch, m=model: m(batch["row"]).square().mean(),
            TrainingSettings(epochs=1, batch_size=64),
            make_context(tmp_path / str(width)),
        )
        assert bool(calls) is is_wide


def test_others_are_torchs(calls: list[tuple[int, ...]]) -> None:
    states, weight = torch.randn(4, 8), torch.randn(8, 8, requires_grad=True)
    linear(states, weight).sum().backward()
    assert weight.grad is not None  # so it can be trained through
    with torch.no_grad():
        assert linear(states.double(), weight.double()).dtype == torch.float64
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert linear(states, weight).dtype == torch.bfloat16
    assert not calls


@pytest.mark.usefixtures("wide")
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
