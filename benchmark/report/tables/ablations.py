"""What a system loses or gains with other settings: its ablations against itself, tested at once.

The tables of metrics leave open which differences could be chance; these grids say it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.report.reading.collected_events import of_the_same_events, users_of
from benchmark.report.reading.events import TaskEvents
from benchmark.report.reading.text import clean, counted
from benchmark.report.statistics.bootstrap import CONFIDENCE
from benchmark.report.statistics.inference import pair_tests
from benchmark.report.statistics.studentised import LEVEL
from benchmark.report.tables.captions import CLEAR, tested_how
from benchmark.report.tables.differences import difference_entry
from benchmark.report.tables.grid import Entry, Footnote, Grid, GridGroup
from benchmark.report.tables.rows import Table

_NOT_SHOWN = "An interval without a star shows no effect, and shows none of a size outside it."


def ablation_differences(
    table: Table, system: str, events: Mapping[str, Sequence[TaskEvents]]
) -> Grid | None:
    """Each row of an ablation table minus the system as it is, with simultaneous intervals.

    Args:
        table: from :func:`benchmark.report.tables.metrics.ablation_table`.
        system: the system as the catalogue names it, whose row all others are compared with.
        events: system → its events in the table's task and view, one entry a seed.

    Returns:
        The grid; None where the system itself has no ranks, or no row beside it has others of the
        same events. Rows without them, and rows with the same ranks, are named in a footnote.
    """
    shown = [row for row in table.rows if row.system in events]
    usual, sentences = of_the_same_events(table.task, {r.system: events[r.system] for r in shown})
    if system not in usual:
        return None
    values = {name: np.stack([e.gains for e in seeds]) for name, seeds in usual.items()}
    others = [row for row in shown if row.system in usual and row.system != system]
    # What is the same in every event has no error: a preset may have the changed value already.
    equal = [row for row in others if np.array_equal(values[row.system], values[system])]
    changed = [row for row in others if row not in equal]
    if not changed:
        return None
    if equal:
        names = ", ".join(row.display_name for row in equal)
        sentences.append(f"The same in every event as {_own_name(table, system)}: {names}.")
    users = users_of(usual)
    tests = pair_tests(
        values,
        usual[system][0].metrics,
        np.arange(values[system].shape[1]) if users is None else users,
        [(row.system, system) for row in changed],
        f"{table.task} {table.view} ablations of {system}",
        alike=True,
    )
    if tests is None:
        return None
    columns = range(len(tests.metrics))
    rows = [
        (Entry(row.display_name), *(difference_entry(tests.differences, place, c) for c in columns))
        for place, row in enumerate(changed)
    ]
    seeds = min(len(of_row) for of_row in values.values())
    told = " One seed: about these trained instances only."
    if seeds > 1:
        told = (
            " The rows are one system with small changes, so the runs of all of them are taken to "
            "deviate by one law: with a few seeds each, a row alone would hardly tell."
        )
    summary = table.caption.partition(". ")
    return Grid(
        stem=f"{table.stem}-differences",
        caption=clean(
            f"{summary[0]}: each row minus {_own_name(table, system)} as it is. "
            f"{summary[2].partition('. ')[0]}. {tested_how(seeds)}; in brackets simultaneous "
            f"{CONFIDENCE:.0%} intervals. {CLEAR}: the interval leaves out zero. In each column "
            f"the {counted(len(changed), 'row')} are one family: the chance of any false {CLEAR} "
            f"in it is at most {LEVEL:g}. {_NOT_SHOWN}{told}"
        ),
        head=("Changed", *table.columns),
        groups=(GridGroup("", tuple(rows)),),
        footnotes=tuple(Footnote("", sentence) for sentence in sentences),
    )


def _own_name(table: Table, system: str) -> str:
    return next(row.display_name for row in table.rows if row.system == system)
