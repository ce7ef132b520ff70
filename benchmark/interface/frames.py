"""Runs as pandas frames: a row a metric, with its interval, and a row a test event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.jobs.record import RANKS_FILE, Run, find_run_folders, read_run
from benchmark.protocol.metrics import VIEWS, View, gains
from benchmark.report.reading.events import read_events, tie_rule
from benchmark.report.reading.ranks import read_ranks
from benchmark.report.statistics.bootstrap import CONFIDENCE, bootstrap_means

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "system",
    "label",
    "family",
    "dataset",
    "protocol",
    "preset",
    "seed",
    "task",
    "view",
    "metric",
    "value",
    "low",
    "high",
    "events",
    "status",
    "folder",
)


def results(folder: str | Path = Path("results/runs")) -> pd.DataFrame:
    """Every run below ``folder``, a row a task, view and metric; columns :data:`COLUMNS`.

    ``low`` and ``high`` bound the mean over the test events at 95 %, users being resampled with all
    their events: the intervals of the tables, for this run alone. They are NaN for metrics that
    tables do not show, and in runs that keep no ranks. A failed run has one row without a metric.

    Raises:
        BenchmarkError: there is no such folder, or a run in it is damaged.
    """
    root = Path(folder)
    if not root.is_dir():
        raise BenchmarkError(f"{root}: there is no such folder of runs.")
    return frame_of(read_run(path) for path in find_run_folders(root))


def frame_of(runs: Iterable[Run]) -> pd.DataFrame:
    """The rows of some runs; see :func:`results`."""
    import pandas as pd

    return pd.DataFrame([row for run in runs for row in _rows(run)], columns=list(COLUMNS))


def events(folder: str | Path) -> pd.DataFrame:
    """The test events of a run: a row an event, task and view.

    Columns: task, view, event, user (the data set's number), above and tied (how many items score
    higher, and alike), returned, others (how many items the target is ranked against), and each
    metric that the run recorded.

    Raises:
        BenchmarkError: the folder is no finished run, or keeps no ranks.
    """
    import pandas as pd

    run = read_run(Path(folder))
    if not (run.folder / RANKS_FILE).is_file():
        raise BenchmarkError(f"{run.folder}: keeps no ranks of single events.")
    parts = []
    for view, tasks in read_ranks(run.folder / RANKS_FILE).items():
        for task, found in tasks.items():
            ranks = found.ranks
            columns: dict[str, Any] = {
                "task": task,
                "view": view,
                "event": np.arange(len(ranks)),
                "user": found.users,
                "above": ranks.above,
                "tied": ranks.tied,
                "returned": ranks.returned,
                "others": found.others,
            }
            for metric in run.metrics_of(view).get(task, {}):
                columns[metric] = gains(ranks.placed(view), metric, tie_rule(run))
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def intervals(
    values: NDArray[np.float64], users: NDArray[np.integer[Any]], task: str, view: View
) -> NDArray[np.float64]:
    """Bounds (metrics, 2) of the means of ``values`` (events, metrics): those that tables give."""
    purpose = task if view == "lists" else f"{task} {view}"
    tail = (1.0 - CONFIDENCE) / 2.0
    means = bootstrap_means({"": values[None]}, users.astype(np.int64), purpose=purpose)[""]
    bounds: NDArray[np.float64] = np.quantile(means, (tail, 1.0 - tail), axis=0).T
    return bounds


def metric_rows(
    common: dict[str, Any],
    metrics: dict[str, float],
    bounds: dict[str, Sequence[float]],
    number_of_events: int,
) -> list[dict[str, Any]]:
    """A row a metric: what rows have ``common``, the value and its bounds where there are any."""
    nothing = (np.nan, np.nan)
    return [
        common
        | {"metric": metric, "value": value, "events": number_of_events}
        | dict(zip(("low", "high"), bounds.get(metric, nothing), strict=True))
        for metric, value in metrics.items()
    ]


def _rows(run: Run) -> list[dict[str, Any]]:
    record = run.record
    common = {
        "system": record.system.name,
        "label": record.system.display_name,
        "family": record.system.family,
        "dataset": record.dataset.name,
        "protocol": record.protocol.name,
        "preset": record.preset,
        "seed": record.seed,
        "status": record.status,
        "folder": str(run.folder),
    }
    if record.status != "finished":
        return [common]
    kept = read_events(run)
    rows = []
    for view in VIEWS:
        for task, metrics in run.metrics_of(view).items():
            bounds: dict[str, Sequence[float]] = {}
            found = kept.get(view, {}).get(task)
            if found is not None and found.users is not None:
                own = intervals(found.gains, found.users, task, view)
                bounds = dict(zip(found.metrics, own.tolist(), strict=True))
            number = record.protocol.test_events[task]
            rows += metric_rows(common | {"task": task, "view": view}, metrics, bounds, number)
    return rows
