"""The two functions of a source whose faults are all noted: each raises the first of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.tables.faults import Faults, settled
from benchmark.data.tables.schema import files_of

if TYPE_CHECKING:
    from benchmark.data.raw import RawLog
    from benchmark.data.recipe import Recipe


def files_by(
    find: Callable[[Recipe, Faults], list[Path | None]],
) -> Callable[[Recipe], tuple[Path, ...]]:
    """``files`` of a source: those that ``find`` finds; a BenchmarkError where one is missing."""

    def files(recipe: Recipe) -> tuple[Path, ...]:
        return files_of(settled(partial(find, recipe)))

    return files


def read_by(load: Callable[[Recipe, Faults], RawLog | None]) -> Callable[[Recipe], RawLog]:
    """``read`` of a source: what ``load`` loads; a BenchmarkError for the first of its faults."""

    def read(recipe: Recipe) -> RawLog:
        return settled(partial(load, recipe))

    return read
