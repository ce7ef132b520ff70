"""Long computations kept block by block, so that a kill loses no more than one block.

A block is the arrays of one part of a computation, in a file of its own (:mod:`benchmark.sealed`).
Where the file is there and whole, the block is not computed again; whatever else may be wrong with
it, it is. What the arrays are a function of is the ``key``, which the file's seal covers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.files import remove_folder
from benchmark.sealed import read_part, write_part

Arrays = dict[str, NDArray[Any]]
Part = TypeVar("Part")


@dataclass(frozen=True)
class Blocks:
    """Where blocks are kept; without a folder nowhere."""

    folder: Path | None = None
    key: str = ""

    def of(
        self, name: str, parts: Sequence[Part], make: Callable[[Part], Arrays]
    ) -> Iterator[tuple[Part, Arrays]]:
        """Every part with its arrays: those kept under ``name``, else those that ``make`` gives.

        A computation of one part alone is not kept.

        Raises:
            BenchmarkError: the folder cannot be written.
        """
        folder = self.folder if len(parts) > 1 else None
        for number, part in enumerate(parts):
            if folder is None:
                yield part, make(part)
                continue
            path = folder / f"{name}-{number:06d}-of-{len(parts):06d}.npz"
            what = f"{self.key} {path.name}"
            arrays = read_part(path, what)
            if arrays is None:
                arrays = make(part)
                write_part(path, what, arrays)
            yield part, arrays

    def remove(self) -> None:
        """Remove all blocks, once what they were computed for is kept as a whole."""
        if self.folder is not None:
            remove_folder(self.folder)


def ranges(number: int, at_once: int) -> list[slice]:
    """``number`` rows in consecutive slices of ``at_once``; one empty slice for no rows."""
    return [slice(start, start + at_once) for start in range(0, max(number, 1), at_once)]


def rows_by_query(query: NDArray[np.integer], queries_at_once: int) -> list[NDArray[np.int64]]:
    """The rows (events,) in groups of so many distinct queries each, in the order of the queries.

    Within a query the rows ascend.
    """
    order = np.argsort(query, kind="stable")
    ordered = query[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return np.split(order, np.flatnonzero(is_first)[queries_at_once::queries_at_once])
