"""Tables as batches of columns, from Parquet, CSV, JSON lines and lines of separated fields.

A batch says where its rows stand in the file and gives each column as cells of one Arrow type; the
values of JSON are put together by their types. What is wrong with a file as a whole is noted here,
what its cells may hold is the business of :mod:`benchmark.data.tables.cells`. Texts that are too
long are left out here (:mod:`benchmark.data.tables.long_texts`).
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.data.tables.exploded import exploded, inner_names
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.lines import NoRecord, lines_of, record_of
from benchmark.data.tables.listed import holds_texts, mended
from benchmark.data.tables.long_texts import lengths, without_long_texts, without_long_values
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.separated import columns_of
from benchmark.errors import shortened

_BATCH_BYTES = 16 << 20
_PART_BYTES = 64 << 20  # of a Parquet file at once
_PARQUET_ROWS = 65_536
_LISTED, _LISTED_A_ROW = 1_000_000, 1_000
"""Values in lists: so many in any file, and so many more a row. A small file can hold billions."""
_LINES = 8_192
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_UTF8 = "is not UTF-8 text; save the file as UTF-8"


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


def batches(schema: TableSchema, path: Path, faults: Faults) -> Iterator[Batch]:
    """The table in batches; what cannot be read is noted, and the batches end."""
    name = path.name.removesuffix(".gz")
    before = 0
    try:
        if path.is_dir() or name.endswith(".parquet"):
            parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
            for part in parts:
                for batch in _parquet(schema, part, path, before, faults):
                    row, columns = exploded(schema, batch, path, before, faults)
                    row += before + 1
                    columns = without_long_texts(columns, row, path, faults)
                    for some in _slices(columns, len(row)):
                        sliced = {name: column[some] for name, column in columns.items()}
                        yield _of_arrow(row[some], sliced)
                    before += batch.num_rows
        elif name.endswith(".csv"):
            for batch in _csv(schema, path, faults):
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                row = before + 1 + np.arange(batch.num_rows, dtype=np.int64)
                _note_what_is_not_utf8(columns, row, path, faults)
                yield _of_arrow(row, without_long_texts(columns, row, path, faults))
                before += batch.num_rows
                _check_rows(schema, before)
        elif schema.separated is not None:
            wanted = [column.name for column in schema.columns]
            for row, columns in columns_of(schema.separated, wanted, path, faults):
                yield _of_arrow(row, without_long_texts(columns, row, path, faults))
                before += len(row)
                _check_rows(schema, before)
        else:
            for found in _json(schema, path, faults):
                yield found
                before += len(found.row)
                _check_rows(schema, before)
    except _TooManyRows as error:
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


class _TooManyRows(Exception):
    """What is wrong with the table."""


def _check_rows(schema: TableSchema, rows: int) -> None:
    if rows > schema.maximum_rows:
        allowed = f"source.maximum_rows ({schema.maximum_rows:,})"
        raise _TooManyRows(f"has {rows:,} rows, more than {allowed} allows")


def _slices(columns: dict[str, pa.Array], rows: int) -> Iterator[slice]:
    """The rows of a batch in parts whose texts, which may stand in many rows, are not too many."""
    size = np.cumsum(sum(map(lengths, columns.values()), np.zeros(rows, dtype=np.int64)))
    starts = np.flatnonzero(np.diff(size // _BATCH_BYTES)) + 1
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


# Parquet


def _parquet(
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
        _check_rows(schema, rows)
        names = opened.schema_arrow.names
        if schema.exploded and schema.exploded not in names:
            faults.add(path, 0, schema.exploded, f"the column is missing in {part.name}")
            return
        inner = inner_names(opened.schema_arrow, schema.exploded)
        if not check_columns(schema, [*names, *inner], path, faults):
            return
        wanted = [column.name for column in schema.columns if column.name in names]
        wanted += [schema.exploded] if schema.exploded else []
        values = _values_in_lists(opened.metadata, wanted)
        if values > _LISTED + _LISTED_A_ROW * rows:
            reason = f"holds lists of {values:,} values in {rows:,} rows"
            raise _TooManyRows(f"{reason}, more than {_LISTED_A_ROW:,} a row")
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


# CSV


def _csv(schema: TableSchema, path: Path, faults: Faults) -> Iterator[pa.RecordBatch]:
    def refuse(row: pacsv.InvalidRow) -> str:
        number = (row.number or 1) - 1
        faults.add(
            path,
            number,
            "",
            f"has {row.actual_columns} columns instead of {row.expected_columns}",
            "another number of columns",
        )
        return "skip"

    names = _csv_header(path)
    if names is None:
        faults.add(path, 0, "", _NOT_UTF8)
        return
    if not check_columns(schema, names, path, faults):
        return
    present = [column.name for column in schema.columns if column.name in names]
    # Columns that are not ours may have one name: Arrow is told their places instead.
    places = [name if name in present else str(place) for place, name in enumerate(names)]
    with (
        _opened(path) as stream,
        pacsv.open_csv(
            _Utf8Stream(stream, _LAST_ROW.format(cells=",".join([_LAST] * len(names)))),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=_BATCH_BYTES, column_names=places, skip_rows=1
            ),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(present, pa.large_string()),
                include_columns=present,
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        ) as reader,
    ):
        yield from _without_last_row(reader, path, faults)


_LAST = "\U0010fffe last"
_LAST_ROW = "\n{cells}\n"
"""A row behind the last one: where it does not come back, a quotation mark has swallowed it."""


def _without_last_row(
    reader: Iterable[pa.RecordBatch], path: Path, faults: Faults
) -> Iterator[pa.RecordBatch]:
    rows = 0
    is_whole = False
    for batch in reader:
        rows += batch.num_rows
        is_whole = batch.num_rows > 0 and batch.column(0)[batch.num_rows - 1].as_py() == _LAST
        yield batch.slice(0, batch.num_rows - 1) if is_whole else batch
    if not is_whole:
        reason = f"a quotation mark is opened in row {max(rows, 1):,} and never closed"
        faults.add(path, 0, "", reason)


def _opened(path: Path) -> Any:
    return pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None)


def _csv_header(path: Path) -> list[str] | None:
    """The names of the columns, without a byte order mark; None where they are not UTF-8."""
    with _opened(path) as stream:
        line = io.BufferedReader(stream).readline(_BATCH_BYTES)
    try:
        text = line.removeprefix(_BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if "\0" in text:  # UTF-16
        return None
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


_NO_TEXT = "\U0010ffff"  # stands for bytes that are not UTF-8, and for no character in Unicode


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _NO_TEXT, error.end


codecs.register_error("no text", _marked)


class _Utf8Stream(io.RawIOBase):
    """A stream whose bytes that are not UTF-8 are marked, so that their cell can be named.

    Behind its end stands ``last``.
    """

    def __init__(self, stream: Any, last: str) -> None:
        self._stream = stream
        self._last = last
        self._decoder = codecs.getincrementaldecoder("utf-8")("no text")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while block := self._stream.read(size if size >= 0 else None):
            text = self._decoder.decode(block)
            if text:
                return text.encode("utf-8")
        last, self._last = self._decoder.decode(b"", True) + self._last, ""
        return last.encode("utf-8")


def _note_what_is_not_utf8(
    columns: dict[str, pa.Array], row: NDArray[np.int64], path: Path, faults: Faults
) -> None:
    """A file that is not UTF-8 is one fault: its first such cell."""
    bad = []
    for name, array in columns.items():
        mask = pc.match_substring(array, _NO_TEXT).to_numpy(zero_copy_only=False)
        if mask.any():
            bad.append((int(row[np.argmax(mask)]), name))
    if bad and not any(fault.reason == _NOT_UTF8 for fault in faults.of(path)):
        faults.add(path, *min(bad), _NOT_UTF8)


# JSON lines

_ABSENT = object()
_PLAIN = {str: pa.large_string(), int: pa.int64(), float: pa.float64()}


def _json(schema: TableSchema, path: Path, faults: Faults) -> Iterator[Batch]:
    rows: list[int] = []
    records: list[dict[str, Any]] = []
    size = 0
    for number, line in lines_of(path, faults):
        if schema.skips is not None and schema.skips(line):
            continue
        try:
            records.append(record_of(line, is_literal=schema.holds_literals))
        except NoRecord as reason:
            faults.add(path, number, "", str(reason))
            continue
        rows.append(number)
        size += len(line)
        if len(rows) == _LINES or size >= _BATCH_BYTES:
            yield _of_records(schema, rows, records, path, faults)
            rows, records, size = [], [], 0
    if rows:
        yield _of_records(schema, rows, records, path, faults)


def _of_records(
    schema: TableSchema,
    rows: list[int],
    records: list[dict[str, Any]],
    path: Path,
    faults: Faults,
) -> Batch:
    row = np.array(rows, dtype=np.int64)
    columns: dict[str, list[Cells]] = {}
    absent: dict[str, NDArray[np.bool_]] = {}
    for column in schema.columns:
        values = [record.get(column.name, _ABSENT) for record in records]
        if _ABSENT in values:
            absent[column.name] = np.array([one is _ABSENT for one in values], dtype=bool)
        values = without_long_values(values, row, path, column.name, faults)
        columns[column.name] = _by_type(values, column.kind == "id")
    return Batch(row, columns, absent)


def _by_type(values: list[Any], is_id: bool) -> list[Cells]:
    """The values of a JSON column, those of each type together."""
    alike = _PLAIN.get(*kinds) if len(kinds := set(map(type, values))) == 1 else None
    if alike is not None:
        try:
            return [Cells(np.arange(len(values), dtype=np.int64), pa.array(values, alike))]
        except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid):
            pass  # half a character, or a very large number
    groups: dict[str, list[int]] = {}
    for place, value in enumerate(values):
        groups.setdefault(_type_of(value), []).append(place)
    groups.pop("absent", None)
    if is_id and "text" in groups:  # half a character in an id may have made two ids one
        sound = [place for place in groups["text"] if _is_sound(values[place])]
        broken = [place for place in groups["text"] if not _is_sound(values[place])]
        groups["text"] = sound
        groups["object"] = sorted([*groups.get("object", []), *broken])
    return [
        Cells(np.array(places, dtype=np.int64), _array_of(kind, [values[one] for one in places]))
        for kind, places in groups.items()
        if places
    ]


def _type_of(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "large int"
    return {str: "text", float: "float"}.get(type(value), "object")


def _array_of(kind: str, values: list[Any]) -> pa.Array | list[Any]:
    if kind == "object":
        return values
    if kind == "large int":
        return pa.array([str(value) for value in values], pa.large_string())
    if kind == "text":
        try:
            return pa.array(values, pa.large_string())
        except UnicodeEncodeError:
            return pa.array([mended(value) for value in values], pa.large_string())
    types = {"null": pa.null(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    return pa.array(values, types[kind])


def _is_sound(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
