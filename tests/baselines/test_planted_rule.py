"""The ceiling of a planted world: right wherever the rule was followed, and never by the target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines.references.planted_rule import PlantedRule
from baselines.references.query_item_prior import QueryItemPriorSeenLast
from benchmark.data.dataset import Dataset
from benchmark.data.sources.generated import TASTES, make_dataset
from benchmark.errors import SystemFailure
from benchmark.protocol.metrics import mean_metrics
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext, System
from benchmark.systems.view import TrainingView
from tests.baselines.planted import numbered_items, recommended

SEED, STRENGTH = 5, 0.8
SETTINGS = ProtocolSettings(negatives=40)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset(users=300, items=160, seed=SEED, strength=STRENGTH)


@pytest.fixture(scope="module")
def tasks(dataset: Dataset) -> dict[str, Task]:
    return build_tasks(dataset, SETTINGS)


def fitted(
    kind: type[System], dataset: Dataset, tasks: dict[str, Task], folder: Path, **config: object
) -> System:
    system = kind(kind.Config(**config), RunContext(0, folder, ArtifactStore(folder)))
    system.fit(TrainingView(dataset, tasks, SETTINGS))
    return system


def hits(system: System, dataset: Dataset, task: Task) -> float:
    ranks = task.test_candidates.ranks(system.score(task.requests(dataset, "test")))
    return mean_metrics(ranks, names=("HR@1",))["HR@1"]


def test_a_recommendation_is_the_successor_of_the_last_one(
    dataset: Dataset, tasks: dict[str, Task], tmp_path: Path
) -> None:
    """Successors as the log itself shows them: what follows an item most often."""
    system = fitted(PlantedRule, dataset, tasks, tmp_path, seed=SEED, strength=STRENGTH)
    task = tasks["recommendation"]
    requests = task.requests(dataset, "test")
    rows = dataset.log.recommendation.positions
    user, item = dataset.log.user[rows], dataset.log.item[rows]
    same = user[1:] == user[:-1]
    counts = np.zeros((len(dataset.items) + 1,) * 2, dtype=int)
    np.add.at(counts, (item[:-1][same], item[1:][same]), 1)
    successor = counts.argmax(axis=1)
    last = requests.history(1, "recommendation").items[:, 0]
    target = dataset.log.item[task.test.position]
    follows = successor[last] == target
    assert follows.mean() > 0.6
    best = np.take_along_axis(
        requests.candidates, system.score(requests).argmax(axis=1)[:, None], axis=1
    )[:, 0]
    assert (best[follows] == target[follows]).mean() > 0.97  # rare items' successors are guesses
    assert abs(hits(system, dataset, task) - follows.mean()) < 0.05


def test_a_search_is_for_the_taste_that_the_history_shows(
    dataset: Dataset, tasks: dict[str, Task], tmp_path: Path
) -> None:
    system = fitted(PlantedRule, dataset, tasks, tmp_path, seed=SEED, strength=STRENGTH)
    prior = fitted(QueryItemPriorSeenLast, dataset, tasks, tmp_path)
    task = tasks["search"]
    assert hits(system, dataset, task) > STRENGTH
    assert hits(prior, dataset, task) < 2 / TASTES  # it knows the query, and no taste


@pytest.mark.parametrize("task", ["recommendation", "search"])
def test_items_of_the_history_stand_last(
    task: str, dataset: Dataset, tasks: dict[str, Task], tmp_path: Path
) -> None:
    system = fitted(PlantedRule, dataset, tasks, tmp_path, seed=SEED)
    requests = tasks[task].requests(dataset, "test").select(slice(0, 40))
    scores = system.score_all_items(requests)
    seen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(seen, requests.history(60).items.astype(int), True, axis=1)
    assert (scores[seen] == scores.min()).all() and (scores[~seen] > scores.min()).all()


def test_lists_and_all_items_have_the_same_scores_also_when_loaded(
    dataset: Dataset, tasks: dict[str, Task], tmp_path: Path
) -> None:
    system = fitted(PlantedRule, dataset, tasks, tmp_path, seed=SEED)
    view = TrainingView(dataset, tasks, SETTINGS)
    loaded = PlantedRule(system.config, system.context)
    loaded.load(tmp_path, view.corpus)
    for task in tasks.values():
        requests = task.requests(dataset, "test")
        whole = system.score_all_items(requests.without_candidates())
        listed = np.take_along_axis(whole, requests.candidates.astype(int), axis=1)
        assert np.array_equal(loaded.score(requests), listed)


def test_it_knows_no_rule_of_other_logs(tmp_path: Path) -> None:
    other = recommended(numbered_items(9), np.arange(1, 10).reshape(3, 3))
    with pytest.raises(SystemFailure, match="are not those of a generated log of 9 items"):
        fitted(PlantedRule, other, build_tasks(other, ProtocolSettings(negatives=2)), tmp_path)
