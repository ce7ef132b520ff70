"""The ranks of a run: its metrics, and the files that hold a row an event and a judged item."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray
from benchmark.files import atomic_path
from benchmark.jobs.record import Metrics
from benchmark.protocol import graded
from benchmark.protocol.metrics import Ranks, View, every_metric, mean_metrics
from benchmark.protocol.settings import ProtocolSettings


def metrics_of_views(
    ranks: Mapping[View, Mapping[str, Ranks]], settings: ProtocolSettings
) -> dict[View, Metrics]:
    """Every metric at the cut-offs of each view: view → task → metric → mean over the events.

    What a beam left out of the list scores 0; of all items it is ranked last.
    """
    found: dict[View, Metrics] = {}
    for view, tasks in ranks.items():
        names = every_metric(settings.cutoffs_of(view))
        found[view] = {
            name: mean_metrics(of_task.placed(view), settings.ties, names)
            for name, of_task in tasks.items()
        }
    return found


def write_ranks(
    path: Path,
    ranks: Mapping[View, Mapping[str, Ranks]],
    others: Mapping[View, Mapping[str, NDArray[np.integer]]],
    users: Mapping[str, IntArray],
) -> None:
    """One row an event, task and view: view, task, event, user, above, tied, returned, others.

    Args:
        path: the file.
        ranks: view → task → those of its test events.
        others: view → task → (events,) among how many other items each target was ranked.
        users: task → (events,) the data set's number of each event's user; who tests or resamples
            must know which events are of the same one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [(view, task) for view, tasks in ranks.items() for task in tasks]
    found = [ranks[view][task] for view, task in parts]
    events = [len(one) for one in found]
    table = pa.table(
        {
            "view": pa.array(np.repeat([view for view, _ in parts], events), pa.string()),
            "task": pa.array(np.repeat([task for _, task in parts], events), pa.string()),
            "event": np.concatenate([np.arange(number) for number in events]),
            "user": np.concatenate([users[task] for _, task in parts]).astype(np.int32),
            "above": np.concatenate([one.above for one in found]),
            "tied": np.concatenate([one.tied for one in found]),
            "returned": np.concatenate([one.returned for one in found]),
            "others": np.concatenate([others[view][task] for view, task in parts]).astype(np.int32),
        }
    )
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def write_judged(path: Path, ranks: Mapping[View, Mapping[str, Ranks]]) -> None:
    """One row a judged item with a gain: view, task, event, gain, above, tied, returned.

    No file where relevance is not graded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = [
        (view, task, one.judged)
        for view, tasks in ranks.items()
        for task, one in tasks.items()
        if one.judged is not None
    ]
    if not found:
        return
    rows = [len(judged.event) for _, _, judged in found]
    names = {
        "view": pa.array(np.repeat([view for view, _, _ in found], rows), pa.string()),
        "task": pa.array(np.repeat([task for _, task, _ in found], rows), pa.string()),
    }
    columns = {
        name: np.concatenate([getattr(judged, name) for _, _, judged in found])
        for name in graded.COLUMNS
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({**names, **columns}), temporary, write_page_checksum=True)
