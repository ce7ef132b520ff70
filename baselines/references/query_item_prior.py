"""What training says of a query and an item alone: three rankers that count search events.

Query-item prior: p(item | query), smoothed by the item's share of searches. The Dirichlet prior
keeps queries without training events (and unseen pairs) in order of popularity. Seen items last:
the same, but items of the visible history stand below all others, since a list may hold items that
the user had touched while targets never are. Known pair: whether training holds the pair at all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmark.data.dataset import LongArray
from benchmark.files import atomic_path
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, System, SystemConfig
from benchmark.systems.view import Corpus, TrainingView

_FILE = "counts.npz"
_ENTRIES_AT_ONCE = 2_000_000  # of histories, so that memory stays small


class PairCounts(System):
    """Counts of (query, item) pairs as sorted keys, and the items' shares of all searches."""

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

    def counts_of(self, requests: Requests) -> NDArray[np.int64]:
        """(requests, candidates): how often training holds the query with the candidate."""
        query = requests.query.astype(np.int64)[:, None]
        key = query * len(self.item_share) + requests.candidates
        if not len(self.pairs):
            return np.zeros(key.shape, dtype=np.int64)
        slot = np.minimum(np.searchsorted(self.pairs, key), len(self.pairs) - 1)
        counts: NDArray[np.int64] = np.where(self.pairs[slot] == key, self.pair_counts[slot], 0)
        return counts

    def pairs_of(self, query: NDArray[np.integer]) -> tuple[LongArray, LongArray, LongArray]:
        """The pairs that training holds of queries (any,), in the order of these.

        Returns:
            (row of ``query``, item, count), each of shape (pairs,).
        """
        width = len(self.item_share)
        first_key = query.astype(np.int64) * width
        start = np.searchsorted(self.pairs, first_key)
        number = np.searchsorted(self.pairs, first_key + width) - start
        row = np.repeat(np.arange(len(query)), number)
        place = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number) + start[row]
        return row, self.pairs[place] % width, self.pair_counts[place]

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


class KnownPair(PairCounts):
    """1 for a candidate that training pairs with the query, 0 for any other."""

    def score(self, requests: Requests) -> FloatArray:
        """Whether each pair is known; all known ones are tied, and all others."""
        return (self.counts_of(requests) > 0).astype(np.float32)

    def score_all_items(self, requests: Requests) -> FloatArray:
        """The same of all items."""
        scores = np.zeros((len(requests), len(self.item_share)), dtype=np.float32)
        row, item, _ = self.pairs_of(requests.query)
        scores[row, item] = 1
        return scores


class QueryItemPriorConfig(SystemConfig):
    """``smoothing``: the weight of the prior, in events."""

    smoothing: float = Field(default=10.0, gt=0)


class QueryItemPrior(PairCounts):
    """The smoothed conditional probability of each candidate."""

    Config = QueryItemPriorConfig

    def score(self, requests: Requests) -> FloatArray:
        """p(candidate | query), in (0, 1)."""
        prior = self.item_share[requests.candidates]
        total = self.query_counts[requests.query][:, None]
        return self._smoothed(self.counts_of(requests), prior, total)

    def score_all_items(self, requests: Requests) -> FloatArray:
        """p(item | query) of all items: the prior, but where training holds the pair."""
        query, place = np.unique(requests.query, return_inverse=True)
        total = self.query_counts[query]
        scores = self._smoothed(np.int64(0), self.item_share[None, :], total[:, None])
        row, item, count = self.pairs_of(query)
        scores[row, item] = self._smoothed(count, self.item_share[item], total[row])
        return scores[place]

    def _smoothed(
        self,
        counts: NDArray[np.int64] | np.int64,
        prior: NDArray[np.float64],
        total: NDArray[np.int64],
    ) -> FloatArray:
        """The conditional probability from counts, shares of all searches and counts of queries."""
        weight = self.config.smoothing
        return ((counts + weight * prior) / (total + weight)).astype(np.float32)


class QueryItemPriorSeenLast(QueryItemPrior):
    """The prior among items that the user's visible history lacks, then among those it holds."""

    def score(self, requests: Requests) -> FloatArray:
        """The prior p of unseen candidates; -1/p of seen ones, below all others in their order."""
        scores = super().score(requests)
        recommended, searched = requests.history_sizes()
        longest = int((recommended + searched).max(initial=0))
        if longest:
            for rows, batch in requests.batches(max(1, _ENTRIES_AT_ONCE // longest)):
                seen = _in_history(batch, longest, len(self.item_share))
                scores[rows] = np.where(seen, -1.0 / scores[rows], scores[rows])
        return scores

    def score_all_items(self, requests: Requests) -> FloatArray:
        """The same of all items."""
        scores = super().score_all_items(requests)
        recommended, searched = requests.history_sizes()
        longest = int((recommended + searched).max(initial=0))
        if longest:
            for rows, batch in requests.batches(max(1, _ENTRIES_AT_ONCE // longest)):
                items = batch.history(longest).items
                row, column = np.nonzero(items)
                seen = np.zeros((len(batch), scores.shape[1]), dtype=bool)
                seen[row, items[row, column]] = True
                scores[rows] = np.where(seen, -1.0 / scores[rows], scores[rows])
        return scores


def _in_history(requests: Requests, longest: int, width: int) -> NDArray[np.bool_]:
    """(requests, candidates): whether the visible history, at any age, holds the candidate.

    Args:
        requests: some requests.
        longest: no history has more events.
        width: above every item id.
    """
    row = np.arange(len(requests), dtype=np.int64)[:, None] * width
    items = requests.history(longest).items
    return np.isin(row + requests.candidates, (row + items)[items > 0])
