"""Figures measured in inches: an empty one, its title, axes in it, and legends at its foot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.report.plots.style import Look, add_title, columns_that_fit
from benchmark.report.reading.text import clean
from benchmark.systems.catalogue import family_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def headed(figure: Figure, title: str) -> None:
    """Write the title above everything else."""
    add_title(figure, title, left=0.1)


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes placed in inches from the lower left corner."""
    total_width, total_height = figure.get_size_inches()
    place = (left / total_width, bottom / total_height, width / total_width, height / total_height)
    return figure.add_axes(place)


def height_of_legend(looks: Mapping[str, Look], width: float, more: int = 0) -> float:
    """Inches of the legend of families and of ``more`` entries, in two columns at most."""
    labels = [clean(family_title(family)) for family in looks]
    columns = columns_that_fit(labels, width, most=2)
    return 0.3 + 0.19 * -(-(len(looks) + more) // columns)


def legend_of_families(
    figure: Figure, looks: Mapping[str, Look], more: Line2D | None = None
) -> None:
    """Each family's marker and title, and what ``more`` shows, at the foot of the figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            ls="none",
            marker=look.marker,
            color=look.color,
            mec="white",
            mew=0.6,
            label=clean(family_title(family)),
        )
        for family, look in looks.items()
    ]
    legend_at_the_foot(figure, [*handles, *([more] if more is not None else [])])


def legend_at_the_foot(
    figure: Figure, handles: Sequence[Line2D], bottom: float = 0.0, padding: float | None = None
) -> None:
    """What ``handles`` show, in as many columns as fit, from ``bottom`` of the figure's height.

    ``padding`` keeps it from the edge, in letters; matplotlib's own if absent.
    """
    labels = [str(handle.get_label()) for handle in handles]
    legend = figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.02, bottom),
        ncols=columns_that_fit(labels, figure.get_figwidth()),
        borderaxespad=padding,
        columnspacing=1.2,
        handletextpad=0.4,
        labelspacing=0.35,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
