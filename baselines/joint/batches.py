"""Batches of events of both tasks in which every distinct item and query stands once.

A history holds items and queries that other histories of the batch, its candidates and what it is
contrasted with hold too. A network that encodes each of them once has less to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.joint.base import TASKS
from baselines.joint.histories import (
    JointHistoryConfig,
    distinct_clicks,
    history_window,
    merged_places,
)
from benchmark.kit.modules import as_long
from benchmark.kit.text.words import QueryWords
from benchmark.kit.training import Batch
from benchmark.protocol.requests import Events


class Compact:
    """The distinct ones of many ids, so that each is encoded once; the padding id 0 is row 0."""

    def __init__(self, size: int, arrays: Sequence[NDArray[np.integer]]) -> None:
        present = np.zeros(size, dtype=bool)
        present[0] = True
        for array in arrays:
            present[array] = True
        self.ids = np.flatnonzero(present)
        self._row = np.cumsum(present) - 1

    def rows(self, ids: NDArray[np.integer]) -> torch.Tensor:
        """The rows of ``ids`` among :attr:`ids`, same shape."""
        return torch.from_numpy(self._row[ids])


class BatchBuilder:
    """Makes the tensors of events: distinct items and queries once, all else as rows of these.

    A batch has ``items`` (distinct items,) and ``words`` (distinct queries, words), row 0 of both
    for padding; under ``history/`` the lists of :class:`HistoryWindow` and their merged places;
    ``users`` and ``query`` (events,), ``candidates`` (events, candidates); and ``sizes``, how many
    events of each task it holds, recommendation first.
    """

    def __init__(self, config: JointHistoryConfig, words: QueryWords, number_of_items: int) -> None:
        self.config, self.words, self.number_of_items = config, words, number_of_items

    def __call__(
        self,
        events: Sequence[Events],
        candidates: NDArray[np.integer],
        contrast: tuple[NDArray[np.integer], NDArray[np.integer]] | None = None,
    ) -> Batch:
        """The batch of some events.

        Args:
            events: those of recommendation, those of search, or both, in this order.
            candidates: (all events, candidates).
            contrast: negative items and negative queries of the contrastive loss. Then the batch
                has ``negative_items``, ``negative_queries``, ``pairs`` and ``clicks`` too.
        """
        bought, searched, clicks, item_places, session_places = _stacked(
            [self._history(some) for some in events]
        )
        asked = np.concatenate([some.query for some in events])
        users = np.concatenate([some.user for some in events])
        negatives = contrast or (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        items = Compact(self.number_of_items + 1, (bought, clicks, candidates, negatives[0]))
        new = events[0].new_queries  # all of one set of requests, or none in training
        queries = Compact(len(self.words.ids) + len(new), (searched, asked, negatives[1]))
        batch = {
            "items": torch.from_numpy(items.ids),
            "words": as_long(self.words.of(queries.ids, new)),
            "history/items": items.rows(bought),
            "history/queries": queries.rows(searched),
            "history/clicks": items.rows(clicks),
            "history/item_places": torch.from_numpy(item_places),
            "history/session_places": torch.from_numpy(session_places),
            "users": as_long(users),
            "query": queries.rows(asked),
            "candidates": items.rows(candidates),
            "sizes": torch.tensor(
                [sum(len(some) for some in events if some.task == task) for task in TASKS]
            ),
        }
        if contrast is not None:
            batch["negative_items"] = items.rows(negatives[0])
            batch["negative_queries"] = queries.rows(negatives[1])
            batch["pairs"], batch["clicks"] = clicked_pairs(batch)
        return batch

    def _history(self, events: Events) -> tuple[NDArray[Any], ...]:
        """Items, queries and clicks of the histories, and the merged places of both lists."""
        window = history_window(events, self.config)
        places = merged_places(window.item_times, window.session_times)
        return (window.items, window.queries, window.clicks, *places)


def _stacked(histories: Sequence[tuple[NDArray[Any], ...]]) -> list[NDArray[Any]]:
    """The arrays of several tasks below each other, padded to equal lengths."""
    stacked: list[NDArray[Any]] = []
    for arrays in zip(*histories, strict=True):
        length = max(array.shape[1] for array in arrays)
        padded = [
            np.pad(array, [(0, 0), (0, length - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])
            for array in arrays
        ]
        stacked.append(np.concatenate(padded))
    return stacked


def clicked_pairs(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct clicks of a batch's histories.

    Returns:
        The rows of query and item, (2, pairs), and how often the histories of each task's events
        hold them, (tasks, pairs).
    """
    pairs, event, pair = distinct_clicks(
        batch["history/queries"], batch["history/clicks"], len(batch["items"])
    )
    number = pairs.shape[1]
    is_search = (event >= batch["sizes"][0]).long()
    count = torch.bincount(is_search * number + pair, minlength=2 * number)
    return pairs, count.view(2, number)
