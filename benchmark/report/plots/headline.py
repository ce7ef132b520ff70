"""The metric of a table that figures show, and the rows that have it."""

from __future__ import annotations

from benchmark.report.reading.views import headline
from benchmark.report.tables.rows import Row, Table


def metric_of(table: Table) -> str:
    """Its name."""
    return headline(table.columns, table.view)


def column_of(table: Table) -> int:
    """The place of its column."""
    return table.columns.index(metric_of(table))


def rows_with_figures(table: Table) -> list[Row]:
    """The rows that have a mean of it."""
    return [row for row in table.rows if row.cells[column_of(table)].mean is not None]
