"""What the trade-off of search and recommendation shows, and where: points, front and ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmark.report.plots.headline import column_of
from benchmark.report.plots.labels import Point
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.text import clean
from benchmark.report.tables.rows import DECIMALS, Cell, Row, Table, common_name

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class SystemPoint:
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
        """Whether it is of the rankers that learn nothing."""
        return self.family == REFERENCE_FAMILY


@dataclass(frozen=True)
class Tick:
    """A system of one task, the name it is shown by, and its place on that task's axis."""

    system: SystemPoint
    name: str
    value: float


def systems_of(recommendation: Table, search: Table) -> list[SystemPoint]:
    """The systems of both tables that have a figure in either, in the tables' order."""
    found: dict[str, Row] = {}
    cells: dict[tuple[str, str], Cell] = {}
    for table in (recommendation, search):
        column = column_of(table)
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
            SystemPoint(
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


def _without_repetitions(systems: Sequence[SystemPoint]) -> list[SystemPoint]:
    """Variants of one system of one task with the same printed figures as one with their names.

    (Those of both tasks have marks, which are seen to cover each other when they are drawn.)
    """
    found: dict[tuple[Any, ...], SystemPoint] = {}
    for system in systems:
        values = (system.recommendation, system.search)
        printed = ("" if math.isnan(value) else round(value, DECIMALS) for value in values)
        of_both = not math.isnan(system.recommendation + system.search)
        key = (system.system if of_both else common_name(system.system), *printed)
        other = found.get(key)
        found[key] = (
            system if other is None else replace(other, name=f"{other.name}, {system.name}")
        )
    return list(found.values())


def ends_of(intervals: Iterable[Point | None]) -> list[float]:
    """The ends of those that there are."""
    return [end for interval in intervals if interval is not None for end in interval]


def range_of_axis(trained: Sequence[float], everyone: Sequence[float]) -> Point:
    """The range of the trained systems; references may lie so far off that all else is one spot."""
    values = [v for v in trained if not math.isnan(v)]
    values = values or [v for v in everyone if not math.isnan(v)]
    room = 0.1 * (max(values) - min(values)) or 0.05
    return max(min(values) - room, 0.0), max(values) + room


def _clamped(value: float, within: Point) -> float:
    return min(max(value, within[0]), within[1])


def place_of(system: SystemPoint, ranges: tuple[Point, Point]) -> Point:
    """Where the system's point stands: at its values, or at the edge if they lie outside."""
    return _clamped(system.recommendation, ranges[0]), _clamped(system.search, ranges[1])


def tick_of(system: SystemPoint, value: float, ends: Point | None, within: Point) -> Tick:
    """A tick at ``value``, or at the end of the axis with the figure beside the name.

    Intervals of many ticks on one line would hide each other, so theirs stand beside the names.
    """
    at = _clamped(value, within)
    name = system.name if at == value else f"{system.name} ({value:.3f})"
    if ends is not None:
        name += " [{}, {}]".format(*(f"{end:.3f}".removeprefix("0") for end in ends))
    return Tick(system, name, at)


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
