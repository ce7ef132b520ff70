"""Where events come from: one module a kind of source, each with the same two functions.

``files(recipe)`` names the files whose content determines the data (the cache hashes them),
``read(recipe)`` turns them into a :class:`benchmark.data.raw.RawLog`. The module of a source of
files that people make has ``find(recipe, faults) -> list[Path | None]`` and ``load(recipe, faults)
-> RawLog | None``, which note every fault of theirs; ``settling`` makes the two functions of them,
which raise the first, and :mod:`benchmark.data.validate` lists them all. To add a source, write its
options as a class in :mod:`benchmark.data.source_options` and add its module here.

Shops: ``amazon`` (with ``amazon_queries``) and ``amazon2023`` (both with ``amazon_products``),
``esci``, ``jdsearch``; videos and posts: ``kuaisar``, ``recif``, ``qilin`` (``joint``: logs of both
behaviours); films and music: ``ml100k``, ``movielens``, ``yambda``; logs of your own: ``folder``,
``company``; invented ones: ``generated``, ``world``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def source_files(recipe: Recipe) -> tuple[Path, ...]:
    """The files that the data are made of, all of which exist.

    Raises:
        BenchmarkError: one is missing, or cannot be had.
    """
    files: tuple[Path, ...] = _module_of(recipe).files(recipe)
    return files


def read_source(recipe: Recipe) -> RawLog:
    """Read and check the files.

    Raises:
        BenchmarkError: one is missing or damaged, or holds a value that cannot be used.
    """
    log: RawLog = _module_of(recipe).read(recipe)
    return log


def _module_of(recipe: Recipe) -> Any:
    """The module of the recipe's source, which is imported only now."""
    return import_module(f"benchmark.data.sources.{_MODULES[recipe.source.kind]}")
