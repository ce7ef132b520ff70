"""The compact form of ranks that a reference run keeps: ``top.npz``.

No metric looks below the largest cut-off of its view, so every target that stands lower is one and
the same value, and what is left of a thousand events compresses to a few hundred bytes. Beside it
stand a histogram of all ranks, for the plot of their distribution, and how many targets were tied
at any rank. Where the expectation over the draw of the lists is computed from the ranks among all
items (:mod:`benchmark.report.tables.expected`), these are kept whole. The users of the events are
kept once for both views, since users and not events are what statistics resample.

Names of arrays are ``<task>/<array>`` for lists, as in files from before there were two views, and
``<task>/all-items/<array>``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, shortened
from benchmark.files import atomic_path
from benchmark.protocol.metrics import VIEWS, Ranks, View
from benchmark.report.reading.rank_tables import MOST_CANDIDATES
from benchmark.report.reading.ranks import EventRanks, Numbers, Ties, rank_histogram, ties_of

TOP_FILE = "top.npz"
_USER_STEPS = "user-steps"
_COUNTS = ("above", "tied", "histogram", "left-out", "most-others", "fewer-others")
_MOST_BYTES = 1 << 30  # of a file, unpacked

Arrays = Mapping[str, NDArray[np.number]]


@dataclass(frozen=True)
class KeptRanks:
    """What a report needs of one task's ranks in one view.

    ``placed`` are the ranks as the view's metrics take them, below the largest cut-off perhaps all
    alike. ``histogram`` counts the targets by their expected rank, rounded down: entry r - 1 is
    rank r, and the last entry are the targets that were not returned at all. ``ties`` is None in
    files from before they were counted. ``whole`` are the ranks as they are, if they are kept.
    """

    placed: Ranks
    histogram: Numbers
    users: Numbers | None
    ties: Ties | None
    whole: EventRanks | None = None


def kept_whole(found: EventRanks, view: View) -> KeptRanks:
    """All that the ranks of a run folder tell."""
    ranks = found.ranks
    return KeptRanks(
        ranks.placed(view), rank_histogram(ranks), found.users, ties_of(ranks), whole=found
    )


def top_of(ranks: Ranks, largest_cutoff: int) -> Ranks:
    """``ranks`` with everything below the largest cut-off as one value; no metric changes."""
    within = ranks.returned & (ranks.above < largest_cutoff)
    return Ranks(
        above=np.where(within, ranks.above, largest_cutoff).astype(np.int32),
        tied=np.where(within, ranks.tied, 0).astype(np.int32),
        returned=np.ones(len(ranks), dtype=np.bool_),
    )


def write_top(
    path: Path,
    found: Mapping[View, Mapping[str, EventRanks]],
    largest_cutoffs: Mapping[View, int],
    whole: Collection[str] = (),
) -> None:
    """Write the compact form.

    Args:
        path: the file.
        found: view → task → its ranks.
        largest_cutoffs: of each view.
        whole: the tasks whose ranks among all items are kept as they are.
    """
    arrays: dict[str, NDArray[np.number]] = {}
    for view, tasks in found.items():
        for task, of_task in tasks.items():
            if view == "all-items" and task in whole and of_task.others is not None:
                own = _whole(of_task.ranks, of_task.others)
            else:
                own = _top(of_task.ranks, view, largest_cutoffs[view])
            prefix = _prefix(task, view)
            arrays |= {f"{prefix}/{name}": array for name, array in own.items()}
            if of_task.users is not None:
                # Events run user by user, so that steps are small and compress to nearly nothing.
                arrays[f"{task}/{_USER_STEPS}"] = _steps(of_task.users)
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        # numpy types its keywords as if one of the arrays might be the switch allow_pickle.
        np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]


def _prefix(task: str, view: View) -> str:
    return task if view == "lists" else f"{task}/{view}"


def _top(ranks: Ranks, view: View, largest_cutoff: int) -> Arrays:
    top = top_of(ranks.placed(view), largest_cutoff)
    ties = ties_of(ranks)
    return {
        "above": _smallest(top.above),
        "tied": _smallest(top.tied),
        "histogram": _smallest(rank_histogram(ranks)),
        "ties": np.array([ties.share, ties.others]),
    }


def _whole(ranks: Ranks, others: Numbers) -> Arrays:
    most = others.max(initial=0)
    return {
        "above": _smallest(ranks.above),
        "tied": _smallest(ranks.tied),
        "left-out": np.flatnonzero(~ranks.returned).astype(np.uint32),
        # Few items are barred of many, so that this compresses where the numbers would not.
        "most-others": np.array(most),
        "fewer-others": _smallest(most - others),
    }


def _steps(numbers: Numbers) -> NDArray[np.number]:
    steps = numbers - np.concatenate([[0], numbers[:-1]])
    low, high = int(steps.min(initial=-1)), int(steps.max(initial=0))
    smallest = np.result_type(np.min_scalar_type(low), np.min_scalar_type(-high - 1))
    return np.asarray(steps.astype(smallest))


def _smallest(values: NDArray[np.integer]) -> NDArray[np.integer]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def read_top(path: Path) -> dict[View, dict[str, KeptRanks]]:
    """View → task → what is kept of its ranks.

    Raises:
        BenchmarkError: the file does not hold them.
    """
    try:
        arrays = _arrays_in(path)
        found: dict[View, dict[str, KeptRanks]] = {}
        for view in VIEWS:
            for task in sorted({name.partition("/")[0] for name in arrays}):
                prefix = _prefix(task, view)
                if view == "lists" or f"{prefix}/above" in arrays:
                    steps = arrays.get(f"{task}/{_USER_STEPS}")
                    users = None if steps is None else np.cumsum(steps.astype(np.int64))
                    own = {
                        name.removeprefix(f"{prefix}/"): array
                        for name, array in arrays.items()
                        if name.startswith(f"{prefix}/")
                    }
                    found.setdefault(view, {})[task] = replace(_kept(own, view), users=users)
        return found
    except Exception as error:  # zlib, zipfile, numpy: a damaged archive raises any of many
        reason = shortened(str(error))
        raise BenchmarkError(f"{path}: is not the compact form of ranks ({reason}).") from None


def _arrays_in(path: Path) -> dict[str, NDArray[np.number]]:
    """The arrays of a file, by name.

    Raises:
        ValueError: they are none of ranks, or would take more memory than such a file can need.
    """
    with zipfile.ZipFile(path) as packed:
        if sum(one.file_size for one in packed.infolist()) > _MOST_BYTES:
            raise ValueError(f"it holds more than {_MOST_BYTES >> 20} MB")
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name, array in arrays.items():
        kind = name.rpartition("/")[2]
        if kind in _COUNTS:
            if not np.issubdtype(array.dtype, np.integer) or array.ndim != (kind != "most-others"):
                raise ValueError(f"{name} holds no whole numbers in a row")
            if array.size and not 0 <= int(array.min()) <= int(array.max()) <= MOST_CANDIDATES:
                raise ValueError(f"{name} holds a number below 0 or above {MOST_CANDIDATES:,}")
    return arrays


def _kept(arrays: Arrays, view: View) -> KeptRanks:
    above, tied = (arrays[name].astype(np.int32) for name in ("above", "tied"))
    if len(above) != len(tied):
        raise ValueError("as many ranks as ties are needed")
    returned = np.ones(len(above), dtype=np.bool_)
    if "left-out" in arrays:
        returned[arrays["left-out"].astype(np.int64)] = False
        others = int(arrays["most-others"]) - arrays["fewer-others"].astype(np.int64)
        return kept_whole(EventRanks(Ranks(above, tied, returned), others=others), view)
    ties = Ties(*map(float, arrays["ties"])) if "ties" in arrays else None
    histogram = arrays["histogram"].astype(np.int64)
    return KeptRanks(Ranks(above, tied, returned), histogram, None, ties)
