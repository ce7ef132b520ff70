"""Tables of ranks of single test events, as Parquet: read with a limit, and refused where odd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, shortened

MOST_EVENTS = 20_000_000
"""Test events of a run. A file that has more is none of ours, and reading it would fill memory."""
MOST_CANDIDATES = 50_000_000
"""Candidates of a list; likewise."""
RANK_COLUMNS = ("task", "event", "above", "tied", "returned")
LATER_COLUMNS = ("user", "others", "view", "gain")
"""Columns that older files lack, or that files of another kind have."""
_NAMES = ("task", "view")
_ROWS_AT_ONCE = 1 << 18
_LONGEST_NAME = 100  # of a task or a view

Columns = dict[str, NDArray[np.generic]]


def read_columns(path: Path) -> dict[str, dict[str, Columns]]:
    """View → task → column → its values in the order of the task's test events.

    Files from before there were two views have lists only. The table is read in pieces, since what
    a file says of its own size need not be true.

    Raises:
        BenchmarkError: the file is no table of ranks, or has more than ``MOST_EVENTS`` rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    wrong = f"{path}: is not a table of ranks"
    pieces: dict[tuple[str, str], list[pa.RecordBatch]] = {}
    rows = 0
    try:
        stored = pq.read_schema(path).names
        lacking = [name for name in RANK_COLUMNS if name not in stored]
        if lacking:
            raise ValueError(f"it has no column {lacking[0]}")
        columns = [name for name in (*RANK_COLUMNS, *LATER_COLUMNS) if name in stored]
        # A name that stands in every row is kept once.
        names = [name for name in _NAMES if name in stored]
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=names) as opened:
            for batch in opened.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
                rows += len(batch)
                if rows > MOST_EVENTS:
                    raise BenchmarkError(f"{wrong} (more than {MOST_EVENTS:,} rows).")
                _refuse_other_values(batch)
                for view, task, own in _parts(batch):
                    part = batch.drop_columns(names).take(pa.array(own))
                    pieces.setdefault((view, task), []).append(part)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{wrong} ({shortened(str(error))}).") from None
    found: dict[str, dict[str, Columns]] = {}
    for (view, task), parts in pieces.items():
        whole = pa.Table.from_batches(parts)
        order = np.argsort(whole["event"].to_numpy(), kind="stable")
        found.setdefault(view, {})[task] = {
            name: whole[name].to_numpy()[order] for name in whole.column_names
        }
    return found


def _parts(batch: Any) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """The rows of each view and task, in the order of the views' and tasks' first rows."""

    def codes(name: str) -> tuple[list[str], NDArray[np.int64]]:
        if name not in batch.schema.names:
            return ["lists"], np.zeros(len(batch), dtype=np.int64)
        column = batch.column(name)
        return column.dictionary.to_pylist(), column.indices.to_numpy().astype(np.int64)

    (views, view), (tasks, task) = codes("view"), codes("task")
    together = view * len(tasks) + task
    for code in dict.fromkeys(together.tolist()):
        yield views[code // len(tasks)], tasks[code % len(tasks)], np.flatnonzero(together == code)


def _refuse_other_values(batch: Any) -> None:
    """Whether every column holds what it should, in every row.

    Raises:
        ValueError: it does not.
    """
    import pyarrow as pa

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = column.type
        if name in _NAMES:
            fits = pa.types.is_dictionary(kind) and all(
                isinstance(task, str) and len(task) <= _LONGEST_NAME
                for task in column.dictionary.to_pylist()
            )
        elif name == "returned":
            fits = pa.types.is_boolean(kind)
        else:
            fits = pa.types.is_integer(kind)
        if not fits or column.null_count:
            raise ValueError(f"column {name} does not hold what it should")
