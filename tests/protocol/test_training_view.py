"""What a system may look at while it is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.check.reach import first_difference
from benchmark.data.dataset import BEHAVIOURS, Dataset, Queries
from benchmark.errors import SystemFailure
from benchmark.protocol.candidates import Candidates
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
    settings = PROTOCOLS[request.param]
    # Small worlds have too few items alike the targets for the lists of clean.
    users = 400 if request.param == "clean" else 60
    dataset = shop_dataset(seed=3, users=users, items=180, days=20)
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


def test_validation_histories_are_the_full_ones_without_test_events(case: Case) -> None:
    dataset, tasks, settings = case
    view, log = TrainingView(dataset, tasks, settings), dataset.log
    tests = [task.test for task in tasks.values()]
    barred = set(np.concatenate([task.tested for task in tasks.values()]).tolist())
    duplicates = set(np.concatenate([part.hidden for part in tests]).tolist()) - {-1}
    if settings.twins == "removed":
        secret = {(log.user[row], log.item[row], 1 - log.behaviour[row]) for row in barred}
        every = zip(log.user, log.item, log.behaviour, strict=True)
        duplicates |= {row for row, key in enumerate(every) if key in secret}
    lost = 0
    for name, task in tasks.items():
        found = view.validation_requests(name).history(99)
        full = history_positions(log, log.user[task.valid.position], task.valid, 99, None)
        for event, window in enumerate(full.tolist()):
            lost += len(set(window) & barred)
            kept = [row for row in window if row >= 0 and row not in barred | duplicates]
            items = found.items[event][found.mask[event]]
            assert items.tolist() == log.item[kept].tolist()
    assert lost > 0 or settings.split == "global-time", "the protocol would show test events"


def test_nothing_that_a_view_holds_hangs_on_a_test_event(case: Case) -> None:
    dataset, tasks, settings = case
    log = dataset.log
    rows = np.concatenate([task.test.position for task in tasks.values()])
    item, query, session = log.item.copy(), log.query.copy(), log.session.copy()
    for row in rows.tolist():
        own = log.item[log.user == log.user[row]]
        # An item of one event only becomes one of no event: what duplicates it is another matter.
        if np.count_nonzero(own == item[row]) == 1:
            item[row] = np.setdiff1d(np.arange(1, dataset.number_of_items + 1), own)[0]
            query[row] = query[row] and query[row] % query.max() + 1
            session[row] += 1000
    assert np.count_nonzero(item != log.item) > 0.1 * len(rows)
    changed = dataset.with_log(replace(log, item=item, query=query, session=session))
    here, there = (TrainingView(one, tasks, settings) for one in (dataset, changed))
    assert here.fingerprint == there.fingerprint
    assert first_difference(here, there) is None
    for name in tasks:
        assert first_difference(here.examples(name), there.examples(name)) is None
        one, other = (view.validation_requests(name) for view in (here, there))
        assert first_difference(one, other) is None


class Notes:
    """Keeps what it is asked in validation."""

    def __init__(self) -> None:
        self.asked: list[Requests] = []

    def score(self, requests: Requests) -> NDArray[np.float32]:
        self.asked.append(requests)
        return np.ones(requests.candidates.shape, dtype=np.float32)


def test_validation_asks_what_fit_may_look_at(case: Case) -> None:
    dataset, tasks, settings = case
    view, notes = TrainingView(dataset, tasks, settings), Notes()
    view.validate(notes, batch_size=10_000)
    for name, asked in zip(view.tasks, notes.asked, strict=True):
        whole = view.validation_requests(name)
        assert first_difference(asked, whole.select(slice(None))) is None


@pytest.mark.parametrize("part", ["log", "target", "settings", "texts"])
def test_the_fingerprint_changes_with_what_a_view_is_made_of(part: str) -> None:
    dataset, settings = shop_dataset(seed=3, users=60, items=180, days=20), PRESETS["paper"]
    tasks = build_tasks(dataset, settings)
    view = TrainingView(dataset, tasks, settings)
    if part == "log":
        item = dataset.log.item.copy()
        item[rows_of(dataset, view)[0]] += 1
        dataset = dataset.with_log(replace(dataset.log, item=item))
    elif part == "target":
        lists = tasks["search"].valid_candidates
        other = Candidates(lists.items, (lists.target_column + 1) % 100)
        tasks["search"] = replace(tasks["search"], valid_candidates=other)
    elif part == "settings":
        settings = ProtocolSettings(bm25_analyser="none")
    else:
        dataset = replace(dataset, queries=Queries([*dataset.queries.text, "one more"]))
    assert TrainingView(dataset, tasks, settings).fingerprint != view.fingerprint


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
    dataset = shop_dataset(seed=3, users=400, items=180, days=20)
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
