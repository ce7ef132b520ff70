"""Query-item prior: p(item | query) from training counts, smoothed by the item's share of searches.

The Dirichlet prior keeps queries without training events (and unseen pairs) in order of popularity.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmark.files import atomic_path
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, System, SystemConfig
from benchmark.systems.view import Corpus, TrainingView

_FILE = "counts.npz"


class QueryItemPriorConfig(SystemConfig):
    """``smoothing``: the weight of the prior, in events."""

    smoothing: float = Field(default=10.0, gt=0)


class QueryItemPrior(System):
    """Counts of (query, item) pairs as sorted keys, and the items' shares of all searches."""

    Config = QueryItemPriorConfig
    pairs: NDArray[np.int64]  # distinct query * (items + 1) + item, sorted
    pair_counts: NDArray[np.int64]
    query_counts: NDArray[np.int64]  # (queries + 1,)
    item_share: NDArray[np.float64]  # (items + 1,)

    def fit(self, view: TrainingView) -> None:
        """Count the search events of the training log."""
        searched = view.log.search.positions
        query, item = view.log.query[searched].astype(np.int64), view.log.item[searched]
        width = view.corpus.number_of_items + 1
        self.pairs, self.pair_counts = np.unique(query * width + item, return_counts=True)
        self.query_counts = np.bincount(query, minlength=view.corpus.number_of_queries + 1)
        counts = np.bincount(item, minlength=width) + 1.0  # one more, so that none is impossible
        self.item_share = counts / counts.sum()

    def score(self, requests: Requests) -> FloatArray:
        """The smoothed conditional probability of each candidate."""
        query = requests.query.astype(np.int64)[:, None]
        key = query * len(self.item_share) + requests.candidates
        slot = np.minimum(np.searchsorted(self.pairs, key), max(len(self.pairs) - 1, 0))
        count = np.zeros(key.shape)
        if len(self.pairs):
            count = np.where(self.pairs[slot] == key, self.pair_counts[slot], 0)
        weight = self.config.smoothing
        prior = self.item_share[requests.candidates]
        total = self.query_counts[query] + weight
        return ((count + weight * prior) / total).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write the counts."""
        with atomic_path(folder / _FILE) as path:
            np.savez(
                path,
                pairs=self.pairs,
                pair_counts=self.pair_counts,
                query_counts=self.query_counts,
                item_share=self.item_share,
            )

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read the counts."""
        with np.load(folder / _FILE, allow_pickle=False) as stored:
            self.pairs, self.pair_counts = stored["pairs"], stored["pair_counts"]
            self.query_counts, self.item_share = stored["query_counts"], stored["item_share"]
