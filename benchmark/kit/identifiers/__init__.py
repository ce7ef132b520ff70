"""Identifiers of items: short sequences of codes that a generative system writes in place of items.

``value`` holds them, ``rqvae`` learns them from vectors (by ``quantiser``, ``kmeans`` and
``sinkhorn``, in the loop of ``learning``), ``collisions`` tells apart items that got the same, and
``card`` says what the training log makes of their prefixes.
"""

from benchmark.kit.identifiers.value import IdentifierReport, Identifiers

__all__ = ["IdentifierReport", "Identifiers"]
