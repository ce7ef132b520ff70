"""Published tables, described column by column and read with every fault found.

A loader says what its files hold as :class:`TableSchema` values and reads them with
:func:`read_table`, which checks each column while it reads and collects a :class:`Problem` for each
cell that cannot be used. The loader raises the first one; ``python -m benchmark.data validate``
prints them all. So there is one list of rules, not two.

Tables are CSV (plain or gzip, UTF-8, with a header) or Parquet (one file, or a folder of parts).
They are read in batches, so that of a large file only the columns that are kept are in memory. Rows
are counted from 1, without the header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError

Kind = Literal[
    "id", "seconds", "milliseconds", "instant", "flag", "count", "text", "words", "paths"
]
"""``instant`` is seconds or milliseconds, told apart by size; ``words`` are lists of word numbers;
``paths`` are category hierarchies."""

SUFFIXES = (".parquet", ".csv", ".csv.gz")
_LAST_SECOND = 4_102_444_800  # 2100-01-01
_FIRST_MILLISECOND = 100_000_000_000  # 1973 in milliseconds, 5138 in seconds
_BATCH_BYTES = 16 << 20
_PARQUET_ROWS = 65_536
_EXAMPLES = 20  # of one fault in one column; the others are counted
_WORDS = re.compile(r"^\s*(\[\s*(\d+\s*(,\s*\d+\s*)*)?\]|\d+)\s*$")


@dataclass(frozen=True)
class Problem:
    """One fault: the file, the row from 1 (0: the file as a whole), the column ("": none)."""

    path: Path
    row: int
    column: str
    reason: str

    def __str__(self) -> str:
        """One sentence."""
        row = f"row {self.row:,}" if self.row else ""
        column = f"column {self.column}" if self.column else ""
        place = ", ".join(part for part in (row, column) if part)
        return f"{self.path}: {f'{place}: ' if place else ''}{self.reason}."


@dataclass
class Problems:
    """What was found so far; of one fault in one column only the first rows are kept."""

    found: list[Problem] = field(default_factory=list)
    counts: dict[tuple[Path, str, str], int] = field(default_factory=dict)

    def add(self, path: Path, row: int, column: str, reason: str, kind: str = "") -> None:
        """Note a fault; ``kind`` is what alike faults have in common (default: the reason)."""
        key = (path, column, kind or reason)
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] <= _EXAMPLES:
            self.found.append(Problem(path, row, column, reason))

    def add_rows(
        self, path: Path, rows: NDArray[np.integer[Any]], column: str, reason: str
    ) -> None:
        """Note the same fault for many rows, each counted from 1."""
        for row in rows[:_EXAMPLES].tolist():
            self.add(path, row, column, reason)
        more = len(rows) - _EXAMPLES
        if more > 0:
            self.counts[path, column, reason] += more

    def raise_first(self) -> None:
        """Stop at the first fault.

        Raises:
            BenchmarkError: there is one.
        """
        if self.found:
            raise BenchmarkError(str(self.found[0]))

    def sentences(self) -> list[str]:
        """Every kept fault, and how many more there are of each kind."""
        lines = [str(problem) for problem in self.found]
        for (path, column, kind), count in self.counts.items():
            if count > _EXAMPLES:
                lines.append(f"{path}: column {column}: {count - _EXAMPLES:,} more ({kind}).")
        return lines


@dataclass(frozen=True)
class Column:
    """A column that is read. An absent optional column is empty, or ``default`` in each row."""

    name: str
    kind: Kind
    required: bool = True
    default: int = 0


@dataclass(frozen=True)
class TableSchema:
    """A table: its name without suffix, its columns, and which of them may stand once only.

    ``exploded`` names a column of lists of structs: each struct becomes a row of its own, its
    fields columns beside the others; rows then still count those of the file. ``keep`` may drop
    rows after they were checked, given the columns of a batch.
    """

    name: str
    columns: tuple[Column, ...]
    unique: tuple[str, ...] = ()
    exploded: str = ""
    keep: Callable[[dict[str, Any]], NDArray[np.bool_]] | None = None

    def find(self, folder: Path) -> Path | None:
        """The table's file or folder, if it is there."""
        for suffix in SUFFIXES:
            if (folder / f"{self.name}{suffix}").is_file():
                return folder / f"{self.name}{suffix}"
        parts = folder / self.name
        return parts if parts.is_dir() and any(parts.glob("*.parquet")) else None


@dataclass(frozen=True)
class Ids:
    """A column of ids: ``code`` (rows,) points into ``distinct``, in order of appearance."""

    code: NDArray[np.int64]
    distinct: list[str]


