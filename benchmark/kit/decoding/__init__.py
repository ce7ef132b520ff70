"""Ranking item identifiers by a network, exactly or by constrained beams.

``trie`` holds the identifiers of a candidate list or a catalogue as a tree; ``levels`` says what
decodes its nodes, ``seq2seq`` is that of a T5, ``causal`` that of a causal model; ``ranking`` has
the search and the scores; ``query_ranking`` computes nothing twice where a prompt is a query alone.
``catalogue`` is the base class of systems that rank by identifiers, lists and all items;
``scoring_batches`` says how many requests at once.
"""
