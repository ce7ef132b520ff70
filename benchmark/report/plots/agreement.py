"""Figures of orders: how alike protocols, views and metrics are, and how systems move."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.protocol.metrics import View
from benchmark.report.plots.canvas import (
    add_axes,
    headed,
    height_of_legend,
    legend_of_families,
    new_figure,
)
from benchmark.report.plots.style import (
    GREY,
    HOVER,
    PAGE_WIDTH,
    SLOPE,
    Look,
    color_of_name,
    is_column,
    looks_of,
    report_style,
    title_of,
    width_of_text,
)
from benchmark.report.reading.text import clean
from benchmark.report.reading.views import headline, narrow
from benchmark.report.statistics.agreement import FEWEST_SYSTEMS, OrdersOfViews
from benchmark.report.tables.rows import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Inches.
_LINE, _SLOPES, _STEEPEST, _SQUARE = 0.17, 1.9, 0.4, 0.17
_SHORT: dict[View, str] = {"lists": "", "all-items": ", all items"}


def agreement_figure(tables: Sequence[Table], width: float = PAGE_WIDTH) -> Figure | None:
    """How alike protocols, views and metrics order the trained systems: Kendall's tau of each pair.

    Args:
        tables: main tables of one task and data set, one a protocol and view.
        width: inches.

    Returns:
        None if there is but one protocol and view, or no two share three trained systems.
    """
    orders: dict[str, dict[str, float]] = {}
    for table in tables:
        variant = f" ({table.variant})" if table.variant else ""
        for metric in narrow(table.columns):
            column = table.columns.index(metric)
            name = f"{table.key.protocol}{variant}{_SHORT[table.view]} {metric}"
            orders[clean(name)] = {
                row.system: mean
                for group in table.groups
                if not group.is_reference
                for row in group.rows
                if (mean := row.cells[column].mean) is not None
            }
    names = [name for name, means in orders.items() if len(means) >= FEWEST_SYSTEMS]
    if len(names) <= len(narrow(tables[0].columns)):
        return None
    tau = agreement([orders[name] for name in names])
    key, task = tables[0].key, tables[0].task
    title = clean(f"{key.dataset} · preset {key.preset} · {task} · Kendall's tau of the orders")
    with report_style():
        return _draw_agreement(tau, names, title, width)


def agreement(views: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
    """Kendall's tau-b of every pair of views over the systems in both, (views, views).

    NaN where fewer than three systems are in both, or one of the views holds them all equal.
    """
    from scipy import stats

    tau = np.full((len(views), len(views)), math.nan)
    for i, first in enumerate(views):
        for j, second in enumerate(views[: i + 1]):
            common = sorted(first.keys() & second.keys())
            if len(common) >= FEWEST_SYSTEMS:
                values = [[view[name] for name in common] for view in (first, second)]
                if all(len(set(of_view)) > 1 for of_view in values):
                    tau[i, j] = tau[j, i] = stats.kendalltau(*values).statistic
    return tau


def _draw_agreement(
    tau: NDArray[np.float64], names: Sequence[str], title: str, width: float
) -> Figure:
    import matplotlib as mpl

    narrow = is_column(width)
    size = 6.5 if narrow else mpl.rcParams["xtick.labelsize"]
    longest = max(width_of_text(name, size) for name in names) / 72.0
    left = longest + 0.2
    # Without their zeros figures have room in smaller squares.
    square = max((width - left - 0.15) / len(names), _SQUARE) if narrow else 0.36
    side = square * len(names) if narrow else max(square * len(names), 1.6)
    bottom = longest * math.sin(math.radians(SLOPE)) + 0.25
    figure = new_figure(left + side + (0.1 if narrow else 0.3), bottom + side + 0.4)
    headed(figure, title)
    axes = add_axes(figure, left, bottom, side, side)
    # Blue and red: told apart with any colour vision, and by their figures in grey.
    colors = mpl.colors.LinearSegmentedColormap.from_list(
        "agreement", ["#B21000", "#f7f7f7", "#334EA1"]
    )
    edges = np.arange(len(names) + 1) - 0.5
    # A mesh and no image: it has the sharpness of every other plot.
    axes.pcolormesh(edges, edges, tau, cmap=colors, vmin=-1.0, vmax=1.0, ec="white", lw=0.6)
    axes.invert_yaxis()
    for i, j in np.ndindex(*tau.shape):
        shown = "" if math.isnan(tau[i, j]) else f"{tau[i, j]:.2f}"
        printed = shown.replace("0.", ".") if narrow else shown
        color = "white" if abs(tau[i, j]) > 0.7 else "black"
        text = axes.text(j, i, printed, ha="center", va="center", size=6, color=color)
        text.set_gid(f"{HOVER}{names[i]} and {names[j]}: {shown or 'too few systems'}")
    places = range(len(names))
    axes.set_xticks(places, names, rotation=SLOPE, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
        label.set_fontsize(size)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure


# One metric in both views


def views_figure(
    table: Table, orders: Sequence[OrdersOfViews], width: float = PAGE_WIDTH
) -> Figure | None:
    """The places of all systems among lists on the left, among all items on the right.

    Args:
        table: the main table of the task's lists.
        orders: of the same runs; the metric that stands for the view of all items is drawn.
        width: inches; in a column the lines lead from names to figures.

    Returns:
        None if fewer than three systems have ranks in both views.
    """
    if not orders or len(orders[0].means) < FEWEST_SYSTEMS:
        return None
    wanted = headline([of.metrics[1] for of in orders], "all-items")
    shown = next(of for of in orders if of.metrics[1] == wanted)
    rows = {row.system: row for row in table.rows if row.system in shown.means}
    places = [
        _places({name: means[view] for name, means in shown.means.items()}, rows)
        for view in range(2)
    ]
    gap = "\n" if is_column(width) else " "
    heads = [
        f"{view},{gap}{metric}"
        for view, metric in zip(("Candidate lists", "All items"), shown.metrics, strict=True)
    ]
    moving = {
        name
        for changed in (shown.changed, shown.changed_references)
        if changed is not None
        for pair in changed.pairs
        for name in pair
    }
    with report_style():
        looks = looks_of({row.family for row in rows.values()})
        labels = [
            {
                name: f"{shown.means[name][view]:.3f}"
                if view and is_column(width)
                else f"{_name_of(row)}  {shown.means[name][view]:.3f}"
                for name, row in rows.items()
            }
            for view in range(2)
        ]
        size = 6.5 if is_column(width) else 7.0
        left, right = (
            _widest([head, *of.values()], size + 0.5) + 0.25
            for head, of in zip(heads, labels, strict=True)
        )
        slopes = max(width - left - right, _STEEPEST) if is_column(width) else _SLOPES
        height = _LINE * len(rows)
        legend = height_of_legend(looks, width, more=1) - 0.05
        least = 0.0 if is_column(width) else 5.4
        figure = new_figure(
            max(left + slopes + right, least),
            legend + height + (0.87 if is_column(width) else 0.75),
        )
        headed(figure, f"{title_of(table, table)} · {table.task}")
        axes = add_axes(figure, left, legend + 0.1, slopes, height)
        for name, row in rows.items():
            _draw_slope(
                axes,
                row,
                looks[row.family],
                [of[name] for of in places],
                [of[name] for of in labels],
                size=size,
                is_moving=name in moving,
            )
        axes.set(xlim=(0.0, 1.0), ylim=(len(rows) - 0.5, -0.5), xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        for x, head in enumerate(heads):
            axes.annotate(
                head,
                (x, 1.0),
                (0, 5),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="left" if x else "right",
                size=size + 0.5,
            )
        legend_of_families(figure, looks, more=_thick_line() if moving else None)
    return figure


def _widest(texts: Sequence[str], size: float) -> float:
    """Inches of the longest line."""
    lines = (line for text in texts for line in text.split("\n"))
    return max(width_of_text(line, size) for line in lines) / 72.0


def _name_of(row: Row) -> str:
    return clean(row.display_name)


def _places(means: Mapping[str, float], rows: Mapping[str, Row]) -> dict[str, int]:
    """The place of each system, the best first; equal ones as in the table."""
    order = {name: place for place, name in enumerate(rows)}
    best_first = sorted(rows, key=lambda name: (-means[name], order[name]))
    return {name: place for place, name in enumerate(best_first)}


def _draw_slope(
    axes: Axes,
    row: Row,
    look: Look,
    places: Sequence[int],
    labels: Sequence[str],
    *,
    size: float,
    is_moving: bool,
) -> None:
    lists, all_items = places
    axes.plot(
        (0.0, 1.0),
        places,
        color=look.color,
        marker=look.marker,
        ms=4,
        lw=2.2 if is_moving else 0.9,
        clip_on=False,
        zorder=4 if is_moving else 3,
        gid=f"{HOVER}{_name_of(row)}: place {lists + 1} in lists, {all_items + 1} among all items",
    )
    color = color_of_name(row.family)
    for x, y, label, side, align in zip(
        (0.0, 1.0), places, labels, (-6, 6), ("right", "left"), strict=True
    ):
        axes.annotate(
            label,
            (x, y),
            (side, 0),
            textcoords="offset points",
            ha=align,
            va="center_baseline",
            size=size,
            color=color,
            parse_math=False,
        )


def _thick_line() -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=GREY, lw=2.2, label="changes places significantly with another")
