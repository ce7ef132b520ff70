"""Identifiers of items: short sequences of codes that a generative system writes in place of items.

``value`` holds them, ``names`` writes them as tokens, ``card`` has the figures of what came out,
``learned`` keeps both as an artifact. From vectors: ``rqvae`` and ``moving`` in the loop of
``learning`` by their ``settings``, with ``quantiser``, ``kmeans`` and ``sinkhorn``; ``product`` and
``optimised`` quantise blocks, ``hierarchical`` clusters again and again (``trees``, ``balanced``);
from who bought what: ``collaborative`` by ``spectral`` clusters; ``positions`` are learned one
after another. ``collisions`` tells apart items that got the same.
"""

from benchmark.kit.identifiers.value import IdentifierReport, Identifiers

__all__ = ["IdentifierReport", "Identifiers"]
