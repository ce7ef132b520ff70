"""Tables from CSV, whose faults are named by row and cell: quotation marks, bytes, columns."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from benchmark.data.tables.batch import BATCH_BYTES, NOT_UTF8, check_columns
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def batches_of_csv(schema: TableSchema, path: Path, faults: Faults) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV file, plain or gzip; those with too many or too few cells are noted."""

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
        faults.add(path, 0, "", NOT_UTF8)
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
                use_threads=False, block_size=BATCH_BYTES, column_names=places, skip_rows=1
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
        line = io.BufferedReader(stream).readline(BATCH_BYTES)
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


def note_what_is_not_utf8(
    columns: dict[str, pa.Array], row: NDArray[np.int64], path: Path, faults: Faults
) -> None:
    """A file that is not UTF-8 is one fault: its first such cell."""
    bad = []
    for name, array in columns.items():
        mask = pc.match_substring(array, _NO_TEXT).to_numpy(zero_copy_only=False)
        if mask.any():
            bad.append((int(row[np.argmax(mask)]), name))
    if bad and not any(fault.reason == NOT_UTF8 for fault in faults.of(path)):
        faults.add(path, *min(bad), NOT_UTF8)
