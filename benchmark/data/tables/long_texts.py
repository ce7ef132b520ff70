"""Texts too long to be a title or a description: a small file can hold gigabytes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmark.data.tables.cells import is_list, is_text
from benchmark.data.tables.faults import Faults

LONGEST_TEXT = 100_000
"""Characters of a text, or of the texts of a list."""

_TOO_LONG = f"is longer than {LONGEST_TEXT:,} characters"


def without_long_texts(
    columns: dict[str, pa.Array], row: NDArray[np.int64], path: Path, faults: Faults
) -> dict[str, pa.Array]:
    """The columns with "" or null for each text or list that is too long, which is noted."""
    found = {}
    for name, array in columns.items():
        is_coded = pa.types.is_dictionary(array.type)
        # A text that stands in many rows is looked at once, and not yet unfolded.
        texts = array.dictionary if is_coded else array
        if is_text(texts.type):
            is_long = pc.greater(pc.utf8_length(texts), LONGEST_TEXT).fill_null(False)
            if pc.any(is_long).as_py():
                of_rows = is_long.take(array.indices).fill_null(False) if is_coded else is_long
                mask = of_rows.to_numpy(zero_copy_only=False)
                faults.add_rows(path, row[mask], name, _TOO_LONG)
                texts = pc.if_else(is_long, pa.scalar("", texts.type), texts)
                array = pa.DictionaryArray.from_arrays(array.indices, texts) if is_coded else texts
        elif is_list(array.type):
            mask = lengths(array) > LONGEST_TEXT
            if mask.any():
                faults.add_rows(path, row[mask], name, _TOO_LONG)
                array = array.take(pa.array(np.arange(len(array)), mask=mask))
        found[name] = array
    return found


def lengths(array: pa.Array) -> NDArray[np.int64]:
    """(cells,) the characters of each text, or of all texts in each list; 0 for other values."""
    if pa.types.is_dictionary(array.type):
        of_distinct = np.append(lengths(array.dictionary), 0)
        return of_distinct[array.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    if is_text(array.type):
        found = pc.utf8_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        return found.astype(np.int64)
    if not is_list(array.type):
        return np.zeros(len(array), dtype=np.int64)
    counts = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(counts, dtype=np.int64)
    before = np.concatenate([[0], np.cumsum(lengths(pc.list_flatten(array)))])
    return np.asarray(before[ends] - before[ends - counts], dtype=np.int64)


def without_long_values(
    values: list[Any], row: NDArray[np.int64], path: Path, column: str, faults: Faults
) -> list[Any]:
    """The values of JSON with "" for each text or list of texts that is too long, as above."""
    long = [place for place, value in enumerate(values) if _length(value) > LONGEST_TEXT]
    if not long:
        return values
    faults.add_rows(path, row[long], column, _TOO_LONG)
    found = list(values)
    for place in long:
        found[place] = ""
    return found


def _length(value: Any) -> int:
    """Characters of a text, or of all texts in a list."""
    if isinstance(value, str):
        return len(value)
    return sum(map(_length, value)) if isinstance(value, list) else 0
