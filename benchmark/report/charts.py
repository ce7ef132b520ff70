"""Figures beside the trade-off: metrics by family, training curves, cost, ranks, codebooks.

All are drawn as the trade-off is (see :mod:`benchmark.report.plots`): one style, equal bytes from
equal runs, None where there is nothing to draw. Lines of many systems are split into a panel a
family, with the rankers that learn nothing in grey behind them.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.report.canvas import add_axes, headed, legend_of_families, new_figure
from benchmark.report.collect import REFERENCE_FAMILY
from benchmark.report.curves import CURVE_METRIC, read_curves
from benchmark.report.events import TaskEvents
from benchmark.report.labels import Point
from benchmark.report.plots import (
    HOVER,
    PAGE_WIDTH,
    Look,
    folded_text,
    label_points,
    looks_of,
    report_style,
    title_of,
    width_of_text,
)
from benchmark.report.rows import (
    Row,
    Table,
    place_in_catalogue,
    place_of_family,
    without_repetitions,
)
from benchmark.report.text import clean
from benchmark.report.views import headline
from benchmark.runs.record import Run, TaskName
from benchmark.systems.catalogue import base_name, family_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_USE_OF_LEVEL = re.compile(r"codebook_use_(\d+)")
_MOST_RANKS = 100
_SHORTEST_TRAINING = 0.1  # seconds, where a system that learns nothing stands on the axis of time
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
# Inches.
_BAR, _BAR_PANEL, _PANEL, _PANEL_HEIGHT = 0.17, 1.6, 1.83, 1.5
_PANELS_A_ROW = 3
_NAMES_SIZE = 6.5  # of lines, under a panel
_COST_PANEL = 2.75
_NAME, _SAMPLE, _LABELS = 0.135, 0.22, 0.42  # a name, its line, and the axis' labels above
_LEVEL_LABEL = 4.0  # per cent of a codebook that the number of a level takes up


WHISKERS = "Whiskers: 95 % interval of the mean (bootstrap over the users)."


def _metric(table: Table) -> str:
    return headline(table.columns, table.view)


def _column(table: Table) -> int:
    return table.columns.index(_metric(table))


def _with_figures(table: Table) -> list[Row]:
    return [row for row in table.rows if row.cells[_column(table)].mean is not None]


# Metrics by family


def bars_figure(recommendation: Table, search: Table) -> Figure | None:
    """NDCG of every system as bars in the tables' order, with their intervals."""
    tables = [table for table in (recommendation, search) if _with_figures(table)]
    if not tables:
        return None
    lines = [_lines_of_bars(table) for table in tables]
    with report_style():
        looks = looks_of({row.family for table in tables for row in _with_figures(table)})
        highest = _BAR * max(map(len, lines))
        names = [_width_of_names(of_table) for of_table in lines]
        panel = max((PAGE_WIDTH - sum(names)) / len(tables) - 0.15, _BAR_PANEL)
        width = sum(names) + (panel + 0.15) * len(tables)
        figure = new_figure(width, highest + 1.15)
        headed(figure, title_of(recommendation, search))
        left = 0.0
        for table, of_table, of_names in zip(tables, lines, names, strict=True):
            left += of_names
            height = _BAR * len(of_table)
            axes = add_axes(figure, left, 0.7 + highest - height, panel, height)
            _draw_bars(axes, table, of_table, looks)
            left += panel + 0.15
        if any(row.cells[_column(table)].interval for table in tables for row in table.rows):
            figure.text(0.1 / width, 0.06 / (highest + 1.15), WHISKERS, size=7, va="bottom")
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
        xlabel=f"{table.task.capitalize()} {_metric(table)}",
    )
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="y", visible=False)


