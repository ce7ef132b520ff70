"""The scores that a run keeps beside its ranks: ``scores.parquet`` and ``best.parquet``.

One row an event and task, in the order of the test events. ``scores.parquet`` holds the scores of
every candidate, a list of float32 in the order of the candidate list; ``best.parquet`` the best of
all items that the protocol admits, best first, as many as the largest cut-off: ``items`` (int32, 0
where nothing is left) and their ``scores``. Ranks do not need them. They make a run that an outside
evaluator can read, since which items stand above a target follows from scores only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray
from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path
from benchmark.jobs.evaluation import parts_of

_EVENT = [("task", pa.string()), ("event", pa.int64())]
_SCORES = ("scores", pa.large_list(pa.float32()))
_ITEMS = ("items", pa.large_list(pa.int32()))


def write_scores(path: Path, parts: Mapping[str, Sequence[Path]]) -> None:
    """Write the scores of each task's lists, one part in memory at a time.

    Args:
        path: the file.
        parts: task → files that hold ``scores`` (events, candidates), in the order of the events.
    """
    _write(path, parts, pa.schema([*_EVENT, _SCORES]))


def write_best(path: Path, parts: Mapping[str, Sequence[Path]]) -> None:
    """Write the best of all items, one part in memory at a time.

    Args:
        path: the file.
        parts: task → files that hold ``items`` and ``scores`` (events, best), in the order of the
            events.
    """
    _write(path, parts, pa.schema([*_EVENT, _ITEMS, _SCORES]))


def _write(path: Path, parts: Mapping[str, Sequence[Path]], schema: pa.Schema) -> None:
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary, schema, compression="zstd", write_page_checksum=True
        ) as written,
    ):
        for task, files in parts.items():
            first = 0
            for kept in parts_of(tuple(files)):
                events, width = kept["scores"].shape
                ends = pa.array(np.arange(events + 1, dtype=np.int64) * width)
                columns = [
                    pa.array([task] * events, pa.string()),
                    pa.array(np.arange(first, first + events)),
                    *(
                        pa.LargeListArray.from_arrays(ends, pa.array(kept[name].reshape(-1)))
                        for name in schema.names[2:]
                    ),
                ]
                written.write_table(pa.Table.from_arrays(columns, schema=schema))
                first += events


def read_scores(path: Path, task: str) -> NDArray[np.float32]:
    """The scores of a task's lists, (events, candidates).

    Raises:
        BenchmarkError: the file is damaged, or has no scores of the task.
    """
    scores: NDArray[np.float32] = _read(path, task, "scores")
    return scores


def read_best(path: Path, task: str) -> tuple[IntArray, NDArray[np.float32]]:
    """The best of all items for each test event of a task, and their scores: (events, best).

    Raises:
        BenchmarkError: the file is damaged, or has no items of the task.
    """
    items: IntArray = _read(path, task, "items")
    scores: NDArray[np.float32] = _read(path, task, "scores")
    return items, scores


def _read(path: Path, task: str, column: str) -> NDArray[Any]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            table = opened.read(columns=["task", "event", column])
        own = table.filter(pc.equal(table["task"], task)).sort_by("event")
        if not len(own):
            raise BenchmarkError(f"{path}: holds no {column} of the {task} task.")
        flat: NDArray[Any] = own[column].combine_chunks().flatten().to_numpy()
        return flat.reshape(len(own), -1)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise BenchmarkError(f"{path}: is not a table of scores ({error}).") from None
