"""Products of float32 matrices on a CPU by oneDNN, where MKL leaves half of the processor idle.

For layers without gradients. torch gives float32 products to MKL, whose kernels use vectors of 256
bits on processors that Intel did not make, whatever these can do. oneDNN, which torch carries as
well, uses those of 512 bits wherever there are any; ``python -m benchmark.speed decoding`` measures
what comes of it. Elsewhere, and for other types, the products are torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_ROWS_AT_ONCE = 32
"""Rows are filled up to a multiple of it. oneDNN makes code for each new shape, which takes as long
as a small product, so few shapes should occur; and the result of a row then is the same however
many rows there are."""


@cache
def has_wide_products() -> bool:
    """Whether oneDNN is there and finds vectors of 512 bits."""
    is_wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return is_wide and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """``torch.nn.functional.linear``: (*rows, inputs) by (outputs, inputs) → (*rows, outputs)."""
    if not _is_ours(states, weight):
        return F.linear(states, weight, bias)
    rows = states.reshape(-1, states.shape[-1])
    missing = -len(rows) % _ROWS_AT_ONCE
    filled = F.pad(rows, (0, 0, 0, missing)) if missing else rows
    found = torch.ops.mkldnn._linear_pointwise(filled, weight, bias, "none", [], "")
    return found[: len(rows)].view(*states.shape[:-1], len(weight))


def _is_ours(states: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        states.dtype == weight.dtype == torch.float32
        and states.device.type == weight.device.type == "cpu"
        and has_wide_products()
        and states.numel() > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


class WideProducts(TorchFunctionMode):
    """While it lasts, the linear layers of all modules use :func:`linear`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace that one function."""
        return (linear if func is F.linear else func)(*args, **(kwargs or {}))
