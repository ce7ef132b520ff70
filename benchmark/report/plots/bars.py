"""The figure of metrics: a bar a system in the tables' order, with the intervals of the means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.report.plots.canvas import add_axes, headed, new_figure
from benchmark.report.plots.headline import column_of, metric_of, rows_with_figures
from benchmark.report.plots.style import (
    GREY_OF_NAMES,
    HOVER,
    PAGE_WIDTH,
    Look,
    box_in_points,
    is_column,
    looks_of,
    report_style,
    title_of,
    width_of_text,
)
from benchmark.report.reading.text import clean
from benchmark.report.tables.rows import Row, Table, without_repetitions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
_BAR, _BAR_IN_COLUMN, _BELOW_BARS = 0.17, 0.14, 0.55
_BAR_PANEL = 1.1  # at least
_AXIS_LABEL = 8.5  # points
WHISKERS = "Whiskers: 95 % interval of the mean (bootstrap over the users)."


def bars_figure(recommendation: Table, search: Table, width: float = PAGE_WIDTH) -> Figure | None:
    """NDCG of every system as bars in the tables' order, with their intervals."""
    tables = [table for table in (recommendation, search) if rows_with_figures(table)]
    if not tables:
        return None
    lines = [_lines_of_bars(table) for table in tables]
    with report_style():
        looks = looks_of({row.family for table in tables for row in rows_with_figures(table)})
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
        if any(row.cells[column_of(table)].interval for table in tables for row in table.rows):
            figure.text(0.1 / width, 0.06 / height, WHISKERS, size=6.5, va="bottom")
    return figure


def _width_of_names(lines: Sequence[Row | str]) -> float:
    """In inches, with the distance from the axis."""
    named = ((line, 6.5) if isinstance(line, str) else (line.display_name, 7.0) for line in lines)
    return max(width_of_text(clean(name), size) for name, size in named) / 72.0 + 0.2


def _lines_of_bars(table: Table) -> list[Row | str]:
    """The lines from above: each family's title, then its systems."""
    lines: list[Row | str] = []
    shown = {row.system for row in rows_with_figures(table)}
    for group in table.groups:
        rows = without_repetitions(
            [row for row in group.rows if row.system in shown], column_of(table)
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
    column = column_of(table)
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
            axes.text(
                -0.03, y, clean(line), transform=transform, size=6.5, color=GREY_OF_NAMES, **how
            )
            continue
        cell = line.cells[column]
        mean = cell.mean or 0.0
        interval = cell.interval
        low, high = interval or (mean, mean)
        said = f"{line.display_name}: {metric_of(table)} {mean:.4f}"
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
    label = f"{table.task.capitalize()} {metric_of(table)}"
    left, _, right, _ = box_in_points(axes)
    fits = width_of_text(label, _AXIS_LABEL) < right - left
    axes.set_xlabel(label, size=_AXIS_LABEL, loc="center" if fits else "right")
    axes.locator_params(axis="x", nbins=5 if fits else 4)
    axes.grid(axis="y", visible=False)
