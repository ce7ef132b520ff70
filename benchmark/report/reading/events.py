"""The gains of single test events in both views, from a run folder or a reference run.

Statistics need each event's gain and not only their mean. A run folder keeps all ranks
(:mod:`benchmark.report.reading.ranks`), a reference run their compact form
(:mod:`benchmark.report.reading.top`). Both say which user each event is of, since users and not
events are what statistics resample; files from before that do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.jobs.record import JUDGED_FILE, RANKS_FILE, Run
from benchmark.protocol.metrics import METRIC_NAMES, Ranks, TieRule, View, gains
from benchmark.report.reading.rank_tables import MOST_CANDIDATES
from benchmark.report.reading.ranks import (
    EventRanks,
    Numbers,
    Ties,
    read_judged,
    read_ranks,
    with_judged,
)
from benchmark.report.reading.top import TOP_FILE, KeptRanks, kept_whole, read_top
from benchmark.report.reading.views import columns_of

_TOLERANCE = 1e-6  # between the mean of the events and the metric that the run recorded


@dataclass(frozen=True)
class TaskEvents:
    """The test events of one task of one run in one view.

    ``gains`` has shape (events, metrics), the columns being ``metrics``. The others are those of
    :class:`benchmark.report.reading.top.KeptRanks`.
    """

    gains: NDArray[np.float64]
    histogram: Numbers
    users: Numbers | None = None
    ties: Ties | None = None
    metrics: tuple[str, ...] = METRIC_NAMES
    whole: EventRanks | None = None


def read_events(run: Run) -> dict[View, dict[str, TaskEvents]]:
    """View → finished task → its events; empty if the folder keeps no ranks.

    Raises:
        BenchmarkError: the ranks are unreadable, or their mean is not the metric on record.
    """
    found = {
        view: {task: _events(run, view, task, kept) for task, kept in tasks.items()}
        for view, tasks in _kept_ranks(run).items()
    }
    return {view: tasks for view, tasks in found.items() if tasks}


def _kept_ranks(run: Run) -> dict[View, dict[str, KeptRanks]]:
    if (run.folder / RANKS_FILE).is_file():
        return {
            view: {task: kept_whole(ranks, view) for task, ranks in tasks.items()}
            for view, tasks in read_ranks(run.folder / RANKS_FILE, _most(run)).items()
        }
    if not (run.folder / TOP_FILE).is_file():
        return {}
    judged = read_judged(run.folder / JUDGED_FILE, _most(run))
    found = read_top(run.folder / TOP_FILE)
    for (view, task), ranks in judged.items():
        if task in found.get(view, {}):
            kept = found[view][task]
            placed = with_judged(EventRanks(kept.placed), ranks, run.folder / TOP_FILE).ranks
            found[view][task] = replace(kept, placed=placed.placed(view))
    return found


def _events(run: Run, view: View, task: str, kept: KeptRanks) -> TaskEvents:
    metrics = columns_of(run.record, view)
    values = gains_of(kept.placed, tie_rule(run), metrics)
    means = values.mean(axis=0) if len(values) else np.zeros(len(metrics))
    of_task = run.metrics_of(view).get(task, {})
    recorded = np.array([of_task.get(name, np.nan) for name in metrics])
    if not np.allclose(means, recorded, rtol=0.0, atol=_TOLERANCE):
        raise BenchmarkError(
            f"{run.folder}: its ranks for {task} do not give the metrics that it records."
        )
    return TaskEvents(values, kept.histogram, kept.users, kept.ties, metrics, kept.whole)


def _most(run: Run) -> int:
    """No list of the run holds more candidates."""
    lengths = run.record.protocol.list_lengths.values()
    return min(max([run.record.dataset.items, *lengths]), MOST_CANDIDATES)


def tie_rule(run: Run) -> TieRule:
    """The rule for ties that the run was evaluated with."""
    rule = run.record.protocol.settings.get("ties", "expected")
    if rule == "pessimistic":
        return "pessimistic"
    return "optimistic" if rule == "optimistic" else "expected"


def gains_of(
    ranks: Ranks, ties: TieRule, metrics: Sequence[str] = METRIC_NAMES
) -> NDArray[np.float64]:
    """The metrics of each event, (events, metrics)."""
    return np.stack([gains(ranks, name, ties) for name in metrics], axis=1)