@dataclass(frozen=True)
class Table:
    """What was read: ids as :class:`Ids`, texts as lists, the rest as int64 arrays (rows,).

    ``row`` (rows,) is the row of the file that each came from.
    """

    path: Path
    row: NDArray[np.int64]
    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(self.row)

    def ids(self, name: str) -> Ids:
        """A column of ids."""
        found: Ids = self.columns[name]
        return found

    def numbers(self, name: str) -> NDArray[np.int64]:
        """A column of whole numbers."""
        found: NDArray[np.int64] = self.columns[name]
        return found

    def texts(self, name: str) -> list[Any]:
        """A column of texts, or of hierarchies."""
        found: list[Any] = self.columns[name]
        return found


def read_table(schema: TableSchema, folder: Path, problems: Problems) -> Table | None:
    """Read a table and note every fault; None where there is nothing that could be read."""
    path = schema.find(folder)
    if path is None:
        names = " or ".join(f"{schema.name}{suffix}" for suffix in SUFFIXES)
        problems.add(folder / schema.name, 0, "", f"the file is missing ({names})")
        return None
    interners = {column.name: _Interner() for column in schema.columns if column.kind == "id"}
    parts: dict[str, list[Any]] = {column.name: [] for column in schema.columns}
    rows: list[NDArray[np.int64]] = []
    before = 0
    try:
        for batch in _batches(schema, path, problems):
            row, columns, height = _exploded(schema, batch)
            row = row + before + 1
            before += height
            values: dict[str, Any] = {}
            for column in schema.columns:
                values[column.name] = _parsed(column, columns, row, path, problems)
            mask = schema.keep(values) if schema.keep is not None else np.ones(len(row), dtype=bool)
            rows.append(row[mask])
            for name, found in values.items():
                kept = (
                    found[mask]
                    if isinstance(found, np.ndarray)
                    else [one for one, keep in zip(found, mask.tolist(), strict=True) if keep]
                )
                parts[name].append(interners[name].codes(kept) if name in interners else kept)
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        problems.add(path, 0, "", f"cannot be read after row {before:,} ({reason})")
    if not rows:
        if not any(problem.path == path for problem in problems.found):
            problems.add(path, 0, "", "holds no rows")
        return None
    table = Table(
        path=path,
        row=np.concatenate(rows),
        columns={
            column.name: _joined(column, parts[column.name], interners) for column in schema.columns
        },
    )
    _note_repetitions(schema, table, problems)
    return table


def _joined(column: Column, parts: list[Any], interners: dict[str, _Interner]) -> Any:
    if column.kind in ("text", "words", "paths"):
        return [one for part in parts for one in part]
    joined = np.concatenate(parts)
    if column.kind == "id":
        return Ids(joined, interners[column.name].distinct)
    return joined


