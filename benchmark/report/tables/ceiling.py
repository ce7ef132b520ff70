"""How much of what can be known a system finds: shares of a ceiling.

In an invented log the rule is known by which events follow each other, and chance is all that is
left. A ranker that knows the rule, and reads the same histories and ranks the same lists as all
others, reaches what nobody can be expected to surpass: the catalogue marks such rows
(``SystemEntry.is_ceiling``). Where runs hold one, a table sets everybody's figures against its.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from benchmark.jobs.record import Run, TaskName
from benchmark.report.reading.collect import REFERENCE_FAMILY, RunGroup
from benchmark.report.reading.text import clean, file_name, shortened
from benchmark.report.tables.grid import DASH, Entry, Grid, GridGroup, number
from benchmark.report.tables.headings import name_entries
from benchmark.report.tables.rows import DECIMALS, place_in_catalogue, place_of_family
from benchmark.systems.catalogue import base_name, entries, family_title

METRICS = ("HR@1", "NDCG@10")

_TASKS: tuple[TaskName, ...] = ("recommendation", "search")
_LONGEST_NAME = 60


def is_ceiling(system: str) -> bool:
    """Whether the row of the catalogue knows what a log was made by."""
    row = entries().get(base_name(system))
    return row is not None and row.is_ceiling


def ceiling_grid(group: RunGroup) -> Grid | None:
    """The figures of each system in lists, and their shares of the ceiling; None without one."""
    finished: defaultdict[str, list[Run]] = defaultdict(list)
    for run in group.runs:
        if run.record.status == "finished":
            finished[run.record.system.name].append(run)
    above = next((runs for name, runs in finished.items() if is_ceiling(name)), None)
    if above is None:
        return None
    ceiling = {(task, metric): _mean(above, task, metric) for task in _TASKS for metric in METRICS}
    names = name_entries(
        (name, shortened(runs[-1].record.system.display_name, _LONGEST_NAME), "")
        for name, runs in finished.items()
    )
    by_family: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    for name in sorted(finished, key=place_in_catalogue):
        cells = [
            entry
            for key, most in ceiling.items()
            for entry in _cells(_mean(finished[name], *key), most)
        ]
        by_family[finished[name][0].record.system.family].append((names[name], *cells))
    key = group.key
    title = above[0].record.system.display_name
    return Grid(
        stem=file_name(key.stem(group.variant), "ceiling"),
        caption=clean(
            f"Shares of the ceiling on {key.dataset}, protocol {key.protocol}, preset "
            f"{key.preset}: figures among candidate lists, means over seeds, and in per cent of "
            f"those of {title!r}, which knows the rule that the log was made by, reads the same "
            "histories and ranks the same lists."
        ),
        head=("System", *(name for _ in _TASKS for metric in METRICS for name in (metric, "%"))),
        groups=tuple(
            GridGroup(family_title(family), tuple(by_family[family]), family == REFERENCE_FAMILY)
            for family in sorted(by_family, key=place_of_family)
        ),
        spans=tuple((task.capitalize(), 2 * len(METRICS)) for task in _TASKS),
    )


def _mean(runs: Sequence[Run], task: TaskName, metric: str) -> float | None:
    figures = [run.metrics.get(task, {}).get(metric) for run in runs]
    known = [figure for figure in figures if figure is not None]
    return statistics.fmean(known) if known else None


def _cells(figure: float | None, most: float | None) -> tuple[Entry, Entry]:
    if figure is None:
        return Entry(DASH), Entry(DASH)
    share = None if not most else 100.0 * figure / most
    return number(figure, f"{figure:.{DECIMALS}f}"), number(share, f"{share or 0.0:.0f}")
