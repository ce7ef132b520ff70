"""Figures: the search-recommendation trade-off.

The question of the trade-off is whether one system can serve both tasks, so systems of both tasks
are points with a Pareto front, and systems of one task are ticks on that task's axis: what the
front has to reach. Figures are drawn through matplotlib's object interface on Agg, with the
settings of ``style.mplstyle`` only, and carry no date: equal tables give equal bytes.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.report.collect import REFERENCE_FAMILY
from benchmark.report.labels import Box, Point, place_labels, spread
from benchmark.report.rows import DECIMALS, Cell, Row, Table, common_name
from benchmark.report.text import clean, counted
from benchmark.report.typeface import register_typeface
from benchmark.report.views import headline
from benchmark.systems.catalogue import family_order, family_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("style.mplstyle")
GREY = "#a8a8a8"
PAGE_WIDTH = 7.1  # inches, of the text of a two-column paper: what type is legible at
HOVER = "hover:"
"""Begins the id of what a page explains when the pointer rests on it; the sentence follows."""
_TITLE_ID = "title"
_HAIRLINE = "#9a9a9a"
_LABEL_SIZE = 7.0
_RUG_SIZE = 6.5
SLOPE = 60.0  # degrees, of names along an axis
_RUG_REACH = 20.0  # points from the axis to a name
# Inches.
_NARROWEST, _HEIGHT, _NO_STRIP, TITLE_HEIGHT, _MARGIN = 3.2, 3.9, 0.1, 0.28, 0.1
_LEFT, _BOTTOM, _LEGEND_ROW = 0.7, 0.5, 0.19


@dataclass(frozen=True)
class Look:
    """How a family is drawn."""

    color: str
    marker: str


@dataclass(frozen=True)
class _System:
    """A system's mean of both tasks, NaN where it has no figure, and the ends of its interval."""

    system: str
    name: str
    family: str
    recommendation: float
    search: float
    recommendation_ends: Point | None
    search_ends: Point | None

    @property
    def is_reference(self) -> bool:
        return self.family == REFERENCE_FAMILY

    @property
    def color_of_name(self) -> str:
        return "#5a5a5a" if self.is_reference else "black"


@dataclass(frozen=True)
class _Tick:
    """A system of one task, the name it is shown by, and its place on that task's axis."""

    system: _System
    name: str
    value: float


