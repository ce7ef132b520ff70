"""Precisions as torch and accelerate are told of them; see ``benchmark.systems.contract``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch


def mixed_precision(precision: str) -> str:
    """What accelerate calls it."""
    return "bf16" if precision == "bf16" else "no"


def autocast(precision: str, device: torch.device | str) -> AbstractContextManager[Any]:
    """Where products are computed in bfloat16, if ``precision`` says so."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")
