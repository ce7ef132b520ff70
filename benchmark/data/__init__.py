"""Recipes in, data sets out.

``recipe`` is a data set as a YAML file, with the ``source_options`` of its source; ``sources`` has
a module for each kind of log, which describes its files in the words of ``tables`` and makes one
``raw`` log of them. ``build`` makes a data set (``dataset``) of that, with ``numbering``,
``queries`` where a log has none, and ``summarise`` for long texts; ``prepare`` keeps it by content.
``download`` and ``transfer`` fetch files, ``validate`` lists every fault of them, ``describe``
counts, ``zones`` are time zones.
"""

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
