"""What a table is read into: batches of rows, whose columns are cells of one Arrow type each.

A batch says where its rows stand in the file. What every format must keep to stands here as well:
which columns there are, and how many rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema
from benchmark.errors import shortened

BATCH_BYTES = 16 << 20
NOT_UTF8 = "is not UTF-8 text; save the file as UTF-8"


@dataclass(frozen=True)
class Cells:
    """Cells of one type; ``places`` (cells,) are their rows in the batch."""

    places: NDArray[np.int64]
    values: pa.Array | list[Any]


@dataclass(frozen=True)
class Batch:
    """Some rows of a table: ``row`` (rows,) counts from 1, a column may have several types."""

    row: NDArray[np.int64]
    columns: dict[str, list[Cells]]
    absent: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """(rows,) which rows of a column that JSON lines may lack do lack it."""


class TooManyRows(Exception):
    """What is wrong with the table."""


def check_rows(schema: TableSchema, rows: int) -> None:
    """Stop at a table that is larger than its source may be.

    Raises:
        TooManyRows: these are more than ``source.maximum_rows``.
    """
    if rows > schema.maximum_rows:
        allowed = f"source.maximum_rows ({schema.maximum_rows:,})"
        raise TooManyRows(f"has {rows:,} rows, more than {allowed} allows")


def check_columns(schema: TableSchema, names: Sequence[str], path: Path, faults: Faults) -> bool:
    """Whether a table has each required column, and no column of ours twice."""
    wanted = [column.name for column in schema.columns]
    absent = [c.name for c in schema.columns if c.required and c.name not in names]
    there = shortened(", ".join(names)) or "none"
    for name in absent:
        faults.add(path, 0, name, f"the column is missing; there are {there}")
    twice = [name for name in wanted if list(names).count(name) > 1]
    for name in twice:
        faults.add(path, 0, name, "two columns have this name")
    return not absent and not twice
