"""Marks of a table's cells: the two best of each column, intervals and the outcome of tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.report.statistics.inference import Statistics
from benchmark.report.tables.grid import Mark
from benchmark.report.tables.rows import DECIMALS, Cell, Row, RowGroup, Verdict


def marked(groups: tuple[RowGroup, ...], columns: int) -> tuple[RowGroup, ...]:
    """The groups with the two best printed values of each column marked, references left out."""
    trained = [row for group in groups if not group.is_reference for row in group.rows]
    marks: list[dict[float, Mark]] = []
    for column in range(columns):
        means = (row.cells[column].mean for row in trained)
        printed = sorted({round(mean, DECIMALS) for mean in means if mean is not None})
        ranked: tuple[Mark, ...] = ("best", "second")
        marks.append(dict(zip(reversed(printed), ranked, strict=False)))

    def with_marks(row: Row) -> Row:
        return replace(
            row,
            cells=tuple(
                replace(cell, mark=of_column.get(round(cell.mean, DECIMALS), ""))
                if cell.mean is not None
                else cell
                for cell, of_column in zip(row.cells, marks, strict=True)
            ),
        )

    return tuple(
        group
        if group.is_reference
        else replace(group, rows=tuple(with_marks(row) for row in group.rows))
        for group in groups
    )


def with_statistics(
    groups: tuple[RowGroup, ...], columns: Sequence[str], statistics: Statistics
) -> tuple[RowGroup, ...]:
    """The groups with each cell's interval and the outcome of its test."""

    def tested(row: Row, metric: str, cell: Cell, place: int) -> Cell:
        if cell.mean is None:
            return cell
        ends = statistics.intervals.get(row.system)
        interval = None if ends is None else (float(ends[place, 0]), float(ends[place, 1]))
        test = statistics.tests.get(metric)
        if test is None:
            return replace(cell, interval=interval)
        verdict: Verdict = "level" if row.system in test.with_the_best else ""
        if row.system == test.best and test.best_is_clear:
            verdict = "clear"
        p_value = test.p_values.get(row.system)
        return replace(cell, interval=interval, p_value=p_value, verdict=verdict)

    return tuple(
        replace(
            group,
            rows=tuple(
                replace(
                    row,
                    cells=tuple(
                        tested(row, metric, cell, place)
                        for place, (metric, cell) in enumerate(zip(columns, row.cells, strict=True))
                    ),
                )
                for row in group.rows
            ),
        )
        for group in groups
    )
