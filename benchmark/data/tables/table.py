"""Reading a table as its schema describes it; every fault is noted, and its rows are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.data.tables import cells, listed
from benchmark.data.tables.batch import Batch, Cells
from benchmark.data.tables.batches import batches
from benchmark.data.tables.cells import is_list, shown
from benchmark.data.tables.columns import NUMBERS, Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.instants import seconds
from benchmark.data.tables.schema import TableSchema
from benchmark.errors import quoted


@dataclass(frozen=True)
class Ids:
    """A column of ids: ``code`` (rows,) points into ``distinct``, in order of appearance."""

    code: NDArray[np.int64]
    distinct: list[str]


@dataclass(frozen=True)
class Table:
    """What was read: ids as :class:`Ids`, texts as lists, the rest as arrays (rows,).

    ``row`` (rows,) is the row of the file that each came from; ``present`` names the columns that
    the file has.
    """

    path: Path
    row: NDArray[np.int64]
    columns: dict[str, Any]
    present: frozenset[str]

    def __len__(self) -> int:
        return len(self.row)

    def ids(self, name: str) -> Ids:
        """A column of ids."""
        found: Ids = self.columns[name]
        return found

    def numbers(self, name: str) -> NDArray[Any]:
        """A column of numbers: int64, but float64 with NaN for gaps where the kind is "number"."""
        found: NDArray[Any] = self.columns[name]
        return found

    def texts(self, name: str) -> list[Any]:
        """A column of texts, or of hierarchies."""
        found: list[Any] = self.columns[name]
        return found


def read_table(schema: TableSchema, path: Path | None, faults: Faults) -> Table | None:
    """Read a table and note every fault; None where there is nothing that could be read."""
    if path is None:
        return None
    interners = {column.name: _Interner() for column in schema.columns if column.kind == "id"}
    parts: dict[str, list[Any]] = {column.name: [] for column in schema.columns}
    rows: list[NDArray[np.int64]] = []
    present: set[str] = set()
    height = 0
    for batch in batches(schema, path, faults):
        height += len(batch.row)
        present.update(name for name, found in batch.columns.items() if found)
        values = {
            c.name: _parsed(c, batch, path, schema.is_untyped(path), faults) for c in schema.columns
        }
        mask = schema.keep(values) if schema.keep is not None else None
        rows.append(batch.row if mask is None else batch.row[mask])
        for name, found in values.items():
            kept = found if mask is None else _taken(found, mask)
            parts[name].append(interners[name].codes(kept) if name in interners else kept)
    if not rows or not height:
        if not faults.of(path) and not schema.may_be_empty:
            faults.add(path, 0, "", "holds no rows")
        return None
    table = Table(
        path=path,
        row=np.concatenate(rows),
        columns={  # a long table is in memory once, but for the column that is being joined
            column.name: _joined(column, parts.pop(column.name), interners)
            for column in schema.columns
        },
        present=frozenset(present),
    )
    if schema.unique:
        _note_repetitions(table, schema.unique, faults)
    for column in schema.columns:
        faults.settle_column(path, column.name, height, column.rule)
    return table


def _taken(values: Any, mask: NDArray[np.bool_]) -> Any:
    if isinstance(values, np.ndarray):
        return values[mask]
    return [one for one, keep in zip(values, mask.tolist(), strict=True) if keep]


def _joined(column: Column, parts: list[Any], interners: dict[str, _Interner]) -> Any:
    if column.kind == "id":
        return Ids(np.concatenate(parts), interners[column.name].distinct)
    if column.kind in NUMBERS:
        return np.concatenate(parts)
    return [one for part in parts for one in part]


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


# Cells


def _parsed(column: Column, batch: Batch, path: Path, is_untyped: bool, faults: Faults) -> Any:
    """The values of one column of a batch; faults are noted and stand as "", 0 or ()."""
    height = len(batch.row)
    groups = batch.columns.get(column.name)
    if groups is None:
        return _nothing(column, height)
    lacking = batch.absent.get(column.name)
    if lacking is not None and column.required:
        faults.add_rows(path, batch.row[lacking], column.name, "the key is missing")
    if len(groups) == 1 and len(groups[0].places) == height:
        values = _read(column, groups[0], batch.row, path, is_untyped, faults)
    else:
        values = _nothing(column, height)
        for group in groups:
            found = _read(column, group, batch.row, path, is_untyped, faults)
            if isinstance(values, np.ndarray):
                values[group.places] = found
            else:
                for place, value in zip(group.places.tolist(), found, strict=True):
                    values[place] = value
    if column.kind == "text" and column.filled:
        empty = np.array([not text for text in values], dtype=bool)
        if lacking is not None:
            empty &= ~lacking
        faults.add_rows(path, batch.row[empty], column.name, f"the {column.name} is empty")
    return values


def _nothing(column: Column, rows: int) -> Any:
    if column.kind == "id":
        return np.full(rows, "", dtype=object)
    if column.kind == "number":
        return np.full(rows, np.nan)
    if column.kind in NUMBERS:
        return np.full(rows, column.default, dtype=np.int64)
    return [{"paths": (), "raw": None}.get(column.kind, "")] * rows


def _read(
    column: Column,
    group: Cells,
    row: NDArray[np.int64],
    path: Path,
    is_untyped: bool,
    faults: Faults,
) -> Any:
    """The values of cells of one type by the rule of the column's kind."""
    places, values = group.places, group.values

    def note(mask: NDArray[np.bool_], kind: str, shown: Callable[[int], str] | None = None) -> None:
        wrong = np.flatnonzero(mask)
        if len(wrong):
            says = None if shown is None else lambda number: shown(int(wrong[number]))
            faults.add_rows(path, row[places[wrong]], column.name, kind, says)

    if column.kind in ("paths", "words", "raw"):
        if isinstance(values, pa.Array) and not listed.may_hold(values.type):
            reason = listed.NOT_SO[column.kind]
            note(~cells.nulls(values), reason, lambda number: cells.show(values, number))
            return _nothing(column, len(values))
        given = values if isinstance(values, list) else values.to_pylist()
        return listed.of_objects(column, given, note)
    if isinstance(values, list):
        everywhere = np.ones(len(values), dtype=bool)
        note(everywhere, _not_so(column), lambda number: quoted(values[number]))
        return _nothing(column, len(values))
    if column.kind == "id":
        return cells.ids(values, note, is_untyped)
    if column.kind == "text":
        return cells.texts(values, note, is_untyped)
    if is_list(values.type):
        note(~cells.nulls(values), _not_so(column), lambda number: cells.show(values, number))
        values = pa.nulls(len(values))
    if column.kind in ("seconds", "milliseconds", "instant"):
        return seconds(column, values, note)
    return cells.plain_numbers(column, values, note)


