"""Ranking test events in both views, in parts that are kept, so that a kill costs one of them.

Among its candidate list each event's target is ranked by ``score``, among all items that the
protocol admits by ``score_all_items``. A part of the first view keeps the scores of its lists, one
of the second the best items of each event.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, IntArray, LongArray
from benchmark.files import sha256_of_arrays
from benchmark.protocol import graded
from benchmark.protocol.all_items import admitted, best_items, blocks, eligible_items, ranks_among
from benchmark.protocol.metrics import VIEWS, Ranks, View
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.sealed import read_part, write_part
from benchmark.systems.scores import checked_scores, checked_scores_of_all

EVENTS_PER_PART = 4096
_JUDGED = "judged_"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Evaluation:
    """The ranks of a task's test events in one view, and how long scoring took in this process.

    ``others`` (events,) says among how many other items each target was ranked; ``parts`` are the
    files that keep what was scored, in the order of the events.
    """

    ranks: Ranks
    others: LongArray
    parts: tuple[Path, ...]
    seconds: float
    events_scored: int  # fewer than all if parts were there already

    @property
    def events_per_second(self) -> float | None:
        """None if this process scored nothing."""
        return self.events_scored / max(self.seconds, 1e-9) if self.events_scored else None


class ScoresBothViews(Protocol):
    """What is ranked by: a fitted system, or anything else with these two methods of one."""

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """See :meth:`benchmark.systems.contract.System.score`."""
        ...

    def score_all_items(self, requests: Requests) -> NDArray[np.float32]:
        """See :meth:`benchmark.systems.contract.System.score_all_items`."""
        ...


@dataclass(frozen=True)
class _Job:
    """What all parts of one task have in common."""

    system: ScoresBothViews
    name: str
    dataset: Dataset
    task: Task
    settings: ProtocolSettings
    folder: Path
    identity: str


def evaluate(
    system: ScoresBothViews,
    name: str,
    dataset: Dataset,
    task: Task,
    settings: ProtocolSettings,
    folder: Path,
    identity: str,
    progress: Callable[[str], None],
) -> dict[View, Evaluation]:
    """Rank every test event of ``task`` in both views; parts that are there are not scored again.

    Args:
        system: fitted.
        name: what a complaint calls it.
        dataset: the data.
        task: of the data set under ``settings``.
        settings: of the protocol.
        folder: where finished parts are kept.
        identity: of the job; parts of another one are not taken.
        progress: told after each part.

    Raises:
        SystemFailure: the scores have a wrong shape or are not finite.
    """
    job = _Job(system, name, dataset, task, settings, folder, identity)
    ways = {"lists": _lists(job), "all-items": _all_items(job)}
    return {view: _evaluated(job, view, ways[view], progress) for view in VIEWS}


@dataclass(frozen=True)
class _Way:
    """How a view ranks a part of the events: rows and requests → ranks and what else is kept.

    ``among`` is a hash of what each target is ranked among.
    """

    others: LongArray
    among: str
    ranked: Callable[[slice, Requests], tuple[Ranks, Arrays]]
    words: str


def _lists(job: _Job) -> _Way:
    lists = job.task.test_candidates

    def ranked(rows: slice, part: Requests) -> tuple[Ranks, Arrays]:
        scores = checked_scores(job.system.score(part), part, job.name)
        return lists.select(rows).ranks(scores), {"scores": scores}

    return _Way(lists.lengths - 1, lists.fingerprint, ranked, "ranked")


def _all_items(job: _Job) -> _Way:
    """Blocks of events whose scores of all items fit into memory, one after another."""
    barred = job.task.barred(job.dataset, job.settings)
    targets = job.dataset.log.item[job.task.test.position]
    judged = job.task.judged(job.dataset)
    depth = job.settings.all_items_cutoffs[-1]

    def ranked(rows: slice, part: Requests) -> tuple[Ranks, Arrays]:
        ranks: list[Ranks] = []
        best: list[tuple[IntArray, NDArray[np.float32]]] = []
        for within, block in blocks(part):
            events = np.arange(rows.start + within.start, rows.start + within.stop)
            scores = job.system.score_all_items(block)
            checked = checked_scores_of_all(scores, block, job.name)
            kept = admitted(checked, barred.among(events))
            of_block = judged and judged.among(events)
            ranks.append(ranks_among(kept, targets[events], of_block))
            best.append(best_items(kept, depth))
        items, scores_of_best = (np.concatenate(column) for column in zip(*best, strict=True))
        return Ranks.together(ranks), {"items": items, "scores": scores_of_best}

    others = eligible_items(barred, len(targets))
    among: list[NDArray[Any]] = [targets, others]
    if judged is not None:
        among += [judged.event, judged.item, judged.gain]
    return _Way(others, sha256_of_arrays(among), ranked, "ranked among all items")


def _evaluated(job: _Job, view: View, way: _Way, progress: Callable[[str], None]) -> Evaluation:
    requests = job.task.requests(job.dataset, "test")
    ranks: list[Ranks] = []
    files: list[Path] = []
    seconds, scored = 0.0, 0
    for rows, part in requests.batches(EVENTS_PER_PART):
        path = job.folder / f"{job.task.name}-{view}-{rows.start:09d}.npz"
        what = f"{job.identity} {job.task.name} {view} {rows.start}:{rows.stop} {way.among}"
        kept = _kept(path, what)
        if kept is None:
            started = time.perf_counter()
            kept, arrays = way.ranked(rows, part)
            seconds += time.perf_counter() - started
            scored += len(part)
            write_part(path, what, {**_columns(kept), **arrays})
        ranks.append(kept)
        files.append(path)
        progress(f"{job.task.name}: {rows.stop}/{len(requests)} test events {way.words}")
    return Evaluation(Ranks.together(ranks), way.others, tuple(files), seconds, scored)


def _columns(ranks: Ranks) -> dict[str, NDArray[Any]]:
    columns = {"above": ranks.above, "tied": ranks.tied, "returned": ranks.returned}
    if ranks.judged is not None:
        columns |= {f"{_JUDGED}{name}": getattr(ranks.judged, name) for name in graded.COLUMNS}
    return columns


def _kept(path: Path, what: str) -> Ranks | None:
    """The ranks of a finished part of ``what``; None if it is to be made (again)."""
    stored = read_part(path, what)
    if stored is None or not {"above", "tied", "returned", "scores"} <= stored.keys():
        return None
    columns: dict[str, Any] = stored
    ranks = Ranks(columns["above"], columns["tied"], columns["returned"])
    judged = [
        columns[f"{_JUDGED}{name}"] for name in graded.COLUMNS if f"{_JUDGED}{name}" in stored
    ]
    return replace(ranks, judged=graded.JudgedRanks(*judged)) if judged else ranks


def parts_of(files: tuple[Path, ...]) -> Iterator[Arrays]:
    """What each of the finished parts keeps, one in memory at a time."""
    for file in files:
        with np.load(file, allow_pickle=False) as stored:
            yield {name: stored[name] for name in stored.files}


def fingerprint_of_lists(tasks: dict[str, Task]) -> str:
    """A hash of the test lists of all tasks."""
    text = "".join(f"{name}:{task.test_candidates.fingerprint}" for name, task in tasks.items())
    return hashlib.sha256(text.encode()).hexdigest()
