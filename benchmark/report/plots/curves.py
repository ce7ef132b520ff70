"""The figure of training curves: validation by epoch, a panel a family."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.jobs.record import Run, TaskName
from benchmark.report.plots.panels import Line, Panel, panels_figure
from benchmark.report.plots.style import PAGE_WIDTH, report_style
from benchmark.report.reading.curves import CURVE_METRIC, read_curves
from benchmark.report.reading.text import clean
from benchmark.report.tables.rows import place_in_catalogue, place_of_family
from benchmark.systems.catalogue import base_name, family_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TASKS: tuple[TaskName, ...] = ("recommendation", "search")


def curves_figure(
    runs: Sequence[Run], title: str, tasks: Sequence[str] = TASKS, width: float = PAGE_WIDTH
) -> Figure | None:
    """Validation NDCG@5 by epoch, a line a seed; None if no run kept a validation."""
    found: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: place_in_catalogue(run.record.system.name)):
        system = run.record.system
        if system.name != base_name(system.name):
            continue
        curves = read_curves(run.folder)
        stages = Counter(task for curve in curves for task in curve.validation)
        for curve in curves:
            for task in filter(curve.validation.__contains__, tasks):
                values = curve.validation[task]
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
        return panels_figure(panels, title, labels, log_x=False, width=width)


def _stage(name: str) -> str:
    return clean(name.replace("-", " ").replace("_", " "))
