"""Ranking item identifiers by a network, exactly or by constrained beams.

``trie`` holds the identifiers of a candidate list or a catalogue as a tree; ``levels`` says what
decodes its nodes, ``t5`` is that of a T5, ``causal`` that of a causal model; ``search`` walks the
tree, and ``ranking`` makes scores of what it finds; ``query_ranking`` computes nothing twice where
a prompt is a query alone. ``identifier_system`` is the base class of systems that rank by
identifiers, lists and all items; ``scoring_batches`` says how many requests at once.
"""
