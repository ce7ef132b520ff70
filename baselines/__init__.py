"""The systems of the benchmark: one folder a family, one file a system, ``catalog`` as index."""
