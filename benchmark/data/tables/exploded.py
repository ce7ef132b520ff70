"""Parquet columns of lists, each value of which becomes a row of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.data.tables.cells import is_list
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema
from benchmark.errors import shortened


def inner_names(schema: pa.Schema, exploded: str) -> list[str]:
    """The fields of the records that column ``exploded`` has lists of; none for no such column."""
    kind = schema.field(exploded).type.value_type if exploded else pa.struct([])
    return [kind.field(place).name for place in range(kind.num_fields)]


def has_lists(schema: TableSchema, of_file: pa.Schema, path: Path, faults: Faults) -> bool:
    """Whether the columns whose values become rows are lists, those that the file has."""
    right = True
    for name in (*schema.aligned, *([schema.exploded] if schema.exploded else [])):
        # A column that stands twice is another fault.
        for kind in (of_file.field(place).type for place in of_file.get_all_field_indices(name)):
            is_exploded = name == schema.exploded
            if not is_list(kind) or (is_exploded and not pa.types.is_struct(kind.value_type)):
                what = "lists of records" if is_exploded else "lists"
                faults.add(path, 0, name, f"must hold {what}, not {shortened(str(kind))}")
                right = False
    return right


def exploded(
    schema: TableSchema, batch: pa.RecordBatch, path: Path, before: int, faults: Faults
) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
    """Each row's place in the batch, from 0, and the columns by name.

    Args:
        before: the rows of the file before those of the batch.
        faults: where rows are noted whose aligned lists have not one length; they are left out.
    """
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    if schema.exploded:
        lists = columns.pop(schema.exploded)
        flat = pc.list_flatten(lists)
        names = [flat.type.field(place).name for place in range(flat.type.num_fields)]
        values = {name: pc.struct_field(flat, place) for place, name in enumerate(names)}
        return _with_others(columns, pc.list_parent_indices(lists), values)
    if not schema.aligned:
        return np.arange(batch.num_rows, dtype=np.int64), columns
    together = {name: columns.pop(name) for name in schema.aligned if name in columns}
    first, *others = together
    lengths = {name: _lengths(lists) for name, lists in together.items()}
    differs = np.zeros(batch.num_rows, dtype=bool)
    for name in others:
        wrong = lengths[name] != lengths[first]
        rows = before + 1 + np.flatnonzero(wrong)
        faults.add_rows(path, rows, name, f"has another length than {first}")
        differs |= wrong
    mask = pa.array(~differs)
    kept = np.flatnonzero(~differs)
    flattened = {name: pc.list_flatten(lists.filter(mask)) for name, lists in together.items()}
    parents = pa.array(np.repeat(kept, lengths[first][kept]))
    return _with_others(columns, parents, flattened)


def _with_others(
    columns: dict[str, pa.Array], parents: pa.Array, values: dict[str, pa.Array]
) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
    """The flattened ``values`` beside the other columns, each taken where its row's values are."""
    found = {name: column.take(parents) for name, column in columns.items()} | values
    return parents.to_numpy(zero_copy_only=False).astype(np.int64), found


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    found = pc.fill_null(pc.list_value_length(lists), 0)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
