"""The figure of codebooks: how many of their codes identifiers use, level by level."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.jobs.record import Run
from benchmark.report.plots.canvas import add_axes, headed, new_figure
from benchmark.report.plots.style import (
    HOVER,
    PAGE_WIDTH,
    folded_text,
    is_column,
    looks_of,
    report_style,
    width_of_text,
)
from benchmark.report.reading.text import clean
from benchmark.report.tables.rows import place_in_catalogue

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FOLDED = 86.0  # points, of a label in a column
_USE_OF_LEVEL = re.compile(r"codebook_use_(\d+)")
_LEVEL_LABEL = 4.0  # per cent of a codebook that the number of a level takes up
_MOST_NAMED = 2  # systems with the same identifiers


def codebooks_figure(runs: Sequence[Run], title: str, width: float = PAGE_WIDTH) -> Figure | None:
    """The share of each level's codes that some item has, a row a kind of identifier of a system.

    Systems of a family whose identifiers have all figures in common share a row.
    """
    found = _identifiers_with_levels(runs)
    if not found:
        return None
    with report_style():
        looks = looks_of({family for _, family, _ in found})
        labels = [_label_of_identifiers(names, kind) for names, _, (kind, _) in found]
        if is_column(width):
            labels = [folded_text(label, _FOLDED, 7.0) for label in labels]
        lines = [line for label in labels for line in label.split("\n")]
        left = max(width_of_text(line, 7.0) for line in lines) / 72.0 + 0.25
        most = max(label.count("\n") for label in labels)
        height = (0.3 + 0.09 * most) * len(found)
        panel = max(width - left - 0.25, 1.5 if is_column(width) else 2.5)
        figure = new_figure(left + panel + 0.25, height + 0.95)
        headed(figure, title)
        axes = add_axes(figure, left, 0.5, panel, height)
        near = _LEVEL_LABEL * max(2.5 / panel, 1.0)
        for y, (label, (names, family, (kind, levels))) in enumerate(
            zip(labels, found, strict=True)
        ):
            axes.text(
                -0.03,
                y,
                label,
                transform=axes.get_yaxis_transform(),
                size=7,
                va="center" if "\n" in label else "center_baseline",
                ha="right",
                linespacing=1.0,
                parse_math=False,
            )
            use = [100.0 * levels[level] for level in sorted(levels)]
            axes.plot(use, [y] * len(use), color="#c4c4c4", lw=0.8, marker="", zorder=2)
            for level, value in zip(sorted(levels), use, strict=True):
                said = f"{HOVER}{', '.join(names)}, {kind}, level {level}: {value:.1f} % of the "
                said += "codes in use"
                color = looks[family].color
                axes.plot(value, y, ls="none", marker="o", ms=4, color=color, mec="white", gid=said)
            for together, value in _close_together(sorted(levels), use, near):
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
            xlabel="Codes in use (%)\nnumbers: levels"
            if is_column(width)
            else "Codes in use (%); the numbers are the levels",
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
