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

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, shortened
from benchmark.files import atomic_path
from benchmark.protocol.metrics import CUTOFFS, METRIC_NAMES, Ranks, TieRule, gains
from benchmark.report.rank_tables import MOST_CANDIDATES, MOST_EVENTS, RANK_COLUMNS, read_columns
from benchmark.runs.record import RANKS_FILE, Run

TOP_FILE = "top.npz"
LARGEST_CUTOFF = max(k for cutoffs in CUTOFFS.values() for k in cutoffs)
_TOLERANCE = 1e-6  # between the mean of the events and the metric that the run recorded
_MOST_BYTES = 1 << 30  # of a file of ranks in compact form, unpacked
_USER = "user"
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
        of_tasks = read_ranks(run.folder / RANKS_FILE, _most_candidates(run))
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


def _most_candidates(run: Run) -> int:
    """No list of the run holds more candidates."""
    lengths = run.record.protocol.list_lengths.values()
    return min(max([run.record.dataset.items, *lengths]), MOST_CANDIDATES)


def tie_rule(run: Run) -> TieRule:
    """The rule for ties that the run was evaluated with."""
    rule = run.record.protocol.settings.get("ties", "expected")
    if rule == "pessimistic":
        return "pessimistic"
    return "optimistic" if rule == "optimistic" else "expected"


def gains_of(ranks: Ranks, ties: TieRule) -> NDArray[np.float64]:
    """Every metric of the protocol for each event, (events, metrics)."""
    return np.stack([gains(ranks, name, ties) for name in METRIC_NAMES], axis=1)


def read_ranks(path: Path, most_candidates: int = MOST_CANDIDATES) -> dict[str, Ranks]:
    """Task → ranks in the order of its test events.

    Raises:
        BenchmarkError: the file is no table of ranks, or a rank lies beyond ``most_candidates``.
    """
    found = {}
    for task, columns in read_columns(path, RANK_COLUMNS).items():
        above, tied = columns["above"].astype(np.int64), columns["tied"].astype(np.int64)
        if len(above) and (
            min(above.min(), tied.min()) < 0 or _beyond(above, tied, most_candidates)
        ):
            raise BenchmarkError(
                f"{path}: is not a table of ranks (a rank of {task} is not among "
                f"{most_candidates:,} candidates)."
            )
        found[task] = Ranks(
            above=above.astype(np.int32),
            tied=tied.astype(np.int32),
            returned=columns["returned"].astype(np.bool_),
        )
    return found


def _beyond(above: NDArray[np.int64], tied: NDArray[np.int64], candidates: int) -> bool:
    # One by one first: the sum of two huge numbers may be a small one.
    return bool(max(above.max(), tied.max()) > candidates or (above + tied).max() > candidates)


def read_users(path: Path) -> dict[str, NDArray[np.int64]]:
    """Task → the user of each test event, as :func:`read_ranks`; empty in files without users.

    Raises:
        BenchmarkError: the file is no table of ranks.
    """
    columns = read_columns(path, ["task", "event", _USER])
    return {task: of[_USER].astype(np.int64) for task, of in columns.items() if _USER in of}


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


def _not_compact(path: Path, error: Exception) -> BenchmarkError:
    reason = shortened(str(error))
    return BenchmarkError(f"{path}: is not the compact form of ranks ({reason}).")


@contextmanager
def _opened_top(path: Path) -> Iterator[Any]:
    """The arrays of a file of ranks in compact form, by name.

    Raises:
        ValueError: they would take more memory than such a file can need.
    """
    with zipfile.ZipFile(path) as packed:
        if sum(one.file_size for one in packed.infolist()) > _MOST_BYTES:
            raise ValueError(f"it holds more than {_MOST_BYTES >> 20} MB")
    with np.load(path, allow_pickle=False) as stored:
        yield stored


def _counts(stored: Any, name: str, largest: int) -> NDArray[np.int64]:
    """A vector of counts from 0 to ``largest``.

    Raises:
        ValueError: it is none.
    """
    values = stored[name]
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} is no vector of whole numbers")
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) <= largest:
        raise ValueError(f"{name} holds a number below 0 or above {largest:,}")
    return np.asarray(values, dtype=np.int64)


def read_top(path: Path) -> dict[str, tuple[Ranks, NDArray[np.int64]]]:
    """Task → ranks in compact form and the histogram of the ranks that they were made from.

    Raises:
        BenchmarkError: the file does not hold them.
    """
    try:
        with _opened_top(path) as stored:
            found = {}
            for task in sorted({name.partition("/")[0] for name in stored.files}):
                above = _counts(stored, f"{task}/above", LARGEST_CUTOFF)
                ranks = Ranks(
                    above=above.astype(np.int32),
                    tied=_counts(stored, f"{task}/tied", MOST_CANDIDATES).astype(np.int32),
                    returned=np.ones(len(above), dtype=np.bool_),
                )
                if len(ranks.tied) != len(above):
                    raise ValueError(f"{task}: as many ranks as ties are needed")
                found[task] = (ranks, _counts(stored, f"{task}/histogram", MOST_EVENTS))
            return found
    except Exception as error:  # zlib, zipfile, numpy: a damaged archive raises any of many
        raise BenchmarkError(
            f"{path}: is not the compact form of ranks ({shortened(str(error))})."
        ) from None


def read_ties(path: Path) -> dict[str, Ties]:
    """Task → the ties of the ranks that the compact form was made from; none in older files.

    Raises:
        BenchmarkError: the file does not hold them.
    """
    try:
        with _opened_top(path) as stored:
            names = [name for name in stored.files if name.endswith("/ties")]
            return {name.partition("/")[0]: Ties(*map(float, stored[name])) for name in names}
    except Exception as error:  # as above
        raise BenchmarkError(
            f"{path}: is not the compact form of ranks ({shortened(str(error))})."
        ) from None


def read_top_users(path: Path) -> dict[str, NDArray[np.int64]]:
    """Task → the user of each test event; empty in files from before they were kept.

    Raises:
        BenchmarkError: the file does not hold what it names.
    """
    try:
        with _opened_top(path) as stored:
            return {
                name.partition("/")[0]: np.cumsum(stored[name].astype(np.int64))
                for name in stored.files
                if name.endswith(f"/{_USER_STEPS}")
            }
    except Exception as error:  # as in read_top
        raise BenchmarkError(
            f"{path}: is not the compact form of ranks ({shortened(str(error))})."
        ) from None
