"""From tables of recommendations and of searches to one raw log: what three sources share.

A recommendation counts if it was clicked. A search is a session of one user, with one query and any
number of shown items; each clicked one is an event of the session. Rows of one session with other
queries are other searches. Searches without a click are left out, or give their first shown item if
the source asks for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.data.raw import NO_QUERY, NO_SESSION, Paths, RawItems, RawLog
from benchmark.data.tables.table import Ids, together
from benchmark.errors import counted

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Clicks:
    """Recommendations that were clicked; ``item`` (rows,) are rows of the catalogue."""

    user: Ids
    item: Numbers
    timestamp: Numbers

    def take(self, rows: NDArray[Any]) -> Clicks:
        """The clicks at ``rows``."""
        user = Ids(self.user.code[rows], self.user.distinct)
        return Clicks(user, self.item[rows], self.timestamp[rows])


@dataclass(frozen=True)
class Searches:
    """Items shown in searches, in the order of the file; every column has shape (rows,)."""

    user: Ids
    item: Numbers
    timestamp: Numbers
    query: Sequence[str]
    session: Numbers
    clicked: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> Searches:
        """The shown items at ``rows``."""
        return Searches(
            user=Ids(self.user.code[rows], self.user.distinct),
            item=self.item[rows],
            timestamp=self.timestamp[rows],
            query=[self.query[row] for row in rows.tolist()],
            session=self.session[rows],
            clicked=self.clicked[rows],
        )


def catalogue(
    external_id: Sequence[str],
    title: Sequence[str],
    description: Sequence[str] | None = None,
    brand: Sequence[str] | None = None,
    categories: Sequence[Paths] | None = None,
) -> RawItems:
    """The items of a source; what it does not have is empty."""
    nothing = [""] * len(external_id)
    paths = categories if categories is not None else [()] * len(external_id)
    return RawItems(
        external_id=external_id,
        title=title,
        description=description if description is not None else nothing,
        brand=brand if brand is not None else nothing,
        categories=paths,
        attributes=[tuple(dict.fromkeys(path[-1] for path in of_item)) for of_item in paths],
        decade=nothing,
    )


def positives(searches: Searches, first_item_when_no_click: bool) -> tuple[Numbers, int, int]:
    """The rows that are events, and how many sessions there are, and how many without a click."""
    if not len(searches.item):
        return np.zeros(0, dtype=np.int64), 0, 0
    keys = np.stack([searches.user.code, searches.session], axis=1)
    _, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    sessions = int(group.max()) + 1
    clicked = np.zeros(sessions, dtype=bool)
    clicked[group[searches.clicked]] = True
    chosen = searches.clicked.copy()
    if first_item_when_no_click:
        first = np.full(sessions, len(group))
        np.minimum.at(first, group, np.arange(len(group)))
        chosen[first[~clicked]] = True
    return np.flatnonzero(chosen), sessions, int(np.count_nonzero(~clicked))


def _by_query(searches: Searches) -> tuple[Searches, int]:
    """The searches with a session for each query, and how many sessions have several queries."""
    if not len(searches.item):
        return searches, 0
    query = pd.factorize(np.array(searches.query, dtype=object))[0].astype(np.int64)
    keys = np.stack([searches.user.code, searches.session, query], axis=1)
    kinds, own = np.unique(keys, axis=0, return_inverse=True)
    own = own.reshape(-1)
    _, of_kind, queries = np.unique(kinds[:, :2], axis=0, return_inverse=True, return_counts=True)
    several = queries[of_kind.reshape(-1)][own] > 1
    if not several.any():
        return searches, 0
    free = int(searches.session.max()) + 1
    session = np.where(several, free + own, searches.session)
    return replace(searches, session=session), int(np.count_nonzero(queries > 1))


def joint_log(
    items: RawItems,
    clicks: Clicks,
    searches: Searches,
    *,
    first_item_when_no_click: bool = False,
    only_users_of_both: bool = False,
) -> RawLog:
    """One raw log of both."""
    notes = []
    asked = np.flatnonzero(np.array([bool(text) for text in searches.query], dtype=bool))
    if len(asked) < len(searches.item):
        notes.append(f"{len(searches.item) - len(asked):,} rows of searches have no query.")
        searches = searches.take(asked)
    searches, several = _by_query(searches)
    if several:
        notes.append(
            f"{several:,} sessions of searches hold several queries; each query is a search of its "
            "own."
        )
    rows, sessions, without = positives(searches, first_item_when_no_click)
    searches = searches.take(rows)
    if without:
        fate = "gave their first shown item" if first_item_when_no_click else "were left out"
        notes.append(f"{without:,} of {sessions:,} searches have no click and {fate}.")
    users, codes = together([clicks.user, searches.user])
    distinct = sorted(set(searches.query))
    number = {text: row for row, text in enumerate(distinct)}
    query = np.array([number[text] for text in searches.query], dtype=np.int64)
    before, after = len(clicks.item), len(searches.item)
    log = RawLog(
        users=users,
        items=items,
        user=np.concatenate(codes),
        item=np.concatenate([clicks.item, searches.item]),
        timestamp=np.concatenate([clicks.timestamp, searches.timestamp]),
        rating=np.full(before + after, np.nan, dtype=np.float32),
        position=np.arange(before + after),
        query=np.concatenate([np.full(before, NO_QUERY), query]),
        session=np.concatenate([np.full(before, NO_SESSION), searches.session]),
        query_text=distinct,
        notes=tuple(notes),
    )
    return _only_users_of_both(log) if only_users_of_both else log


def _only_users_of_both(log: RawLog) -> RawLog:
    counts = [
        np.bincount(log.user[mask], minlength=len(log.users))
        for mask in (log.is_search, ~log.is_search)
    ]
    both = (counts[0] > 0) & (counts[1] > 0)
    lost = int(np.count_nonzero((counts[0] + counts[1] > 0) & ~both))
    if not lost:
        return log
    kept = log.take(both[log.user])
    were = "was" if lost == 1 else "were"
    return kept.with_notes(f"{counted(lost, 'user')} without both kinds of events {were} left out.")
