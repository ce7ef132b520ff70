"""What the search test lists give away through the user's own clicks (D15, D16)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.audit.intervals import Measured, measured
from benchmark.audit.simple import in_history, longest_history
from benchmark.data.dataset import Dataset, EventLog, LongArray
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.task import Task

SEVERAL = "test events of searches with several clicks"
SEEN = "test events with such a click in the history"
LISTED = "test events with such a click among the negatives"
SPLIT = "users with one search in validation and test"
NEGATIVES = "negatives that the user touched before"
TARGETS = "targets that the user touched before"

_EVENTS_AT_ONCE = 256


def number_of_search(log: EventLog, position: LongArray) -> LongArray:
    """One number a search: the log rows of a user that share a session; -1 without a session."""
    session = log.session[position].astype(np.int64)
    width = np.int64(log.session.max(initial=0)) + 1
    number: LongArray = np.where(session > 0, log.user[position] * width + session, -1)
    return number


def fellow_clicks(log: EventLog, position: LongArray) -> tuple[LongArray, LongArray]:
    """The other items that were clicked in each event's search.

    Args:
        position: (events,) log rows of search events.

    Returns:
        As (index into ``position``, log row), each of shape (pairs,).
    """
    rows = log.search.positions
    search = number_of_search(log, rows)
    order = np.argsort(search, kind="stable")
    own = number_of_search(log, position)
    first = np.searchsorted(search[order], own, side="left")
    count = np.searchsorted(search[order], own, side="right") - first
    count[own < 0] = 0
    event = np.repeat(np.arange(len(position)), count)
    within = np.arange(len(event)) - np.repeat(np.cumsum(count) - count, count)
    fellow = rows[order[first[event] + within]]
    is_other = log.item[fellow] != log.item[position[event]]
    return event[is_other], fellow[is_other]


def clicks_of_one_search(dataset: Dataset, task: Task) -> dict[str, Measured]:
    """D15: searches with several clicks, where their other clicks stand, and in which split."""
    log, rows = dataset.log, task.test.position
    users = log.user[rows]
    event, fellow = fellow_clicks(log, rows)

    def share_of_events(is_true: NDArray[np.bool_]) -> Measured:
        of_event = np.zeros(len(rows), dtype=bool)
        of_event[event[is_true]] = True
        return measured(of_event, users)

    lists = task.test_candidates.items
    fellows = Exclusions.of_pairs(event, log.item[fellow], dataset.number_of_items)
    in_list = np.any(fellows.contains(np.arange(len(rows))[:, None], lists), axis=1)
    valid, test = (
        number_of_search(log, getattr(task, part).position) for part in ("valid", "test")
    )
    both = np.intersect1d(valid[valid >= 0], test)
    tested = np.unique(users)
    split_users = np.unique(users[np.isin(test, both)])
    return {
        SEVERAL: share_of_events(np.ones(len(event), dtype=bool)),
        SEEN: measured(_sees_own_search(dataset, task), users),
        LISTED: measured(np.asarray(in_list), users),
        SPLIT: measured(np.isin(tested, split_users), tested),
    }


def _sees_own_search(dataset: Dataset, task: Task) -> NDArray[np.bool_]:
    """Whether another item of an event's own search stands in its visible history, (events,)."""
    log, rows = dataset.log, task.test.position
    found = np.zeros(len(rows), dtype=bool)
    for part, batch in task.requests(dataset, "test").batches(_EVENTS_AT_ONCE):
        own = rows[part]
        history = batch.history(longest_history(batch), "search")
        is_own = (history.sessions == log.session[own][:, None]) & (history.sessions > 0)
        found[part] = (is_own & (history.items != log.item[own][:, None])).any(axis=1)
    return found


def touched_items(dataset: Dataset, task: Task) -> dict[str, Measured]:
    """D16: which candidates of the search lists stand in the user's visible history."""
    users = dataset.log.user[task.test.position]
    touched = in_history(task.requests(dataset, "test"))
    columns = task.test_candidates.target_column.astype(np.int64)[:, None]
    of_target = np.take_along_axis(touched, columns, axis=1)[:, 0]
    of_negatives = (touched.sum(axis=1) - of_target) / max(1, touched.shape[1] - 1)
    return {
        NEGATIVES: measured(of_negatives, users),
        TARGETS: measured(of_target, users),
    }
