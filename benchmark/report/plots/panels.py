"""Small multiples: a panel a family of systems, with the names of its lines beneath it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.report.plots.canvas import add_axes, headed, new_figure
from benchmark.report.plots.labels import Point
from benchmark.report.plots.style import HOVER, PAGE_WIDTH, folded_text, is_column, width_of_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_RANKS = 100
"""Up to this rank every one is drawn."""
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
# Inches.
_PANEL, _PANEL_HEIGHT = 1.83, 1.5
_NAME, _SAMPLE, _LABELS = 0.135, 0.22, 0.42  # a name, its line, and the axis' labels above
_HEIGHT_IN_COLUMN, _BETWEEN = 1.1, 0.27
_PANELS_A_ROW, _IN_COLUMN = 3, 2
_NAMES_SIZE = 6.5  # of lines, under a panel
_TITLE_SIZE = 7.5  # of a panel in a column


@dataclass(frozen=True)
class Line:
    """One line of a panel; lines of the same ``name`` share one look and one entry."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    said: str


@dataclass(frozen=True)
class Panel:
    """Lines under a title."""

    title: str
    lines: Sequence[Line]
    behind: Sequence[Line] = ()  # in grey and without names: they have a panel of their own


def panels_figure(
    panels: Mapping[str, Sequence[Panel]],
    title: str,
    labels: tuple[str, str],
    *,
    log_x: bool,
    whole_x: bool = True,
    width: float = PAGE_WIDTH,
) -> Figure:
    """Panels by task, each task on rows of its own; the names stand beneath each panel's lines.

    Panels of one task have one range of values.
    """
    a_row = _IN_COLUMN if is_column(width) else _PANELS_A_ROW
    room = (width - 0.8) / a_row - _BETWEEN if is_column(width) else _PANEL
    rows = [
        (task, of_task[first : first + a_row])
        for task, of_task in panels.items()
        for first in range(0, len(of_task), a_row)
    ]
    titles = {
        panel.title: folded_text(panel.title, 72.0 * (room + _BETWEEN - 0.07), _TITLE_SIZE)
        if is_column(width)
        else panel.title
        for of_task in panels.values()
        for panel in of_task
    }
    # In inches: each row is as high as its longest legend asks.
    legends = [
        _LABELS + 0.2 + _NAME * max(_lines_of_names(panel, room) for panel in of_row)
        for _, of_row in rows
    ]
    heads = [
        0.3 + 0.12 * max(titles[panel.title].count("\n") for panel in of_row) for _, of_row in rows
    ]
    tall = _HEIGHT_IN_COLUMN if is_column(width) else _PANEL_HEIGHT
    columns = max(len(of_row) for _, of_row in rows)
    height = 0.25 + sum(heads) + sum(tall + legend for legend in legends)
    figure = new_figure(0.8 + columns * (room + _BETWEEN), height)
    headed(figure, title)
    above = height - 0.25
    highest = {
        task: max(max(line.ys) for p in of_task for line in (*p.lines, *p.behind))
        for task, of_task in panels.items()
    }
    for (task, of_row), legend, head in zip(rows, legends, heads, strict=True):
        bottom = above - head - tall
        above = bottom - legend
        for column, panel in enumerate(of_row):
            left = 0.7 + column * (room + _BETWEEN)
            axes = add_axes(figure, left, bottom, room, tall)
            # Fixed places spare matplotlib a search for free ones at every drawing.
            axes.xaxis.set_label_coords(0.5, -0.22 / tall)
            axes.yaxis.set_label_coords(-0.31 / room, 0.5)
            looks = _draw_panel(axes, panel)
            _write_title(axes, titles[panel.title], room)
            _write_names(figure, looks, (left, bottom - _LABELS), room)
            axes.set(xlabel=labels[0], ylim=(0.0, highest[task] * 1.05 or 1.0))
            if log_x:
                deepest = max(line.xs[-1] for panel in of_row for line in panel.lines)
                ticks = [k for k in (1, 10, 100, 1000, 10_000, 10**5, 10**6) if k <= deepest]
                ticks = ticks if deepest > MOST_RANKS else [1, 5, 20, 100]
                axes.set_xscale("log")
                axes.set_xticks(ticks, list(map(str, ticks)))
                axes.minorticks_off()
            else:
                axes.locator_params(axis="x", integer=whole_x, min_n_ticks=1)
                if is_column(width):
                    axes.locator_params(axis="x", nbins=4)
            axes.locator_params(axis="y", nbins=4)
            if column == 0:
                axes.set_ylabel(f"{task.capitalize()}\n{labels[1]}")
            else:
                axes.tick_params(labelleft=False)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> dict[str, dict[str, Any]]:
    """Draw the lines; returns the look of each name's."""
    import matplotlib as mpl

    colors = [entry["color"] for entry in mpl.rcParams["axes.prop_cycle"]]
    looks: dict[str, dict[str, Any]] = {}
    for line in panel.behind:
        axes.plot(line.xs, line.ys, color="#c4c4c4", lw=0.7, marker="", gid=HOVER + line.said)
    for line in panel.lines:
        place = len(looks)
        look = looks.setdefault(
            line.name,
            {
                "color": f"#{colors[place % len(colors)].lstrip('#')}",
                "ls": _DASHES[place % len(_DASHES)],
                "lw": 1.1,
                "marker": "o" if len(line.xs) == 1 else "",
                "ms": 3,
            },
        )
        axes.plot(line.xs, line.ys, gid=HOVER + line.said, **look)
    return looks


def _write_title(axes: Axes, title: str, room: float) -> None:
    """Beside the next panel's."""
    import matplotlib as mpl

    size = _TITLE_SIZE if "\n" in title or room < _PANEL else mpl.rcParams["axes.titlesize"]
    longest = max(width_of_text(line, size) for line in title.split("\n"))
    size *= min(72.0 * (room + _BETWEEN - 0.07) / (longest or 1.0), 1.0)
    axes.set_title(title, parse_math=False, size=size)


def _write_names(
    figure: Figure, looks: Mapping[str, Mapping[str, Any]], at: Point, room: float
) -> None:
    """Each line's look and name, from above, beginning at a place in inches.

    (Matplotlib's legends do the same, but take longer than all else that a panel has.)
    """
    from matplotlib.lines import Line2D

    inches = figure.dpi_scale_trans
    place = 0
    for name, look in looks.items():
        left, y = at[0], at[1] - _NAME * (place + 0.5)
        xs = [left + _SAMPLE / 2] if look["marker"] else [left, left + _SAMPLE]
        figure.add_artist(Line2D(xs, [y] * len(xs), transform=inches, **look))
        for line in _folded(name, room):
            figure.text(
                left + _SAMPLE + 0.06,
                at[1] - _NAME * (place + 0.5),
                line,
                transform=inches,
                size=_NAMES_SIZE,
                va="center_baseline",
                parse_math=False,
            )
            place += 1


def _lines_of_names(panel: Panel, room: float) -> int:
    names = dict.fromkeys(line.name for line in panel.lines)
    return sum(len(_folded(name, room)) for name in names)


def _folded(name: str, room: float) -> list[str]:
    """A name in lines that a panel of so many inches has room for."""
    return folded_text(name, 72.0 * (room - _SAMPLE), _NAMES_SIZE).split("\n")
