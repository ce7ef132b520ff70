"""Identifiers of items: short sequences of codes that a generative system writes in place of items.

``value`` holds them, ``rqvae`` learns them from vectors (by ``quantiser``, ``kmeans`` and
``sinkhorn``, in the loop of ``learning``), ``collisions`` tells apart items that got the same,
``card`` has the figures of what came out, ``learned`` keeps both as an artifact, and ``names``
writes codes as tokens. Other ways to codes have a module each.
"""

from benchmark.kit.identifiers.value import IdentifierReport, Identifiers

__all__ = ["IdentifierReport", "Identifiers"]
