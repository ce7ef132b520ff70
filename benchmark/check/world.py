"""The small worlds of the check: a generated data set, its tasks, and ways to disturb them.

Test events can be replaced by others (a system that notices has seen one), the targets of requests
too, and requests can be made of what real logs hold now and then: empty histories, unknown users,
queries of unknown words. A second world is split by time: many users there are unknown to training
and have several test events each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import (
    BEHAVIOURS,
    UNKNOWN_USER,
    Dataset,
    EventLog,
    Items,
    LongArray,
    Queries,
    fingerprint_of,
)
from benchmark.data.sources.generated import make_dataset
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.histories import EventSet, history_positions
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.view import Scorer, TrainingView, ValidationMetrics

SETTINGS = ProtocolSettings(negatives=19)
"""The default protocol with lists of 20."""

OVER_TIME = SETTINGS.model_copy(update={"split": "global-time"})
"""The same with the last tenths of all time held out."""

UNKNOWN_WORDS = "qzxwv jkqzz"
EMPTY_QUERY = ""

_SEED = 7
_SALT = "of the world of chance"
_LATE = 0.96


@dataclass(frozen=True)
class World:
    """A data set with its tasks; its last two queries, unknown words and "", have no event."""

    dataset: Dataset
    tasks: Mapping[str, Task]
    settings: ProtocolSettings = SETTINGS

    def view(self) -> TrainingView:
        """What a system is fitted on."""
        return TrainingView(self.dataset, self.tasks, self.settings)

    def blindfolded_view(self) -> TrainingView:
        """The same, but validation always says the same."""
        return _SaysTheSame(self.dataset, self.tasks, self.settings)

    def requests(self, task: str, split: str = "test") -> Requests:
        """The requests of ``split`` ("valid" or "test")."""
        return self.tasks[task].requests(self.dataset, split)

    def users_of(self, task: str) -> NDArray[np.int32]:
        """The user of each test event, unknown to training or not."""
        return self.dataset.log.user[self.tasks[task].test.position]

    @property
    def test_rows(self) -> LongArray:
        """The log rows of all test events."""
        return np.concatenate([task.test.position for task in self.tasks.values()])

    def asking(
        self, task: str, events: EventSet, log: EventLog, candidates: NDArray[np.int32]
    ) -> Requests:
        """Requests over any log."""
        return Requests(task, log, events, self.dataset.queries.text, candidates)


class _SaysTheSame(TrainingView):
    """Validation asks the system as ever, but its figures are always the same."""

    def validate(
        self, system: Scorer, tasks: tuple[str, ...] | None = None, batch_size: int = 1024
    ) -> ValidationMetrics:
        """Metrics of 0.5."""
        found = super().validate(system, tasks, batch_size)
        return {task: dict.fromkeys(metrics, 0.5) for task, metrics in found.items()}


def make_world(only: str | None = None) -> World:
    """The world, with the events of one task alone if ``only`` names it."""
    dataset = make_dataset(users=30, items=120, events_per_user=14, short_users=3, seed=_SEED)
    queries = Queries([*dataset.queries.text, UNKNOWN_WORDS, EMPTY_QUERY])
    log = dataset.log
    if only is not None:
        log = log.keep(log.behaviour == BEHAVIOURS[only])
    dataset = replace(dataset, log=log, queries=queries)
    dataset = replace(dataset, fingerprint=fingerprint_of(dataset))
    return World(dataset, build_tasks(dataset, SETTINGS))


def make_world_over_time() -> World:
    """A world split by time, where every seventh user comes too late for training."""
    dataset = make_world().dataset
    log = dataset.log
    # Each user's times are stretched over the whole time line, or over its last part.
    start, end = log.timestamp.min(), log.timestamp.max()
    begins = np.where(log.user % 7 == 0, start + _LATE * (end - start), start)
    first, last = log.timestamp[log.offsets[log.user]], log.timestamp[log.offsets[log.user + 1] - 1]
    part = (log.timestamp - first) / np.maximum(last - first, 1)
    timestamp = (begins + part * (end - begins)).astype(np.int64)
    dataset = dataset.with_log(replace(log, timestamp=timestamp))
    dataset = replace(dataset, fingerprint=fingerprint_of(dataset))
    return World(dataset, build_tasks(dataset, OVER_TIME), OVER_TIME)


def make_world_of_chance() -> World:
    """A world in which every event is chance, so that nobody can know a target.

    Queries share no word with any item, so the lists of both tasks are draws of untouched items.
    """
    random = np.random.default_rng(_SEED)
    users, items, each = 80, 300, 12
    taken = np.stack([random.permutation(items)[:each] for _ in range(users)]) + 1
    behaviour = (random.random((users, each)) < 0.5).astype(np.int8)
    query = np.where(behaviour == 1, random.integers(1, 6, size=(users, each)), 0)
    searches = behaviour.reshape(-1) == BEHAVIOURS["search"]
    words = np.array([f"w{chr(97 + number)}rd" for number in range(20)])
    texts = ["", *(" ".join(random.choice(words, size=4)) for _ in range(items))]
    nothing = [""] * (items + 1)
    log = EventLog.from_columns(
        user=np.repeat(np.arange(1, users + 1), each),
        item=taken.reshape(-1),
        query=query.reshape(-1),
        behaviour=behaviour.reshape(-1),
        timestamp=np.sort(random.integers(1, 10**8, size=(users, each)), axis=1).reshape(-1),
        session=np.where(searches, np.cumsum(searches), 0),
        number_of_users=users,
    )
    dataset = Dataset(
        name="chance",
        items=Items(
            external_id=["", *(f"i{number:04d}" for number in range(1, items + 1))],
            title=texts,
            description=nothing,
            brand=nothing,
            categories=[()] * (items + 1),
            text=texts,
        ),
        queries=Queries(["", *(f"q{letter}ery" for letter in "abcde")]),
        users=["", *(f"u{number:04d}" for number in range(1, users + 1))],
        log=log,
        salt=_SALT,
    )
    dataset = replace(dataset, fingerprint=fingerprint_of(dataset))
    return World(dataset, build_tasks(dataset, SETTINGS))


def poisoned(world: World) -> tuple[World, LongArray]:
    """The world with other items and queries in its test events, and the log rows that changed.

    Validation lists are made anew, since they may not depend on the test either. Test lists stay:
    they strike what the user touched, so new ones would differ for a reason that is no fault of a
    system.
    """
    rows = np.sort(world.test_rows)
    dataset = world.dataset.with_log(_with_other_content(world.dataset, rows, keep_queries=False))
    dataset = replace(dataset, fingerprint=fingerprint_of(dataset))
    again = build_tasks(dataset, world.settings)
    tasks = {
        name: replace(task, valid_candidates=again[name].valid_candidates)
        for name, task in world.tasks.items()
    }
    return replace(world, dataset=dataset, tasks=tasks), rows


def with_other_labels(world: World) -> tuple[World, int]:
    """The world with other targets in its validation lists, and how many there are.

    The new target is another candidate of the list, so that all that is asked stays. Validation
    events that a validation request may see in its history stay too.
    """
    random = np.random.default_rng(_SEED)
    log = world.dataset.log
    item, tasks, changed = log.item.copy(), dict(world.tasks), 0
    seen = np.concatenate([_visible_rows(log, task.valid) for task in tasks.values()])
    for name, task in tasks.items():
        lists = task.valid_candidates
        step = random.integers(1, lists.items.shape[1], size=len(task.valid))
        step[np.isin(task.valid.position, seen)] = 0
        column = ((lists.target_column + step) % lists.items.shape[1]).astype(np.int32)
        item[task.valid.position] = lists.items[np.arange(len(column)), column]
        tasks[name] = replace(task, valid_candidates=Candidates(lists.items, column))
        changed += int(np.count_nonzero(step))
    dataset = world.dataset.with_log(replace(log, item=item))
    dataset = replace(dataset, fingerprint=fingerprint_of(dataset))
    return replace(world, dataset=dataset, tasks=tasks), changed


def with_other_targets(world: World, task: str, split: str) -> Requests:
    """The requests of ``split`` over a log in which all that they may not see is another item."""
    events: EventSet = getattr(world.tasks[task], split)
    log = world.dataset.log
    rows = np.setdiff1d(np.arange(len(log)), _visible_rows(log, events))
    changed = _with_other_content(world.dataset, rows, keep_queries=True)
    return world.asking(task, events, changed, world.tasks[task].candidates(split).items)


def unusual_requests(world: World, task: str) -> dict[str, Requests]:
    """Requests that real logs hold now and then, by what is unusual about them."""
    events, candidates = world.tasks[task].test, world.tasks[task].test_candidates.items
    log = world.dataset.log
    one = np.minimum(events.seen_recommendation, 1), np.minimum(events.seen_search, 1)
    none = np.zeros_like(one[0])
    nothing_hidden = np.full(len(events), -1, dtype=np.int64)
    histories = {
        "an empty history": (none, none),
        "a history of one recommendation event": (one[0], none),
        "a history of one search event": (none, one[1]),
        "a history of one event of each kind": one,
    }
    cases = {
        name: world.asking(task, EventSet(events.position, *seen, nothing_hidden), log, candidates)
        for name, seen in histories.items()
    }
    cases["an unknown user"] = world.asking(
        task,
        EventSet(np.arange(len(events)), none, none, nothing_hidden),
        _with_unknown_user(log, events.position),
        candidates,
    )
    if task == "search":
        last = len(world.dataset.queries)
        for name, number in (("a query of unknown words", last - 1), ("an empty query", last)):
            query = log.query.copy()
            query[events.position] = number
            cases[name] = world.asking(task, events, replace(log, query=query), candidates)
    return cases


def _visible_rows(log: EventLog, events: EventSet) -> LongArray:
    longest = int(np.diff(log.offsets).max())
    rows = history_positions(log, log.user[events.position], events, longest, None)
    return np.unique(rows[rows >= 0])


def _with_other_content(dataset: Dataset, rows: LongArray, *, keep_queries: bool) -> EventLog:
    """The log with another item in each of ``rows``, and another query where there was one."""
    log = dataset.log
    random = np.random.default_rng(_SEED)

    def others(old: NDArray[np.int32], number: int) -> NDArray[np.int32]:
        """Ids of 1 … number, none of them the old one."""
        step = random.integers(1, number, size=len(old))
        return ((old - 1 + step) % number + 1).astype(np.int32)

    item, query = log.item.copy(), log.query.copy()
    item[rows] = others(item[rows], dataset.number_of_items)
    if not keep_queries:
        searches = rows[log.query[rows] > 0]
        query[searches] = others(query[searches], len(dataset.queries))
    return replace(log, item=item, query=query)


def _with_unknown_user(log: EventLog, rows: LongArray) -> EventLog:
    """The log with copies of ``rows`` in front, as events of the unknown user."""
    order = np.concatenate([rows, np.arange(len(log))])
    user = np.concatenate([np.full(len(rows), UNKNOWN_USER, dtype=np.int32), log.user])
    return EventLog.from_columns(
        user=user,
        item=log.item[order],
        query=log.query[order],
        behaviour=log.behaviour[order],
        timestamp=log.timestamp[order],
        session=log.session[order],
        number_of_users=log.number_of_users,
    )
