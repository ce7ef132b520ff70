"""History copy: items of the visible history first, the latest on top.

It learns nothing. What it reaches is what a protocol gives away by leaving targets in histories.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, System, SystemConfig
from benchmark.systems.view import Corpus, TrainingView


class HistoryCopyConfig(SystemConfig):
    """``history_length``: how many of the latest events are looked through."""

    history_length: int = Field(default=50, ge=1)


class HistoryCopy(System):
    """Scores 1 … history_length by recency, 0 for items that do not occur."""

    Config = HistoryCopyConfig

    def fit(self, view: TrainingView) -> None:
        """Nothing to learn."""

    def score(self, requests: Requests) -> FloatArray:
        """The recency of each candidate's last occurrence in the merged history."""
        scores = np.zeros(requests.candidates.shape, dtype=np.float32)
        for rows, batch in requests.batches(256):
            items = batch.history(self.config.history_length).items
            recency = np.arange(1, items.shape[1] + 1, dtype=np.float32)
            same = batch.candidates[:, :, None] == items[:, None, :]  # (batch, candidates, length)
            scores[rows] = (same * recency).max(axis=2)
        return scores

    def score_all_items(self, requests: Requests) -> FloatArray:
        """The same of all items: each history is written into a row, the oldest event first."""
        items = requests.history(self.config.history_length).items
        scores = np.zeros((len(requests), requests.number_of_items + 1), dtype=np.float32)
        every = np.arange(len(requests))
        for recency, column in enumerate(items.T, start=1):
            scores[every, column] = recency
        return scores

    def save(self, folder: Path) -> None:
        """Nothing to keep."""

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Nothing to restore."""
