"""Tasks, splits, visible histories, candidate lists and metrics: one protocol for all systems.

``settings`` are a protocol; ``splits`` says which events are tested on, ``histories`` and
``visible`` what an event may see, ``training`` what training may; ``task`` puts them together, and
``kept_tasks`` keeps the result (``blocks``: long computations survive kills).

Lists: ``candidates`` is what a list is, ``lists`` makes those of a task, ``exclusions`` says what
may not be in them, ``negatives`` draws uniformly or by popularity and ``urn`` by hashes;
``hard_negatives`` are BM25's (``best_hits``), ``matched`` those alike the target (``place_law``;
``orders``, ``query_order`` and ``order_code`` find ranks without sorting), ``released`` the
official code's, and ``graded`` what people judged. ``all_items`` ranks the whole catalogue,
``draw`` tells what the draw does to a figure.

``requests`` is what a system is asked, ``questions`` what users of a trained one ask, ``metrics``
counts. ``export`` and ``export_readme`` hand everything out, ``exchange`` takes lists in, ``trec``
and ``outside`` runs.
"""
