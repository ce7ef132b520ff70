"""Random: the floor. Each (event, item) has a number from a hash, in whatever order lists come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.hashing import row_uniform
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, System
from benchmark.systems.view import Corpus, TrainingView


class Random(System):
    """Scores in [0, 1) that depend on the seed, on what tells one event from another, and the item.

    The user does not always: all whom training does not know are user 0, hence the last item and
    the number of events before.
    """

    def fit(self, view: TrainingView) -> None:
        """Nothing to learn."""

    def score(self, requests: Requests) -> FloatArray:
        """One hash a candidate."""
        return self._numbers(requests, requests.candidates)

    def score_all_items(self, requests: Requests) -> FloatArray:
        """One hash an item, and none a second time for the event."""
        return self._numbers(requests, np.arange(requests.number_of_items + 1)[None, :])

    def _numbers(self, requests: Requests, items: NDArray[np.integer]) -> FloatArray:
        """(requests, items) for items (requests, items), or (1, items) that all have in common."""
        last = requests.history(1).items[:, 0]
        own = (requests.user, requests.timestamp, requests.query)
        columns = (*own, last, *requests.history_sizes())
        event = [np.asarray(column, dtype=np.int64)[:, None] for column in columns]
        numbers = row_uniform(self.context.seed, "score", *event, items)
        return numbers.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Nothing to keep."""

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Nothing to restore."""
