"""What a system may look at while it is trained."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, Dataset
from benchmark.errors import SystemFailure
from benchmark.protocol.histories import history_positions
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.view import TrainingView
from tests.protocol.logs import shop_dataset

PROTOCOLS = {
    **PRESETS,
    "global time": ProtocolSettings(split="global-time", history_cut="strict-time"),
}


@pytest.fixture(scope="module", params=PROTOCOLS)
def case(request: pytest.FixtureRequest) -> tuple[Dataset, dict[str, Task], ProtocolSettings]:
    dataset = shop_dataset(seed=3, users=60, items=180, days=20)
    settings = PROTOCOLS[request.param]
    return dataset, build_tasks(dataset, settings), settings


Case = tuple[Dataset, dict[str, Task], ProtocolSettings]


def held_out(tasks: dict[str, Task]) -> NDArray[np.int64]:
    parts = [part.position for task in tasks.values() for part in (task.valid, task.test)]
    return np.concatenate(parts)


def rows_of(dataset: Dataset, view: TrainingView) -> list[int]:
    """The rows of the full log that the training log consists of: both are in log order."""

    def keys(log: object) -> list[tuple[int, ...]]:
        names = ("user", "item", "query", "behaviour", "timestamp", "session")
        columns = [getattr(log, name).tolist() for name in names]
        return list(zip(*columns, strict=True))

    place = {key: row for row, key in enumerate(keys(dataset.log))}
    return [place[key] for key in keys(view.log)]


def test_no_held_out_event_is_in_the_training_log(case: Case) -> None:
    dataset, tasks, settings = case
    rows = rows_of(dataset, TrainingView(dataset, tasks, settings))
    assert rows == sorted(rows)
    assert rows
    assert not set(rows) & set(held_out(tasks).tolist())


def test_nothing_after_the_first_held_out_event_is_in_the_training_log(case: Case) -> None:
    dataset, tasks, settings = case
    log, out = dataset.log, held_out(tasks)
    rows = np.array(rows_of(dataset, TrainingView(dataset, tasks, settings)))
    if settings.split == "global-time":
        assert log.timestamp[rows].max() < log.timestamp[out].min()
    elif settings.training_rows == "before-first-held-out":
        for user in range(1, log.number_of_users + 1):
            first = out[log.user[out] == user].min(initial=len(log))
            assert (rows[log.user[rows] == user] < first).all()


def test_examples_are_the_training_events_with_the_histories_that_are_left(case: Case) -> None:
    dataset, tasks, settings = case
    view = TrainingView(dataset, tasks, settings)
    rows = rows_of(dataset, view)
    kept = set(rows)
    for name, task in tasks.items():
        examples = view.examples(name)
        assert [rows[place] for place in examples.position] == task.train.position.tolist()
        assert examples.target.tolist() == dataset.log.item[task.train.position].tolist()
        for behaviour, kind in BEHAVIOURS.items():
            full = history_positions(
                dataset.log, dataset.log.user[task.train.position], task.train, 99, kind
            )
            found = examples.history(99, behaviour)
            for example, window in enumerate(full):
                # A recount: of all that the event saw, what the training log still holds.
                expected = [row for row in window.tolist() if row in kept]
                items = found.items[example][found.mask[example]]
                assert items.tolist() == dataset.log.item[expected].tolist()


class Constant:
    """Scores everything 1."""

    def score(self, requests: Requests) -> NDArray[np.float32]:
        return np.ones(requests.candidates.shape, dtype=np.float32)


class Identity:
    """Scores an item by its number, so that validation can be recounted."""

    def score(self, requests: Requests) -> NDArray[np.float32]:
        return requests.candidates.astype(np.float32)


class Broken:
    """Scores nothing at all."""

    def score(self, requests: Requests) -> NDArray[np.float32]:
        return np.full(requests.candidates.shape, np.nan, dtype=np.float32)


def test_validation_is_the_metric_on_the_validation_lists(case: Case) -> None:
    dataset, tasks, settings = case
    view = TrainingView(dataset, tasks, settings)
    found = view.validate(Identity(), batch_size=7)
    for name, task in tasks.items():
        lists = task.valid_candidates
        scores = lists.items.astype(np.float32)
        assert found[name] == pytest.approx(
            mean_metrics(ranks_of_targets(scores, lists.target_column))
        )
    width = tasks["search"].valid_candidates.items.shape[1]
    expected = min(1.0, 10 / width)
    assert view.validate(Constant())["search"]["HR@10"] == pytest.approx(expected)
    assert list(view.validate(Constant(), tasks=("search",))) == ["search"]


def test_validation_refuses_scores_that_are_no_numbers(case: Case) -> None:
    dataset, tasks, settings = case
    with pytest.raises(SystemFailure, match=r"Broken.*not finite"):
        TrainingView(dataset, tasks, settings).validate(Broken())


def test_a_task_that_the_data_set_lacks_has_no_examples() -> None:
    dataset = shop_dataset(seed=3)
    no_search = dataset.with_log(dataset.log.keep(dataset.log.behaviour == 0))
    tasks = build_tasks(no_search, PRESETS["paper"])
    view = TrainingView(no_search, tasks, PRESETS["paper"])
    assert view.tasks == ("recommendation",)
    assert len(view.examples("search")) == 0


def test_clean_training_logs_hold_no_twin_of_a_held_out_event() -> None:
    dataset = shop_dataset(seed=3, users=60, items=180, days=20)
    log, settings = dataset.log, PRESETS["clean"]
    tasks = build_tasks(dataset, settings)
    rows = held_out(tasks)
    secret = set(
        zip(
            log.user[rows].tolist(),
            log.item[rows].tolist(),
            (1 - log.behaviour[rows]).tolist(),
            strict=True,
        )
    )
    seen = TrainingView(dataset, tasks, settings).log
    columns = (seen.user.tolist(), seen.item.tolist(), seen.behaviour.tolist())
    assert not secret & set(zip(*columns, strict=True))
