"""What training and selection see of the test, and what they do not see (D18, D19)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.audit.intervals import Measured, measured
from benchmark.audit.simple import longest_history
from benchmark.data.dataset import Dataset, EventLog, LongArray
from benchmark.protocol.requests import Requests
from benchmark.protocol.task import Task
from benchmark.systems.view import TrainingView

_EVENTS_AT_ONCE = 256


def validation_sees_tests(
    dataset: Dataset, tasks: dict[str, Task], view: TrainingView
) -> dict[str, Measured]:
    """D18: the share of validation requests, as ``fit`` gets them, that see a test event.

    The test events are those of every task, since a system may learn of one from the other.
    """
    log = dataset.log
    held_out = np.concatenate([task.test.position for task in tasks.values()])
    found = {}
    for name, task in tasks.items():
        requests = view.validation_requests(name)
        # Where there are too many the view takes the latest, in log order; and it may hide users.
        time = log.timestamp[task.valid.position]
        rows = np.sort(np.argsort(-time, kind="stable")[: len(requests)])
        users = log.user[task.valid.position[rows]]
        found[name] = measured(holds_event(log, held_out, requests, users), users)
    return found


def holds_event(
    log: EventLog, position: LongArray, requests: Requests, users: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Whether one of the log rows ``position`` stands in each request's history, (requests,).

    An event is known again by user, behaviour, item, query and time.
    """
    kind = [("user", "i8"), ("behaviour", "i8"), ("item", "i8"), ("query", "i8"), ("time", "i8")]

    def as_events(*columns: NDArray[np.integer]) -> NDArray[np.void]:
        events = np.empty(columns[0].shape, dtype=kind)
        for (field, _), column in zip(kind, columns, strict=True):
            events[field] = column
        return events

    wanted = as_events(
        *(
            column[position]
            for column in (log.user, log.behaviour, log.item, log.query, log.timestamp)
        )
    )
    wanted_times = np.unique(wanted["time"])
    found = np.zeros(len(requests), dtype=bool)
    for part, batch in requests.batches(_EVENTS_AT_ONCE):
        history = batch.history(longest_history(batch))
        may_be = history.mask & np.isin(history.timestamps, wanted_times)
        row, column = np.nonzero(may_be)
        seen = as_events(
            users[part][row],
            *(
                values[row, column]
                for values in (
                    history.behaviours,
                    history.items,
                    history.queries,
                    history.timestamps,
                )
            ),
        )
        found[part.start + row[np.isin(seen, wanted)]] = True
    return found


def untrained_users(
    dataset: Dataset, tasks: dict[str, Task], view: TrainingView
) -> dict[str, Measured]:
    """D19: the share of each task's test events whose user has no event in the training log."""
    trained = np.unique(view.log.user)
    found = {}
    for name, task in tasks.items():
        users = dataset.log.user[task.test.position]
        found[name] = measured(~np.isin(users, trained), users)
    return found
