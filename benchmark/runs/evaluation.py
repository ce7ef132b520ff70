"""Scoring the test lists of a task in parts that are kept, so that a kill does not lose them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, IntArray
from benchmark.protocol.metrics import Ranks, ranks_of_targets
from benchmark.protocol.task import Task
from benchmark.runs.parts import read_part, write_part
from benchmark.systems.scores import checked_scores
from benchmark.systems.view import Scorer

EVENTS_PER_PART = 4096


@dataclass(frozen=True)
class Evaluation:
    """The ranks of a task's test events and how long scoring took in this process.

    ``parts`` are the files that keep the scores, in the order of the events.
    """

    ranks: Ranks
    parts: tuple[Path, ...]
    seconds: float
    events_scored: int  # fewer than all if parts were there already


def evaluate(
    system: Scorer,
    name: str,
    dataset: Dataset,
    task: Task,
    folder: Path,
    identity: str,
    progress: Callable[[str], None],
) -> Evaluation:
    """Score every test event of ``task``; parts that ``folder`` holds already are not scored again.

    ``identity`` is that of the job; parts of another one are not taken.

    Raises:
        SystemFailure: the scores have a wrong shape or are not finite.
    """
    requests = task.requests(dataset, "test")
    candidates = task.test_candidates
    parts: list[Ranks] = []
    files: list[Path] = []
    seconds, scored = 0.0, 0
    for rows, part in requests.batches(EVENTS_PER_PART):
        path = folder / f"{task.name}-{rows.start:09d}.npz"
        what = f"{identity} {task.name} {rows.start}:{rows.stop} {candidates.fingerprint}"
        kept = _kept(path, what, candidates.target_column[rows])
        if kept is None:
            started = time.perf_counter()
            scores = checked_scores(system.score(part), part, name)
            seconds += time.perf_counter() - started
            scored += len(part)
            kept = ranks_of_targets(scores, candidates.target_column[rows])
            write_part(path, what, {**_columns(kept), "scores": scores})
        parts.append(kept)
        files.append(path)
        progress(f"{task.name}: {rows.stop}/{len(requests)} test events ranked")
    ranks = Ranks(
        above=np.concatenate([part.above for part in parts]),
        tied=np.concatenate([part.tied for part in parts]),
        returned=np.concatenate([part.returned for part in parts]),
    )
    return Evaluation(ranks=ranks, parts=tuple(files), seconds=seconds, events_scored=scored)


def _columns(ranks: Ranks) -> dict[str, NDArray[Any]]:
    return {"above": ranks.above, "tied": ranks.tied, "returned": ranks.returned}


def _kept(path: Path, what: str, target_column: IntArray) -> Ranks | None:
    """The ranks of a finished part, if its scores give them; otherwise it is made again."""
    stored = read_part(path, what)
    if stored is None:
        return None
    scores = stored.pop("scores")
    ranks = ranks_of_targets(np.asarray(scores, dtype=np.float32), target_column)
    own = _columns(ranks)
    same = own.keys() == stored.keys() and all(np.array_equal(own[k], stored[k]) for k in own)
    return ranks if same else None


def fingerprint_of_lists(tasks: dict[str, Task]) -> str:
    """A hash of the test lists of all tasks."""
    text = "".join(f"{name}:{task.test_candidates.fingerprint}" for name, task in tasks.items())
    return hashlib.sha256(text.encode()).hexdigest()