class _Interner:
    """Numbers for ids, in order of appearance; "" (an id that is none) is -1."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    @property
    def distinct(self) -> list[str]:
        return list(self._number)

    def codes(self, texts: Any) -> NDArray[np.int64]:
        code, distinct = pd.factorize(np.asarray(texts, dtype=object))
        numbers = [
            -1 if text == "" else self._number.setdefault(text, len(self._number))
            for text in distinct
        ]
        return np.array(numbers, dtype=np.int64)[code] if len(numbers) else code.astype(np.int64)


# Batches


def _batches(
    schema: TableSchema, path: Path, problems: Problems
) -> Iterator[pa.RecordBatch | pa.Table]:
    wanted = [schema.exploded] if schema.exploded else []
    if path.is_dir():
        for part in sorted(path.glob("*.parquet")):
            yield from _parquet_batches(schema, part, wanted, path, problems)
    elif path.suffix == ".parquet":
        yield from _parquet_batches(schema, path, wanted, path, problems)
    else:
        yield from _csv_batches(schema, path, problems)


def _parquet_batches(
    schema: TableSchema, part: Path, wanted: list[str], path: Path, problems: Problems
) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(part, page_checksum_verification=True) as opened:
        names = opened.schema_arrow.names
        if schema.exploded and schema.exploded not in names:
            problems.add(path, 0, schema.exploded, f"the column is missing in {part.name}")
            return
        inner = _inner_names(opened.schema_arrow, schema.exploded)
        if _missing(schema, [*names, *inner], path, problems):
            return
        outer = [column.name for column in schema.columns if column.name in names]
        yield from opened.iter_batches(batch_size=_PARQUET_ROWS, columns=[*outer, *wanted])


def _inner_names(schema: pa.Schema, exploded: str) -> list[str]:
    if not exploded:
        return []
    kind = schema.field(exploded).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_struct(kind.value_type):
        raise ValueError(f"column {exploded} must hold lists of records, not {kind}")
    return [kind.value_type.field(place).name for place in range(kind.value_type.num_fields)]


def _csv_batches(schema: TableSchema, path: Path, problems: Problems) -> Iterator[pa.RecordBatch]:
    def refuse(row: pacsv.InvalidRow) -> str:
        number = (row.number or 1) - 1
        problems.add(
            path,
            number,
            "",
            f"has {row.actual_columns} columns instead of {row.expected_columns}",
            "another number of columns",
        )
        return "skip"

    with pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as stream:
        names = [name.strip().lstrip("\ufeff") for name in _header(stream, path)]
    if _missing(schema, names, path, problems):
        return
    present = [column.name for column in schema.columns if column.name in names]
    with (
        pa.input_stream(path, compression="gzip" if path.suffix == ".gz" else None) as stream,
        pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=_BATCH_BYTES, column_names=names, skip_rows=1
            ),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse),
            convert_options=pacsv.ConvertOptions(
                # Bytes, so that text that is not UTF-8 is a fault of its cell, not of the file.
                column_types=dict.fromkeys(present, pa.binary()),
                include_columns=present,
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        ) as reader,
    ):
        yield from reader


def _header(stream: Any, path: Path) -> list[str]:
    import csv
    import io

    line = io.TextIOWrapper(
        io.BufferedReader(stream), encoding="utf-8", errors="replace"
    ).readline()
    return next(csv.reader([line]), [])


def _missing(schema: TableSchema, names: Sequence[str], path: Path, problems: Problems) -> bool:
    absent = [c.name for c in schema.columns if c.required and c.name not in names]
    for name in absent:
        there = ", ".join(names) or "none"
        problems.add(path, 0, name, f"the column is missing; there are {there}")
    return bool(absent)


def _exploded(
    schema: TableSchema, batch: pa.RecordBatch
) -> tuple[NDArray[np.int64], dict[str, pa.Array], int]:
    """Each row's place in the batch, the columns by name, and the height of the batch."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    height = batch.num_rows
    if not schema.exploded:
        return np.arange(height, dtype=np.int64), columns, height
    lists = columns.pop(schema.exploded)
    parents = pc.list_parent_indices(lists)
    flat = pc.list_flatten(lists)
    exploded = {name: column.take(parents) for name, column in columns.items()}
    for place in range(flat.type.num_fields):
        exploded[flat.type.field(place).name] = pc.struct_field(flat, place)
    return parents.to_numpy(zero_copy_only=False).astype(np.int64), exploded, height


# Cells


def _parsed(
    column: Column,
    columns: dict[str, pa.Array],
    row: NDArray[np.int64],
    path: Path,
    problems: Problems,
) -> Any:
    """The values of one column of a batch; faults are noted and stand as "" or 0."""
    array = columns.get(column.name)
    if array is None:
        return _absent(column, len(row))
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        array = _decoded(array, column, row, path, problems)

    def note(mask: NDArray[np.bool_], reason: str) -> None:
        if mask.any():
            problems.add_rows(path, row[mask], column.name, reason)

    if column.kind == "paths":
        return _paths(array)
    if column.kind in ("text", "words"):
        return _texts(column, array, note)
    if column.kind == "id":
        return _id_texts(array, note)
    return _numbers(column, array, note)


def _absent(column: Column, rows: int) -> Any:
    if column.kind in ("text", "words"):
        return [""] * rows
    if column.kind == "paths":
        return [()] * rows
    if column.kind == "id":
        return np.full(rows, "", dtype=object)
    return np.full(rows, column.default, dtype=np.int64)


def _decoded(
    array: pa.Array, column: Column, row: NDArray[np.int64], path: Path, problems: Problems
) -> pa.Array:
    try:
        return array.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts, bad = [], []
        for place, content in enumerate(array.to_pylist()):
            try:
                texts.append(content.decode("utf-8"))
            except UnicodeDecodeError:
                texts.append("")
                bad.append(place)
        problems.add_rows(path, row[bad], column.name, "is not UTF-8 text")
        return pa.array(texts, pa.large_string())


Note = Callable[[NDArray[np.bool_], str], None]


def _id_texts(array: pa.Array, note: Note) -> NDArray[Any]:
    if pa.types.is_floating(array.type):  # what pandas makes of whole numbers with gaps
        whole = pc.floor(array)
        array = whole.cast(pa.int64(), safe=False) if array.null_count == 0 else array
    texts = array.cast(pa.large_string()).fill_null("").to_pandas().str.strip()
    values = texts.to_numpy(dtype=object)
    note(values == "", "the id is empty")
    return values


