"""The precisions that a run can have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SINGLE_PRECISION = "fp32"

PRECISIONS = (SINGLE_PRECISION, "tf32", "bf16")
"""``fp32`` is single precision in every product, on an accelerator too. ``tf32`` lets an
accelerator round the factors of its products to 10 bits. ``bf16`` computes products in bfloat16
where torch's autocast knows them to bear it: in the losses of trained systems, in the encoders of
texts, and where identifiers are generated; weights, sums and all else stay in single precision."""


@contextmanager
def products_in(precision: str, device: str) -> Iterator[None]:
    """While inside, an accelerator rounds the factors of its products under ``tf32`` only."""
    if not device.startswith("cuda"):
        yield
        return
    import torch

    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before
