"""What a data set holds, in numbers: for ``python -m benchmark.data describe`` and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset


@dataclass(frozen=True)
class Statistics:
    """Counts and medians of one data set; words are what stands between blanks."""

    name: str
    users: int
    items: int
    queries: int
    events: int
    recommendation_events: int
    search_events: int
    events_per_user_median: float
    events_per_user_p95: float
    distinct_query_item_pairs: int
    words_per_item_text: float
    words_per_query: float  # over search events
    first_day: str
    last_day: str
    tied_share: float  # of the consecutive recommendation events of a user, those at one instant
    fingerprint: str


def statistics(dataset: Dataset) -> Statistics:
    """Count everything in one pass over the columns."""
    log = dataset.log
    is_search = log.behaviour == SEARCH
    per_user = np.diff(log.offsets)[1:]
    searches = np.stack([log.query[is_search], log.item[is_search]], axis=1)
    words_of_query = _words(dataset.queries.text)
    return Statistics(
        name=dataset.name,
        users=dataset.number_of_users,
        items=dataset.number_of_items,
        queries=len(dataset.queries),
        events=len(log),
        recommendation_events=int((~is_search).sum()),
        search_events=int(is_search.sum()),
        events_per_user_median=float(np.median(per_user)),
        events_per_user_p95=float(np.percentile(per_user, 95)),
        distinct_query_item_pairs=len(np.unique(searches, axis=0)),
        words_per_item_text=float(_words(dataset.items.text)[1:].mean()),
        words_per_query=float(words_of_query[log.query[is_search]].mean())
        if is_search.any()
        else 0,
        first_day=_day(int(log.timestamp.min())),
        last_day=_day(int(log.timestamp.max())),
        tied_share=_tied_share(dataset),
        fingerprint=dataset.fingerprint,
    )


def _words(texts: Sequence[str]) -> np.ndarray:
    return np.array([len(text.split()) for text in texts], dtype=np.int64)


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).date().isoformat()


def _tied_share(dataset: Dataset) -> float:
    log = dataset.log
    rows = np.flatnonzero(log.behaviour == RECOMMENDATION)
    same_user = log.user[rows][1:] == log.user[rows][:-1]
    same_time = log.timestamp[rows][1:] == log.timestamp[rows][:-1]
    return float(same_time[same_user].mean()) if same_user.any() else 0.0
