"""Everything that is said of one group of comparable runs: tables and figures of both views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.jobs.record import TaskName
from benchmark.protocol.metrics import VIEWS, View
from benchmark.report.plots.agreement import views_figure
from benchmark.report.plots.bars import bars_figure
from benchmark.report.plots.codebooks import codebooks_figure
from benchmark.report.plots.cost import cost_figure
from benchmark.report.plots.curves import TASKS, curves_figure
from benchmark.report.plots.ranks import ranks_figure
from benchmark.report.plots.style import PAGE_WIDTH, title_of
from benchmark.report.plots.tradeoff import tradeoff_figure
from benchmark.report.reading.collect import RunGroup
from benchmark.report.reading.collected_events import EventsOfRuns, collect_events
from benchmark.report.reading.views import WORDS, has_view, headline, with_view
from benchmark.report.statistics.agreement import orders_of_views
from benchmark.report.statistics.inference import statistics_of, systems_of
from benchmark.report.tables.ablations import ablation_differences
from benchmark.report.tables.agreement import agreement_grid, changed_places_grid
from benchmark.report.tables.ceiling import ceiling_grid
from benchmark.report.tables.differences import differences_grid
from benchmark.report.tables.effort_table import effort_grid
from benchmark.report.tables.expected import TASK, expected_grid
from benchmark.report.tables.grid import Grid
from benchmark.report.tables.identifiers import identifier_grids
from benchmark.report.tables.metrics import ablated_systems, ablation_table, main_table
from benchmark.report.tables.overviews import efficiency_grid
from benchmark.report.tables.printed import as_grid
from benchmark.report.tables.rows import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure, the stem of its files, and what it shows in a sentence."""

    stem: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class ViewReport:
    """What is said of one view.

    ``main`` are the main tables, also that of a task without systems; ``tables`` those of metrics
    that have rows, ``grids`` all that are printed.
    """

    main: Mapping[TaskName, Table]
    tables: tuple[Table, ...]
    grids: tuple[Grid, ...]
    drawings: tuple[Drawing, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class GroupReport:
    """Everything that is said of one group of comparable runs.

    ``views`` has that of all items only where runs have it. ``own_grids`` and ``own_drawings`` are
    about neither view alone. ``events`` are those that all of it was made of.
    """

    group: RunGroup
    events: EventsOfRuns
    views: Mapping[View, ViewReport]
    own_grids: tuple[Grid, ...]
    own_drawings: tuple[Drawing, ...]
    sentences: tuple[str, ...]

    @property
    def stem(self) -> str:
        """How the group's files begin."""
        return self.group.key.stem(self.group.variant)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of metrics, those of lists first."""
        return tuple(table for view in self.views.values() for table in view.tables)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """All that is printed, what is about neither view alone last."""
        of_views = (grid for view in self.views.values() for grid in view.grids)
        return (*of_views, *self.own_grids)

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All figures, in the same order."""
        of_views = (drawing for view in self.views.values() for drawing in view.drawings)
        return (*of_views, *self.own_drawings)


def group_report(group: RunGroup, width: float = PAGE_WIDTH) -> GroupReport:
    """Make every table and figure of a group; figures have so many inches."""
    events = collect_events(group.runs)
    views = {
        view: _view_report(group, view, events, width)
        for view in VIEWS
        if has_view(group.runs, view)
    }
    lists = views["lists"].main
    title = title_of(lists["recommendation"], lists["search"])
    # A figure a task: both together are higher than a page.
    figures = {
        f"{task}-curves": (
            curves_figure(group.runs, title, [task], width),
            f"Validation NDCG@5 of {task} in training, a line a seed and stage.",
        )
        for task in TASKS
    }
    figures["codebooks"] = (
        codebooks_figure(group.runs, title, width),
        "The share of each level's codes that some item has; systems with the same identifiers "
        "share a row.",
    )
    grids = [_expected(group, lists[TASK], events)]
    for task in TASKS:
        of_views = {view: events.of(view, task) for view in VIEWS}
        orders = orders_of_views(task, of_views, *systems_of(group.runs))
        grids += [agreement_grid(lists[task], orders), changed_places_grid(lists[task], orders)]
        figures[f"{task}-views"] = (
            views_figure(lists[task], orders, width),
            f"The systems' places in {task} among candidate lists and among all items.",
        )
    grids += [ceiling_grid(group), effort_grid(group), efficiency_grid(group)]
    grids += identifier_grids(group)
    told = [sentence for view in views.values() for sentence in view.sentences]
    return GroupReport(
        group=group,
        events=events,
        views=views,
        own_grids=tuple(grid for grid in grids if grid is not None),
        own_drawings=_drawings(group, "lists", figures),
        sentences=tuple(dict.fromkeys((*events.sentences, *told))),
    )


def _expected(group: RunGroup, lists: Table, events: EventsOfRuns) -> Grid | None:
    return expected_grid(group, lists, events.of("lists", TASK), events.of("all-items", TASK))


def _view_report(group: RunGroup, view: View, events: EventsOfRuns, width: float) -> ViewReport:
    of_tasks = statistics_of(group.runs, events, view)
    main = {
        task: main_table(
            task, group.runs, group.variant, of_tasks[task], events.of(view, task), view
        )
        for task in TASKS
    }
    ablations = [
        (system, ablation_table(task, system, group.runs, group.variant, view))
        for system in ablated_systems(group.runs)
        for task in TASKS
    ]
    all_tables = (*main.values(), *(table for _, table in ablations))
    tables = tuple(table for table in all_tables if table.groups)
    grids = [as_grid(table) for table in tables]
    grids += [as_grid(table, "interval") for table in tables if table.has_intervals]
    pairs = [differences_grid(table, of_tasks[task]) for task, table in main.items()]
    pairs += [
        ablation_differences(table, system, events.of(view, table.task))
        for system, table in ablations
    ]
    grids += [grid for grid in pairs if grid is not None]
    both = (main["recommendation"], main["search"])
    metric = headline(both[0].columns, view)
    among = WORDS[view]
    of_view = {task: events.of(view, task) for task in TASKS}
    figures = {
        "tradeoff": (
            tradeoff_figure(*both, width),
            f"Search against recommendation quality among {among} ({metric}), with the Pareto "
            "front of trained systems.",
        ),
        "bars": (
            bars_figure(*both, width),
            f"{metric} of every system among {among}, with its 95 % interval.",
        ),
        **{
            f"{table.task}-ranks": (
                ranks_figure(of_view, [table], title_of(*both), width),
                f"HR@k of {table.task} for every k: where targets stand among {among}.",
            )
            for table in both
        },
        "cost": (
            cost_figure(group.runs, *both, width),
            f"{metric} among {among} against training time.",
        ),
    }
    sentences = [sentence for of_task in of_tasks.values() for sentence in of_task.sentences]
    if figures["tradeoff"][0] is None and view == "lists":
        sentences.append("no system finished both tasks, so no trade-off plot.")
    return ViewReport(main, tables, tuple(grids), _drawings(group, view, figures), tuple(sentences))


def _drawings(
    group: RunGroup, view: View, figures: Mapping[str, tuple[Figure | None, str]]
) -> tuple[Drawing, ...]:
    stem = group.key.stem(group.variant)
    return tuple(
        Drawing(with_view(f"{stem}-{name}", view), caption, figure)
        for name, (figure, caption) in figures.items()
        if figure is not None
    )
