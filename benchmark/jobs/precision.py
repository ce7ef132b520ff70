"""What a precision below single changes of the ranks, with one trained system.

Some test events are ranked again in single precision, after the run's own ranks: how many change
their place says whether a figure of the run could have come out otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.jobs.record import RankChanges
from benchmark.protocol.metrics import Ranks
from benchmark.protocol.task import Task
from benchmark.randomness import stable_random
from benchmark.systems.contract import System
from benchmark.systems.precisions import SINGLE_PRECISION, products_in
from benchmark.systems.scores import checked_scores

MOST_EVENTS = 2000
"""Test events of a task, at most, that are ranked again; they are drawn."""


def rank_changes(
    loaded: Callable[[], System],
    name: str,
    dataset: Dataset,
    tasks: Mapping[str, Task],
    ranks: Mapping[str, Ranks],
    seed: int,
    device: str,
) -> dict[str, RankChanges]:
    """Task → how ``ranks`` in a list differ from those in single precision.

    Args:
        loaded: makes the trained system with single precision.
        name: what a complaint calls it.
        dataset: the data.
        tasks: those of ``ranks``.
        ranks: task → those of all its test events.
        seed: of the run.
        device: where it scores.

    Raises:
        SystemFailure: the scores have a wrong shape or are not finite.
    """
    found = {}
    with products_in(SINGLE_PRECISION, device):
        system = loaded()
        for task_name, task in tasks.items():
            number = len(task.test)
            rows = np.arange(number)
            if number > MOST_EVENTS:
                random = stable_random(seed, "precision", task_name)
                rows = np.sort(random.permutation(number)[:MOST_EVENTS])
            requests = task.requests(dataset, "test").select(rows)
            scores = checked_scores(system.score(requests), requests, name)
            single = task.test_candidates.select(rows).ranks(scores)
            found[task_name] = _changes(ranks[task_name], rows, single)
    return found


def _changes(ranks: Ranks, rows: np.ndarray, single: Ranks) -> RankChanges:
    above, tied, returned = ranks.above[rows], ranks.tied[rows], ranks.returned[rows]
    is_other = (above != single.above) | (tied != single.tied) | (returned != single.returned)
    is_ranked = returned & single.returned
    is_lost = returned != single.returned
    # A target's mean place among those that tie with it.
    moved = np.abs((above + tied / 2) - (single.above + single.tied / 2))[is_ranked]
    return RankChanges(
        events=len(rows),
        changed=float(is_other.mean()) if len(rows) else 0.0,
        one_sided=float(is_lost.mean()) if len(rows) else 0.0,
        mean_places=float(moved.mean()) if len(moved) else 0.0,
    )
