"""The rows that learn nothing: their scores by hand, and worlds in which each of them is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.references.history_copy import HistoryCopy
from baselines.references.popularity import Popularity
from baselines.references.query_item_prior import (
    KnownPair,
    QueryItemPrior,
    QueryItemPriorSeenLast,
)
from baselines.references.transition_graph import TransitionGraph
from benchmark.data.dataset import Dataset
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import entries
from benchmark.systems.contract import FloatArray, RunContext, System
from benchmark.systems.view import TrainingView
from tests.baselines.planted import numbered_items, recommended
from tests.protocol.logs import Row, dataset_of, log_of


def fitted(
    kind: type[System], dataset: Dataset, folder: Path, negatives: int = 3, **config: Any
) -> tuple[System, Task]:
    """The system, fitted on the training view of ``dataset``, and the task that it is asked."""
    settings = ProtocolSettings(negatives=negatives)
    tasks = build_tasks(dataset, settings)
    system = kind(kind.Config(**config), RunContext(0, folder, ArtifactStore(folder)))
    system.fit(TrainingView(dataset, tasks, settings))
    return system, next(iter(tasks.values()))


def scores_of_first_user(
    system: System, dataset: Dataset, task: Task, candidates: list[int]
) -> FloatArray:
    first = task.requests(dataset, "test").select(slice(0, 1))
    return system.score(first.with_candidates(np.array([candidates], dtype=np.int32)))[0]


def rows(kind: str, *items_of_users: list[int]) -> list[Row]:
    return [
        (user, kind, item, time)
        for user, items in enumerate(items_of_users, start=1)
        for time, item in enumerate(items)
    ]


# Transition graph

SEQUENCES = [[1, 2, 3, 1, 4], [1, 2, 4, 2, 1], [1, 3, 2, 3, 1]]
"""The last two of each user are held out. Training: 1→2 twice, 1→3, 2→3, 2→4, 3→2."""


def test_transitions_of_one_and_two_steps_by_hand(tmp_path: Path) -> None:
    dataset = dataset_of(log_of(rows("r", *SEQUENCES)), 10)
    system, task = fitted(TransitionGraph, dataset, tmp_path)
    # The first user's last items are 1, and 3 before it. From 1, one step: 2 with weight 1, 3 with
    # log 2 / log 3; two steps: 2, 3 and 4, a third each. From 3: 2; then 3 and 4, a half each.
    from_1 = 0.5 * (np.array([0, 1, np.log(2) / np.log(3), 0, 0]) + 0.5 * np.array([0, 1, 1, 1, 0]))
    from_3 = 0.5 * (np.array([0, 1, 0, 0, 0]) + 0.5 * np.array([0, 0, 1, 1, 0]))
    found = scores_of_first_user(system, dataset, task, [1, 2, 3, 4, 5])
    assert found == pytest.approx(from_1 + 0.5 * from_3, abs=1e-6)


def test_words_in_common_bring_items_nearer(tmp_path: Path) -> None:
    texts = ["red lamp", "blue chair", "9 8", "red sofa", "red lamp", *["x y"] * 5]
    dataset = dataset_of(log_of(rows("r", *SEQUENCES)), 10, texts=texts)
    system, task = fitted(TransitionGraph, dataset, tmp_path, edge_weight=0, last_items=1)
    same, half, none = scores_of_first_user(system, dataset, task, [5, 4, 2])
    assert same == pytest.approx(1, abs=1e-6) and 0 < half < 1 and none == 0


def test_the_planted_next_item_is_found_without_learning(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    cycle = random.permutation(40) + 1
    starts = random.integers(40, size=80)
    items = cycle[(starts[:, None] + np.arange(12)) % 40]
    dataset = recommended(numbered_items(40), items)
    system, task = fitted(TransitionGraph, dataset, tmp_path, negatives=19)
    scores = system.score(task.requests(dataset, "test"))
    metrics = mean_metrics(ranks_of_targets(scores, task.test_candidates.target_column))
    assert metrics["HR@1"] == 1.0


def test_two_steps_find_what_one_cannot(tmp_path: Path) -> None:
    """Whoever took the step 1→2 or 2→3 in training is asked for the step 1→3."""
    train = [[4 + n % 3, 1, 2] if n % 2 else [4 + n % 3, 2, 3] for n in range(20)]
    dataset = dataset_of(log_of(rows("r", *([*one, 1, 3] for one in train))), 20)
    one_step, task = fitted(TransitionGraph, dataset, tmp_path, last_items=1, hop_decay=0)
    two_steps, _ = fitted(TransitionGraph, dataset, tmp_path, last_items=1)
    ranks = [
        ranks_of_targets(
            system.score(task.requests(dataset, "test")), task.test_candidates.target_column
        )
        for system in (one_step, two_steps)
    ]
    assert ranks[0].tied.min() > 0 and not ranks[1].tied.any() and not ranks[1].above.any()


# What training says of query and item

SEARCHED = [[1, 1, 2, 3, 4], [3, 3, 3, 1, 2]]
"""One query. Training holds item 1 twice, 2 once, 3 three times; the first test sees 1 to 3."""


def test_seen_items_come_last_in_the_order_of_the_prior(tmp_path: Path) -> None:
    texts = [f"word{n} word" for n in range(12)]
    dataset = dataset_of(log_of(rows("s", *SEARCHED)), 12, texts=texts)
    prior, task = fitted(QueryItemPrior, dataset, tmp_path)
    last, _ = fitted(QueryItemPriorSeenLast, dataset, tmp_path)
    candidates = [1, 2, 3, 4, 5]
    plain = scores_of_first_user(prior, dataset, task, candidates)
    assert list(np.argsort(-plain, kind="stable")) == [2, 0, 1, 3, 4] and plain[3] == plain[4]
    ordered = scores_of_first_user(last, dataset, task, candidates)
    assert list(np.argsort(-ordered, kind="stable")) == [3, 4, 2, 0, 1]
    assert list(ordered[3:]) == list(plain[3:]) and (ordered[:3] < 0).all()


def test_a_pair_is_known_or_not(tmp_path: Path) -> None:
    texts = [f"word{n} word" for n in range(12)]
    dataset = dataset_of(log_of(rows("s", *SEARCHED)), 12, texts=texts)
    system, task = fitted(KnownPair, dataset, tmp_path)
    assert list(scores_of_first_user(system, dataset, task, [1, 2, 3, 4, 5])) == [1, 1, 1, 0, 0]


# What was touched, by everybody and by oneself


def test_popularity_counts_the_training_events_of_the_task_that_asks(tmp_path: Path) -> None:
    searches = [[5, 5, 6, 1, 1]] * 3
    both = sorted([*rows("r", *SEQUENCES), *rows("s", *searches)], key=lambda row: (row[0], row[3]))
    texts = [f"word{n} word" for n in range(10)]
    dataset = dataset_of(log_of(both), 10, texts=texts)
    system, task = fitted(Popularity, dataset, tmp_path)
    search = build_tasks(dataset, ProtocolSettings(negatives=3))["search"]
    items = [1, 2, 3, 4, 5, 6, 7]
    assert task.name == "recommendation"
    assert list(scores_of_first_user(system, dataset, task, items)) == [3, 3, 2, 1, 0, 0, 0]
    assert list(scores_of_first_user(system, dataset, search, items)) == [0, 0, 0, 0, 6, 3, 0]


def test_the_latest_item_of_a_history_is_on_top(tmp_path: Path) -> None:
    dataset = dataset_of(log_of(rows("r", *SEQUENCES)), 10)
    system, task = fitted(HistoryCopy, dataset, tmp_path)
    found = scores_of_first_user(system, dataset, task, [1, 2, 3, 4, 5])  # of 1, 2, 3, 1
    assert found[0] > found[2] > found[1] > 0 and list(found[3:]) == [0, 0]


# The catalogue


def test_families_and_systems_of_the_suite_stand_in_the_papers_order() -> None:
    order = (
        "gru4rec sasrec sasrec-bce fmlp-rec lrurec p5-cid tiger lc-rec qem tem copps e5 "
        "bge dsi-qg webultron genret jsr sesrec unifiedssr unisar gensar gensar-exact"
    )
    of_suite = {name: row for name, row in entries().items() if row.in_suite}
    trained = [name for name, row in of_suite.items() if row.family != "references"]
    assert trained == order.split()


def test_variants_of_one_system_have_labels_of_their_own() -> None:
    headings: dict[str, list[str]] = {}
    for row in entries().values():
        assert bool(row.heading) == bool(row.label)
        if row.heading:
            headings.setdefault(row.heading, []).append(row.label)
    assert set(headings) == {"Query-item prior", "SASRec", "HSTU", "GenSAR"}
    assert all(len(labels) == len(set(labels)) > 1 for labels in headings.values())


def test_four_rows_without_learning_probe_matched_lists() -> None:
    probes = {name for name, row in entries().items() if row.probe_of_lists}
    assert probes == {"bm25", "bm25-reversed", "known-pair", "history-copy"}
    assert all(entries()[name].family == "references" for name in probes)
