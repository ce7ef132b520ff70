"""The two views of a run: what its targets are ranked among, at which cut-offs, and their names.

Cut-offs are those of the run's protocol. Records from before a protocol had any stand for the usual
ones of the view.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.jobs.record import Run, RunRecord, TaskName
from benchmark.protocol.metrics import CUTOFFS, View, every_metric, shown_metrics
from benchmark.report.reading.text import file_name

WORDS: dict[View, str] = {
    "lists": "candidate lists",
    "all-items": "all items that the protocol admits",
}
_SETTINGS: dict[View, str] = {"lists": "cutoffs", "all-items": "all_items_cutoffs"}
_HEADLINES: dict[View, str] = {"lists": "NDCG@5", "all-items": "NDCG@10"}
_NARROW = 5  # columns that a narrow place can hold
_USUAL_DEPTH = 10  # the cut-off that a narrow place shows beside the largest


def cutoffs_of(record: RunRecord, view: View) -> tuple[int, ...]:
    """The cut-offs of a view in the protocol of a run, rising."""
    stored = record.protocol.settings.get(_SETTINGS[view], ())
    usable = isinstance(stored, (list, tuple)) and all(isinstance(k, int) and k > 0 for k in stored)
    return tuple(stored) if usable and stored else CUTOFFS[view]


def columns_of(record: RunRecord, view: View) -> tuple[str, ...]:
    """The metrics that a table of the view shows."""
    return shown_metrics(cutoffs_of(record, view))


def further_metrics(record: RunRecord, view: View) -> tuple[str, ...]:
    """The metrics that runs have besides: those are in the CSV form of a table only."""
    shown = columns_of(record, view)
    return tuple(name for name in every_metric(cutoffs_of(record, view)) if name not in shown)


def has_view(runs: Sequence[Run], view: View, task: TaskName | None = None) -> bool:
    """Whether a view is shown, of a task or at all: older runs have no second one."""
    if view == "lists":
        return True
    tasks = [run.metrics_of(view) for run in runs]
    return any(of_run if task is None else of_run.get(task) for of_run in tasks)


def headline(columns: Sequence[str], view: View) -> str:
    """The one metric of a plot: NDCG, at 5 on lists and at 10 among all items if it is there."""
    if _HEADLINES[view] in columns:
        return _HEADLINES[view]
    of_ranks = [name for name in columns if name.startswith("NDCG@")]
    return of_ranks[0] if of_ranks else columns[0]


def narrow(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns where there is no room for more than five: HR and NDCG at two cut-offs.

    >>> narrow(("HR@5", "HR@10", "HR@100", "NDCG@5", "NDCG@10", "NDCG@100"))
    ('HR@10', 'HR@100', 'NDCG@10', 'NDCG@100')
    """
    if len(columns) <= _NARROW:
        return tuple(columns)
    cutoffs = sorted({int(name.partition("@")[2]) for name in columns})
    usual = min(cutoffs, key=lambda k: abs(k - _USUAL_DEPTH))
    kept = {usual, cutoffs[-1]}
    return tuple(name for name in columns if int(name.partition("@")[2]) in kept)


def with_view(stem: str, view: View) -> str:
    """The stem of a view's files: those of the lists have no word for it."""
    return stem if view == "lists" else file_name(stem, view)
