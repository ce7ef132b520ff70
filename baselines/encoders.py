"""The sentence encoders that several systems read item texts with."""

from __future__ import annotations

BGE = ("BAAI/bge-base-en-v1.5", "BAAI/bge-base-zh-v1.5")
"""Hub names of BGE 1.5, base size, for English and for Chinese."""
