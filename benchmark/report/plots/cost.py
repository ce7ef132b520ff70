"""The figure of quality against cost: metric by training time, a panel a task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.jobs.record import Run
from benchmark.report.plots.canvas import (
    add_axes,
    headed,
    height_of_legend,
    legend_of_families,
    new_figure,
)
from benchmark.report.plots.headline import column_of, metric_of, rows_with_figures
from benchmark.report.plots.style import (
    HOVER,
    PAGE_WIDTH,
    Look,
    color_of_name,
    folded_text,
    is_column,
    label_points,
    looks_of,
    report_style,
    spots,
    title_of,
)
from benchmark.report.reading.curves import read_curves
from benchmark.report.reading.text import clean
from benchmark.report.tables.rows import Table, common_name
from benchmark.systems.catalogue import base_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_SHORTEST_TRAINING = 0.1  # seconds, where a system that learns nothing stands on the axis of time
_COST_PANEL, _COST_HEIGHT = 2.75, 3.5
_COST_IN_COLUMN = 2.5  # its height, of two below each other


def cost_figure(
    runs: Sequence[Run], recommendation: Table, search: Table, width: float = PAGE_WIDTH
) -> Figure | None:
    """NDCG against training time, a panel a task; without systems that did not run here.

    A system that ranks anew with what a variant of it has trained stands at that one's time.
    """
    seconds = _seconds_of_training(runs)
    tables = [table for table in (recommendation, search) if rows_with_figures(table)]
    if not tables or not any(max(of_system) > 0.0 for of_system in seconds.values()):
        return None
    with report_style():
        looks = looks_of({row.family for table in tables for row in rows_with_figures(table)})
        machine = _machine([run for run in runs if run.record.system.name in seconds])
        if is_column(width):
            panel, height, across = width - 0.85, _COST_IN_COLUMN, 1
        else:
            panel = _COST_PANEL if len(tables) > 1 else 2 * _COST_PANEL
            height, across = _COST_HEIGHT, len(tables)
        width = (panel + 0.75) * across + 0.1
        told = folded_text(machine, 72.0 * (width - 0.2), 7.0)
        legend = height_of_legend(looks, width) + 0.11 * told.count("\n")
        rows = -(-len(tables) // across)
        figure = new_figure(width, legend + rows * (height + 0.65) + 0.45)
        headed(figure, title_of(recommendation, search))
        for place, table in enumerate(tables):
            left = 0.65 + place % across * (panel + 0.75)
            bottom = legend + 0.65 + (rows - 1 - place // across) * (height + 0.65)
            _draw_costs(add_axes(figure, left, bottom, panel, height), table, seconds, looks)
        figure.text(
            0.1 / width,
            (legend + 0.02) / figure.get_figheight(),
            told,
            size=7,
            va="top" if "\n" in told else "baseline",
            parse_math=False,
        )
        legend_of_families(figure, looks)
    return figure


def _seconds_of_training(runs: Sequence[Run]) -> dict[str, list[float]]:
    """System → what each of its runs here took to train.

    A run that kept no log of training while a variant of its system did has taken over what that
    one trained.
    """
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    logged: dict[str, str] = {}  # what variants are called together → the first that has a log
    here = [run for run in runs if run.record.status == "finished" and run.record.outside is None]
    with_log = {run.record.system.name for run in here if read_curves(run.folder)}
    for run in here:
        name = run.record.system.name
        seconds[name].append(run.record.cost.fit_seconds)
        if name in with_log and name == base_name(name):
            logged.setdefault(common_name(name), name)
    return {
        name: of_system if name in with_log else seconds[logged.get(common_name(name), name)]
        for name, of_system in seconds.items()
    }


def _machine(runs: Sequence[Run]) -> str:
    """On what the systems were trained."""
    machines = sorted({_machine_of(run) for run in runs})
    return f"Trained on {' and on '.join(machines)}." if any(machines) else ""


def _machine_of(run: Run) -> str:
    found = run.record.environment
    processor = found.get("accelerator", "") or found.get("processor", "") or "an unnamed processor"
    threads = found.get("threads", "")
    return clean(processor) + (f", {threads} thread{'s' * (threads != '1')}" if threads else "")


def _draw_costs(
    axes: Axes,
    table: Table,
    seconds: Mapping[str, Sequence[float]],
    looks: Mapping[str, Look],
) -> None:
    rows = [row for row in rows_with_figures(table) if row.system in seconds]
    points = []
    for row in rows:
        mean = row.cells[column_of(table)].mean or 0.0
        took = float(np.mean(seconds[row.system]))
        points.append((max(took, _SHORTEST_TRAINING), mean))
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:,g}")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    axes.set(
        xlim=(min(xs) / 2.0, max(xs) * 8.0),
        ylim=(0.0, max(ys) * 1.12 or 1.0),
        xlabel="Training time in seconds",
        ylabel=f"{table.task.capitalize()} {metric_of(table)}",
    )
    names = [clean(row.display_name) for row in rows]
    shown = spots(axes, [row.system for row in rows], names, points)
    for spot in shown:
        row, (x, y) = rows[spot.place], points[spot.place]
        look = looks[row.family]
        axes.plot(
            x,
            y,
            ls="none",
            marker=look.marker,
            color=look.color,
            mec="white",
            mew=0.6,
            zorder=4,
            gid=f"{HOVER}{spot.names}: {x:,.1f} s, {metric_of(table)} {y:.4f}",
        )
    colors = [color_of_name(rows[spot.place].family) for spot in shown]
    places = [points[spot.place] for spot in shown]
    label_points(axes, [spot.label for spot in shown], colors, places, ())
