"""Which events are trained on, validated on and tested on.

Leave-one-out holds out each user's last purchase or search for the test and the one before for
validation. The chronological split holds out the last two tenths of all events by time, for both
tasks at the same two instants; a data set that was published with two instants of its own is cut
there. Leave-one-out mixes times between users: a training event of one
user may lie after a test event of another.

A search lies in one split, by its first click: each of its clicks is an event, so a user may have
several test events, which are ranked apart and counted together by whoever tests for significance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import RECOMMENDATION, SEARCH, EventLog, IntArray
from benchmark.protocol.histories import EventSet, unit_of_rows, visible_history
from benchmark.protocol.settings import ProtocolSettings

MINIMUM_UNITS = 3
"""So many purchases, or searches, of a user give one each for training, validation and test."""

GLOBAL_TIME_CUTS = (0.8, 0.9)
"""Shares of all events before the validation part and before the test part (8:1:1)."""


@dataclass(frozen=True)
class Split:
    """The events of one task by split, each with what it may see."""

    train: EventSet
    valid: EventSet
    test: EventSet
    skipped_users: int  # users with too few purchases or searches to hold one out

    def held_out_positions(self) -> NDArray[np.int64]:
        """Log rows of validation and test."""
        return np.concatenate([self.valid.position, self.test.position])


def split_task(
    log: EventLog,
    behaviour: int,
    settings: ProtocolSettings,
    cuts: tuple[int, int] | None = None,
) -> Split:
    """Split one task's events; rows that training may not use are still in ``train``.

    Args:
        cuts: the instants of the chronological split, where the data set has its own.
    """
    events = visible_history(log, behaviour, log.index_of(behaviour).positions, settings)
    if settings.target_rows == "both-histories":
        events = events.select((events.seen_recommendation > 0) & (events.seen_search > 0))
    unit = unit_of_rows(log, settings)[events.position]
    if settings.split == "global-time":
        return _split_by_time(log, events, unit, cuts)
    short_users_train = settings.target_rows != "both-histories"
    return _leave_one_out(log, events, unit, short_users_train=short_users_train)


def _leave_one_out(
    log: EventLog, events: EventSet, unit: NDArray[np.int64], *, short_users_train: bool
) -> Split:
    rows, first_event, of_event = np.unique(unit, return_index=True, return_inverse=True)
    # In the order of the events, which is that of the log but for the released counters.
    order = np.argsort(first_event)
    user = log.user[rows[order]]
    per_user = np.bincount(user, minlength=log.number_of_users + 1)
    from_end = np.empty(len(rows), dtype=np.int64)  # 1 for the user's last unit
    from_end[order] = np.cumsum(per_user)[user] - np.arange(len(user))
    place = from_end[of_event.reshape(-1)]
    enough = per_user[log.user[events.position]] >= MINIMUM_UNITS
    is_test = enough & (place == 1)
    is_valid = enough & (place == 2)
    is_train = ~(is_test | is_valid) & (enough | short_users_train)
    return Split(
        train=events.select(is_train),
        valid=events.select(is_valid),
        test=events.select(is_test),
        skipped_users=int(np.count_nonzero((per_user > 0) & (per_user < MINIMUM_UNITS))),
    )


def _split_by_time(
    log: EventLog, events: EventSet, unit: NDArray[np.int64], cuts: tuple[int, int] | None
) -> Split:
    valid_from, test_from = cuts or np.quantile(log.timestamp, GLOBAL_TIME_CUTS, method="higher")
    time = log.timestamp[unit]
    return Split(
        train=events.select(time < valid_from),
        valid=events.select((time >= valid_from) & (time < test_from)),
        test=events.select(time >= test_from),
        skipped_users=0,
    )


def first_held_out_of(log: EventLog, held_out: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each user's first log row among ``held_out``, shape (users + 1,); the log's end if none."""
    first = np.full(log.number_of_users + 1, len(log), dtype=np.int64)
    np.minimum.at(first, log.user[held_out], held_out)
    return first


def training_rows(
    log: EventLog, held_out: NDArray[np.int64], settings: ProtocolSettings
) -> NDArray[np.bool_]:
    """Which log rows training may look at, by ``training_rows`` and ``twins``; shape (events,).

    Args:
        held_out: the validation and test rows of all tasks.
    """
    keep = np.ones(len(log), dtype=bool)
    keep[held_out] = False
    if settings.split == "global-time" and len(held_out):
        keep &= log.timestamp < log.timestamp[held_out].min()
    elif settings.training_rows == "before-first-held-out":
        keep &= np.arange(len(log)) < first_held_out_of(log, held_out)[log.user]
    if settings.twins == "removed":
        for behaviour in (RECOMMENDATION, SEARCH):
            rows = log.index_of(behaviour).positions
            others = held_out[log.behaviour[held_out] != behaviour]
            keep[rows[_same_pair(log, rows, others)]] = False
    return keep


def rows_but_the_test(
    log: EventLog,
    tested: NDArray[np.int64],
    hidden: NDArray[np.int64],
    settings: ProtocolSettings,
) -> NDArray[np.bool_]:
    """Which log rows validation may depend on, shape (events,).

    All but the test events of every task, the rows that a test event hides as its duplicates, and
    what ``twins`` keeps out of training for their sake.

    Args:
        tested: the test rows of all tasks.
        hidden: the rows that these may not see, -1 for none.
    """
    # What training might look at if nothing but the test were held out.
    everything_else = settings.model_copy(update={"training_rows": "all-remaining"})
    allowed = training_rows(log, tested, everything_else)
    allowed[hidden[hidden >= 0]] = False
    return allowed


def training_events(
    log: EventLog, split: Split, others: list[Split], settings: ProtocolSettings
) -> EventSet:
    """The training targets of one task: its rows among :func:`training_rows`."""
    held_out = np.concatenate([one.held_out_positions() for one in (split, *others)])
    keep = training_rows(log, held_out, settings)
    return split.train.select(keep[split.train.position])


def _same_pair(
    log: EventLog, position: NDArray[np.int64], held_out: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each row's (user, item) is also that of a held-out row; shape (positions,)."""
    width = int(log.item.max(initial=0)) + 1

    def key(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        user: IntArray = log.user[rows]
        return user.astype(np.int64) * width + log.item[rows]

    return np.isin(key(position), key(held_out))
