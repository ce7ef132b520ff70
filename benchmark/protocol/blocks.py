"""Long computations kept block by block, so that a kill loses no more than one block.

A block is the arrays of one part of a computation, in a file that holds a checksum of them. Where
the file is there and its checksum true, the block is not computed again; whatever else may be wrong
with it, it is. What the arrays are a function of is the ``key``, which the checksum covers.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.files import atomic_path

Arrays = dict[str, NDArray[Any]]
Part = TypeVar("Part")

_CHECKSUM = "sha256"


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
            arrays = self._read(path)
            if arrays is None:
                arrays = make(part)
                self._write(path, arrays)
            yield part, arrays

    def remove(self) -> None:
        """Remove all blocks, once what they were computed for is kept as a whole."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, path: Path, arrays: Arrays) -> None:
        with atomic_path(path) as temporary, temporary.open("wb") as opened:
            content: dict[str, Any] = {**arrays, _CHECKSUM: self._checksum(path.name, arrays)}
            np.savez(opened, **content)

    def _read(self, path: Path) -> Arrays | None:
        """The arrays in ``path``; None if there are none, damaged ones or those of another key."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except Exception:
            return None  # whatever is wrong with it, it is made again
        expected = arrays.pop(_CHECKSUM, np.zeros(0, dtype=np.uint8))
        return arrays if np.array_equal(expected, self._checksum(path.name, arrays)) else None

    def _checksum(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        digest = hashlib.sha256(f"{self.key} {name}".encode())
        for column, array in sorted(arrays.items()):
            digest.update(f" {column} {array.dtype.str} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return np.frombuffer(digest.digest(), dtype=np.uint8)


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
