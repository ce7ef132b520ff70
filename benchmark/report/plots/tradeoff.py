"""The figure of the trade-off between search and recommendation.

The question is whether one system can serve both tasks, so systems of both tasks are points with a
Pareto front, and systems of one task are ticks on that task's axis: what the front has to reach.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from benchmark.report.plots.canvas import height_of_legend, legend_at_the_foot
from benchmark.report.plots.headline import metric_of
from benchmark.report.plots.labels import Point, spread
from benchmark.report.plots.style import (
    GREY,
    HOVER,
    PAGE_WIDTH,
    SLOPE,
    TITLE_HEIGHT,
    Look,
    add_title,
    box_in_points,
    color_of_name,
    draw_line,
    draw_name,
    folded_text,
    in_points,
    is_column,
    label_points,
    looks_of,
    report_style,
    spots,
    title_of,
    width_of_text,
)
from benchmark.report.plots.tradeoff_points import (
    SystemPoint,
    Tick,
    ends_of,
    pareto_front,
    place_of,
    range_of_axis,
    systems_of,
    tick_of,
)
from benchmark.report.reading.text import clean
from benchmark.report.tables.rows import Table
from benchmark.systems.catalogue import family_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_RUG_SIZE = 6.5
_RUG_REACH = 20.0  # points from the axis to a name
# Inches.
_NARROWEST, _HEIGHT, _NO_STRIP, _MARGIN = 3.2, 3.9, 0.1, 0.1
_LEFT, _BOTTOM, _NARROWEST_IN_COLUMN = 0.7, 0.5, 1.2
_FOLDED = 72.0  # points, of a name beside the axes in a column
_WHISKERS = "whiskers: 95 % interval of the mean"
_WHISKERS_AND_ENDS = "whiskers and [ ]: 95 % interval of the mean"


def tradeoff_figure(
    recommendation: Table, search: Table, width: float = PAGE_WIDTH
) -> Figure | None:
    """Recommendation against search quality, a point a system; None if no system finished both.

    In a column names on the axes go without intervals, for which there is no room.
    """
    systems = systems_of(recommendation, search)
    both = [s for s in systems if not math.isnan(s.recommendation + s.search)]
    if not both:
        return None
    trained = [s for s in systems if not s.is_reference]
    if not any(s in both for s in trained):
        trained = systems  # without a trained system to spread out, the references are the picture
    inner = [s for s in both if s in trained]
    ranges = (
        range_of_axis(
            [s.recommendation for s in trained] + ends_of(s.recommendation_ends for s in inner),
            [s.recommendation for s in systems],
        ),
        range_of_axis(
            [s.search for s in trained] + ends_of(s.search_ends for s in inner),
            [s.search for s in systems],
        ),
    )
    narrow = is_column(width)
    above = [
        tick_of(s, s.recommendation, None if narrow else s.recommendation_ends, ranges[0])
        for s in systems
        if math.isnan(s.search)
    ]
    beside = [
        tick_of(s, s.search, None if narrow else s.search_ends, ranges[1])
        for s in systems
        if math.isnan(s.recommendation)
    ]
    if narrow:
        beside = [replace(t, name=folded_text(t.name, _FOLDED, _RUG_SIZE)) for t in beside]
    has_ends = any(s.recommendation_ends or s.search_ends for s in (inner if narrow else systems))
    metric = metric_of(search)
    with report_style():
        looks = looks_of({s.family for s in systems})
        figure, axes = _canvas(
            ranges,
            top=_strip(above, slope=SLOPE),
            right=_strip(beside, slope=90.0),
            legend=height_of_legend(looks, width, more=3) - 0.1,
            metric=metric,
            width=width,
        )
        add_title(figure, title_of(recommendation, search), 0.1 if narrow else _LEFT)
        front = _draw_front(axes, [s for s in both if not s.is_reference])
        _draw_points(axes, both, looks, front, metric)
        _draw_rug(axes, above, looks, along_x=True)
        _draw_rug(axes, beside, looks, along_x=False)
        has_outside = any(place_of(s, ranges) != (s.recommendation, s.search) for s in both)
        _draw_legend(
            figure,
            looks,
            {s.family for s in both},
            has_front=bool(front),
            has_outside=has_outside,
            whiskers="" if not has_ends else _WHISKERS if narrow else _WHISKERS_AND_ENDS,
        )
    return figure


def _strip(ticks: Sequence[Tick], slope: float) -> float:
    """How many inches the names of ``ticks`` take from their axis, turned by ``slope`` degrees."""
    if not ticks:
        return _NO_STRIP
    longest = max(width_of_text(line, _RUG_SIZE) for t in ticks for line in t.name.split("\n"))
    return (_RUG_REACH + longest * math.sin(math.radians(slope))) / 72.0 + _MARGIN


def _canvas(
    ranges: tuple[Point, Point],
    top: float,
    right: float,
    legend: float,
    metric: str,
    width: float,
) -> tuple[Figure, Axes]:
    """The figure with its one pair of axes; strips for names are left above and to the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    narrowest = _NARROWEST_IN_COLUMN if is_column(width) else _NARROWEST
    of_axes = max(width - _LEFT - right, narrowest)
    width = _LEFT + of_axes + right
    height = legend + _BOTTOM + _HEIGHT + top + TITLE_HEIGHT
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (_LEFT / width, (legend + _BOTTOM) / height, of_axes / width, _HEIGHT / height)
    )
    axes.set(
        xlim=ranges[0],
        ylim=ranges[1],
        xlabel=f"Recommendation {metric}",
        ylabel=f"Search {metric}",
    )
    return figure, axes


