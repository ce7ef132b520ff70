"""Speed, as ratios measured side by side in one run: ``python -m benchmark.speed <topic>``.

A topic is a function that returns measurements (``topics`` lists them, ``measure`` times them).
Seconds depend on the machine; the ratio against a named peer in the same run is what can be
compared. No test asserts on time. The board is a ``contest`` of ways of one task: ``bm25_board``
(``bm25``, ``bm25_engines``), ``decoding_board`` (``decoding``, ``static_trie``), ``metrics_board``
and ``clusters_board`` (``clusters``). Topics apart: ``data`` of the size of Amazon Electronics,
``identifiers`` and ``passes``, what a training step asks of the machine.
"""
