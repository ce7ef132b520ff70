"""What training instances are made of.

``sequences`` cuts histories into windows; ``negatives`` draws by the law of the lists that will be
ranked, with ``hard_negatives`` (BM25 hits) and ``touched`` (what a user has had already).
"""
