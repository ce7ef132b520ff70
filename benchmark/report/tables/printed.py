"""Tables as grids to print, with deviations or intervals, side by side, and as plain numbers."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.ranks import Ties
from benchmark.report.reading.text import clean, counted, csv_cell, file_name
from benchmark.report.reading.views import WORDS, narrow, with_view
from benchmark.report.statistics.bootstrap import CONFIDENCE
from benchmark.report.tables.captions import CLEAR, LEVEL_WITH_BEST, MARKS, intervals_explained
from benchmark.report.tables.footnotes import Footnotes
from benchmark.report.tables.grid import DASH, Entry, Grid, GridGroup
from benchmark.report.tables.headings import name_entries
from benchmark.report.tables.rows import (
    DECIMALS,
    Cell,
    Row,
    Table,
    place_in_catalogue,
    place_of_family,
)

DECIMALS_OF_ENDS = 3  # of an interval, whose ends are themselves uncertain
DATASETS_SIDE_BY_SIDE = 2

Spread = Literal["deviation", "interval", "none"]


def as_grid(
    table: Table, spread: Spread = "deviation", columns: Sequence[str] | None = None
) -> Grid:
    """The table to print, with deviations over the seeds, with intervals, or with neither.

    Args:
        table: the table.
        spread: what stands beside each mean.
        columns: those that are printed; all of them if not given.
    """
    columns = table.columns if columns is None else columns
    stem, caption = table.stem, table.caption
    if spread == "interval":
        seeds = max((len(row.seeds) for row in table.rows), default=0)
        stem, caption = f"{stem}-intervals", f"{caption} {intervals_explained(seeds)}"
    names = name_entries((row.system, row.display_name, ",".join(row.notes)) for row in table.rows)
    groups = tuple(
        GridGroup(
            group.title,
            tuple(
                (names[row.system], *_entries(table, row, spread, columns)) for row in group.rows
            ),
            set_apart=group.is_reference,
        )
        for group in table.groups
    )
    return Grid(stem, caption, ("System", *columns), groups, table.footnotes)


def _entries(table: Table, row: Row, spread: Spread, columns: Sequence[str]) -> list[Entry]:
    entries = []
    for column in columns:
        cell = row.cells[table.columns.index(column)]
        if cell.mean is None:
            entries.append(Entry(row.placeholder))
            continue
        shown = ""
        if spread == "deviation" and cell.deviation is not None:
            shown = f"± {cell.deviation:.{DECIMALS}f}"
        if spread == "interval" and cell.interval is not None:
            # Without their zeros, so that five columns with intervals fit on a page.
            low, high = (f"{end:.{DECIMALS_OF_ENDS}f}".removeprefix("0") for end in cell.interval)
            shown = f"[{low}, {high}]"
        entries.append(
            Entry(
                f"{cell.mean:.{DECIMALS}f}",
                value=cell.mean,
                mark=cell.mark,
                raised={"clear": CLEAR, "level": LEVEL_WITH_BEST, "": ""}[cell.verdict],
                spread=shown,
                detail=_detail(row, column, cell),
            )
        )
    return entries


def _detail(row: Row, column: str, cell: Cell) -> str:
    """Everything known of one cell, in a sentence."""
    words = [f"{row.display_name}, {column} {cell.mean:.6f}"]
    if cell.deviation is not None:
        words.append(f"deviation over {counted(len(row.seeds), 'seed')} {cell.deviation:.6f}")
    if cell.interval is not None:
        words.append(f"{CONFIDENCE:.0%} interval {cell.interval[0]:.4f} to {cell.interval[1]:.4f}")
    if cell.p_value is not None:
        words.append(f"worse than another trained system: corrected p = {cell.p_value:.2g}")
    if cell.verdict == "clear":
        words.append("significantly better than every other trained system")
    return "; ".join(words)


def side_by_side(tables: Sequence[Table]) -> tuple[Grid, ...]:
    """Main tables of one task on several data sets as in a paper: the data sets beside each other.

    Columns are few enough for a page (:func:`benchmark.report.reading.views.narrow`). A system
    without a run on a data set has dashes there. As many grids as it takes to keep each within a
    page's width; deviations stay with the tables of one data set.
    """
    parts = [
        tables[first : first + DATASETS_SIDE_BY_SIDE]
        for first in range(0, len(tables), DATASETS_SIDE_BY_SIDE)
    ]
    return tuple(
        _merged(part, f"{place} of {len(parts)}" if len(parts) > 1 else "")
        for place, part in enumerate(parts, start=1)
    )


def _merged(tables: Sequence[Table], part: str) -> Grid:
    key, task, view = tables[0].key, tables[0].task, tables[0].view
    columns = narrow(tables[0].columns)
    titles: dict[str, str] = {}
    found: defaultdict[str, dict[str, Row]] = defaultdict(dict)  # family → system → any of its rows
    for table in tables:
        for group in table.groups:
            titles[group.family] = group.title
            for row in group.rows:
                found[group.family].setdefault(row.system, row)
    footnotes = Footnotes()
    renamed = [footnotes.adopt(table, _named(table)) for table in tables]
    own_rows = [{row.system: row for row in table.rows} for table in tables]
    names = name_entries(
        (row.system, row.display_name, "") for of_one in found.values() for row in of_one.values()
    )
    groups, has_gaps = [], False
    for family in sorted(found, key=place_of_family):
        rows = []
        for system in sorted(found[family], key=place_in_catalogue):
            cells: list[Entry] = []
            marks: dict[str, None] = {}
            for table, of_table, new_marks in zip(tables, own_rows, renamed, strict=True):
                own = of_table.get(system)
                if own is None or own.status == "not this task":
                    has_gaps = True
                    cells += [Entry(DASH)] * len(columns)
                else:
                    cells += _entries(table, own, "none", columns)
                    marks |= dict.fromkeys(new_marks[mark] for mark in own.notes)
            rows.append((replace(names[system], raised=",".join(marks)), *cells))
        groups.append(GridGroup(titles[family], tuple(rows), family == REFERENCE_FAMILY))
    gap = "The system does not do this task, or has no run on this data set."
    return Grid(
        stem=file_name(
            with_view(f"all-{file_name(key.protocol, key.preset, task)}", view),
            *([part.replace(" ", "-")] if part else []),
        ),
        caption=_caption_of_several(tables, part),
        head=("System", *columns * len(tables)),
        groups=tuple(groups),
        footnotes=footnotes.all(gap if has_gaps else ""),
        spans=tuple((_named(table), len(columns)) for table in tables),
    )


def _named(table: Table) -> str:
    return f"{table.key.dataset} ({table.variant})" if table.variant else table.key.dataset


def _caption_of_several(tables: Sequence[Table], part: str) -> str:
    key = tables[0].key
    which = f", part {part}" if part else ""
    explained = next((table.caption for table in tables if CLEAR in table.caption), "")
    tested = explained.partition(MARKS)[2]
    names = ", ".join(_named(table) for table in tables)
    above = [f"{_named(table)}: {' '.join(table.above)}" for table in tables if table.above]
    return clean(
        f"{tables[0].task.capitalize()} on {names}{which}, ranked among {WORDS[tables[0].view]}, "
        f"protocol {key.protocol}, preset {key.preset}. {' '.join([*above, MARKS])}{tested}"
    )


_OF_CELL = ("deviation", "low", "high", "p")


def figures_csv(table: Table) -> str:
    """Plain numbers of all metrics that runs have, one line a system.

    ``variant`` tells apart what only shares its names.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    figures = [
        name
        for column in table.columns
        for name in (column, *(f"{column} {of_cell}" for of_cell in _OF_CELL))
    ]
    names = ["dataset", "protocol", "preset", "task", "family", "system", "status", "seeds"]
    further = [f"{column}{more}" for column in table.further for more in ("", " deviation")]
    writer.writerow([*names, *figures, *further, "variant", "tied share", "tied others", "view"])
    key = table.key
    for row in table.rows:
        words = [key.dataset, key.protocol, key.preset, table.task, row.family, row.system]
        values = [
            value
            for cell in row.cells
            for value in (
                cell.mean,
                cell.deviation,
                *(cell.interval or (None, None)),
                cell.p_value,
            )
        ]
        values += [v for cell in row.further for v in (cell.mean, cell.deviation)]
        writer.writerow(
            [
                *map(csv_cell, words),
                row.status,
                " ".join(map(str, row.seeds)),
                *("" if value is None else f"{value:.6f}" for value in values),
                key.variant,
                *_ties_cells(row.ties),
                table.view,
            ]
        )
    return written.getvalue()


def _ties_cells(ties: Ties | None) -> tuple[str, str]:
    return ("", "") if ties is None else (f"{ties.share:.6f}", f"{ties.others:.6f}")
