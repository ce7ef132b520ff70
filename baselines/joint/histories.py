"""Histories of search sessions and recommendation events, as the joint systems read them.

A user's history is two lists: the items of recommendation events, and the search sessions, each a
query with the items that were clicked.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from baselines.joint.base import JointNegativesConfig
from benchmark.data.dataset import IntArray, LongArray
from benchmark.protocol.requests import Events


class JointHistoryConfig(JointNegativesConfig):
    """How much of both histories is read."""

    recommendation_history: int = Field(default=30, ge=1)
    """How many of the user's latest recommendation events are read."""
    search_history: int = Field(default=30, ge=1)
    """How many of the user's latest search sessions are read."""
    session_items: int = Field(default=1, ge=1)
    """Clicked items a search session. 1 makes every search event a session of its own; with more,
    the events of one search are one session, of which the first clicks are kept."""


class HistoryWindow(NamedTuple):
    """What a network reads of a history: both lists padded on the right, and when they happened.

    Shapes: ``items`` and ``item_times`` (events, recommendation length), ``queries`` and
    ``session_times`` (events, search length), ``clicks`` (events, search length, session_items).
    Times are seconds since 1970, infinite at padding.
    """

    items: IntArray
    queries: IntArray
    clicks: IntArray
    item_times: NDArray[np.float64]
    session_times: NDArray[np.float64]


def history_window(
    events: Events, config: JointHistoryConfig, *, whole: bool = False
) -> HistoryWindow:
    """Cut the latest recommendation events and the latest search sessions of many events.

    Args:
        whole: whether all columns are there, as many as the configuration says, or only those that
            are no padding for all of these events, and the first one.
    """
    bought = events.history(config.recommendation_history, "recommendation", "right")
    searched = events.history(config.search_history * config.session_items, "search")
    number, length = searched.items.shape
    starts = searched.mask.copy()
    if config.session_items > 1:
        starts[:, 1:] &= (searched.sessions[:, 1:] != searched.sessions[:, :-1]) | (
            ~searched.mask[:, :-1]
        )
    ordinal: NDArray[np.int64] = np.cumsum(starts, axis=1)  # counted from 1
    first = 1 + np.maximum(ordinal[:, -1:] - config.search_history, 0)  # the latest ones remain
    session = ordinal - first
    columns = np.broadcast_to(np.arange(length), (number, length))
    within = columns - np.maximum.accumulate(np.where(starts, columns, 0), axis=1)
    row, column = np.nonzero(searched.mask & (session >= 0) & (within < config.session_items))
    place = session[row, column]
    clicks = np.zeros((number, config.search_history, config.session_items), dtype=np.int32)
    clicks[row, place, within[row, column]] = searched.items[row, column]
    queries = np.zeros((number, config.search_history), dtype=np.int32)
    times = np.full((number, config.search_history), np.inf)
    row, column = np.nonzero(starts & (session >= 0))
    queries[row, session[row, column]] = searched.queries[row, column]
    times[row, session[row, column]] = searched.timestamps[row, column]
    bought_times = np.where(bought.mask, bought.timestamps.astype(np.float64), np.inf)
    longest, most = config.recommendation_history, config.search_history
    if not whole:
        longest = max(1, int(bought.count.max(initial=0)))
        most = max(1, int(np.count_nonzero(np.isfinite(times), axis=1).max(initial=0)))
    return HistoryWindow(
        items=bought.items[:, :longest],
        queries=queries[:, :most],
        clicks=clicks[:, :most],
        item_times=bought_times[:, :longest],
        session_times=times[:, :most],
    )


def merged_places(
    recommendation_times: NDArray[np.float64], search_times: NDArray[np.float64]
) -> tuple[LongArray, LongArray]:
    """The place of each event among both lists ordered by time, recommendation first where equal.

    Args:
        recommendation_times, search_times: (events, length), infinite at padding, which comes last.

    Returns:
        The places in the recommendation list and in the search list, shapes as given.
    """
    times = np.concatenate([recommendation_times, search_times], axis=1)
    order = np.argsort(times, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(order.shape[1])[None, :], axis=1)
    length = recommendation_times.shape[1]
    return places[:, :length], places[:, length:]


def distinct_clicks(
    queries: torch.Tensor, clicks: torch.Tensor, rows: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The distinct pairs of a query and an item clicked for it in histories of search sessions.

    Args:
        queries: (events, sessions).
        clicks: (events, sessions, clicks), 0 where there is none.
        rows: what all clicks are below.

    Returns:
        The pairs (2, pairs), ascending, query above item; and for each click the event whose
        history holds it and the number of its pair, both (clicks,).
    """
    event, place, _ = where = torch.nonzero(clicks, as_tuple=True)
    keys, pair = (queries[event, place] * rows + clicks[where]).unique(return_inverse=True)
    return torch.stack([keys // rows, keys % rows]), event, pair
