"""Tables as batches of columns, from Parquet, CSV, JSON lines and lines of separated fields.

What is wrong with a file as a whole is noted where it is read, what its cells may hold is the
business of :mod:`benchmark.data.tables.cells`. Texts that are too long are left out here
(:mod:`benchmark.data.tables.long_texts`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.data.tables.batch import BATCH_BYTES, Batch, Cells, TooManyRows, check_rows
from benchmark.data.tables.comma_separated import batches_of_csv, note_what_is_not_utf8
from benchmark.data.tables.exploded import exploded
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.json_lines import batches_of_json
from benchmark.data.tables.long_texts import lengths, without_long_texts
from benchmark.data.tables.parquet import batches_of_parquet
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.separated import columns_of
from benchmark.errors import shortened


def batches(schema: TableSchema, path: Path, faults: Faults) -> Iterator[Batch]:
    """The table in batches; what cannot be read is noted, and the batches end."""
    name = path.name.removesuffix(".gz")
    before = 0
    try:
        if path.is_dir() or name.endswith(".parquet"):
            parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
            for part in parts:
                for batch in batches_of_parquet(schema, part, path, before, faults):
                    row, columns = exploded(schema, batch, path, before, faults)
                    row += before + 1
                    columns = without_long_texts(columns, row, path, faults)
                    for some in _slices(columns, len(row)):
                        sliced = {name: column[some] for name, column in columns.items()}
                        yield _of_arrow(row[some], sliced)
                    before += batch.num_rows
        elif name.endswith(".csv"):
            for batch in batches_of_csv(schema, path, faults):
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                row = before + 1 + np.arange(batch.num_rows, dtype=np.int64)
                note_what_is_not_utf8(columns, row, path, faults)
                yield _of_arrow(row, without_long_texts(columns, row, path, faults))
                before += batch.num_rows
                check_rows(schema, before)
        elif schema.separated is not None:
            wanted = [column.name for column in schema.columns]
            for row, columns in columns_of(schema.separated, wanted, path, faults):
                yield _of_arrow(row, without_long_texts(columns, row, path, faults))
                before += len(row)
                check_rows(schema, before)
        else:
            for found in batches_of_json(schema, path, faults):
                yield found
                before += len(found.row)
                check_rows(schema, before)
    except TooManyRows as error:
        faults.add(path, 0, "", str(error))
        return
    except (pa.ArrowException, csv.Error, OSError, EOFError, ValueError) as error:
        reason = shortened(str(error)) or type(error).__name__
        if path.is_dir() or name.endswith(".parquet"):
            faults.add(path, 0, "", f"is not a readable Parquet file ({reason})")
        else:
            faults.add(path, 0, "", f"cannot be read after row {before:,} ({reason})")
    if not before:
        rule = "must hold one JSON object a line"
        if name.endswith(".csv"):
            rule = "must have the columns of its header in each row"
        elif schema.separated is not None:
            rule = f"must hold the fields {', '.join(schema.separated.fields)} in each line"
        faults.settle_rows(path, rule)


def _slices(columns: dict[str, pa.Array], rows: int) -> Iterator[slice]:
    """The rows of a batch in parts whose texts, which may stand in many rows, are not too many."""
    size = np.cumsum(sum(map(lengths, columns.values()), np.zeros(rows, dtype=np.int64)))
    starts = np.flatnonzero(np.diff(size // BATCH_BYTES)) + 1
    for start, stop in pairwise([0, *starts.tolist(), rows]):
        yield slice(start, stop)


def _of_arrow(row: NDArray[np.int64], columns: dict[str, pa.Array]) -> Batch:
    places = np.arange(len(row), dtype=np.int64)
    cells = {}
    for name, array in columns.items():
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
            array = array.cast(pa.large_string())  # what some writers make of text
        cells[name] = [Cells(places, array)]
    return Batch(row, cells)
