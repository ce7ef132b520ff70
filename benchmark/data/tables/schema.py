"""Tables of a source, described column by column and read with every fault found.

A loader says what its files hold as :class:`TableSchema` values and reads them with
:func:`read_table`, which checks each cell while it reads and notes what cannot be used. There is no
other list of rules: ``python -m benchmark.data validate`` runs the loaders.

A table is Parquet (one file, or a folder of parts, with the suffix or without), CSV (UTF-8, with a
header), JSON lines or, for published files of that form, lines of fields with a separator of their
own; all but Parquet plain or gzip. It is read in batches, so that of a large file only the columns
that are kept are in memory. Rows are counted from 1, without the header of a CSV file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.separated import Separated

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class TableSchema:
    """A table: its name without suffix, its columns, and which of them may stand once only.

    ``exploded`` names a column of lists of structs: each struct becomes a row of its own, its
    fields columns beside the others; rows then still count those of the file. ``aligned`` names
    columns of lists instead that are as long as one another: their n-th values become a row, and an
    optional one may be absent. Both are for Parquet alone. ``keep`` may drop
    rows after they were checked, given the columns of a batch. Of text lines ``skips`` tells those
    that need not be parsed, and ``holds_literals`` that they may be Python literals. ``separated``
    says what text files hold that are neither CSV nor JSON lines.
    """

    name: str
    columns: tuple[Column, ...]
    unique: str = ""
    exploded: str = ""
    aligned: tuple[str, ...] = ()
    keep: Callable[[dict[str, Any]], NDArray[np.bool_]] | None = None
    skips: Callable[[str], bool] | None = None
    holds_literals: bool = False
    may_be_empty: bool = False
    separated: Separated | None = None
    suffixes: tuple[str, ...] = SUFFIXES
    maximum_rows: int = 50_000_000

    def of_at_most(self, rows: int) -> TableSchema:
        """The same table, refused where it has more rows."""
        return replace(self, maximum_rows=rows)

    def is_untyped(self, path: Path) -> bool:
        """Whether the table in this file is of a format that knows text only."""
        name = path.name.removesuffix(".gz")
        is_separated = self.separated is not None and not path.is_dir()
        return name.endswith(".csv") or (is_separated and not name.endswith(".parquet"))

    def places(self, folder: Path) -> list[Path]:
        """The table's files or folder of parts, those that are there."""
        found = [
            place
            for suffix in self.suffixes
            if (place := folder / f"{self.name}{suffix}").is_file()
            or (suffix == ".parquet" and _holds_parts(place))
        ]
        if ".parquet" in self.suffixes and _holds_parts(folder / self.name):
            found.append(folder / self.name)
        return found

    def find(self, folder: Path, faults: Faults, remedy: str = "") -> Path | None:
        """Where the table is; that it is nowhere or in two places is noted.

        Args:
            remedy: what to do where it is missing, behind a semicolon.
        """
        found = self.places(folder)
        if len(found) > 1:
            both = " and ".join(path.name for path in found)
            faults.add(folder / self.name, 0, "", f"there are {both}; keep one of them")
            return None
        if not found:
            first, *others = self.suffixes
            also = f" (or {', '.join(others)})" if others else ""
            behind = f"; {remedy}" if remedy else ""
            unread = sorted(folder.glob(f"{self.name}.*"))
            if unread:
                behind += f"; {unread[0].name} is there, but sources of this kind do not read it"
                if unread[0].is_dir() and ".parquet" in self.suffixes:
                    behind += ", since it is a folder without parts (*.parquet)"
            faults.add(folder / f"{self.name}{first}", 0, "", f"the file is missing{also}{behind}")
            return None
        return found[0]


def _holds_parts(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.parquet"))


def files_of(paths: Iterable[Path | None]) -> tuple[Path, ...]:
    """The files of the tables that are there, those of a folder of parts one by one."""
    found: list[Path] = []
    for path in paths:
        if path is not None:
            found += sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    return tuple(found)
