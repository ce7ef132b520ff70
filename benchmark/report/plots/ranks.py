"""The figure of ranks: where targets stand, a panel a family."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.jobs.record import TaskName
from benchmark.report.plots.panels import MOST_RANKS, Line, Panel, panels_figure
from benchmark.report.plots.style import PAGE_WIDTH, report_style
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.events import TaskEvents
from benchmark.report.reading.text import clean
from benchmark.report.tables.rows import Row, Table
from benchmark.systems.catalogue import family_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ranks_figure(
    events: Mapping[TaskName, Mapping[str, Sequence[TaskEvents]]],
    tables: Sequence[Table],
    title: str,
    width: float = PAGE_WIDTH,
) -> Figure | None:
    """The share of targets at rank k or above, for every k: where targets stand.

    Of lists to the hundredth rank, of all items to the lowest one. What was not returned is at no
    rank.
    """
    deepest = MOST_RANKS
    if any(table.view == "all-items" for table in tables):
        seen = (len(e.histogram) - 1 for of in events.values() for s in of.values() for e in s)
        deepest = max([MOST_RANKS, *seen])
    shown = _shown_ranks(deepest)
    panels: defaultdict[str, list[Panel]] = defaultdict(list)
    for table in tables:
        of_task = events.get(table.task, {})
        lines: defaultdict[str, list[Line]] = defaultdict(list)
        for row in table.rows:
            if row.system in of_task:
                line = _line_of_ranks(row, of_task[row.system], shown)
                lines[row.family] = _with_line(lines[row.family], line)
        for family, own in lines.items():
            behind = () if family == REFERENCE_FAMILY else lines.get(REFERENCE_FAMILY, ())
            panels[table.task].append(Panel(clean(family_title(family)), own, behind))
    if not panels:
        return None
    with report_style():
        return panels_figure(panels, title, ("k", "HR@k"), log_x=True, width=width)


def _with_line(lines: Sequence[Line], line: Line) -> list[Line]:
    """``lines`` and ``line``, which is only named beside an equal one."""
    for place, other in enumerate(lines):
        if other.ys == line.ys:
            both = replace(other, name=f"{other.name}, {line.name}")
            return [*lines[:place], both, *lines[place + 1 :]]
    return [*lines, line]


def _shown_ranks(deepest: int) -> NDArray[np.int64]:
    """Every rank to the hundredth, then as many as a line on a logarithmic axis needs."""
    further = np.geomspace(MOST_RANKS, deepest, 100).round().astype(np.int64)
    return np.unique(np.concatenate([np.arange(1, MOST_RANKS + 1), further]))


def _line_of_ranks(row: Row, seeds: Sequence[TaskEvents], shown: NDArray[np.int64]) -> Line:
    shares = np.zeros(shown[-1])
    for of_seed in seeds:
        seen = of_seed.histogram[:-1][: len(shares)]
        counts = np.zeros(len(shares))
        counts[: len(seen)] = seen
        shares += np.cumsum(counts) / max(int(of_seed.histogram.sum()), 1)
    shares /= len(seeds)
    name = clean(row.display_name)
    median = int(np.searchsorted(shares, 0.5)) + 1
    said = f"{name}: half of the targets at rank {median} or above"
    if shares[-1] < 0.5:
        said = f"{name}: fewer than half of the targets were returned"
    return Line(name, shown.tolist(), shares[shown - 1].tolist(), said)
