"""What an event may see: prefix lengths of the user's two lists, and one position to hide.

A history is given by two counts, how many of the user's recommendation events and how many of the
user's search events are visible, since the released counters are such counts and cannot be written
as one position of the merged log. Windows of histories are cut from the log for many events at
once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import RECOMMENDATION, SEARCH, EventLog, IntArray, LongArray
from benchmark.protocol.settings import ProtocolSettings

Padding = Literal["left", "right"]
Rows = NDArray[np.integer] | NDArray[np.bool_] | slice
Integer = TypeVar("Integer", bound=np.integer[Any])


@dataclass(frozen=True)
class EventSet:
    """Events of one task and split, those of a user together; every array has shape (events,).

    ``position`` is the event's row in the log. ``seen_recommendation`` and ``seen_search`` are the
    lengths of the visible prefixes of the user's two lists. ``hidden`` is the log row that the
    event may not see although a prefix holds it, or -1.
    """

    position: LongArray
    seen_recommendation: IntArray
    seen_search: IntArray
    hidden: LongArray

    def __len__(self) -> int:
        return len(self.position)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> EventSet:
        """The events at ``rows`` (indices, a mask or a slice)."""
        return EventSet(
            position=self.position[rows],
            seen_recommendation=self.seen_recommendation[rows],
            seen_search=self.seen_search[rows],
            hidden=self.hidden[rows],
        )

    def followed_by(self, other: EventSet) -> EventSet:
        """These events, then the other ones."""
        return EventSet(
            *(
                np.concatenate([getattr(self, column.name), getattr(other, column.name)])
                for column in fields(self)
            )
        )


@dataclass(frozen=True)
class Sight:
    """What events see of a log; every array has shape (events,).

    ``user`` is the log's user, ``seen_recommendation`` and ``seen_search`` are the lengths of the
    visible prefixes of that user's two lists, and ``hidden`` is a row that a prefix holds although
    the event may not see it, or -1.
    """

    user: IntArray
    seen_recommendation: IntArray
    seen_search: IntArray
    hidden: LongArray

    @classmethod
    def of(cls, log: EventLog, events: EventSet) -> Sight:
        """What ``events`` see of ``log``."""
        return cls(
            user=log.user[events.position],
            seen_recommendation=events.seen_recommendation,
            seen_search=events.seen_search,
            hidden=events.hidden,
        )

    def seen(self, behaviour: str) -> IntArray:
        """The prefix lengths of one behaviour."""
        return self.seen_search if behaviour == "search" else self.seen_recommendation

    def select(self, rows: Rows) -> Sight:
        """Those of the events at ``rows``."""
        return Sight(
            user=self.user[rows],
            seen_recommendation=self.seen_recommendation[rows],
            seen_search=self.seen_search[rows],
            hidden=self.hidden[rows],
        )


@dataclass(frozen=True)
class History:
    """The last ``length`` visible events of each request, oldest first; arrays (requests, length).

    Padding has item 0, query 0, behaviour -1, timestamp 0 and ``mask`` false. ``count`` (requests,)
    is the number of real events in the window.
    """

    items: IntArray
    queries: IntArray
    behaviours: NDArray[np.int8]
    timestamps: LongArray
    sessions: IntArray
    mask: NDArray[np.bool_]
    count: IntArray


def twin_positions(log: EventLog, position: LongArray) -> LongArray:
    """The event of the other task that each log row duplicates, or -1; shape (positions,).

    A twin has the same user, item and time, and stands before the row in the log (of several, the
    nearest). On Amazon every search follows the purchase that it was made of.
    """
    if not len(position):
        return np.zeros(0, dtype=np.int64)
    key = first_of_instant(log) * (int(log.item.max()) + 1) + log.item
    order = np.argsort(key, kind="stable")  # the rows of one key stay in log order
    rank = np.arange(len(log))
    new_key = np.ones(len(log), dtype=bool)
    new_key[1:] = key[order][1:] != key[order][:-1]
    start = np.maximum.accumulate(np.where(new_key, rank, 0))
    behaviour = log.behaviour[order]
    twins = np.full(len(log), -1, dtype=np.int64)
    for own, other in ((RECOMMENDATION, SEARCH), (SEARCH, RECOMMENDATION)):
        nearest = np.maximum.accumulate(np.where(behaviour == other, rank, -1))
        found = (behaviour == own) & (nearest >= start)
        twins[order[found]] = order[nearest[found]]
    return twins[position]


def visible_history(
    log: EventLog, behaviour: int, position: LongArray, settings: ProtocolSettings
) -> EventSet:
    """Attach to each event of one behaviour what it may see, by ``settings.history_cut``.

    A search with several clicks sees what was before the first of them (``searches: whole``).
    """
    if settings.history_cut == "released":
        return _released_counters(log, behaviour, position, settings)
    seen_from = unit_of_rows(log, settings)[position]
    if settings.history_cut == "strict-time":
        seen_from = first_of_instant(log)[seen_from]
        hidden = np.full(len(position), -1, dtype=np.int64)
    else:
        hidden = twin_positions(log, position)
    return EventSet(
        position=position,
        seen_recommendation=log.recommendation.seen_before(log, seen_from),
        seen_search=log.search.seen_before(log, seen_from),
        hidden=hidden,
    )


def first_of_instant(log: EventLog) -> LongArray:
    """For each log row, the first row of the same user and time; shape (events,)."""
    rows = np.arange(len(log), dtype=np.int64)
    starts = np.ones(len(log), dtype=bool)
    starts[1:] = (log.user[1:] != log.user[:-1]) | (log.timestamp[1:] != log.timestamp[:-1])
    return np.maximum.accumulate(np.where(starts, rows, 0))


def unit_of_rows(log: EventLog, settings: ProtocolSettings) -> LongArray:
    """For each log row, the first row of the unit that splits keep together; shape (events,).

    A purchase is a unit, and a search with all its clicks (``searches: whole``) is one.
    """
    rows = np.arange(len(log), dtype=np.int64)
    if settings.searches == "single-clicks":
        return rows
    clicks = np.flatnonzero((log.behaviour == SEARCH) & (log.session > 0))
    number = log.user[clicks].astype(np.int64) * (int(log.session.max(initial=0)) + 1)
    _, first, search = np.unique(
        number + log.session[clicks], return_index=True, return_inverse=True
    )
    rows[clicks] = clicks[first][search.reshape(-1)]
    return rows


def recency_of_target(log: EventLog, events: EventSet, behaviour: int) -> LongArray:
    """Where each event's item stands among the visible events of ``behaviour``, shape (events,).

    1 is the last visible one; 0 says that the item is not among them.
    """
    positions = log.index_of(behaviour).positions
    seen = events.seen_recommendation if behaviour == RECOMMENDATION else events.seen_search
    if not len(positions) or not len(events):
        return np.zeros(len(events), dtype=np.int64)
    width = int(log.item.max()) + 1
    longest = int(np.diff(log.offsets).max()) + 1

    def pair(rows: LongArray) -> LongArray:
        return log.user[rows].astype(np.int64) * width + log.item[rows]

    distinct, pair_of_row = np.unique(pair(positions), return_inverse=True)
    place = log.index_of(behaviour).seen_before(log, positions)  # in the user's own list
    occurrence = pair_of_row.reshape(-1) * longest + place
    order = np.argsort(occurrence)
    occurrence, rows = occurrence[order], positions[order]

    asked = pair(events.position)
    found = np.minimum(np.searchsorted(distinct, asked), len(distinct) - 1)
    known = distinct[found] == asked
    last = np.searchsorted(occurrence, found * longest + seen) - 1

    def is_visible(slot: LongArray) -> NDArray[np.bool_]:
        inside = known & (slot >= 0)
        visible: NDArray[np.bool_] = inside & (occurrence[np.maximum(slot, 0)] // longest == found)
        return visible

    # A hidden row is not seen although the prefix holds it: then the one before it may be.
    is_hidden = is_visible(last) & (rows[np.maximum(last, 0)] == events.hidden)
    last = np.where(is_hidden, last - 1, last)
    visible = is_visible(last)
    own_place = occurrence[np.maximum(last, 0)] % longest
    hidden_place = log.index_of(behaviour).seen_before(log, np.maximum(events.hidden, 0))
    is_of_behaviour = log.behaviour[np.maximum(events.hidden, 0)] == behaviour
    between = (events.hidden >= 0) & is_of_behaviour & (hidden_place > own_place)
    between &= hidden_place < seen
    recency: LongArray = np.where(visible, seen - own_place - between, 0)
    return recency


def _released_counters(
    log: EventLog, behaviour: int, position: LongArray, settings: ProtocolSettings
) -> EventSet:
    """The counters of the official notebook, defects included (process_raw.ipynb).

    A search sees one purchase less only if the last purchase of the list is the searched item, so a
    twin that is not the last one stays visible. With ``by-position`` the recommendation rows are
    ordered by time and item id while the counters keep the order of the list.
    """
    recommendation = log.recommendation.seen_before(log, position)
    search = log.search.seen_before(log, position)
    if behaviour == SEARCH:
        index = log.recommendation
        last = index.offsets[log.user[position]] + recommendation - 1
        has_any = recommendation > 0
        last_item = log.item[index.positions[np.maximum(last, 0)]] if len(index.positions) else 0
        recommendation = recommendation - (has_any & (last_item == log.item[position]))
    elif settings.counters == "by-position":
        position = position[
            np.lexsort((log.item[position], log.timestamp[position], log.user[position]))
        ]
    return EventSet(
        position=position,
        seen_recommendation=recommendation.astype(np.int32),
        seen_search=search,
        hidden=np.full(len(position), -1, dtype=np.int64),
    )


def history_positions(
    log: EventLog,
    user: IntArray,
    events: EventSet | Sight,
    length: int,
    behaviour: int | None,
) -> LongArray:
    """The log rows of each event's last ``length`` visible events, -1 where there are fewer.

    Args:
        user: (events,), the user of each event.
        behaviour: RECOMMENDATION or SEARCH, or None for both merged in time.

    Returns:
        (events, length), oldest first, absent ones on the left.
    """
    windows = []
    for kind, seen in (
        (RECOMMENDATION, events.seen_recommendation),
        (SEARCH, events.seen_search),
    ):
        if behaviour is not None and behaviour != kind:
            continue
        index = log.index_of(kind)
        start = index.offsets[user]
        # One more than asked for, since one of them may be the hidden row.
        slot = (start + seen)[:, None] + np.arange(-length - 1, 0)[None, :]
        absent = slot < start[:, None]
        rows = (
            index.positions[np.where(absent, 0, slot)]
            if len(index.positions)
            else np.zeros_like(slot)
        )
        windows.append(np.where(absent, -1, rows))
    merged = np.concatenate(windows, axis=1)
    merged[merged == events.hidden[:, None]] = -1
    merged.sort(axis=1)
    return merged[:, merged.shape[1] - length :]


def history_windows(
    log: EventLog,
    user: IntArray,
    events: EventSet | Sight,
    length: int,
    behaviour: int | None = None,
    padding: Padding = "left",
) -> History:
    """Cut the history windows of many events at once; see :class:`History` for shapes."""
    rows = history_positions(log, user, events, length, behaviour)
    mask = rows >= 0
    count = mask.sum(axis=1).astype(np.int32)
    if padding == "right":
        shifted = np.arange(length)[None, :] + (length - count)[:, None]
        inside = shifted < length
        rows = np.where(inside, np.take_along_axis(rows, np.where(inside, shifted, 0), axis=1), -1)
        mask = rows >= 0
    safe = np.where(mask, rows, 0)

    def column(values: NDArray[Integer], absent: int) -> NDArray[Integer]:
        if not len(values):
            return np.full(rows.shape, absent, dtype=values.dtype)
        return np.where(mask, values[safe], values.dtype.type(absent))

    return History(
        items=column(log.item, 0),
        queries=column(log.query, 0),
        behaviours=column(log.behaviour, -1),
        timestamps=column(log.timestamp, 0),
        sessions=column(log.session, 0),
        mask=mask,
        count=count,
    )
