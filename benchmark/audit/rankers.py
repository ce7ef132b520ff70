"""What rankers reach that learn nothing: on the candidate lists and against the whole catalogue.

The rankers are the catalogue's family of references. What they reach on the lists is what the lists
give away. The second view ranks a sample of the test events against all items that the protocol
admits; if the two views order the rankers differently, so may they order systems.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from benchmark.audit.diagnostics import Figures
from benchmark.audit.simple import Copier
from benchmark.data.dataset import RECOMMENDATION, Dataset
from benchmark.protocol.all_items import admitted, blocks, ranks_among, scores_in_blocks
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.lists import recommendation_negatives
from benchmark.protocol.metrics import Ranks, gains, mean_metrics
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.splits import split_task
from benchmark.protocol.task import Task
from benchmark.randomness import stable_random
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose, entries
from benchmark.systems.contract import RunContext, System
from benchmark.systems.scores import checked_scores, checked_scores_of_all
from benchmark.systems.view import Scorer, TrainingView

FAMILY = "references"
COMPARED = "NDCG@10"
DEEP = "HR@50"
MOST_SCORES = 20_000_000
FEWER_EVENTS = 500
_EVENTS_AT_ONCE = 4096


@dataclass(frozen=True)
class Ranker:
    """A fitted system, how it is called, and the tasks that it can do."""

    name: str
    display_name: str
    tasks: tuple[str, ...]
    system: Scorer


def no_learning_rankers(
    dataset: Dataset, tasks: dict[str, Task], settings: ProtocolSettings
) -> list[Ranker]:
    """The catalogue's references, fitted on the training view of the protocol; no ceilings."""
    view = TrainingView(dataset, tasks, settings)
    rankers = []
    with tempfile.TemporaryDirectory() as place:
        context = RunContext(
            seed=settings.seed, folder=Path(place), artifacts=ArtifactStore(Path(place))
        )
        for entry in entries().values():
            if entry.family != FAMILY or entry.is_ceiling:
                continue
            system_class = choose(entry.name).entry.load()
            system: System = system_class(system_class.Config(), context)
            system.fit(view)
            rankers.append(Ranker(entry.name, entry.display_name, entry.tasks, system))
    return rankers


def copied_histories(
    dataset: Dataset, tasks: dict[str, Task], settings: ProtocolSettings
) -> Figures:
    """D9: what is reached by ranking the items of the history first."""
    copier = Ranker("copy", "Copy", tuple(tasks), Copier())
    return {
        f"{name} {metric}": value
        for name, task in tasks.items()
        for metric, value in on_lists(copier, dataset, task, settings).items()
    }


def on_lists(ranker: Ranker, dataset: Dataset, task: Task, settings: ProtocolSettings) -> Figures:
    """The protocol's metrics on the test lists."""
    requests = task.requests(dataset, "test")
    lists = task.test_candidates
    ranks = [
        lists.select(rows).ranks(checked_scores(ranker.system.score(batch), batch, ranker.name))
        for rows, batch in requests.batches(_EVENTS_AT_ONCE)
    ]
    return mean_metrics(Ranks.together(ranks), settings.ties)


def affordable_sample(dataset: Dataset, task: Task) -> int:
    """All test events of a task, or ``FEWER_EVENTS`` where a ranker would give too many scores."""
    events = len(task.test)
    return events if events * dataset.number_of_items <= MOST_SCORES else FEWER_EVENTS


def sampled_rows(task: Task, sample: int, seed: int) -> NDArray[np.int64]:
    """The rows of the test events that are ranked against the whole catalogue, ascending."""
    number = len(task.test)
    if number <= sample:
        return np.arange(number)
    chosen = stable_random(seed, task.name, "catalogue").choice(number, size=sample, replace=False)
    return np.sort(chosen).astype(np.int64)


def on_catalogue(
    ranker: Ranker,
    dataset: Dataset,
    task: Task,
    settings: ProtocolSettings,
    rows: NDArray[np.int64],
) -> Figures:
    """The metrics, and HR at a greater depth, among all items that the protocol admits."""
    ranks = catalogue_ranks(ranker, dataset, task, settings, rows).placed("all-items")
    deep = float(gains(ranks, DEEP, settings.ties).mean()) if len(ranks) else 0.0
    return {**mean_metrics(ranks, settings.ties), DEEP: deep}


def catalogue_ranks(
    ranker: Ranker,
    dataset: Dataset,
    task: Task,
    settings: ProtocolSettings,
    rows: NDArray[np.int64],
) -> Ranks:
    """Where the targets of the test events ``rows`` stand among all items that are admitted."""
    requests = task.requests(dataset, "test").select(rows)
    targets = dataset.log.item[task.test.position[rows]]
    barred = task.barred(dataset, settings).among(rows)
    judged = task.judged(dataset)
    judged = judged and judged.among(rows)
    ranks = []
    for part, batch in blocks(requests):
        scores = (
            ranker.system.score_all_items(batch)
            if isinstance(ranker.system, System)
            else scores_in_blocks(ranker.system.score, batch)
        )
        checked = checked_scores_of_all(scores, batch, ranker.name)
        own = barred.among(np.arange(part.start, part.stop))
        of_part = judged and judged.among(np.arange(part.start, part.stop))
        ranks.append(ranks_among(admitted(checked, own), targets[part], of_part))
    return Ranks.together(ranks)


def popularity_under_each_law(
    dataset: Dataset, tasks: dict[str, Task], settings: ProtocolSettings
) -> dict[str, Figures]:
    """D8: what counts of training purchases reach on lists of either sampling law.

    Lists of popular negatives put a popularity ranker below chance, uniform ones far above it.
    """
    seen = TrainingView(dataset, tasks, settings).log
    counts = np.bincount(
        seen.item[seen.recommendation.positions], minlength=dataset.number_of_items + 1
    ).astype(np.float32)
    split = split_task(dataset.log, RECOMMENDATION, settings)
    targets = dataset.log.item[split.test.position]
    figures = {}
    for law in ("uniform", "popularity"):
        negatives = recommendation_negatives(
            dataset,
            split,
            split.test,
            settings.model_copy(update={"recommendation_negatives": law}),
        )
        items = np.concatenate([targets[:, None], negatives], axis=1)
        lists = Candidates.with_targets(items.astype(np.int32), targets)
        figures[law] = mean_metrics(lists.ranks(counts[items]), settings.ties)
    return figures


def agreement(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Kendall's tau between two views of the same rankers; None for fewer than three."""
    names = sorted(set(first) & set(second))
    if len(names) < 3:
        return None
    tau = kendalltau([first[name] for name in names], [second[name] for name in names]).statistic
    return None if np.isnan(tau) else float(tau)
