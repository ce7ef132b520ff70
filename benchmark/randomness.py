"""Random generators that depend on a seed and a purpose only, never on what was drawn before."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def stable_random(seed: int, *purpose: str | int) -> np.random.Generator:
    """The generator of one purpose; different purposes give independent streams."""
    key = hashlib.sha256(json.dumps([seed, *purpose]).encode("utf-8")).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
