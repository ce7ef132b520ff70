"""Products of float32 matrices on a CPU by oneDNN, where MKL leaves half of the processor idle.

torch gives float32 products to MKL, whose kernels use vectors of 256 bits on processors that Intel
did not make, whatever these can do. oneDNN, which torch carries as well, uses those of 512 bits
wherever there are any; ``python -m benchmark.speed decoding`` measures what comes of it. Elsewhere,
and for other types, the products are torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

_ROWS_AT_ONCE = 32
"""Rows are filled up to a multiple of it. oneDNN makes code for each new shape, which takes as long
as a small product, so few shapes should occur; and the result of a row then is the same however
many rows there are."""

_WIDE = 256
_WORTH_IT = 4_000_000
"""Multiplications from which a product with its gradients is faster by oneDNN, calls included."""


@cache
def has_wide_products() -> bool:
    """Whether oneDNN is there and finds vectors of 512 bits."""
    is_wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return is_wide and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def is_faster_by_onednn(model: nn.Module) -> bool:
    """Whether the model has layers so wide that it is trained faster by oneDNN, calls included.

    On an AMD EPYC with vectors of 512 bits a step of an encoder of width 384 took 1/1.6 of the
    time, one of width 64 as long as before.
    """
    return has_wide_products() and any(
        isinstance(layer, nn.Linear) and min(layer.weight.shape) >= _WIDE
        for layer in model.modules()
    )


def linear(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """``torch.nn.functional.linear``: (*rows, inputs) by (outputs, inputs) → (*rows, outputs)."""
    if not _is_ours(states, weight):
        return F.linear(states, weight, bias)
    is_learned = torch.is_grad_enabled() and any(
        one is not None and one.requires_grad for one in (states, weight, bias)
    )
    if is_learned and states.numel() * len(weight) < _WORTH_IT:
        return F.linear(states, weight, bias)
    rows = _filled(states.reshape(-1, states.shape[-1]))
    found = _Linear.apply(rows, weight, bias) if is_learned else _by_onednn(rows, weight, bias)
    number = states.numel() // states.shape[-1]
    of_rows: torch.Tensor = found[:number].view(*states.shape[:-1], len(weight))
    return of_rows


def _filled(rows: torch.Tensor) -> torch.Tensor:
    missing = -len(rows) % _ROWS_AT_ONCE
    return F.pad(rows, (0, 0, 0, missing)) if missing else rows


def _by_onednn(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return found


class _Linear(torch.autograd.Function):
    """The product with its gradients, which are products too."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(rows, weight)
        return _by_onednn(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad
        return (
            _by_onednn(gradient, weight.t()) if of_rows else None,
            _by_onednn(gradient.t(), rows.t()) if of_weight else None,
            gradient.sum(dim=0) if of_bias else None,
        )


def _is_ours(states: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        states.dtype == weight.dtype == torch.float32
        and states.device.type == weight.device.type == "cpu"
        and has_wide_products()
        and states.numel() > 0
        and weight.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def _is_layer(states: torch.Tensor, matrix: torch.Tensor) -> bool:
    return states.ndim > 1 and matrix.ndim == 2 and _is_ours(states, matrix)


_PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)


class WideProducts(TorchFunctionMode):
    """While it lasts, linear layers and products with a matrix on the right use :func:`linear`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace these functions."""
        if func is F.linear:
            return linear(*args, **(kwargs or {}))
        if func in _PRODUCTS and not kwargs and _is_layer(*args):
            return linear(args[0], args[1].t())
        return func(*args, **(kwargs or {}))
