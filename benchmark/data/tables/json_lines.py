"""Tables from JSON lines, whose values are put together by their types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.data.tables.batch import BATCH_BYTES, Batch, Cells
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.lines import NoRecord, lines_of, record_of
from benchmark.data.tables.listed import mended
from benchmark.data.tables.long_texts import without_long_values
from benchmark.data.tables.schema import TableSchema

_LINES = 8_192

_ABSENT = object()
_PLAIN = {str: pa.large_string(), int: pa.int64(), float: pa.float64()}


def batches_of_json(schema: TableSchema, path: Path, faults: Faults) -> Iterator[Batch]:
    """The records of a file, plain or gzip; lines that are none are noted."""
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
        if len(rows) == _LINES or size >= BATCH_BYTES:
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
