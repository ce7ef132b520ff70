"""The precisions of ``--precision``, as torch and accelerate are told of them.

``fp32`` is single precision in every product, on an accelerator too. ``tf32`` lets an accelerator
round the factors of its products to 10 bits of mantissa. ``bf16`` computes products in bfloat16
where torch's autocast knows them to bear it: in the losses of all trained systems, in the encoders
of texts, and where identifiers are generated; weights, sums and everything else stay in single
precision. Systems that rank by one product a candidate score in single precision always.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch


def mixed_precision(precision: str) -> str:
    """What accelerate calls it."""
    return "bf16" if precision == "bf16" else "no"


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager[Any]:
    """Where products are computed in bfloat16, if ``precision`` says so."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """While inside, an accelerator's products of float32 are rounded only under ``tf32``."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before
