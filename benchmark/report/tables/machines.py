"""What a table says of the machines under its runs, and how far another one may be off.

Equal code, data and seed give equal ranks on one machine. Another processor sums in another order;
the last bits differ, training lets the difference grow, and what comes out is another run, as with
another seed. So the deviation between seeds is what bounds it, and one seed bounds nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.jobs.record import Run
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.text import clean, counted
from benchmark.report.tables.grid import Footnote

if TYPE_CHECKING:
    from benchmark.report.tables.rows import Row


def machines_footnote(
    rows: Sequence[Row], runs: Sequence[Run], columns: Sequence[str]
) -> Footnote | None:
    """The processors, and the deviation over seeds in the last column; None if none is recorded."""
    trained = [row for row in rows if row.family != REFERENCE_FAMILY and row.seeds]
    names = {row.system for row in trained}
    processors = sorted(
        {
            clean(run.record.environment.get("processor", ""))
            for run in runs
            if run.record.system.name in names
        }
        - {""}
    )
    if not processors:
        return None
    made = f"Trained on {' and on '.join(processors)}."
    other = "Another processor makes another run, as another seed does"
    deviations = [row.cells[-1].deviation for row in trained]
    known = [deviation for deviation in deviations if deviation is not None]
    if not known:
        return Footnote("", f"{made} {other}; of these one seed tells nothing.")
    fewest = min(len(row.seeds) for row in trained if row.cells[-1].deviation is not None)
    return Footnote(
        "",
        f"{made} {other}: at {columns[-1]} runs deviate by {statistics.median(known):.4f} in the "
        f"median row and {max(known):.4f} at most, from {counted(fewest, 'seed')} or more.",
    )