# Small multiples: a panel a family


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
) -> Figure:
    """Panels by task, each task on rows of its own; the names stand beneath each panel's lines."""
    rows = [
        (task, of_task[first : first + _PANELS_A_ROW])
        for task, of_task in panels.items()
        for first in range(0, len(of_task), _PANELS_A_ROW)
    ]
    # In inches: each row is as high as its longest legend asks.
    legends = [
        _LABELS + 0.2 + _NAME * max(_lines_of_names(panel) for panel in of_row)
        for _, of_row in rows
    ]
    columns = max(len(of_row) for _, of_row in rows)
    height = 0.25 + sum(0.3 + _PANEL_HEIGHT + legend for legend in legends)
    figure = new_figure(0.8 + columns * (_PANEL + 0.27), height)
    headed(figure, title)
    above = height - 0.25
    for (task, of_row), legend in zip(rows, legends, strict=True):
        bottom = above - 0.3 - _PANEL_HEIGHT
        above = bottom - legend
        highest = max(max(line.ys) for panel in of_row for line in (*panel.lines, *panel.behind))
        for column, panel in enumerate(of_row):
            left = 0.7 + column * (_PANEL + 0.27)
            axes = add_axes(figure, left, bottom, _PANEL, _PANEL_HEIGHT)
            # Fixed places spare matplotlib a search for free ones at every drawing.
            axes.xaxis.set_label_coords(0.5, -0.22 / _PANEL_HEIGHT)
            axes.yaxis.set_label_coords(-0.31 / _PANEL, 0.5)
            looks = _draw_panel(axes, panel)
            _write_names(figure, looks, (left, bottom - _LABELS))
            axes.set(xlabel=labels[0], ylim=(0.0, highest * 1.05 or 1.0))
            if log_x:
                deepest = max(line.xs[-1] for panel in of_row for line in panel.lines)
                ticks = [k for k in (1, 10, 100, 1000, 10_000, 10**5, 10**6) if k <= deepest]
                ticks = ticks if deepest > _MOST_RANKS else [1, 5, 20, 100]
                axes.set_xscale("log")
                axes.set_xticks(ticks, list(map(str, ticks)))
                axes.minorticks_off()
            else:
                axes.locator_params(axis="x", integer=whole_x, min_n_ticks=1)
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
    # Beside the next panel's.
    size = mpl.rcParams["axes.titlesize"]
    size *= min(72.0 * (_PANEL + 0.2) / (width_of_text(panel.title, size) or 1.0), 1.0)
    axes.set_title(panel.title, parse_math=False, size=size)
    return looks


def _write_names(figure: Figure, looks: Mapping[str, Mapping[str, Any]], at: Point) -> None:
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
        for line in _folded(name):
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


def _lines_of_names(panel: Panel) -> int:
    names = dict.fromkeys(line.name for line in panel.lines)
    return sum(len(_folded(name)) for name in names)


def _folded(name: str) -> list[str]:
    """A name in lines that a panel has room for."""
    return folded_text(name, 72.0 * (_PANEL - _SAMPLE), _NAMES_SIZE).split("\n")


def curves_figure(runs: Sequence[Run], title: str) -> Figure | None:
    """Validation NDCG@5 by epoch, a line a seed; None if no run kept a validation."""
    found: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: place_in_catalogue(run.record.system.name)):
        system = run.record.system
        if system.name != base_name(system.name):
            continue
        curves = read_curves(run.folder)
        stages = Counter(task for curve in curves for task in curve.validation)
        for curve in curves:
            for task, values in curve.validation.items():
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
        return panels_figure(panels, title, labels, log_x=False)


def _stage(name: str) -> str:
    return clean(name.replace("-", " ").replace("_", " "))


def ranks_figure(
    events: Mapping[TaskName, Mapping[str, Sequence[TaskEvents]]],
    tables: Sequence[Table],
    title: str,
) -> Figure | None:
    """The share of targets at rank k or above, for every k: where targets stand.

    Of lists to the hundredth rank, of all items to the lowest one. What was not returned is at no
    rank.
    """
    deepest = _MOST_RANKS
    if any(table.view == "all-items" for table in tables):
        seen = (len(e.histogram) - 1 for of in events.values() for s in of.values() for e in s)
        deepest = max([_MOST_RANKS, *seen])
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
        return panels_figure(panels, title, ("k", "HR@k"), log_x=True)


def _with_line(lines: Sequence[Line], line: Line) -> list[Line]:
    """``lines`` and ``line``, which is only named beside an equal one."""
    for place, other in enumerate(lines):
        if other.ys == line.ys:
            both = replace(other, name=f"{other.name}, {line.name}")
            return [*lines[:place], both, *lines[place + 1 :]]
    return [*lines, line]


def _shown_ranks(deepest: int) -> NDArray[np.int64]:
    """Every rank to the hundredth, then as many as a line on a logarithmic axis needs."""
    further = np.geomspace(_MOST_RANKS, deepest, 100).round().astype(np.int64)
    return np.unique(np.concatenate([np.arange(1, _MOST_RANKS + 1), further]))


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