def _draw_front(axes: Axes, trained: Sequence[SystemPoint]) -> list[tuple[float, float]]:
    """The border of what the trained systems dominate, as a step line; returns its corners."""
    front = pareto_front([(s.recommendation, s.search) for s in trained])
    if not front:
        return []
    corners = [(axes.get_xlim()[0], front[0][1])]
    for (x, y), following in zip(front, [*front[1:], None], strict=True):
        corners.append((x, y))
        corners.append((x, following[1] if following else axes.get_ylim()[0]))
    xs, ys = zip(*corners, strict=True)
    axes.plot(xs, ys, color="#606060", linestyle=(0, (4, 2)), linewidth=0.9, marker="", zorder=2)
    return corners


def _draw_points(
    axes: Axes,
    both: Sequence[SystemPoint],
    looks: Mapping[str, Look],
    front: Sequence[Point],
    metric: str,
) -> None:
    """Each system's marker, the intervals of its means, and its name beside it."""
    lines = list(pairwise(front))
    ranges = (axes.get_xlim(), axes.get_ylim())
    places = [place_of(system, ranges) for system in both]
    shown = spots(axes, [s.system for s in both], [s.name for s in both], places)
    names, points = [], []
    for spot in shown:
        system, at = both[spot.place], places[spot.place]
        look = looks[system.family]
        inside = at == (system.recommendation, system.search)
        figures = f" ({system.recommendation:.3f}, {system.search:.3f})"
        names.append(spot.label if inside else spot.label + figures)
        points.append(at)
        axes.plot(
            *at,
            linestyle="none",
            marker=look.marker,
            color=look.color,
            # Hollow: it stands at the edge and not at its value.
            markerfacecolor=look.color if inside else "white",
            markeredgecolor="white" if inside else look.color,
            markeredgewidth=0.6 if inside else 1.0,
            clip_on=False,
            zorder=4,
            gid=(
                f"{HOVER}{spot.names}: recommendation {system.recommendation:.4f}, "
                f"search {system.search:.4f} ({metric})"
                f"{_told_ends('recommendation', system.recommendation_ends)}"
                f"{_told_ends('search', system.search_ends)}"
            ),
        )
        if inside:
            (x, y), of_x, of_y = at, system.recommendation_ends, system.search_ends
            bars = [((of_x[0], y), (of_x[1], y))] if of_x is not None else []
            bars += [((x, of_y[0]), (x, of_y[1]))] if of_y is not None else []
            lines += bars
            for bar in bars:
                axes.plot(*zip(*bar, strict=True), marker="", color=look.color, lw=0.7, zorder=3)
    colors = [color_of_name(both[spot.place].family) for spot in shown]
    label_points(axes, names, colors, points, lines)


def _told_ends(task: str, ends: Point | None) -> str:
    return "" if ends is None else f", {task} interval {ends[0]:.4f} to {ends[1]:.4f}"


def _draw_rug(
    axes: Axes, ticks: Sequence[Tick], looks: Mapping[str, Look], *, along_x: bool
) -> None:
    """Ticks at the figures of the systems of one task, each led to its name in the strip."""
    left, bottom, right, top = box_in_points(axes)
    low, high, edge = (left, right, top) if along_x else (bottom, top, right)

    def at(along: float, beyond: float) -> Point:
        return (along, edge + beyond) if along_x else (edge + beyond, along)

    how: dict[str, Any] = {"va": "center_baseline", "linespacing": 1.0}
    if along_x:
        how = {"va": "center", "rotation": SLOPE, "rotation_mode": "anchor"}
    lines = max(tick.name.count("\n") for tick in ticks) + 1 if ticks else 1
    gap = _RUG_SIZE * (1.45 if along_x else 1.2 * lines)
    places = [in_points(axes, tick.value, tick.value)[0 if along_x else 1] for tick in ticks]
    for tick, place, name_at in zip(ticks, places, spread(places, gap, low, high), strict=True):
        color = looks[tick.system.family].color
        draw_line(axes, [at(place, -5), at(place, 3)], color, 1.6)
        draw_line(axes, [at(place, 3), at(name_at, 15), at(name_at, 18)], color, 0.5)
        name_begins = at(name_at, _RUG_REACH)
        if "\n" in tick.name:
            how = how | {"va": "center"}
        draw_name(axes, name_begins, tick.name, _RUG_SIZE, color_of_name(tick.system.family), **how)


def _draw_legend(
    figure: Figure,
    looks: Mapping[str, Look],
    with_points: Collection[str],
    *,
    has_front: bool,
    has_outside: bool,
    whiskers: str,
) -> None:
    """Families by marker (points) or by tick (families that only stand on an axis)."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=look.marker if family in with_points else "|",
            color=look.color,
            markeredgecolor="white" if family in with_points else look.color,
            markeredgewidth=0.6 if family in with_points else 1.6,
            label=clean(family_title(family)),
        )
        for family, look in looks.items()
    ]
    if has_front:
        handles.append(
            Line2D(
                [],
                [],
                marker="",
                color="#606060",
                linestyle=(0, (4, 2)),
                linewidth=0.9,
                label="Pareto front of the trained systems",
            )
        )
    if whiskers:
        handles.append(Line2D([], [], marker="", color=GREY, lw=0.7, label=whiskers))
    if has_outside:
        outside = "outside the axes' range, with its figures"
        handles.append(
            Line2D([], [], ls="none", marker="o", mfc="white", mec=GREY, mew=1.0, label=outside)
        )
    legend_at_the_foot(figure, handles, bottom=0.01, padding=0.3)
