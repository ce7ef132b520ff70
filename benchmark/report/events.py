"""The ranks of single test events: read from a run folder, and in the compact form of a reference.

Statistics need each event's gain and not only their mean. A run folder keeps all ranks in
``ranks.parquet``. A reference run keeps ``top.npz`` instead: no metric of the protocol looks below
its largest cutoff, so every target that stands lower is one and the same value there, and
what is left of a thousand events compresses to a few hundred bytes. A histogram of all ranks stands
beside it, for the plot of their distribution, and how many targets were tied at any rank. Both say
which user each event is of, since users and not events are what statistics resample; files from
before that do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path
from benchmark.protocol.metrics import CUTOFFS, METRIC_NAMES, Ranks, TieRule, gains
from benchmark.runs.record import RANKS_FILE, Run

TOP_FILE = "top.npz"
LARGEST_CUTOFF = CUTOFFS["lists"][-1]
_TOLERANCE = 1e-6  # between the mean of the events and the metric that the run recorded
_COLUMNS = ["task", "event", "above", "tied", "returned"]
_USER = "user"
_VIEW = "view"
_USER_STEPS = "user-steps"


@dataclass(frozen=True)
class Ties:
    """The share of the test events whose target is tied with another candidate.

    ``others`` is the mean number of other candidates with the target's score, over these events;
    0 if there are none. A target that was not returned is tied with nothing: it scores 0.
    """

    share: float
    others: float


@dataclass(frozen=True)
class TaskEvents:
    """The test events of one task of one run.

    ``gains`` has shape (events, metrics), the metrics in the protocol's order; ``histogram`` counts
    the targets by their expected rank, rounded down: entry r - 1 is rank r, and the last entry are
    the targets that were not returned at all. ``users`` (events,) are the data set's numbers of
    the users, ``ties`` says how many targets are tied; None in a run from before they were kept.
    """

    gains: NDArray[np.float64]
    histogram: NDArray[np.int64]
    users: NDArray[np.int64] | None = None
    ties: Ties | None = None


def read_events(run: Run) -> dict[str, TaskEvents]:
    """Each finished task's events; empty if the folder keeps no ranks.

    Raises:
        BenchmarkError: the ranks are unreadable, or their mean is not the metric on record.
    """
    ties: Mapping[str, Ties]
    if (run.folder / RANKS_FILE).is_file():
        of_tasks = read_ranks(run.folder / RANKS_FILE)
        found = {task: (ranks, rank_histogram(ranks)) for task, ranks in of_tasks.items()}
        users = read_users(run.folder / RANKS_FILE)
        ties = {task: ties_of(ranks) for task, ranks in of_tasks.items()}
    elif (run.folder / TOP_FILE).is_file():
        found = read_top(run.folder / TOP_FILE)
        users = read_top_users(run.folder / TOP_FILE)
        ties = read_ties(run.folder / TOP_FILE)
    else:
        return {}
    events = {}
    for task, (ranks, histogram) in found.items():
        of_task = run.metrics.get(task, {})
        values = gains_of(ranks, tie_rule(run))
        means = values.mean(axis=0) if len(values) else np.zeros(len(METRIC_NAMES))
        recorded = np.array([of_task.get(name, np.nan) for name in METRIC_NAMES])
        if not np.allclose(means, recorded, rtol=0.0, atol=_TOLERANCE):
            raise BenchmarkError(
                f"{run.folder}: its ranks for {task} do not give the metrics that it records."
            )
        events[task] = TaskEvents(values, histogram, users.get(task), ties.get(task))
    return events


def tie_rule(run: Run) -> TieRule:
    """The rule for ties that the run was evaluated with."""
    rule = run.record.protocol.settings.get("ties", "expected")
    if rule == "pessimistic":
        return "pessimistic"
    return "optimistic" if rule == "optimistic" else "expected"


def gains_of(ranks: Ranks, ties: TieRule) -> NDArray[np.float64]:
    """Every metric of the protocol for each event, (events, metrics)."""
    return np.stack([gains(ranks, name, ties) for name in METRIC_NAMES], axis=1)


def read_ranks(path: Path) -> dict[str, Ranks]:
    """Task → ranks in the order of its test events.

    Raises:
        BenchmarkError: the file is no table of ranks.
    """
    return {
        task: Ranks(
            above=columns["above"].astype(np.int32),
            tied=columns["tied"].astype(np.int32),
            returned=columns["returned"].astype(np.bool_),
        )
        for task, columns in _read_columns(path, _COLUMNS).items()
    }


def read_users(path: Path) -> dict[str, NDArray[np.int64]]:
    """Task → the user of each test event, as :func:`read_ranks`; empty in files without users.

    Raises:
        BenchmarkError: the file is no table of ranks.
    """
    columns = _read_columns(path, ["task", "event", _USER])
    return {task: of[_USER].astype(np.int64) for task, of in columns.items() if _USER in of}


def _read_columns(path: Path, names: list[str]) -> dict[str, dict[str, NDArray[np.generic]]]:
    """Task → column → its values in the order of the task's test events.

    A column that the file has not is left out, unless a table of ranks must have it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            stored = opened.schema_arrow.names
            asked = [*names, _VIEW]
            table = opened.read(columns=[n for n in asked if n in stored or n in _COLUMNS])
        if _VIEW in stored:
            table = table.filter(pc.equal(table[_VIEW], "lists")).drop_columns([_VIEW])
        found = {}
        for task in pc.unique(table["task"]).to_pylist():
            own = table.filter(pc.equal(table["task"], task))
            order = np.argsort(own["event"].to_numpy(), kind="stable")
            found[str(task)] = {
                name: own[name].to_numpy()[order] for name in own.column_names if name != "task"
            }
        return found
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise BenchmarkError(f"{path}: is not a table of ranks ({error}).") from None