def cost_figure(runs: Sequence[Run], recommendation: Table, search: Table) -> Figure | None:
    """NDCG against training time, a panel a task."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.record.status == "finished":
            seconds[run.record.system.name].append(run.record.cost.fit_seconds)
    tables = [table for table in (recommendation, search) if _with_figures(table)]
    if not tables or not any(max(of_system) > 0.0 for of_system in seconds.values()):
        return None
    with report_style():
        looks = looks_of({row.family for table in tables for row in _with_figures(table)})
        panel = _COST_PANEL if len(tables) > 1 else 2 * _COST_PANEL
        width = (panel + 0.75) * len(tables) + 0.1
        legend = 0.3 + 0.19 * -(-len(looks) // 2)
        figure = new_figure(width, legend + 4.6)
        headed(figure, title_of(recommendation, search))
        for place, table in enumerate(tables):
            left = 0.65 + place * (panel + 0.75)
            axes = add_axes(figure, left, legend + 0.65, panel, 3.5)
            _draw_costs(axes, table, seconds, looks)
        machine = _machine([run for run in runs if run.record.system.name in seconds])
        figure.text(
            0.1 / width, (legend + 0.02) / figure.get_figheight(), machine, size=7, parse_math=False
        )
        legend_of_families(figure, looks)
    return figure


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
    for row, (x, y) in zip(rows, points, strict=True):
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
            gid=f"{HOVER}{row.display_name}: {x:,.1f} s, {_metric(table)} {y:.4f}",
        )
    names = [clean(row.display_name) for row in rows]
    colors = ["#5a5a5a" if row.family == REFERENCE_FAMILY else "black" for row in rows]
    label_points(axes, names, colors, points, ())


# Codebook usage

_MOST_NAMED = 2  # systems with the same identifiers


def codebooks_figure(runs: Sequence[Run], title: str) -> Figure | None:
    """The share of each level's codes that some item has, a row a kind of identifier of a system.

    Systems of a family whose identifiers have all figures in common share a row.
    """
    found = _identifiers_with_levels(runs)
    if not found:
        return None
    with report_style():
        looks = looks_of({family for _, family, _ in found})
        labels = [_label_of_identifiers(names, kind) for names, _, (kind, _) in found]
        left = max(width_of_text(label, 7.0) for label in labels) / 72.0 + 0.25
        height = 0.3 * len(found)
        panel = max(PAGE_WIDTH - left - 0.25, 2.5)
        figure = new_figure(left + panel + 0.25, height + 0.95)
        headed(figure, title)
        axes = add_axes(figure, left, 0.5, panel, height)
        for y, (label, (names, family, (kind, levels))) in enumerate(
            zip(labels, found, strict=True)
        ):
            axes.text(
                -0.03,
                y,
                label,
                transform=axes.get_yaxis_transform(),
                size=7,
                va="center_baseline",
                ha="right",
                parse_math=False,
            )
            use = [100.0 * levels[level] for level in sorted(levels)]
            axes.plot(use, [y] * len(use), color="#c4c4c4", lw=0.8, marker="", zorder=2)
            for level, value in zip(sorted(levels), use, strict=True):
                said = f"{HOVER}{', '.join(names)}, {kind}, level {level}: {value:.1f} % of the "
                said += "codes in use"
                color = looks[family].color
                axes.plot(value, y, ls="none", marker="o", ms=4, color=color, mec="white", gid=said)
            for together, value in _close_together(sorted(levels), use, _LEVEL_LABEL):
                axes.annotate(
                    ", ".join(map(str, together)),
                    (value, y),
                    (0, 3.5),
                    textcoords="offset points",
                    size=6,
                    ha="center",
                )
        axes.set(
            xlim=(-4.0, 104.0),
            ylim=(len(found) - 0.5, -0.6),
            yticks=[],
            xlabel="Codes in use (%); the numbers are the levels",
        )
        axes.grid(axis="y", visible=False)
    return figure


def _identifiers_with_levels(
    runs: Sequence[Run],
) -> list[tuple[tuple[str, ...], str, tuple[str, Mapping[int, float]]]]:
    """Names of systems, their family, and the kind and use of levels of their identifiers."""
    found: defaultdict[tuple[str, str, str], list[Mapping[str, float]]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: place_in_catalogue(run.record.system.name)):
        system = run.record.system
        for kind, figures in run.record.identifiers.items():
            if any(map(_USE_OF_LEVEL.fullmatch, figures)):
                found[clean(system.display_name), system.family, kind].append(figures)
    alike: dict[tuple[Any, ...], list[str]] = {}
    for (name, family, kind), seeds in found.items():
        common = set.intersection(*map(set, seeds))
        means = tuple(sorted((n, float(np.mean([of[n] for of in seeds]))) for n in common))
        alike.setdefault((family, kind, means), []).append(name)
    return [
        (tuple(names), family, (kind, _levels_of(dict(means))))
        for (family, kind, means), names in alike.items()
    ]


def _levels_of(figures: Mapping[str, float]) -> dict[int, float]:
    matches = ((_USE_OF_LEVEL.fullmatch(name), value) for name, value in figures.items())
    return {int(match[1]): value for match, value in matches if match}


def _label_of_identifiers(names: Sequence[str], kind: str) -> str:
    named = names[:_MOST_NAMED] if len(names) <= _MOST_NAMED else names[:1]
    more = f" and {len(names) - 1} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(named)}{more}: {kind}"


def _close_together(
    levels: Sequence[int], use: Sequence[float], distance: float
) -> list[tuple[list[int], float]]:
    """Levels whose points are too close for labels of their own, and where their label stands."""
    groups: list[list[int]] = []
    last = -math.inf
    for place in np.argsort(use, kind="stable"):
        if use[place] - last < distance:
            groups[-1].append(int(place))
        else:
            groups.append([int(place)])
        last = use[place]
    return [
        (sorted(levels[place] for place in group), float(np.mean([use[p] for p in group])))
        for group in groups
    ]
