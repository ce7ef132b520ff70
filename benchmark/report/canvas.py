"""Figures measured in inches: an empty one, its title, axes in it, and a legend of families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmark.report.plots import Look
from benchmark.report.text import clean
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
    figure.text(
        0.1 / figure.get_figwidth(),
        1.0 - 0.08 / figure.get_figheight(),
        title,
        va="top",
        size=8.5,
        parse_math=False,
    )


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes placed in inches from the lower left corner."""
    total_width, total_height = figure.get_size_inches()
    place = (left / total_width, bottom / total_height, width / total_width, height / total_height)
    return figure.add_axes(place)


def legend_of_families(
    figure: Figure, looks: Mapping[str, Look], columns: int = 4, more: Line2D | None = None
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
    legend = figure.legend(
        handles=[*handles, *([more] if more is not None else [])],
        loc="lower left",
        bbox_to_anchor=(0.02, 0.0),
        ncols=columns,
        columnspacing=1.2,
        handletextpad=0.4,
        labelspacing=0.35,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
