"""What sampled metrics are expected to be over the draw of their lists, beside what was drawn.

Where the negatives of recommendation lists are drawn uniformly, ranks among all items tell exactly
what the lists' metrics are on average over all draws, and how far they deviate from one draw to
another (:mod:`benchmark.protocol.draw`). So the one draw that was made can be checked, and there is
a figure without its noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from benchmark.jobs.record import Run, RunRecord, TaskName
from benchmark.protocol.draw import metrics_over_draws
from benchmark.report.reading.collect import RunGroup
from benchmark.report.reading.events import TaskEvents, tie_rule
from benchmark.report.reading.text import clean
from benchmark.report.tables.grid import DASH, Entry, Footnote, Grid, GridGroup, number
from benchmark.report.tables.rows import DECIMALS, Row, Table

TASK: TaskName = "recommendation"

Events = Mapping[str, Sequence[TaskEvents]]  # system → one entry a seed
_Draws = Mapping[str, tuple[float, float]]  # metric → expectation and deviation


def is_drawn_uniformly(record: RunRecord) -> bool:
    """Whether the lists of recommendation hold uniform negatives of the suite's own sampler."""
    settings = record.protocol.settings
    uniform = settings.get("recommendation_negatives") == "uniform"
    is_own = TASK not in record.protocol.outside_lists
    return uniform and is_own and settings.get("sampler") == "vectorised"


def expected_grid(
    group: RunGroup, lists: Table, events_of_lists: Events, events_of_all: Events
) -> Grid | None:
    """Drawn figure, expectation, deviation over draws, and the difference in such deviations.

    Args:
        group: the runs.
        lists: the main table of recommendation lists.
        events_of_lists: of the same runs.
        events_of_all: their ranks among all items.

    Returns:
        None unless negatives are drawn uniformly and some run has whole ranks among all items.
    """
    if lists.task != TASK or not all(is_drawn_uniformly(run.record) for run in group.runs):
        return None
    runs = {
        name: [run for run in group.runs if run.record.system.name == name]
        for name in (row.system for row in lists.rows)
    }
    reasons: dict[str, str] = {}
    draws: dict[str, _Draws] = {}
    for row in lists.rows:
        if not row.seeds:
            continue
        name = row.system
        reason = _why_not(runs[name], events_of_lists.get(name, ()), events_of_all.get(name, ()))
        if reason:
            reasons[name] = reason
        else:
            draws[name] = _over_draws(runs[name][0], events_of_all[name], lists.columns)
    if not draws:
        return None
    marks = {text: str(place) for place, text in enumerate(dict.fromkeys(reasons.values()), 1)}
    groups = tuple(
        GridGroup(
            metric,
            tuple(
                _line(
                    row,
                    row.cells[column].mean,
                    draws.get(row.system, {}).get(metric),
                    marks.get(reasons.get(row.system, ""), ""),
                )
                for row in lists.rows
                if row.seeds
            ),
        )
        for column, metric in enumerate(lists.columns)
    )
    return Grid(
        stem=f"{lists.stem}-expected",
        caption=_caption(lists),
        head=("System", "Drawn", "Expected", "Deviation", "Difference"),
        groups=groups,
        footnotes=tuple(Footnote(mark, text) for text, mark in marks.items()),
    )


def _why_not(
    runs: Sequence[Run], lists: Sequence[TaskEvents], all_items: Sequence[TaskEvents]
) -> str:
    """Why a system's expectation cannot be computed, or nothing."""
    how = next((h for run in runs if (h := run.record.system.ranking_of_all_items)), "")
    if how:
        return f"No expectation: {how} ranks other items first among all than in a list."
    if any(events.histogram[-1] for events in (*lists, *all_items)):
        return "No expectation: a beam left out targets of the lists or among all items."
    if not all_items or any(e.whole is None or e.whole.others is None for e in all_items):
        return "No expectation: its runs keep no ranks among all items."
    return ""


def _over_draws(run: Run, events: Sequence[TaskEvents], metrics: Sequence[str]) -> _Draws:
    """The expectation of the mean over the seeds, and how far it deviates at most.

    All seeds rank the same lists, so the deviations of their means go together in part; that of
    their mean is at most the mean of them.
    """
    negatives = int(run.record.protocol.settings.get("negatives", 0))
    seeds = [
        metrics_over_draws(
            e.whole.ranks.above,
            e.whole.ranks.tied,
            e.whole.others,
            negatives,
            tie_rule(run),
            metrics,
        )
        for e in events
        if e.whole is not None and e.whole.others is not None
    ]
    return {
        metric: (
            statistics.fmean(seed[metric][0] for seed in seeds),
            statistics.fmean(seed[metric][1] for seed in seeds),
        )
        for metric in metrics
    }


def _line(
    row: Row, drawn: float | None, over_draws: tuple[float, float] | None, mark: str
) -> tuple[Entry, ...]:
    name = Entry(row.display_name, raised=mark)
    figure = number(drawn, "" if drawn is None else f"{drawn:.{DECIMALS}f}")
    if over_draws is None or drawn is None:
        return (name, figure, *[Entry(DASH)] * 3)
    expected, deviation = over_draws
    shown = (number(value, f"{value:.{DECIMALS}f}") for value in over_draws)
    # Lists that hold every item are no draw: without deviation there is nothing to divide by.
    off = (drawn - expected) / deviation if deviation > 1e-6 else math.nan
    difference = Entry(DASH) if math.isnan(off) else number(off, f"{off:+.2f}")
    return (name, figure, *shown, difference)


def _caption(lists: Table) -> str:
    seeds = max((len(row.seeds) for row in lists.rows), default=1)
    several = (
        " Deviations are means over the seeds, which that of a mean over seeds is at most."
        if seeds > 1
        else ""
    )
    summary = lists.caption.partition(". ")[0]
    return clean(
        f"Sampled metrics over the draw of their lists. {summary}. Drawn: on the lists that were "
        "ranked. Expected: the mean over all uniform draws of the negatives, exactly, from the "
        "ranks among all items. Deviation: the standard deviation from draw to draw. Difference: "
        "drawn minus expected, in such deviations: about one in twenty is beyond two by chance, "
        f"and all systems rank the same lists, so that their differences go together.{several}"
    )
