"""The main tables on a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmark.report.tables import DECIMALS, Cell, Row, Table

WIDE = 100
_STYLES = {"best": "bold", "second": "underline", "": ""}


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """Print each table with its footnotes; deviations only where the terminal is wide enough."""
    for table in tables:
        with_deviations = table.has_deviations and console.width >= WIDE
        # Text and not markup: names and errors come from outside.
        console.print(Text(table.caption, style="dim"))
        console.print(_rich_table(table, with_deviations))
        for note in table.footnotes:
            console.print(Text(f" {note.mark} {note.text}", style="dim"))
        if table.has_deviations and not with_deviations:
            console.print(Text(" Deviations over the seeds are in the files.", style="dim"))
        console.print()


def _rich_table(table: Table, with_deviations: bool) -> RichTable:
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    shown.add_column("System", overflow="fold", min_width=18)
    for column in table.columns:
        shown.add_column(column, justify="right", no_wrap=True)
    for group in table.groups:
        shown.add_row(Text(group.title, style="italic"))
        for row in group.rows:
            shown.add_row(_name(row), *(_cell(row, cell, with_deviations) for cell in row.cells))
        shown.add_section()
    return shown


def _name(row: Row) -> Text:
    notes = f" [{','.join(row.notes)}]" if row.notes else ""
    return Text(f"  {row.display_name}").append(notes, style="dim")


def _cell(row: Row, cell: Cell, with_deviation: bool) -> Text:
    if cell.mean is None:
        return Text(row.placeholder)
    shown = Text(f"{cell.mean:.{DECIMALS}f}", style=_STYLES[cell.mark])
    if with_deviation and cell.deviation is not None:
        # Without its leading zero: five columns of it fit into 100.
        shown = Text.assemble(
            shown, (f"±{cell.deviation:.{DECIMALS}f}".replace("±0.", "±."), "dim")
        )
    return shown
