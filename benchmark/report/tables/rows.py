"""A table of metrics as values: cells, rows, families, and the order of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmark.jobs.record import TaskName
from benchmark.protocol.metrics import View
from benchmark.report.reading.collect import REFERENCE_FAMILY, GroupKey
from benchmark.report.reading.ranks import Ties
from benchmark.report.reading.text import file_name
from benchmark.report.reading.views import with_view
from benchmark.report.tables.grid import DAGGER, DASH, Footnote, Mark
from benchmark.systems.catalogue import entries, family_order

DECIMALS = 4

Verdict = Literal["", "clear", "level"]
Status = Literal["finished", "partly failed", "failed", "not this task"]


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over the seeds; no mean where the row has no figures.

    ``interval`` is the bootstrap interval of the mean. ``p_value`` is the corrected one of being
    worse than another trained system; ``verdict`` is "clear" on a best that is significantly better
    than every other trained system, else "level" on those that may be the best.
    """

    mean: float | None = None
    deviation: float | None = None
    mark: Mark = ""
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    verdict: Verdict = ""


@dataclass(frozen=True)
class Row:
    """One system. ``seeds`` are those of the finished runs; ``notes`` are marks of footnotes.

    ``further`` are the cells of metrics that no column shows; ``ties`` says how often its targets
    are tied, where its runs tell.
    """

    system: str
    display_name: str
    family: str
    status: Status
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    further: tuple[Cell, ...] = ()
    ties: Ties | None = None

    @property
    def placeholder(self) -> str:
        """What a cell without a mean shows."""
        return DASH if self.status == "not this task" else DAGGER


@dataclass(frozen=True)
class RowGroup:
    """A family. Reference rows take no part in the marks."""

    family: str
    title: str
    rows: tuple[Row, ...]

    @property
    def is_reference(self) -> bool:
        """Whether these are the rankers that learn nothing."""
        return self.family == REFERENCE_FAMILY


@dataclass(frozen=True)
class Table:
    """One table, ready to be printed in any form. ``groups`` is empty if no system does the task.

    ``key`` says what all its runs have in common; ``variant`` is shown where that has the same
    names as another table's; ``caption`` is plain text; ``above`` are those of its sentences that a
    reader must not miss; ``kind`` tells the table from the main one of its task. ``further`` are
    the metrics that its plain numbers have besides the ``columns``.
    """

    key: GroupKey
    variant: str
    task: TaskName
    caption: str
    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]
    footnotes: tuple[Footnote, ...]
    view: View = "lists"
    further: tuple[str, ...] = ()
    kind: str = ""
    above: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name of the table's files and of its LaTeX label."""
        stem = with_view(f"{self.key.stem(self.variant)}-{self.task}", self.view)
        return file_name(stem, self.kind) if self.kind else stem

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all groups."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def has_deviations(self) -> bool:
        """Whether any cell is a mean over several seeds."""
        return any(cell.deviation is not None for row in self.rows for cell in row.cells)

    @property
    def has_intervals(self) -> bool:
        """Whether any cell has a bootstrap interval."""
        return any(cell.interval is not None for row in self.rows for cell in row.cells)


def common_name(system: str) -> str:
    """What the variants of one system are called together, or its own name."""
    entry = entries().get(system)
    return entry.heading if entry is not None and entry.heading else system


def without_repetitions(rows: Sequence[Row], column: int) -> list[Row]:
    """``rows`` without those that print the same in a column as another variant of their system.

    The one that stays has the names of both. (One model, ranked in two ways, often gives that.)
    """
    found: dict[tuple[str, float | None], Row] = {}
    for row in rows:
        mean = row.cells[column].mean
        key = (common_name(row.system), None if mean is None else round(mean, DECIMALS))
        other = found.get(key)
        names = row.display_name if other is None else f"{other.display_name}, {row.display_name}"
        found[key] = replace(other or row, display_name=names)
    return list(found.values())


def place_in_catalogue(system: str) -> tuple[int, str]:
    """By which systems are sorted."""
    order = {name: place for place, name in enumerate(entries())}
    return order.get(system.partition(":")[0], len(order)), system


def place_of_family(family: str) -> tuple[bool, int, str]:
    """By which families are sorted: the references first, then as in the catalogue."""
    order = {name: place for place, name in enumerate(family_order())}
    return family != REFERENCE_FAMILY, order.get(family, len(order)), family
