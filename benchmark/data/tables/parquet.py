"""Tables from Parquet: so much at once as fits into memory whatever the file says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.data.tables.batch import TooManyRows, check_columns, check_rows
from benchmark.data.tables.exploded import has_lists, inner_names
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.listed import holds_texts
from benchmark.data.tables.schema import TableSchema

_PART_BYTES = 64 << 20  # of a Parquet file at once
_PARQUET_ROWS = 65_536
_LISTED, _LISTED_A_ROW = 1_000_000, 1_000
"""Values in lists: so many in any file, and so many more a row. A small file can hold billions."""


def batches_of_parquet(
    schema: TableSchema, part: Path, path: Path, before: int, faults: Faults
) -> Iterator[pa.RecordBatch]:
    """The batches of a part, before which other parts had ``before`` rows."""
    whole = pq.read_schema(part)
    texts = {
        one.name for one in whole if holds_texts(one.type) and whole.names.count(one.name) == 1
    }
    paths = [path for path in _leaves(pq.read_metadata(part)) if path.partition(".")[0] in texts]
    with pq.ParquetFile(part, page_checksum_verification=True, read_dictionary=paths) as opened:
        rows = before + opened.metadata.num_rows
        check_rows(schema, rows)
        names = opened.schema_arrow.names
        if schema.exploded and schema.exploded not in names:
            faults.add(path, 0, schema.exploded, f"the column is missing in {part.name}")
            return
        if not has_lists(schema, whole, path, faults):
            return
        inner = inner_names(opened.schema_arrow, schema.exploded)
        if not check_columns(schema, [*names, *inner], path, faults):
            return
        wanted = [column.name for column in schema.columns if column.name in names]
        wanted += [schema.exploded] if schema.exploded else []
        values = _values_in_lists(opened.metadata, wanted)
        if values > _LISTED + _LISTED_A_ROW * rows:
            reason = f"holds lists of {values:,} values in {rows:,} rows"
            raise TooManyRows(f"{reason}, more than {_LISTED_A_ROW:,} a row")
        size = max(1, _bytes_a_row(opened.metadata, wanted))
        at_once = min(_PARQUET_ROWS, _PARQUET_ROWS * rows // max(values, 1), _PART_BYTES // size)
        for batch in opened.iter_batches(batch_size=max(1, at_once), columns=wanted):
            batch.validate(full=True)
            yield batch


def _leaves(metadata: pq.FileMetaData) -> list[str]:
    return [metadata.schema.column(place).path for place in range(metadata.num_columns)]


def _bytes_a_row(metadata: pq.FileMetaData, columns: Sequence[str]) -> int:
    """How large a row is in the row group of the largest, unpacked but coded as in the file."""
    largest = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        parts = [group.column(place) for place in range(metadata.num_columns)]
        size = sum(
            part.total_uncompressed_size
            for part in parts
            if part.path_in_schema.partition(".")[0] in columns
        )
        largest = max(largest, size // max(group.num_rows, 1))
    return largest


def _values_in_lists(metadata: pq.FileMetaData, columns: Sequence[str]) -> int:
    """How many values the column of ``columns`` with the most of them has; lists may have many."""
    numbers: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            of_group = metadata.row_group(group).column(place)
            path = of_group.path_in_schema
            if path.partition(".")[0] in columns:
                numbers[path] = numbers.get(path, 0) + of_group.num_values
    return max(numbers.values(), default=0)
