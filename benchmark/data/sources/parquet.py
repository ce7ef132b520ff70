"""Parquet columns, checked: every complaint names the file, the row (from 1) and the column.

Only the columns that are asked for are read, page checksums are verified where the file has them,
and a file with too many rows is refused by its footer before anything is read into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.data.sources.raw import Paths
from benchmark.errors import BenchmarkError

_LAST_SECOND = 4_102_444_800  # 2100-01-01; larger numbers are mostly milliseconds
_SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Ids:
    """A column of ids: ``distinct`` is sorted, ``code`` (rows,) points into it."""

    code: NDArray[np.int64]
    distinct: Sequence[str]

    def first_row_of(self, code: int) -> int:
        """The first row, counted from 1, that holds this id."""
        return int(np.argmax(self.code == code)) + 1


@dataclass(frozen=True)
class ParquetColumns:
    """The columns of one file that are of interest; optional ones may be absent."""

    path: Path
    table: pa.Table

    @classmethod
    def read(
        cls, path: Path, *, required: Sequence[str], optional: Sequence[str], maximum_rows: int
    ) -> ParquetColumns:
        """Read a file.

        Raises:
            BenchmarkError: it is missing, damaged, too large, or lacks a column.
        """
        if not path.is_file():
            raise BenchmarkError(f"{path}: the file is missing.")
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as opened:
                names = opened.schema_arrow.names
                rows = opened.metadata.num_rows
                for column in required:
                    if column not in names:
                        raise BenchmarkError(
                            f"{path}: the column {column} is missing; there are "
                            f"{', '.join(names) or 'none'}."
                        )
                if rows > maximum_rows:
                    raise BenchmarkError(
                        f"{path}: has {rows:,} rows, more than source.maximum_rows "
                        f"({maximum_rows:,}) allows."
                    )
                wanted = [column for column in (*required, *optional) if column in names]
                table = opened.read(columns=wanted)
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BenchmarkError(f"{path}: is not a readable Parquet file ({reason}).") from None
        if len(table.column_names) != len(set(table.column_names)):
            raise BenchmarkError(f"{path}: two columns have the same name.")
        return cls(path, table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def has(self, column: str) -> bool:
        """Whether the file has the column."""
        return column in self.table.column_names

    def complaint(self, row: int, column: str, reason: str) -> BenchmarkError:
        """The sentence about one cell; ``row`` counts from 1."""
        return BenchmarkError(f"{self.path}: row {row:,}, column {column}: {reason}.")

    def _column(self, name: str) -> pa.ChunkedArray:
        column = self.table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column

    def _wrong_type(self, column: str, expected: str) -> BenchmarkError:
        found = self.table.schema.field(column).type
        return BenchmarkError(f"{self.path}: column {column}: must be {expected}, not {found}.")

    def _refuse_nulls(self, name: str, column: pa.ChunkedArray) -> None:
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy())) + 1
            raise self.complaint(row, name, "the value is missing (null)")

    def ids(self, name: str) -> Ids:
        """A column of text or whole numbers, without gaps.

        Raises:
            BenchmarkError: another type, a null or an empty text.
        """
        column = self._column(name)
        kind = column.type
        if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            raise self._wrong_type(name, "text or whole numbers")
        self._refuse_nulls(name, column)
        encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        order = sorted(range(len(distinct)), key=distinct.__getitem__)
        rank = np.empty(len(distinct), dtype=np.int64)
        rank[order] = np.arange(len(distinct))
        ids = Ids(
            code=rank[encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)],
            distinct=[distinct[position] for position in order],
        )
        for code, external in enumerate(ids.distinct):
            if not external.strip():
                raise self.complaint(ids.first_row_of(code), name, "the id is empty")
        return ids

    def texts(self, name: str) -> list[str]:
        """A column of text with runs of blanks made one; absent columns and nulls are "".

        Raises:
            BenchmarkError: the column holds another type.
        """
        if not self.has(name):
            return [""] * len(self)
        column = self._column(name)
        if pa.types.is_null(column.type) or (
            pa.types.is_floating(column.type) and column.null_count == len(column)
        ):
            return [""] * len(self)  # what writers make of a column without any value
        if not _is_text(column.type):
            raise self._wrong_type(name, "text")
        return [" ".join(text.split()) if text else "" for text in column.to_pylist()]

    def paths(self, name: str) -> list[Paths]:
        """A column of lists of hierarchies, each a list of level names from the root down.

        Raises:
            BenchmarkError: the column holds another type.
        """
        if not self.has(name) or pa.types.is_null(self._column(name).type):
            return [()] * len(self)
        column = self._column(name)
        if not (_is_list(column.type) and _is_list(column.type.value_type)) or not _is_text(
            column.type.value_type.value_type
        ):
            raise self._wrong_type(name, "lists of hierarchies, each a list of texts")
        return [
            tuple(
                tuple(" ".join(level.split()) for level in path if level and level.strip())
                for path in paths or ()
                if path
            )
            for paths in column.to_pylist()
        ]

    def numbers(self, name: str) -> NDArray[np.float32] | None:
        """A column of numbers, NaN for a null; None where the column is absent or has no value.

        Raises:
            BenchmarkError: the column holds another type.
        """
        if not self.has(name) or pa.types.is_null(self._column(name).type):
            return None
        column = self._column(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise self._wrong_type(name, "numbers")
        return column.cast(pa.float64(), safe=False).to_numpy().astype(np.float32)

    def whole_numbers(self, name: str) -> NDArray[np.int64]:
        """A column of whole numbers without gaps, (rows,).

        Raises:
            BenchmarkError: another type, or a null.
        """
        column = self._column(name)
        if not pa.types.is_integer(column.type):
            raise self._wrong_type(name, "whole numbers")
        self._refuse_nulls(name, column)
        return column.to_numpy().astype(np.int64)

    def seconds(self, name: str) -> NDArray[np.int64]:
        """A column of instants as seconds since 1970, (rows,).

        Whole numbers (also as text or float) are seconds; timestamp and date types are converted,
        those without a time zone as UTC.

        Raises:
            BenchmarkError: another type, a null, a text that is no number, or a time outside
                1970 … 2099.
        """
        column = self._column(name)
        kind = column.type
        is_time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not (is_time or is_number or _is_text(kind) or pa.types.is_null(kind)):
            raise self._wrong_type(name, "seconds since 1970 or a timestamp")
        self._refuse_nulls(name, column)
        if is_time:
            column = _time_as_seconds(column)
        elif _is_text(kind):
            column = pa.chunked_array([self._parsed_seconds(name, column)])
        values = column.to_numpy()
        if pa.types.is_floating(kind):
            bad = ~np.isfinite(values) | (np.nan_to_num(values) % 1 != 0)
            if bad.any():
                row = int(np.argmax(bad))
                raise self.complaint(
                    row + 1, name, f"{values[row]} is not a whole number of seconds"
                )
        outside = (values < 0) | (values >= _LAST_SECOND)
        if outside.any():
            row = int(np.argmax(outside))
            reason = (
                "is negative; give seconds since 1970"
                if values[row] < 0
                else "lies after the year 2099; give seconds since 1970, not milliseconds"
            )
            raise self.complaint(row + 1, name, f"{values[row]} {reason}")
        return values.astype(np.int64)

    def _parsed_seconds(self, name: str, column: pa.ChunkedArray) -> pa.Array:
        try:
            return column.combine_chunks().cast(pa.int64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            values: list[int] = []
            for row, text in enumerate(column.to_pylist(), start=1):
                try:
                    # 18 digits fit int64; longer ones are out of range anyway.
                    values.append(int(text[:18]) if text.isdigit() else int(text))
                except ValueError:
                    raise self.complaint(
                        row, name, f"{text[:40]!r} is not a number of seconds since 1970"
                    ) from None
            return pa.array(values, type=pa.int64())


def _is_text(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_list(kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _time_as_seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_date(column.type):
        days = column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        return pc.multiply(days, _SECONDS_PER_DAY)
    units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    values = column.cast(pa.int64()).to_numpy()
    return pa.chunked_array([pa.array(values // units)])
