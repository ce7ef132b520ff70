"""Trained runs in use: recommending and searching for anybody, in Python and as a service."""

from __future__ import annotations

from benchmark.serve.loading import load
from benchmark.serve.model import Hit, Model

__all__ = ["Hit", "Model", "load"]
