"""Random: the floor. Each (event, item) has a number from a hash, in whatever order lists come."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
        last = requests.history(1).items[:, 0]
        own = (requests.user, requests.timestamp, requests.query)
        columns = (*own, last, *requests.history_sizes())
        event = [np.asarray(column, dtype=np.int64)[:, None] for column in columns]
        numbers = row_uniform(self.context.seed, "score", *event, requests.candidates)
        return numbers.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Nothing to keep."""

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Nothing to restore."""
