"""The ranks of single test events in both views, as ``ranks.parquet`` of a run folder has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import VIEWS, Ranks, View

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("task", "event", "above", "tied", "returned")
_LATER = ("user", "others", "view")  # columns that older files lack

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


def read_ranks(path: Path) -> dict[View, dict[str, EventRanks]]:
    """View → task → its ranks; files from before there were two views have lists only.

    Raises:
        BenchmarkError: the file is no table of ranks.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            stored = opened.schema_arrow.names
            table = opened.read(columns=[*_COLUMNS, *(name for name in _LATER if name in stored)])
        found: dict[View, dict[str, EventRanks]] = {}
        for view in VIEWS:
            own = table
            if "view" in stored:
                own = table.filter(pc.equal(table["view"], view)).drop_columns(["view"])
            elif view != "lists":
                break
            tasks = pc.unique(own["task"]).to_pylist()
            found[view] = {str(t): _of_task(own.filter(pc.equal(own["task"], t))) for t in tasks}
        return found
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise BenchmarkError(f"{path}: is not a table of ranks ({error}).") from None


def _of_task(table: pa.Table) -> EventRanks:
    order = np.argsort(table["event"].to_numpy(), kind="stable")
    columns: Mapping[str, NDArray[np.generic]] = {
        name: table[name].to_numpy()[order] for name in table.column_names if name != "task"
    }
    return EventRanks(
        Ranks(
            above=columns["above"].astype(np.int32),
            tied=columns["tied"].astype(np.int32),
            returned=columns["returned"].astype(np.bool_),
        ),
        *(columns[name].astype(np.int64) if name in columns else None for name in _LATER[:2]),
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
