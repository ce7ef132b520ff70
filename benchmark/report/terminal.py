"""The main tables on a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from benchmark.report.reading.views import narrow
from benchmark.report.tables.grid import Entry, Grid, with_columns
from benchmark.report.tables.printed import as_grid
from benchmark.report.tables.rows import Table

WIDE = 100
_NARROWEST_NAME = 18
_NARROWEST_WORDS = 12
_STYLES = {"best": "bold", "second": "underline", "": ""}


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """Print each table with its footnotes; deviations only where the terminal is wide enough.

    Of a table with many cut-offs only two are printed.
    """
    for table in tables:
        with_deviations = table.has_deviations and console.width >= WIDE
        columns = narrow(table.columns)
        print_grid(as_grid(table, "deviation" if with_deviations else "none", columns), console)
        if columns != table.columns:
            console.print(Text(" The other cut-offs are in the files.", style="dim"))
        if table.has_deviations and not with_deviations:
            console.print(Text(" Deviations over the seeds are in the files.", style="dim"))
        console.print()


def print_grid(grid: Grid, console: Console) -> None:
    """Print any table with its footnotes, and nothing of it cut.

    Without what is in brackets where that does not fit; in parts below each other, the names
    repeated, where the columns still do not.
    """
    # Text and not markup: names and errors come from outside.
    console.print(Text(grid.caption, style="dim"))
    needed = _least_width(grid, console, with_spread=True)
    fits = needed <= console.width
    for part in [grid] if fits else _parts(grid, console):
        console.print(_rich_table(part, with_spread=fits))
    if not fits and any(entry.spread for row in grid.rows for entry in row):
        sentence = f" A terminal of {needed} columns shows the brackets; so do the files."
        console.print(Text(sentence, style="dim"))
    for note in grid.footnotes:
        console.print(Text(f" {note.mark} {note.text}" if note.mark else f" {note.text}", "dim"))


def _least_width(grid: Grid, console: Console, *, with_spread: bool) -> int:
    """What a table needs at least: names may be folded, and so may words."""
    shown = _rich_table(grid, with_spread=with_spread)
    unbound = Measurement.get(console, console.options.update(max_width=10_000), shown).maximum
    for column in (0, *grid.left):
        least = _NARROWEST_NAME if column == 0 else _NARROWEST_WORDS
        cells = [label.cell_len for label in _labels(grid)] if column == 0 else []
        cells += [cell_len(grid.full_head[column])]
        cells += [cell_len(row[column].text) for row in grid.rows] if column else []
        unbound -= max(max(cells) - least, 0)
    return unbound


def _parts(grid: Grid, console: Console) -> list[Grid]:
    """``grid`` without what is in brackets, in as few parts as a terminal of this width asks."""
    if _least_width(grid, console, with_spread=False) <= console.width:
        return [grid]
    leading = 1
    while leading in grid.left:
        leading += 1
    parts: list[list[int]] = [[]]
    for column in range(leading, len(grid.head)):
        wider = with_columns(grid, [*range(leading), *parts[-1], column])
        if parts[-1] and _least_width(wider, console, with_spread=False) > console.width:
            parts.append([])
        parts[-1].append(column)
    return [with_columns(grid, [*range(leading), *own]) for own in parts]


def _rich_table(grid: Grid, *, with_spread: bool) -> RichTable:
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    shown.add_column(grid.head[0], overflow="fold", min_width=_NARROWEST_NAME)
    for column, name in enumerate(grid.full_head[1:], start=1):
        if grid.is_left(column):
            shown.add_column(name, overflow="fold", min_width=_NARROWEST_WORDS)
        else:
            shown.add_column(name, justify="right", no_wrap=True)
    for group in grid.groups:
        if group.title:
            shown.add_row(Text(group.title, style="italic"))
        for line in group.lines:
            if isinstance(line, str):
                shown.add_row(Text(_indented(line, bool(group.title))))
                continue
            label = _label(line[0], bool(group.title))
            shown.add_row(label, *(_entry(entry, with_spread) for entry in line[1:]))
        shown.add_section()
    return shown


def _labels(grid: Grid) -> list[Text]:
    """What stands in the first column."""
    titles = [Text(group.title) for group in grid.groups]
    return titles + [_label(row[0], bool(g.title)) for g in grid.groups for row in g.rows]


def _indented(text: str, depth: int) -> str:
    return "  " * depth + text


def _label(name: Entry, titled: bool) -> Text:
    label = Text(_indented(name.text, titled + bool(name.heading)))
    return label.append(f" [{name.raised}]", "dim") if name.raised else label


def _entry(entry: Entry, with_spread: bool) -> Text:
    shown = Text(entry.text, style=_STYLES[entry.mark])
    if entry.raised:
        shown = Text.assemble(shown, (entry.raised, "dim"))
    if entry.spread and with_spread:
        # Without blank and leading zero: five columns of it fit into 100.
        short = entry.spread.replace("± 0.", "±.").replace("± ", "±").replace("[", " [")
        shown = Text.assemble(shown, (short, "dim"))
    return shown
