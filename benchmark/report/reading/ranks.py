"""The ranks of single test events in both views, as ``ranks.parquet`` of a run folder has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.jobs.record import JUDGED_FILE
from benchmark.protocol.graded import JudgedRanks
from benchmark.protocol.metrics import VIEWS, Ranks, View
from benchmark.report.reading.rank_tables import MOST_CANDIDATES, Columns, read_columns

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class EventRanks:
    """The ranks of one task's test events in one view, in their order.

    ``users`` (events,) are the data set's numbers of the users, ``others`` (events,) says among how
    many other items each target was ranked; None in files from before they were kept.
    """

    ranks: Ranks
    users: Numbers | None = None
    others: Numbers | None = None


@dataclass(frozen=True)
class Ties:
    """The share of the test events whose target is tied with another candidate.

    ``others`` is the mean number of other candidates with the target's score, over these events;
    0 if there are none. A target that was not returned is tied with nothing.
    """

    share: float
    others: float


def read_ranks(
    path: Path, most_candidates: int = MOST_CANDIDATES
) -> dict[View, dict[str, EventRanks]]:
    """View → task → its ranks; files from before there were two views have lists only.

    Where relevance is graded the ranks of the judged items stand in a file beside it.

    Raises:
        BenchmarkError: the file is no table of ranks, or a rank lies beyond ``most_candidates``.
    """
    tables = read_columns(path)
    judged = read_judged(path.with_name(JUDGED_FILE), most_candidates)
    return {
        view: {
            task: with_judged(
                _of_task(columns, path, task, most_candidates), judged.get((view, task)), path
            )
            for task, columns in tables[view].items()
        }
        for view in VIEWS
        if view in tables
    }


def with_judged(found: EventRanks, judged: JudgedRanks | None, path: Path) -> EventRanks:
    """The ranks with those of the judged items, if there are any.

    Raises:
        BenchmarkError: a judged item is of no event.
    """
    if judged is None:
        return found
    if len(judged.event) and int(judged.event.max()) >= len(found.ranks):
        raise BenchmarkError(f"{path.with_name(JUDGED_FILE)}: has an item of no event.")
    return replace(found, ranks=replace(found.ranks, judged=judged))


def read_judged(
    path: Path, most_candidates: int = MOST_CANDIDATES
) -> dict[tuple[View, str], JudgedRanks]:
    """View and task → the ranks of the judged items; empty if the file is not there.

    Raises:
        BenchmarkError: the file is no table of such ranks.
    """
    if not path.is_file():
        return {}
    found: dict[tuple[View, str], JudgedRanks] = {}
    tables = read_columns(path)
    for view in VIEWS:
        for task, columns in tables.get(view, {}).items():
            if "gain" not in columns or (columns["gain"].astype(np.int64) <= 0).any():
                raise BenchmarkError(f"{path}: must have a gain above 0 in each row.")
            numbers = _numbers(columns, path, task, most_candidates)
            event = columns["event"].astype(np.int64)
            if len(event) and int(event[0]) < 0:
                raise BenchmarkError(f"{path}: has an item of no event.")
            gain, returned = columns["gain"].astype(np.int64), columns["returned"].astype(np.bool_)
            found[view, task] = JudgedRanks(event, gain, numbers[0], numbers[1], returned)
    return found


def _numbers(
    columns: Columns, path: Path, task: str, most_candidates: int
) -> tuple[Numbers, Numbers]:
    """How many stand above and tie, twice (rows,), both of which must be possible.

    Raises:
        BenchmarkError: they are not.
    """
    above, tied = columns["above"].astype(np.int64), columns["tied"].astype(np.int64)
    numbers = np.array([above, tied, columns.get("others", above).astype(np.int64)])
    # One by one first: the sum of two huge numbers may be a small one.
    wrong = numbers.size and (numbers.min() < 0 or numbers.max() > most_candidates)
    if wrong or (numbers.size and (above + tied).max() > most_candidates):
        raise BenchmarkError(
            f"{path}: is not a table of ranks (a rank of {task} is not among "
            f"{most_candidates:,} candidates)."
        )
    return above, tied


def _of_task(columns: Columns, path: Path, task: str, most_candidates: int) -> EventRanks:
    above, tied = _numbers(columns, path, task, most_candidates)
    later = (columns.get(name) for name in ("user", "others"))
    return EventRanks(
        Ranks(
            above=above.astype(np.int32),
            tied=tied.astype(np.int32),
            returned=columns["returned"].astype(np.bool_),
        ),
        *(None if one is None else one.astype(np.int64) for one in later),
    )


def ties_of(ranks: Ranks) -> Ties:
    """How many targets are tied, at whatever rank."""
    others = ranks.tied[ranks.returned & (ranks.tied > 0)]
    if not len(others):
        return Ties(0.0, 0.0)
    return Ties(len(others) / len(ranks), float(others.mean()))


def rank_histogram(ranks: Ranks) -> Numbers:
    """How many targets have each expected rank, rounded down; the last entry was not returned."""
    expected = ranks.above + ranks.tied // 2
    seen = expected[ranks.returned]
    counts = np.bincount(seen, minlength=1 + int((ranks.above + ranks.tied).max(initial=0)))
    return np.append(counts, np.count_nonzero(~ranks.returned)).astype(np.int64)
