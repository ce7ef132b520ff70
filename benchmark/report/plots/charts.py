"""Figures beside the trade-off: metrics by family, training curves, cost, ranks.

All are drawn as the trade-off is (see :mod:`benchmark.report.plots.style`): one style, equal bytes
from equal runs, None where there is nothing to draw. Lines of many systems are split into a panel a
family, with the rankers that learn nothing in grey behind them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.jobs.record import Run, TaskName
from benchmark.report.plots.canvas import (
    add_axes,
    headed,
    height_of_legend,
    legend_of_families,
    new_figure,
)
from benchmark.report.plots.panels import MOST_RANKS, Line, Panel, panels_figure
from benchmark.report.plots.style import (
    HOVER,
    PAGE_WIDTH,
    Look,
    box_in_points,
    folded_text,
    is_column,
    label_points,
    looks_of,
    report_style,
    spots,
    title_of,
    width_of_text,
)
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.curves import CURVE_METRIC, read_curves
from benchmark.report.reading.events import TaskEvents
from benchmark.report.reading.text import clean
from benchmark.report.reading.views import headline
from benchmark.report.tables.rows import (
    Row,
    Table,
    common_name,
    place_in_catalogue,
    place_of_family,
    without_repetitions,
)
from benchmark.systems.catalogue import base_name, family_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY_NAME = "#5a5a5a"
_SHORTEST_TRAINING = 0.1  # seconds, where a system that learns nothing stands on the axis of time
# Inches.
_BAR, _BAR_IN_COLUMN, _BELOW_BARS = 0.17, 0.14, 0.55
_BAR_PANEL = 1.1  # at least
_AXIS_LABEL = 8.5  # points
_COST_PANEL, _COST_HEIGHT = 2.75, 3.5
_COST_IN_COLUMN = 2.5  # its height, of two below each other


TASKS: tuple[TaskName, ...] = ("recommendation", "search")
WHISKERS = "Whiskers: 95 % interval of the mean (bootstrap over the users)."


def _metric(table: Table) -> str:
    return headline(table.columns, table.view)


def _column(table: Table) -> int:
    return table.columns.index(_metric(table))


def _with_figures(table: Table) -> list[Row]:
    return [row for row in table.rows if row.cells[_column(table)].mean is not None]


# Metrics by family


def bars_figure(recommendation: Table, search: Table, width: float = PAGE_WIDTH) -> Figure | None:
    """NDCG of every system as bars in the tables' order, with their intervals."""
    tables = [table for table in (recommendation, search) if _with_figures(table)]
    if not tables:
        return None
    lines = [_lines_of_bars(table) for table in tables]
    with report_style():
        looks = looks_of({row.family for table in tables for row in _with_figures(table)})
        bar = _BAR_IN_COLUMN if is_column(width) else _BAR
        heights = [bar * len(of_table) for of_table in lines]
        names = [_width_of_names(of_table) for of_table in lines]
        if is_column(width):  # below each other, with the axes' left ends in line
            names = [max(names)]
            height = sum(heights) + _BELOW_BARS * (len(tables) - 1)
        else:
            height = max(heights)
        panel = max((width - sum(names)) / len(names) - 0.15, _BAR_PANEL)
        width = sum(names) + (panel + 0.15) * len(names)
        height += 1.15
        figure = new_figure(width, height)
        headed(figure, title_of(recommendation, search))
        left, above = names[0], height - 0.45
        for place, (table, of_table, own) in enumerate(zip(tables, lines, heights, strict=True)):
            axes = add_axes(figure, left, above - own, panel, own)
            _draw_bars(axes, table, of_table, looks)
            if len(names) == 1:
                above -= own + _BELOW_BARS
            elif place + 1 < len(names):
                left += panel + 0.15 + names[place + 1]
        if any(row.cells[_column(table)].interval for table in tables for row in table.rows):
            figure.text(0.1 / width, 0.06 / height, WHISKERS, size=6.5, va="bottom")
    return figure


def _width_of_names(lines: Sequence[Row | str]) -> float:
    """In inches, with the distance from the axis."""
    named = ((line, 6.5) if isinstance(line, str) else (line.display_name, 7.0) for line in lines)
    return max(width_of_text(clean(name), size) for name, size in named) / 72.0 + 0.2


def _lines_of_bars(table: Table) -> list[Row | str]:
    """The lines from above: each family's title, then its systems."""
    lines: list[Row | str] = []
    shown = {row.system for row in _with_figures(table)}
    for group in table.groups:
        rows = without_repetitions(
            [row for row in group.rows if row.system in shown], _column(table)
        )
        if rows:
            lines += [group.title, *rows]
    return lines


