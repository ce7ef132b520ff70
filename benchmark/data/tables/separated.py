"""Text files of lines whose fields stand between a separator of their own, as some publish them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.data.tables.faults import Faults
from benchmark.data.tables.lines import lines_of
from benchmark.errors import shortened

_LINES = 8_192
_CHARACTERS = 16 << 20


@dataclass(frozen=True)
class Separated:
    """Lines of fields between ``separator``, without quotation marks: all fields in their order.

    A first line that holds their names is a header and no row, though rows are counted with it.
    Another header is refused, since its columns may stand in another order.
    """

    separator: str
    fields: tuple[str, ...]
    encoding: str = "utf-8"


_LIKE_A_NUMBER = re.compile(r"\s*[-+.]?[0-9]")


def other_header(record: Sequence[str], fields: Sequence[str]) -> str:
    """What is wrong with a first line that holds names, but not ``fields``; "" for other lines.

    Files of this form have numbers in each line, so a line of which no field begins as one does
    holds names.
    """
    if tuple(record) == tuple(fields) or len(record) < 2 or any(map(_LIKE_A_NUMBER.match, record)):
        return ""
    names = shortened(", ".join(record))
    return (
        f"the header names the columns {names}; allowed is {', '.join(fields)}, in this order, or "
        "no header"
    )


def columns_of(
    form: Separated, wanted: Sequence[str], path: Path, faults: Faults
) -> Iterator[tuple[NDArray[np.int64], dict[str, pa.Array]]]:
    """The rows and the ``wanted`` columns in batches; lines with other fields are noted.

    A header with other names is noted, and there are no rows.
    """
    places = {name: form.fields.index(name) for name in wanted}
    rows: list[int] = []
    records: list[list[str]] = []
    size = 0

    def batch() -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
        columns = {
            name: pa.array([record[place] for record in records], pa.large_string())
            for name, place in places.items()
        }
        return np.array(rows, dtype=np.int64), columns

    for number, line in lines_of(path, faults, form.encoding):
        record = line.split(form.separator)
        if number == 1 and tuple(record) == form.fields:
            continue
        if number == 1 and (reason := other_header(record, form.fields)):
            faults.add(path, number, "", reason)
            return
        if len(record) != len(form.fields):
            reason = f"has {len(record)} fields instead of {len(form.fields)}"
            faults.add(path, number, "", reason, "another number of fields")
            continue
        rows.append(number)
        records.append(record)
        size += len(line)
        if len(rows) == _LINES or size >= _CHARACTERS:
            yield batch()
            rows, records, size = [], [], 0
    if rows:
        yield batch()
