"""Scoring the test lists of a task in parts that are kept, so that a kill does not lose them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset
from benchmark.files import atomic_path
from benchmark.protocol.metrics import Ranks, ranks_of_targets
from benchmark.protocol.task import Task
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
        kept = _read_part(path, len(part), identity)
        if kept is None:
            started = time.perf_counter()
            scores = checked_scores(system.score(part), part, name)
            seconds += time.perf_counter() - started
            scored += len(part)
            kept = ranks_of_targets(scores, candidates.target_column[rows])
            _write_part(path, kept, scores, identity)
        parts.append(kept)
        files.append(path)
        progress(f"{task.name}: {rows.stop}/{len(requests)} test events ranked")
    ranks = Ranks(
        above=np.concatenate([part.above for part in parts]),
        tied=np.concatenate([part.tied for part in parts]),
        returned=np.concatenate([part.returned for part in parts]),
    )
    return Evaluation(ranks=ranks, parts=tuple(files), seconds=seconds, events_scored=scored)


def _write_part(path: Path, ranks: Ranks, scores: NDArray[np.float32], identity: str) -> None:
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            above=ranks.above,
            tied=ranks.tied,
            returned=ranks.returned,
            scores=scores,
            identity=np.array(identity),
        )


def _read_part(path: Path, events: int, identity: str) -> Ranks | None:
    """A finished part, or None if it is absent, damaged (npz has checksums) or another job's."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            ranks = Ranks(stored["above"], stored["tied"], stored["returned"])
            is_whole = len(ranks) == len(stored["scores"]) == events
            is_own = str(stored["identity"]) == identity
    except Exception:  # whatever is wrong with it, it is made again
        return None
    return ranks if is_whole and is_own else None


def fingerprint_of_lists(tasks: dict[str, Task]) -> str:
    """A hash of the test lists of all tasks."""
    text = "".join(f"{name}:{task.test_candidates.fingerprint}" for name, task in tasks.items())
    return hashlib.sha256(text.encode()).hexdigest()
