"""Identifiers of items: short sequences of codes that a generative system writes in place of items.

``value`` holds them, ``rqvae`` learns them from vectors (by ``quantiser``, ``kmeans`` and
``sinkhorn``, in the loop of ``learning``), ``collisions`` tells apart items that got the same, and
``card`` has the figures of what came out.
"""

from benchmark.kit.identifiers.value import IdentifierReport, Identifiers

__all__ = ["IdentifierReport", "Identifiers"]
