"""The scores of every candidate of a run's test lists: ``scores.parquet``.

One row an event and task, in the order of the test events; ``scores`` is a list of float32 in the
order of the candidate list. Ranks do not need them. They make a run that an outside evaluator can
read, since which candidates stand above a target follows from scores only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path

_SCHEMA = pa.schema(
    {"task": pa.string(), "event": pa.int64(), "scores": pa.large_list(pa.float32())}
)


def write_scores(path: Path, parts: Mapping[str, Sequence[Path]]) -> None:
    """Write the scores of each task's parts, one part in memory at a time.

    Args:
        path: the file.
        parts: task → files that hold ``scores`` (events, candidates), in the order of the events.
    """
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(
            temporary, _SCHEMA, compression="zstd", write_page_checksum=True
        ) as written,
    ):
        for task, files in parts.items():
            first = 0
            for file in files:
                with np.load(file, allow_pickle=False) as stored:
                    scores: NDArray[np.float32] = stored["scores"]
                events, candidates = scores.shape
                ends = np.arange(events + 1, dtype=np.int64) * candidates
                columns = [
                    pa.array([task] * events, pa.string()),
                    pa.array(np.arange(first, first + events)),
                    pa.LargeListArray.from_arrays(pa.array(ends), pa.array(scores.reshape(-1))),
                ]
                written.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA))
                first += events


def read_scores(path: Path, task: str) -> NDArray[np.float32]:
    """The scores of a task, (events, candidates).

    Raises:
        BenchmarkError: the file is damaged, or has no scores of the task.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            table = opened.read()
        own = table.filter(pc.equal(table["task"], task)).sort_by("event")
        lists = own["scores"].combine_chunks()
        flat: NDArray[np.float32] = lists.flatten().to_numpy()
        if not len(own):
            raise BenchmarkError(f"{path}: holds no scores of the {task} task.")
        return flat.reshape(len(own), -1)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise BenchmarkError(f"{path}: is not a table of scores ({error}).") from None
