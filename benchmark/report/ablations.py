"""What a system loses or gains with other settings: its ablations against itself, tested at once.

The tables of metrics leave open which differences could be chance; these grids say it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.report.captions import CLEAR, tested_how
from benchmark.report.differences import difference_entry
from benchmark.report.events import TaskEvents
from benchmark.report.grid import Entry, Footnote, Grid, GridGroup
from benchmark.report.rows import Table
from benchmark.report.statistics import CONFIDENCE, of_the_same_events, pair_tests, users_of
from benchmark.report.studentised import LEVEL
from benchmark.report.text import clean, counted

_NOT_SHOWN = "An interval without a star shows no effect, and shows none of a size outside it."


def ablation_differences(
    table: Table, system: str, events: Mapping[str, Sequence[TaskEvents]]
) -> Grid | None:
    """Each row of an ablation table minus the system as it is, with simultaneous intervals.

    Args:
        table: from :func:`benchmark.report.tables.ablation_table`.
        system: the system as the catalogue names it, whose row all others are compared with.
        events: system → its events in the table's task and view, one entry a seed.

    Returns:
        The grid; None where the system itself, or every row beside it, has no ranks of the same
        events. Rows without them are named in a footnote.
    """
    shown = [row for row in table.rows if row.system in events]
    usual, sentences = of_the_same_events(table.task, {r.system: events[r.system] for r in shown})
    changed = [row for row in shown if row.system in usual and row.system != system]
    if system not in usual or not changed:
        return None
    values = {name: np.stack([e.gains for e in seeds]) for name, seeds in usual.items()}
    users = users_of(usual)
    tests = pair_tests(
        values,
        usual[system][0].metrics,
        np.arange(values[system].shape[1]) if users is None else users,
        [(row.system, system) for row in changed],
        f"{table.task} {table.view} ablations of {system}",
    )
    if tests is None:
        return None
    columns = range(len(tests.metrics))
    rows = [
        (Entry(row.display_name), *(difference_entry(tests.differences, place, c) for c in columns))
        for place, row in enumerate(changed)
    ]
    seeds = min(len(of_row) for of_row in values.values())
    trained_once = " One seed: about these trained instances only." * (seeds == 1)
    summary = table.caption.partition(". ")
    return Grid(
        stem=f"{table.stem}-differences",
        caption=clean(
            f"{summary[0]}: each row minus {_own_name(table, system)} as it is. "
            f"{summary[2].partition('. ')[0]}. {tested_how(seeds)}; in brackets simultaneous "
            f"{CONFIDENCE:.0%} intervals. {CLEAR}: the interval leaves out zero. In each column "
            f"the {counted(len(changed), 'row')} are one family: the chance of any false {CLEAR} "
            f"in it is at most {LEVEL:g}. {_NOT_SHOWN}{trained_once}"
        ),
        head=("Changed", *table.columns),
        groups=(GridGroup("", tuple(rows)),),
        footnotes=tuple(Footnote("", sentence) for sentence in sentences),
    )


def _own_name(table: Table, system: str) -> str:
    return next(row.display_name for row in table.rows if row.system == system)
