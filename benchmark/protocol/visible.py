"""The histories of some events, with a log that holds no row which none of them may see.

Whatever is handed to a system stands on such a log: the rows of the events themselves, all that
their users did later, and every other user are not in it, so no attribute leads to a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, BehaviourIndex, EventLog, IntArray, LongArray
from benchmark.protocol.histories import History, Padding, Rows, Sight, history_windows


@dataclass(frozen=True)
class Histories:
    """A log and what each of some events may see of it."""

    log: EventLog
    sight: Sight

    def windows(self, length: int, behaviour: int | None, padding: Padding) -> History:
        """The last ``length`` visible events of each event."""
        return history_windows(self.log, self.sight.user, self.sight, length, behaviour, padding)

    def sizes(self) -> tuple[IntArray, IntArray]:
        """How many recommendation and how many search events each event may see."""
        recommendation, search = (
            (self.sight.seen(name) - self._is_hidden_in(name)).astype(np.int32)
            for name in BEHAVIOURS
        )
        return recommendation, search

    def select(self, rows: Rows) -> Histories:
        """Those of the events at ``rows``, on a log of what these may see."""
        return Histories(self.log, self.sight.select(rows)).narrowed()

    def narrowed(self, allowed: NDArray[np.bool_] | None = None) -> Histories:
        """The same histories on a log of the visible rows only, whose users are numbered anew.

        Args:
            allowed: (log rows,), the rows that may be seen at all; every row if absent.
        """
        log, sight = self.log, self.sight
        users, number = np.unique(sight.user, return_inverse=True)
        number = number.reshape(-1)
        secret = self._hidden_from_all()
        rows, seen = [], {}
        for name, behaviour in BEHAVIOURS.items():
            index = log.index_of(behaviour)
            longest = np.zeros(len(users), dtype=np.int64)
            np.maximum.at(longest, number, sight.seen(name))
            prefix = index.positions[_ranges(index.offsets[users], longest)]
            kept = ~np.isin(prefix, secret)
            if allowed is not None:
                kept &= allowed[prefix]
            before = np.concatenate([[0], np.cumsum(kept)])
            start = (np.cumsum(longest) - longest)[number]
            seen[name] = (before[start + sight.seen(name)] - before[start]).astype(np.int32)
            rows.append(prefix[kept])
        chosen = np.sort(np.concatenate(rows))
        return Histories(
            _with_users(log, chosen, users),
            Sight(
                user=(number + 1).astype(np.int32),
                seen_recommendation=seen["recommendation"],
                seen_search=seen["search"],
                hidden=_places(chosen, sight.hidden),
            ),
        )

    def _is_hidden_in(self, behaviour: str) -> NDArray[np.bool_]:
        """Whether each event's prefix of one behaviour holds its hidden row."""
        return self._slot_of_hidden(self.log.index_of(BEHAVIOURS[behaviour]), behaviour) < (
            self.sight.seen(behaviour)
        )

    def _slot_of_hidden(self, index: BehaviourIndex, behaviour: str) -> LongArray:
        """The place of each event's hidden row in the user's list; beyond all if it has none."""
        sight = self.sight
        place = np.full(len(sight.hidden), np.iinfo(np.int64).max)
        has_one = np.flatnonzero(sight.hidden >= 0)
        hidden = sight.hidden[has_one]
        of_behaviour = self.log.behaviour[hidden] == BEHAVIOURS[behaviour]
        has_one, hidden = has_one[of_behaviour], hidden[of_behaviour]
        place[has_one] = index.count_before[hidden] - index.offsets[sight.user[has_one]]
        return place

    def _hidden_from_all(self) -> LongArray:
        """The rows that are hidden from each event whose prefix holds them."""
        sight, found = self.sight, []
        for name, behaviour in BEHAVIOURS.items():
            slot = self._slot_of_hidden(self.log.index_of(behaviour), name)
            hides = np.flatnonzero(slot < sight.seen(name))
            rows, first, hiding = np.unique(
                sight.hidden[hides], return_index=True, return_counts=True
            )
            # Events of the row's user whose prefix reaches beyond the row.
            width = int(sight.seen(name).max(initial=0)) + 1
            reach = np.sort(sight.user.astype(np.int64) * width + sight.seen(name))
            user = sight.user[hides[first]].astype(np.int64)
            holding = np.searchsorted(reach, (user + 1) * width) - np.searchsorted(
                reach, user * width + slot[hides[first]], side="right"
            )
            found.append(rows[holding == hiding])
        return np.concatenate(found)


def _ranges(start: LongArray, length: LongArray) -> LongArray:
    """``start[i] … start[i] + length[i] - 1`` for each i, one after the other."""
    ends = np.cumsum(length)
    shift: LongArray = np.repeat(start - (ends - length), length)
    return np.arange(len(shift)) + shift


def _places(rows: LongArray, wanted: LongArray) -> LongArray:
    """The place of each of ``wanted`` in the ascending ``rows``, -1 where it is not among them."""
    if not len(rows):
        return np.full(len(wanted), -1, dtype=np.int64)
    place = np.searchsorted(rows, wanted).clip(max=len(rows) - 1)
    return np.where(rows[place] == wanted, place, -1).astype(np.int64)


def _with_users(log: EventLog, rows: LongArray, users: IntArray) -> EventLog:
    """The log's ``rows``, ascending, with the ascending ``users`` numbered from 1."""
    return EventLog.from_columns(
        user=np.searchsorted(users, log.user[rows]) + 1,
        item=log.item[rows],
        query=log.query[rows],
        behaviour=log.behaviour[rows],
        timestamp=log.timestamp[rows],
        session=log.session[rows],
        number_of_users=len(users),
    )
