"""Recipes in, data sets out: see :mod:`benchmark.data.recipe` and :mod:`benchmark.data.prepare`."""

from __future__ import annotations

from pathlib import Path

from benchmark.data.dataset import (
    BEHAVIOURS,
    PADDING_ITEM,
    PADDING_QUERY,
    RECOMMENDATION,
    SEARCH,
    UNKNOWN_USER,
    BehaviourIndex,
    Dataset,
    EventLog,
    Items,
    Queries,
)

__all__ = [
    "BEHAVIOURS",
    "PADDING_ITEM",
    "PADDING_QUERY",
    "RECOMMENDATION",
    "SEARCH",
    "UNKNOWN_USER",
    "BehaviourIndex",
    "Dataset",
    "EventLog",
    "Items",
    "Queries",
    "load",
]


def load(name_or_path: str | Path, root: Path = Path("datasets/prepared")) -> Dataset:
    """The data set of a recipe, by name or by path: :func:`benchmark.data.prepare.load`.

    Raises:
        BenchmarkError: the recipe or its source cannot be used.
    """
    # Imported here, so that listing systems and data sets stays fast.
    from benchmark.data import prepare

    return prepare.load(name_or_path, root=root)
