"""The summary of a group: one figure a system, task and view, as a README has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from benchmark.protocol.metrics import View
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.text import clean, counted, file_name
from benchmark.report.reading.views import headline
from benchmark.report.tables.captions import CLEAR, LEVEL_WITH_BEST, MARKS
from benchmark.report.tables.grid import DASH, Entry, Grid, GridGroup
from benchmark.report.tables.headings import name_entries
from benchmark.report.tables.printed import as_grid
from benchmark.report.tables.rows import Table, place_in_catalogue, place_of_family

_SHORT: dict[View, str] = {"lists": "lists", "all-items": "all items"}


def summary_grid(tables: Sequence[Table]) -> Grid:
    """The headline metric of each main table beside each other, with its marks.

    Footnotes and intervals stay with the main tables. A system that does not do a task has a dash.

    Args:
        tables: main tables of one group, at least one.
    """
    names: dict[str, tuple[str, str, str]] = {}
    titles: dict[str, str] = {}
    families: defaultdict[str, set[str]] = defaultdict(set)
    columns: list[dict[str, Entry]] = []
    for table in tables:
        grid = as_grid(table, columns=(headline(table.columns, table.view),))
        systems = [row.system for row in table.rows]
        columns.append(dict(zip(systems, (cell for _, cell in grid.rows), strict=True)))
        for group in table.groups:
            titles[group.family] = group.title
            families[group.family] |= {row.system for row in group.rows}
        names |= {row.system: (row.system, row.display_name, "") for row in table.rows}
    named = name_entries(names[system] for system in sorted(names, key=place_in_catalogue))
    groups = tuple(
        GridGroup(
            titles[family],
            tuple(
                (named[system], *(column.get(system, Entry(DASH)) for column in columns))
                for system in sorted(families[family], key=place_in_catalogue)
            ),
            set_apart=family == REFERENCE_FAMILY,
        )
        for family in sorted(families, key=place_of_family)
    )
    heads = [
        f"{table.task.capitalize()}, {_SHORT[table.view]}, {headline(table.columns, table.view)}"
        for table in tables
    ]
    stem = file_name(tables[0].key.stem(tables[0].variant), "summary")
    return Grid(stem, _caption(tables), ("System", *heads), groups)


def _caption(tables: Sequence[Table]) -> str:
    key = tables[0].key
    seeds = max((len(row.seeds) for table in tables for row in table.rows), default=1)
    over = f", ± deviation over {counted(seeds, 'seed')}" if seeds > 1 else ", one seed"
    return clean(
        f"{key.dataset}, protocol {key.protocol}, preset {key.preset}{over}: each target ranked in "
        f"its candidate list, and among all items. {MARKS} {CLEAR}: significantly better than "
        f"every other trained system; {LEVEL_WITH_BEST}: significantly worse than none, so it may "
        f"be the best; {DASH}: it does not do the task. What stands in for what, and all other "
        "footnotes, stand with the main tables."
    )