@contextmanager
def report_style() -> Iterator[None]:
    """Matplotlib with the report's style and nothing of the user's own settings.

    It draws a box for a character that no font has (Chinese, say) and would warn at each of them;
    names are whole in the tables and on the page.
    """
    import matplotlib as mpl

    register_typeface()
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"Glyph \d+ .* missing from", category=UserWarning
        )
        mpl.rcdefaults()
        mpl.rcParams.update(mpl.rc_params_from_file(STYLE, use_default_template=False))
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write ``figure`` in the format of the path's suffix, without date or version of the tool."""
    undated: dict[str, dict[str, None]] = {
        ".png": {"Software": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        ".svg": {"Date": None, "Creator": None},
    }
    how: dict[str, Any] = {"format": path.suffix[1:], "metadata": undated[path.suffix]}
    if path.suffix == ".png":
        # Packing harder takes time and saves a tenth.
        how["pil_kwargs"] = {"compress_level": 1}
    titles = [text for text in figure.texts if text.get_gid() == _TITLE_ID]
    with report_style():
        if path.suffix != ".pdf" or not titles:
            figure.savefig(path, **how)
            return
        from matplotlib.transforms import Bbox

        # A paper's caption says what a title does.
        width, height = figure.get_size_inches()
        for title in titles:
            title.set_visible(False)
        figure.savefig(
            path, bbox_inches=Bbox.from_bounds(0.0, 0.0, width, height - TITLE_HEIGHT), **how
        )
        for title in titles:
            title.set_visible(True)


def add_title(figure: Figure, title: str, left: float) -> None:
    """Write the title above everything else, so many inches from the left; PDFs go without it."""
    figure.text(
        left / figure.get_figwidth(),
        1.0 - 0.08 / figure.get_figheight(),
        title,
        va="top",
        size=8.5,
        parse_math=False,
        gid=_TITLE_ID,
    )


def title_in(figure: Figure) -> str:
    """The title that :func:`add_title` wrote, or nothing."""
    return next((text.get_text() for text in figure.texts if text.get_gid() == _TITLE_ID), "")


def tradeoff_figure(recommendation: Table, search: Table) -> Figure | None:
    """Recommendation against search quality, a point a system; None if no system finished both."""
    systems = _systems(recommendation, search)
    both = [s for s in systems if not math.isnan(s.recommendation + s.search)]
    if not both:
        return None
    trained = [s for s in systems if not s.is_reference]
    if not any(s in both for s in trained):
        trained = systems  # without a trained system to spread out, the references are the picture
    inner = [s for s in both if s in trained]
    ranges = (
        _range_of_axis(
            [s.recommendation for s in trained] + _ends(s.recommendation_ends for s in inner),
            [s.recommendation for s in systems],
        ),
        _range_of_axis(
            [s.search for s in trained] + _ends(s.search_ends for s in inner),
            [s.search for s in systems],
        ),
    )
    above = [
        _tick(s, s.recommendation, s.recommendation_ends, ranges[0])
        for s in systems
        if math.isnan(s.search)
    ]
    beside = [
        _tick(s, s.search, s.search_ends, ranges[1])
        for s in systems
        if math.isnan(s.recommendation)
    ]
    has_ends = any(s.recommendation_ends or s.search_ends for s in systems)
    metric = headline(search.columns, search.view)
    with report_style():
        looks = looks_of({s.family for s in systems})
        figure, axes = _canvas(
            ranges,
            top=_strip(above, slope=SLOPE),
            right=_strip(beside, slope=90.0),
            # As if there were room for two columns only.
            legend_rows=-(-(len(looks) + 3) // 2),
            metric=metric,
        )
        add_title(figure, title_of(recommendation, search), _LEFT)
        front = _draw_front(axes, [s for s in both if not s.is_reference])
        _draw_points(axes, both, looks, front, metric)
        _draw_rug(axes, above, looks, along_x=True)
        _draw_rug(axes, beside, looks, along_x=False)
        has_outside = any(_place(s, ranges) != (s.recommendation, s.search) for s in both)
        _draw_legend(
            figure,
            looks,
            {s.family for s in both},
            has_front=bool(front),
            has_outside=has_outside,
            has_ends=has_ends,
        )
    return figure


def _systems(recommendation: Table, search: Table) -> list[_System]:
    """The systems of both tables that have a figure in either, in the tables' order."""
    found: dict[str, Row] = {}
    cells: dict[tuple[str, str], Cell] = {}
    for table in (recommendation, search):
        column = table.columns.index(headline(table.columns, table.view))
        for row in table.rows:
            if row.cells[column].mean is not None:
                found.setdefault(row.system, row)
                cells[row.system, table.task] = row.cells[column]

    def number(value: float | None) -> float:
        return math.nan if value is None else value

    systems = []
    for name, row in found.items():
        x = cells.get((name, recommendation.task), Cell())
        y = cells.get((name, search.task), Cell())
        systems.append(
            _System(
                system=row.system,
                name=clean(row.display_name),
                family=row.family,
                recommendation=number(x.mean),
                search=number(y.mean),
                recommendation_ends=x.interval,
                search_ends=y.interval,
            )
        )
    return _without_repetitions(systems)


def _without_repetitions(systems: Sequence[_System]) -> list[_System]:
    """Variants of one system with the same printed figures as one point with their names."""
    found: dict[tuple[Any, ...], _System] = {}
    for system in systems:
        values = (system.recommendation, system.search)
        printed = ("" if math.isnan(value) else round(value, DECIMALS) for value in values)
        key = (common_name(system.system), *printed)
        other = found.get(key)
        found[key] = (
            system if other is None else replace(other, name=f"{other.name}, {system.name}")
        )
    return list(found.values())


def _ends(intervals: Iterable[Point | None]) -> list[float]:
    return [end for interval in intervals if interval is not None for end in interval]


def looks_of(families: Collection[str]) -> dict[str, Look]:
    """Colour and marker of each family that occurs: fixed by its place in the catalogue."""
    import matplotlib as mpl

    cycle = list(mpl.rcParams["axes.prop_cycle"])
    known = [family for family in family_order() if family != REFERENCE_FAMILY]
    unknown = sorted(set(families) - set(known) - {REFERENCE_FAMILY})
    looks = {REFERENCE_FAMILY: Look(GREY, "o")}
    for place, family in enumerate([*known, *unknown]):
        # A second round of the colours goes with other markers.
        color = cycle[place % len(cycle)]["color"]
        marker = cycle[(place + place // len(cycle)) % len(cycle)]["marker"]
        looks[family] = Look(f"#{color.lstrip('#')}", marker)
    return {family: look for family, look in looks.items() if family in families}


def _range_of_axis(trained: Sequence[float], everyone: Sequence[float]) -> Point:
    """The range of the trained systems; references may lie so far off that all else is one spot."""
    values = [v for v in trained if not math.isnan(v)]
    values = values or [v for v in everyone if not math.isnan(v)]
    room = 0.1 * (max(values) - min(values)) or 0.05
    return max(min(values) - room, 0.0), max(values) + room


def _clamped(value: float, within: Point) -> float:
    return min(max(value, within[0]), within[1])


def _place(system: _System, ranges: tuple[Point, Point]) -> Point:
    """Where the system's point stands: at its values, or at the edge if they lie outside."""
    return _clamped(system.recommendation, ranges[0]), _clamped(system.search, ranges[1])


def _tick(system: _System, value: float, ends: Point | None, within: Point) -> _Tick:
    """A tick at ``value``, or at the end of the axis with the figure beside the name.

    Intervals of many ticks on one line would hide each other, so theirs stand beside the names.
    """
    at = _clamped(value, within)
    name = system.name if at == value else f"{system.name} ({value:.3f})"
    if ends is not None:
        name += " [{}, {}]".format(*(f"{end:.3f}".removeprefix("0") for end in ends))
    return _Tick(system, name, at)


def _strip(ticks: Sequence[_Tick], slope: float) -> float:
    """How many inches the names of ``ticks`` take from their axis, turned by ``slope`` degrees."""
    if not ticks:
        return _NO_STRIP
    longest = max(width_of_text(tick.name, _RUG_SIZE) for tick in ticks)
    return (_RUG_REACH + longest * math.sin(math.radians(slope))) / 72.0 + _MARGIN


def _canvas(
    ranges: tuple[Point, Point], top: float, right: float, legend_rows: int, metric: str
) -> tuple[Figure, Axes]:
    """The figure with its one pair of axes; strips for names are left above and to the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    legend = legend_rows * _LEGEND_ROW + 2 * _MARGIN
    of_axes = max(PAGE_WIDTH - _LEFT - right, _NARROWEST)
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


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other point exceeds or equals in both values, by ascending x.

    >>> pareto_front([(1.0, 3.0), (2.0, 2.0), (1.5, 1.5), (3.0, 1.0)])
    [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    """
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


def _draw_front(axes: Axes, trained: Sequence[_System]) -> list[tuple[float, float]]:
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
    both: Sequence[_System],
    looks: Mapping[str, Look],
    front: Sequence[Point],
    metric: str,
) -> None:
    """Each system's marker, the intervals of its means, and its name beside it."""
    names, points, lines = [], [], list(pairwise(front))
    for system in both:
        look = looks[system.family]
        at = _place(system, (axes.get_xlim(), axes.get_ylim()))
        inside = at == (system.recommendation, system.search)
        figures = f" ({system.recommendation:.3f}, {system.search:.3f})"
        names.append(system.name if inside else system.name + figures)
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
                f"{HOVER}{system.name}: recommendation {system.recommendation:.4f}, "
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
    label_points(axes, names, [system.color_of_name for system in both], points, lines)


def _told_ends(task: str, ends: Point | None) -> str:
    return "" if ends is None else f", {task} interval {ends[0]:.4f} to {ends[1]:.4f}"


def _in_points(axes: Axes, x: float, y: float) -> Point:
    """Where a value of the plot lies on the paper, in points from the lower left corner."""
    at = axes.transData.transform((x, y)) * 72.0 / axes.figure.dpi
    return float(at[0]), float(at[1])


def _box_in_points(axes: Axes) -> Box:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return (*_in_points(axes, left, bottom), *_in_points(axes, right, top))


def _draw_line(axes: Axes, path: Sequence[Point], color: str, width: float) -> None:
    """A line given in points. Inches on the paper hold in every format, whatever its resolution."""
    xs, ys = zip(*path, strict=True)
    axes.plot(
        [x / 72.0 for x in xs],
        [y / 72.0 for y in ys],
        transform=axes.figure.dpi_scale_trans,
        marker="",
        color=color,
        linewidth=width,
        solid_capstyle="butt",
        clip_on=False,
        zorder=3,
    )


def _draw_name(axes: Axes, at: Point, name: str, size: float, color: str, **how: Any) -> None:
    """A name that begins at a place given in points, on a white ground that keeps it legible.

    (A white rim would turn the letters into shapes, which nobody finds by searching a PDF.)
    """
    axes.text(
        at[0] / 72.0,
        at[1] / 72.0,
        name,
        transform=axes.figure.dpi_scale_trans,
        size=size,
        color=color,
        ha="left",
        parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
        zorder=5,
        **how,
    )


def label_points(
    axes: Axes,
    names: Sequence[str],
    colors: Sequence[str],
    values: Sequence[Point],
    lines: Sequence[tuple[Point, Point]],
) -> None:
    """Write the names beside the points, with a hairline where one had to move away.

    Points of one colour that lie on each other share a label.
    """
    at_place: dict[tuple[str, int, int], int] = {}
    joined: list[str] = []
    kept: list[int] = []
    for i, (x, y) in enumerate(values):
        across, up = _in_points(axes, x, y)
        first = at_place.setdefault((colors[i], round(across), round(up)), len(kept))
        if first < len(kept):
            joined[first] += f", {names[i]}"
        else:
            joined.append(names[i])
            kept.append(i)
    names, colors = joined, [colors[i] for i in kept]
    values = [values[i] for i in kept]
    points = [_in_points(axes, x, y) for x, y in values]
    left, bottom, right, top = _box_in_points(axes)
    names = [folded_text(name, 0.6 * (right - left), _LABEL_SIZE) for name in names]
    sizes = [_size_of_label(name) for name in names]
    drawn = [(_in_points(axes, *start), _in_points(axes, *end)) for start, end in lines]
    area = (left + 3, bottom + 3, right - 7, top - 7)  # the rugs' ticks are 5 points long
    for color, name, point, label in zip(
        colors, names, points, place_labels(points, sizes, area, drawn), strict=True
    ):
        if label.leader:
            _draw_line(axes, [point, label.leader], _HAIRLINE, 0.5)
        at = (label.box[0], (label.box[1] + label.box[3]) / 2)
        align = "center" if "\n" in name else "center_baseline"
        _draw_name(axes, at, name, _LABEL_SIZE, color, va=align)


def _size_of_label(name: str) -> Point:
    lines = name.split("\n")
    return max(width_of_text(line, _LABEL_SIZE) for line in lines), _LABEL_SIZE * 1.2 * len(lines)


def folded_text(text: str, room: float, size: float) -> str:
    """``text`` in lines of about so many points."""
    width = width_of_text(text, size)
    if width <= room:
        return text
    return "\n".join(textwrap.wrap(text, max(int(0.9 * len(text) * room / width), 8))) or text


def width_of_text(text: str, size: float) -> float:
    """Width of a line of text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    how = FontProperties(size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, how, ismath=False)
    return float(width)


def _draw_rug(
    axes: Axes, ticks: Sequence[_Tick], looks: Mapping[str, Look], *, along_x: bool
) -> None:
    """Ticks at the figures of the systems of one task, each led to its name in the strip."""
    left, bottom, right, top = _box_in_points(axes)
    low, high, edge = (left, right, top) if along_x else (bottom, top, right)

    def at(along: float, beyond: float) -> Point:
        return (along, edge + beyond) if along_x else (edge + beyond, along)

    how: dict[str, Any] = {"va": "center_baseline"}
    if along_x:
        how = {"va": "center", "rotation": SLOPE, "rotation_mode": "anchor"}
    gap = _RUG_SIZE * (1.45 if along_x else 1.2)
    places = [_in_points(axes, tick.value, tick.value)[0 if along_x else 1] for tick in ticks]
    for tick, place, name_at in zip(ticks, places, spread(places, gap, low, high), strict=True):
        color = looks[tick.system.family].color
        _draw_line(axes, [at(place, -5), at(place, 3)], color, 1.6)
        _draw_line(axes, [at(place, 3), at(name_at, 15), at(name_at, 18)], color, 0.5)
        name_begins = at(name_at, _RUG_REACH)
        _draw_name(axes, name_begins, tick.name, _RUG_SIZE, tick.system.color_of_name, **how)


def _draw_legend(
    figure: Figure,
    looks: Mapping[str, Look],
    with_points: Collection[str],
    *,
    has_front: bool,
    has_outside: bool,
    has_ends: bool,
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
    if has_ends:
        explained = "whiskers and [ ]: 95 % interval of the mean"
        handles.append(Line2D([], [], marker="", color=GREY, lw=0.7, label=explained))
    if has_outside:
        outside = "outside the axes' range, with its figures"
        handles.append(
            Line2D([], [], ls="none", marker="o", mfc="white", mec=GREY, mew=1.0, label=outside)
        )
    legend = figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.02, 0.01),
        ncols=columns_that_fit([str(handle.get_label()) for handle in handles], figure),
        borderaxespad=0.3,
        labelspacing=0.35,
        columnspacing=1.2,
        handletextpad=0.4,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def columns_that_fit(labels: Sequence[str], figure: Figure, most: int = 4) -> int:
    """How many columns of a legend the figure is wide enough for."""
    import matplotlib as mpl

    size = mpl.rcParams["legend.fontsize"]
    longest = max(width_of_text(label, size) for label in labels) + 3.5 * size
    return max(min(int(72.0 * figure.get_figwidth() * 0.97 / longest), most), 1)


def title_of(recommendation: Table, search: Table) -> str:
    """The line above a plot: data set, protocol, preset, number of seeds and all items."""
    key = recommendation.key
    seeds = max((len(row.seeds) for row in (*recommendation.rows, *search.rows)), default=1)
    averaged = f" · mean of {counted(seeds, 'seed')}" if seeds > 1 else ""
    variant = f" (variant {recommendation.variant})" if recommendation.variant else ""
    return clean(
        f"{key.dataset} · protocol {key.protocol}{variant} · preset {key.preset}{averaged}"
        f"{' · among all items' if recommendation.view == 'all-items' else ''}"
    )