def _texts(column: Column, array: pa.Array, note: Note) -> list[str]:
    if column.kind == "words" and (
        pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
    ):
        return [" ".join(f"w{word}" for word in words or ()) for words in array.to_pylist()]
    texts = [
        " ".join(text.split()) if text else "" for text in array.cast(pa.large_string()).to_pylist()
    ]
    if column.kind == "text":
        return texts
    good = np.array([not text or _WORDS.match(text) is not None for text in texts], dtype=bool)
    note(~good, "is no list of word numbers such as [20, 34, 3]")
    return [
        " ".join(f"w{word}" for word in re.findall(r"\d+", text)) if fine else ""
        for text, fine in zip(texts, good.tolist(), strict=True)
    ]


def _paths(array: pa.Array) -> list[Any]:
    """Hierarchies: lists of lists, or a text such as ``A > B > C | A > D``."""
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return [
            tuple(tuple(str(level) for level in path if level) for path in paths or () if path)
            for paths in array.to_pylist()
        ]
    found = []
    for text in array.cast(pa.large_string()).to_pylist():
        paths = (
            tuple(" ".join(level.split()) for level in path.split(">") if level.strip())
            for path in (text or "").split("|")
        )
        found.append(tuple(path for path in paths if path))
    return found


def _numbers(column: Column, array: pa.Array, note: Note) -> NDArray[np.int64]:
    if pa.types.is_timestamp(array.type):
        units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
        array = pc.divide(array.cast(pa.int64()), units)
        per_second = 1
    else:
        per_second = 1000 if column.kind == "milliseconds" else 1
    values = _as_floats(array)
    bad = ~np.isfinite(values)
    note(bad, "is not a number")
    values = np.where(bad, 0.0, values)
    if column.kind == "flag":
        wrong = (values != 0) & (values != 1)
        note(wrong, "must be 0 or 1")
        return np.where(wrong, 0, values).astype(np.int64)
    negative = values < 0
    note(negative, "is negative")
    values = np.where(negative, 0.0, values)
    if column.kind == "count":
        return values.astype(np.int64)
    if column.kind == "instant":
        values = np.where(values >= _FIRST_MILLISECOND, values / 1000, values)
    seconds = np.floor(values / per_second)
    late = seconds >= _LAST_SECOND
    unit = "milliseconds" if column.kind == "milliseconds" else "seconds, not milliseconds,"
    note(late, f"lies after the year 2099; {unit} since 1970 are needed")
    return np.where(late, 0, seconds).astype(np.int64)


def _as_floats(array: pa.Array) -> NDArray[np.float64]:
    """Numbers, or texts of numbers; NaN for what is neither."""
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        try:
            return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return np.full(len(array), np.nan)
    try:
        return array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(pd.Series(array.to_pylist(), dtype=object), errors="coerce")
        return numbers.to_numpy(dtype=np.float64)


# Between rows and between tables


def _note_repetitions(schema: TableSchema, table: Table, problems: Problems) -> None:
    """Rows that repeat the columns that may stand once only."""
    if not schema.unique:
        return
    keys = [
        table.ids(name).code if isinstance(table.columns[name], Ids) else table.columns[name]
        for name in schema.unique
    ]
    if any(isinstance(key, list) for key in keys):
        keys = [pd.factorize(np.array(key, dtype=object))[0] for key in keys]
    order = np.lexsort(keys)
    repeats = np.ones(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        repeats &= np.asarray(key)[order][1:] == np.asarray(key)[order][:-1]
    rows = np.sort(table.row[order[1:][repeats]])
    names = ", ".join(schema.unique)
    if len(rows):
        problems.add_rows(table.path, rows, names, "repeats an earlier row")


def rows_in(table: Table, name: str, known: Sequence[str], where: str, problems: Problems) -> Any:
    """For each row of ``table`` the place of its id among ``known``, (rows,), -1 for none.

    Ids that are not among them are noted; ``where`` says what ``known`` is.
    """
    ids = table.ids(name)
    place = {external: number for number, external in enumerate(known)}
    of_distinct = np.array([place.get(text, -1) for text in ids.distinct] or [-1], dtype=np.int64)
    found = np.where(ids.code >= 0, of_distinct[ids.code], -1)
    absent = (found < 0) & (ids.code >= 0)
    if absent.any():
        problems.add_rows(table.path, table.row[absent], name, f"the id is not in {where}")
    return found
