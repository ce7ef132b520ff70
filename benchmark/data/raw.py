"""The one value that every source is turned into before the shared steps make a data set of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.hashing import row_hash

Paths = tuple[tuple[str, ...], ...]

NO_QUERY = -1
NO_SESSION = -1


@dataclass(frozen=True)
class RawItems:
    """The catalogue as the source has it; every sequence has shape (items,).

    ``attributes`` are the words or phrases that a query of the ``channels`` construction may use,
    in the source's order; ``decade`` is "1990s" and the like, "" where it is unknown.
    """

    external_id: Sequence[str]
    title: Sequence[str]
    description: Sequence[str]
    brand: Sequence[str]
    categories: Sequence[Paths]
    attributes: Sequence[tuple[str, ...]]
    decade: Sequence[str]

    def __len__(self) -> int:
        return len(self.external_id)

    def take(self, rows: NDArray[np.integer[Any]]) -> RawItems:
        """The items of ``rows`` (kept,), in that order."""
        order = rows.tolist()
        columns = (
            tuple(column[row] for row in order)
            for column in (
                self.external_id,
                self.title,
                self.description,
                self.brand,
                self.categories,
                self.attributes,
                self.decade,
            )
        )
        return RawItems(*columns)


@dataclass(frozen=True)
class RawJudgements:
    """Judged pairs, (judgements,): rows of the queries and of the items, and whole gains from 0."""

    query: NDArray[np.int64]
    item: NDArray[np.int64]
    gain: NDArray[np.int64]


@dataclass(frozen=True)
class RawLog:
    """Events in any order; every column has shape (events,).

    ``user`` and ``item`` are rows of ``users`` and ``items``. ``query`` is a row of ``query_text``,
    or ``NO_QUERY`` for a recommendation event; events that share a ``session`` number belong to one
    search. ``position`` is the source's own order. ``notes`` are sentences for people. Judged items
    stay in the catalogue without an event; ``cuts`` are those of
    :class:`benchmark.data.dataset.Dataset`.
    """

    users: Sequence[str]
    items: RawItems
    user: NDArray[np.int64]
    item: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    rating: NDArray[np.float32]  # NaN where the source has none
    position: NDArray[np.int64]
    query: NDArray[np.int64]
    session: NDArray[np.int64]
    query_text: Sequence[str] = ()
    notes: tuple[str, ...] = ()
    judgements: RawJudgements | None = None
    cuts: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.user)

    @property
    def is_search(self) -> NDArray[np.bool_]:
        """Which events are searches, (events,)."""
        return self.query != NO_QUERY

    def take(self, rows: NDArray[Any]) -> RawLog:
        """The events of ``rows`` (numbers or a mask), in that order."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            timestamp=self.timestamp[rows],
            rating=self.rating[rows],
            position=self.position[rows],
            query=self.query[rows],
            session=self.session[rows],
        )

    def followed_by(self, other: RawLog) -> RawLog:
        """This log with the events of ``other``, which has the same users, items and queries."""

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(self, name), getattr(other, name)])

        return replace(
            self,
            user=joined("user"),
            item=joined("item"),
            timestamp=joined("timestamp"),
            rating=joined("rating"),
            position=joined("position"),
            query=joined("query"),
            session=joined("session"),
        )

    def with_notes(self, *notes: str) -> RawLog:
        """The same log with further sentences."""
        return replace(self, notes=(*self.notes, *notes))


def counted_once(log: RawLog) -> RawLog:
    """The log in which exact repeats count once, and a note on them.

    A recommendation event repeats another of the same user, item and time; a click in a search
    another of the same user, session and item. Which one stays does not depend on their order: of
    recommendations the one with the most stars, of clicks the first in time.
    """
    searching = log.is_search
    kept = np.ones(len(log), dtype=bool)
    for rows, last_key, before in (
        (np.flatnonzero(~searching), log.timestamp, -np.nan_to_num(log.rating)),
        (np.flatnonzero(searching), log.session, log.timestamp),
    ):
        rows = rows[_may_repeat(log.user[rows], log.item[rows], last_key[rows])]
        if not len(rows):
            continue
        keys = (log.user[rows], log.item[rows], last_key[rows])
        order = np.lexsort((log.position[rows], log.query[rows], before[rows], *keys))
        repeats = np.all([key[order][1:] == key[order][:-1] for key in keys], axis=0)
        kept[rows[order[1:][repeats]]] = False
    lost = ~kept
    if not lost.any():
        return log
    sentences = [
        f"{int(np.count_nonzero(lost & mask)):,} {what} stand twice and count once."
        for mask, what in (
            (~searching, "recommendation events (same user, item and time)"),
            (searching, "clicks of one search on one item"),
        )
        if (lost & mask).any()
    ]
    return log.take(kept).with_notes(*sentences)


def _may_repeat(*keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows (events,) may have the keys of another: all that do, and hardly any more.

    By a hash of 8 bytes a row, since logs are long and few of their rows are repeats.
    """
    hashes = row_hash(0, "repeat", *keys)
    ordered = np.sort(hashes)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.isin(hashes, twice) if len(twice) else np.zeros(len(hashes), dtype=bool)


def recommendation_log(
    *,
    users: Sequence[str],
    items: RawItems,
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    timestamp: NDArray[np.int64],
    position: NDArray[np.int64],
    rating: NDArray[np.float32] | None = None,
    notes: tuple[str, ...] = (),
) -> RawLog:
    """A raw log of a source that knows no searches."""
    events = len(user)
    return RawLog(
        users=users,
        items=items,
        user=user,
        item=item,
        timestamp=timestamp,
        rating=np.full(events, np.nan, dtype=np.float32) if rating is None else rating,
        position=position,
        query=np.full(events, NO_QUERY, dtype=np.int64),
        session=np.full(events, NO_SESSION, dtype=np.int64),
        notes=notes,
    )
