"""What all figures share: style, colours of families, titles, labels beside points, and files.

Figures are drawn through matplotlib's object interface on Agg, with the settings of
``style.mplstyle`` only, and carry no date: equal tables give equal bytes.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.report.plots.labels import Box, Point, place_labels
from benchmark.report.plots.typeface import register_typeface
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.text import clean, counted
from benchmark.report.tables.rows import Table, common_name
from benchmark.systems.catalogue import family_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("style.mplstyle")
GREY = "#a8a8a8"
GREY_OF_NAMES = "#5a5a5a"
PAGE_WIDTH = 7.1
"""Inches, of the text of a two-column paper: no figure is much wider."""
COLUMN_WIDTH = 3.35
"""Inches, 8.5 cm: a column of such a paper."""
TITLE_HEIGHT = 0.28
"""Inches at the top of every figure, which its PDF goes without."""
SLOPE = 60.0
"""Degrees, of names along an axis."""
HOVER = "hover:"
"""Begins the id of what a page explains when the pointer rests on it; the sentence follows."""
_TITLE_ID = "title"
_HAIRLINE = "#9a9a9a"
_LABEL_SIZE, _TITLE_SIZE = 7.0, 8.5
_COVERED = 3.0  # points, half of a mark: nearer marks are one spot


@dataclass(frozen=True)
class Look:
    """How a family is drawn."""

    color: str
    marker: str


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


def color_of_name(family: str) -> str:
    """In which a system's name stands: those of rankers that learn nothing step back."""
    return GREY_OF_NAMES if family == REFERENCE_FAMILY else "black"


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
    """Write the title above everything else, so many inches from the left; PDFs go without it.

    Where a column is too narrow for it, its letters are smaller.
    """
    room = 72.0 * (figure.get_figwidth() - left - 0.05)
    size = _TITLE_SIZE * min(room / max(width_of_text(title, _TITLE_SIZE), 1.0), 1.0)
    figure.text(
        left / figure.get_figwidth(),
        1.0 - 0.08 / figure.get_figheight(),
        title,
        va="top",
        size=size,
        parse_math=False,
        gid=_TITLE_ID,
    )


def title_in(figure: Figure) -> str:
    """The title that :func:`add_title` wrote, or nothing."""
    return next((text.get_text() for text in figure.texts if text.get_gid() == _TITLE_ID), "")


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


def in_points(axes: Axes, x: float, y: float) -> Point:
    """Where a value of the plot lies on the paper, in points from the lower left corner."""
    at = axes.transData.transform((x, y)) * 72.0 / axes.figure.dpi
    return float(at[0]), float(at[1])


def box_in_points(axes: Axes) -> Box:
    """The corners of the axes in points."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return (*in_points(axes, left, bottom), *in_points(axes, right, top))


def draw_line(axes: Axes, path: Sequence[Point], color: str, width: float) -> None:
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


def draw_name(axes: Axes, at: Point, name: str, size: float, color: str, **how: Any) -> None:
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


@dataclass(frozen=True)
class Spot:
    """A mark that is drawn: the place of its system, its label, and the names of all it shows."""

    place: int
    label: str
    names: str


def spots(
    axes: Axes, systems: Sequence[str], names: Sequence[str], values: Sequence[Point]
) -> list[Spot]:
    """The marks to draw: variants of one system whose marks would cover each other are one.

    (One model that ranks in two ways gives them.) Its label is what all variants are called
    together where it shows all that there are.
    """
    points = [in_points(axes, *value) for value in values]
    headings = [common_name(system) for system in systems]
    members: dict[int, list[int]] = {}
    for place, point in enumerate(points):
        covering = (
            first
            for first in members
            if headings[first] == headings[place] and math.dist(points[first], point) < _COVERED
        )
        members.setdefault(next(covering, place), []).append(place)
    found = []
    for first, own in members.items():
        whole = ", ".join(names[place] for place in own)
        is_all = 1 < len(own) == headings.count(headings[first])
        found.append(Spot(first, headings[first] if is_all else whole, whole))
    return found


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
        across, up = in_points(axes, x, y)
        first = at_place.setdefault((colors[i], round(across), round(up)), len(kept))
        if first < len(kept):
            joined[first] += f", {names[i]}"
        else:
            joined.append(names[i])
            kept.append(i)
    names, colors = joined, [colors[i] for i in kept]
    values = [values[i] for i in kept]
    points = [in_points(axes, x, y) for x, y in values]
    left, bottom, right, top = box_in_points(axes)
    names = [folded_text(name, 0.6 * (right - left), _LABEL_SIZE) for name in names]
    sizes = [_size_of_label(name) for name in names]
    drawn = [(in_points(axes, *start), in_points(axes, *end)) for start, end in lines]
    area = (left + 3, bottom + 3, right - 7, top - 7)  # the rugs' ticks are 5 points long
    for color, name, point, label in zip(
        colors, names, points, place_labels(points, sizes, area, drawn), strict=True
    ):
        if label.leader:
            draw_line(axes, [point, label.leader], _HAIRLINE, 0.5)
        at = (label.box[0], (label.box[1] + label.box[3]) / 2)
        align = "center" if "\n" in name else "center_baseline"
        draw_name(axes, at, name, _LABEL_SIZE, color, va=align)


def _size_of_label(name: str) -> Point:
    lines = name.split("\n")
    return max(width_of_text(line, _LABEL_SIZE) for line in lines), _LABEL_SIZE * 1.2 * len(lines)


def folded_text(text: str, room: float, size: float) -> str:
    """``text`` in lines of about so many points; no word is broken."""
    width = width_of_text(text, size)
    if width <= room:
        return text
    letters = max(int(0.9 * len(text) * room / width), *map(len, text.split()), 8)
    return "\n".join(textwrap.wrap(text, letters)) or text


def width_of_text(text: str, size: float) -> float:
    """Width of a line of text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    how = FontProperties(size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, how, ismath=False)
    return float(width)


def is_column(width: float) -> bool:
    """Whether a figure of so many inches is drawn for a column, its panels below each other."""
    return width < PAGE_WIDTH


def columns_that_fit(labels: Sequence[str], width: float, most: int = 4) -> int:
    """How many columns of a legend a figure of so many inches has room for."""
    import matplotlib as mpl

    size = mpl.rcParams["legend.fontsize"]
    longest = max(width_of_text(label, size) for label in labels) + 3.5 * size
    return max(min(int(72.0 * width * 0.97 / longest), most), 1)


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