def _draw_bars(
    axes: Axes,
    table: Table,
    lines: Sequence[Row | str],
    looks: Mapping[str, Look],
) -> None:
    column = _column(table)
    highest = 0.0
    for y, line in enumerate(lines):
        how: dict[str, Any] = {
            "va": "center_baseline",
            "ha": "right",
            "clip_on": False,
            "parse_math": False,
        }
        transform = axes.get_yaxis_transform()
        if isinstance(line, str):
            axes.text(-0.03, y, clean(line), transform=transform, size=6.5, color="#5a5a5a", **how)
            continue
        cell = line.cells[column]
        mean = cell.mean or 0.0
        interval = cell.interval
        low, high = interval or (mean, mean)
        said = f"{line.display_name}: {_metric(table)} {mean:.4f}"
        said += f", interval {low:.4f} to {high:.4f}" if interval else ""
        color = looks[line.family].color
        axes.barh(y, mean, height=0.7, color=color, gid=HOVER + said)
        if interval:
            for ink, width in (("white", 1.8), ("#303030", 0.8)):
                axes.plot((low, high), (y, y), color=ink, lw=width, marker="|", ms=3, mew=width)
        axes.text(-0.03, y, clean(line.display_name), transform=transform, size=7, **how)
        axes.annotate(
            f"{mean:.3f}",
            (max(mean, high), y),
            xytext=(4, 0),
            textcoords="offset points",
            va="center_baseline",
            size=6.5,
        )
        highest = max(highest, mean, high)
    axes.set(
        xlim=(0.0, highest * 1.25 or 1.0),
        ylim=(len(lines) - 0.4, -0.6),
        yticks=[],
    )
    label = f"{table.task.capitalize()} {_metric(table)}"
    left, _, right, _ = box_in_points(axes)
    fits = width_of_text(label, _AXIS_LABEL) < right - left
    axes.set_xlabel(label, size=_AXIS_LABEL, loc="center" if fits else "right")
    axes.locator_params(axis="x", nbins=5 if fits else 4)
    axes.grid(axis="y", visible=False)


# Small multiples: a panel a family


def curves_figure(
    runs: Sequence[Run], title: str, tasks: Sequence[str] = TASKS, width: float = PAGE_WIDTH
) -> Figure | None:
    """Validation NDCG@5 by epoch, a line a seed; None if no run kept a validation."""
    found: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: place_in_catalogue(run.record.system.name)):
        system = run.record.system
        if system.name != base_name(system.name):
            continue
        curves = read_curves(run.folder)
        stages = Counter(task for curve in curves for task in curve.validation)
        for curve in curves:
            for task in filter(curve.validation.__contains__, tasks):
                values = curve.validation[task]
                points = [
                    (epoch, value)
                    for epoch, value in zip(curve.epochs, values, strict=True)
                    if math.isfinite(value)
                ]
                if points:
                    best = max(points, key=lambda point: point[1])
                    name = clean(system.display_name)
                    if stages[task] > 1:  # an encoder, then a ranker
                        name += f", {_stage(curve.name)}"
                    said = f"{name}, seed {run.record.seed}: {best[1]:.4f} at epoch {best[0]}"
                    xs, ys = zip(*points, strict=True)
                    found[task, system.family].append(Line(name, xs, ys, said))
    if not found:
        return None
    panels: defaultdict[str, list[Panel]] = defaultdict(list)
    for task, family in sorted(found, key=lambda key: (key[0], place_of_family(key[1]))):
        panels[task].append(Panel(clean(family_title(family)), found[task, family]))
    with report_style():
        labels = ("Epoch", f"Validation {CURVE_METRIC}")
        return panels_figure(panels, title, labels, log_x=False, width=width)


def _stage(name: str) -> str:
    return clean(name.replace("-", " ").replace("_", " "))


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


# Quality against cost


def cost_figure(
    runs: Sequence[Run], recommendation: Table, search: Table, width: float = PAGE_WIDTH
) -> Figure | None:
    """NDCG against training time, a panel a task; without systems that did not run here.

    A system that ranks anew with what a variant of it has trained stands at that one's time.
    """
    seconds = _seconds_of_training(runs)
    tables = [table for table in (recommendation, search) if _with_figures(table)]
    if not tables or not any(max(of_system) > 0.0 for of_system in seconds.values()):
        return None
    with report_style():
        looks = looks_of({row.family for table in tables for row in _with_figures(table)})
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
    rows = [row for row in _with_figures(table) if row.system in seconds]
    points = []
    for row in rows:
        mean = row.cells[_column(table)].mean or 0.0
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
        ylabel=f"{table.task.capitalize()} {_metric(table)}",
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
            gid=f"{HOVER}{spot.names}: {x:,.1f} s, {_metric(table)} {y:.4f}",
        )
    shown_rows = [rows[spot.place] for spot in shown]
    colors = [_GREY_NAME if row.family == REFERENCE_FAMILY else "black" for row in shown_rows]
    places = [points[spot.place] for spot in shown]
    label_points(axes, [spot.label for spot in shown], colors, places, ())