def _not_so(column: Column) -> str:
    return {"id": "is no id", "text": "is no text"}.get(column.kind, "is not a number")


# Between rows and between tables


def _note_repetitions(table: Table, name: str, faults: Faults) -> None:
    """Rows whose id stood in an earlier row."""
    ids = table.ids(name)
    order = np.argsort(ids.code, kind="stable")
    code = ids.code[order]
    rows = np.sort(order[1:][(code[1:] == code[:-1]) & (code[1:] >= 0)])
    faults.add_rows(
        table.path,
        table.row[rows],
        name,
        "stands twice",
        lambda number: shown(ids.distinct[ids.code[rows[number]]]),
    )


def rows_in(
    table: Table, name: str, known: Sequence[str], where: str, faults: Faults
) -> NDArray[np.int64]:
    """For each row of ``table`` the place of its id among ``known``, (rows,), -1 for none.

    Ids that are not among them are noted; ``where`` says what ``known`` is.
    """
    ids = table.ids(name)
    place = {external: number for number, external in enumerate(known)}
    of_distinct = np.array([place.get(text, -1) for text in ids.distinct] or [-1], dtype=np.int64)
    found: NDArray[np.int64] = np.where(ids.code >= 0, of_distinct[ids.code], -1)
    absent = np.flatnonzero((found < 0) & (ids.code >= 0))
    if len(absent):
        distinct = len(np.unique(ids.code[absent]))
        faults.add_rows(
            table.path,
            table.row[absent],
            name,
            f"is not in {where} ({distinct:,} such ids in all)",
            lambda number: shown(ids.distinct[ids.code[absent[number]]]),
        )
        rule = f"must be ids of {where}"
        faults.settle_column(table.path, name, len(table), rule)
    return found


def together(columns: Sequence[Ids]) -> tuple[list[str], list[NDArray[np.int64]]]:
    """The distinct ids of several columns, and each column's codes among them."""
    distinct: dict[str, int] = {}
    codes = []
    for ids in columns:
        own = [distinct.setdefault(text, len(distinct)) for text in ids.distinct]
        codes.append(np.array(own or [0], dtype=np.int64)[ids.code])
    return list(distinct), codes
