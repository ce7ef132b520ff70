"""Where events come from: one module a kind of source, each with the same two functions.

``files(recipe)`` names the files whose content determines the data (the cache hashes them),
``read(recipe)`` turns them into a :class:`benchmark.data.raw.RawLog`. A source of files
that people make also has ``load(recipe, faults)``, which notes every fault of theirs; ``read``
raises the first, and :mod:`benchmark.data.validate` lists them all. To add a source, write its
options as a class in :mod:`benchmark.data.source_options` and add its module here.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from benchmark.data.raw import RawLog
    from benchmark.data.recipe import Recipe

_MODULES = {
    "ml-100k": "ml100k",
    "movielens": "movielens",
    "folder": "folder",
    "amazon": "amazon",
    "amazon-2023": "amazon2023",
    "kuaisar": "kuaisar",
    "qilin": "qilin",
    "jdsearch": "jdsearch",
    "yambda": "yambda",
    "recif": "recif",
    "esci": "esci",
    "company": "company",
    "generated": "generated",
    "world": "world",
}


class SourceModule(Protocol):
    """What a module of this package offers."""

    def files(self, recipe: Recipe) -> tuple[Path, ...]:
        """The files that the data are made of, all of which exist."""

    def read(self, recipe: Recipe) -> RawLog:
        """Read and check them."""


def source_of(recipe: Recipe) -> SourceModule:
    """The module that reads the recipe's source; it is imported only now."""
    module = import_module(f"benchmark.data.sources.{_MODULES[recipe.source.kind]}")
    return cast(SourceModule, module)