def ties_of(ranks: Ranks) -> Ties:
    """How many targets are tied, at whatever rank."""
    others = ranks.tied[ranks.returned & (ranks.tied > 0)]
    if not len(others):
        return Ties(0.0, 0.0)
    return Ties(len(others) / len(ranks), float(others.mean()))


def rank_histogram(ranks: Ranks) -> NDArray[np.int64]:
    """How many targets have each expected rank, rounded down; the last entry was not returned."""
    expected = ranks.above + ranks.tied // 2
    seen = expected[ranks.returned]
    counts = np.bincount(seen, minlength=1 + int((ranks.above + ranks.tied).max(initial=0)))
    return np.append(counts, np.count_nonzero(~ranks.returned)).astype(np.int64)


def top_of(ranks: Ranks) -> Ranks:
    """``ranks`` with everything below the largest cutoff as one value; no metric changes."""
    within = ranks.returned & (ranks.above < LARGEST_CUTOFF)
    return Ranks(
        above=np.where(within, ranks.above, LARGEST_CUTOFF).astype(np.int32),
        tied=np.where(within, ranks.tied, 0).astype(np.int32),
        returned=np.ones(len(ranks), dtype=np.bool_),
    )


def write_top(
    path: Path, ranks: Mapping[str, Ranks], users: Mapping[str, NDArray[np.integer]]
) -> None:
    """Write the compact form of every task's ranks, and of the users of its events if known."""
    arrays: dict[str, NDArray[np.number]] = {}
    for task, of_task in ranks.items():
        top = top_of(of_task)
        arrays[f"{task}/above"] = top.above.astype(np.uint8)
        arrays[f"{task}/tied"] = _smallest(top.tied)
        arrays[f"{task}/histogram"] = _smallest(rank_histogram(of_task))
        ties = ties_of(of_task)
        arrays[f"{task}/ties"] = np.array([ties.share, ties.others])
        if task in users:
            # Events run user by user, so that steps are small and compress to nearly nothing.
            numbers = users[task].astype(np.int64)
            steps = numbers - np.concatenate([[0], numbers[:-1]])
            arrays[f"{task}/{_USER_STEPS}"] = steps.astype(np.result_type(*_ends(steps)))
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]


def _ends(values: NDArray[np.int64]) -> tuple[np.dtype[np.generic], np.dtype[np.generic]]:
    """The smallest types that hold the lowest and the highest value."""
    low, high = int(values.min(initial=-1)), int(values.max(initial=0))
    return np.min_scalar_type(low), np.min_scalar_type(-high - 1)


def _smallest(values: NDArray[np.integer]) -> NDArray[np.integer]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def read_top(path: Path) -> dict[str, tuple[Ranks, NDArray[np.int64]]]:
    """Task → ranks in compact form and the histogram of the ranks that they were made from.

    Raises:
        BenchmarkError: the file does not hold them.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {}
            for task in sorted({name.partition("/")[0] for name in stored.files}):
                above = stored[f"{task}/above"].astype(np.int32)
                ranks = Ranks(
                    above=above,
                    tied=stored[f"{task}/tied"].astype(np.int32),
                    returned=np.ones(len(above), dtype=np.bool_),
                )
                found[task] = (ranks, stored[f"{task}/histogram"].astype(np.int64))
            return found
    except Exception as error:  # zlib, zipfile, numpy: a damaged archive raises any of many
        raise BenchmarkError(f"{path}: is not the compact form of ranks ({error}).") from None


def read_ties(path: Path) -> dict[str, Ties]:
    """Task → the ties of the ranks that the compact form was made from; none in older files.

    Raises:
        BenchmarkError: the file does not hold them.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = [name for name in stored.files if name.endswith("/ties")]
            return {name.partition("/")[0]: Ties(*map(float, stored[name])) for name in names}
    except Exception as error:  # as above
        raise BenchmarkError(f"{path}: is not the compact form of ranks ({error}).") from None


def read_top_users(path: Path) -> dict[str, NDArray[np.int64]]:
    """Task → the user of each test event; empty in files from before they were kept.

    Raises:
        BenchmarkError: the file does not hold what it names.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {
                name.partition("/")[0]: np.cumsum(stored[name].astype(np.int64))
                for name in stored.files
                if name.endswith(f"/{_USER_STEPS}")
            }
    except Exception as error:  # as in read_top
        raise BenchmarkError(f"{path}: is not the compact form of ranks ({error}).") from None
