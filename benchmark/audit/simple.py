"""Rules that learn nothing, or only count, against chance on the candidate lists.

What such a rule reaches above chance, the lists give away (D8, D9, D16, D17) or the log (D20). The
rules stand here and not in the catalogue, whose rows may change: audits of all times ask the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.audit.intervals import Measured, difference, measured
from benchmark.data.dataset import BEHAVIOURS, Dataset, EventLog
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.hard_negatives import search_engine
from benchmark.protocol.metrics import gains
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task

CUTOFFS = (1, 5, 10)
Scores = NDArray[np.float32]
Rule = Callable[[Requests], Scores]
"""From requests to scores (events, candidates)."""

_EVENTS_AT_ONCE = 1024
_HISTORIES_AT_ONCE = 256
_COPIED = 50  # the latest events that a copy looks through
_SMOOTHING = 10.0  # the weight of an item's share of all searches, in events


@dataclass(frozen=True)
class Reached:
    """What a rule reaches on the test lists of a task, by cutoff.

    ``hits`` are HR@k of each event and ``users`` whose events they are, shape (events,); ``rates``
    their means, and ``chance`` what a rule reaches that knows nothing.
    """

    rule: str
    task: str
    hits: dict[int, NDArray[np.float64]]
    users: NDArray[np.int32]
    rates: dict[int, Measured]
    chance: dict[int, float]

    def above(self, factor: float) -> list[int]:
        """The cutoffs at which the lower bound is more than ``factor`` times chance."""
        return [k for k, rate in self.rates.items() if rate.low > factor * self.chance[k]]

    def telling(self, factor: float) -> list[int]:
        """The cutoffs at which lists are long enough for a hit rate above ``factor`` × chance."""
        return [k for k, chance in self.chance.items() if factor * chance < 1]

    @property
    def length(self) -> int:
        """Candidates a list."""
        shortest = min(self.chance)
        return round(shortest / self.chance[shortest])

    def ahead_of(self, other: Reached, cutoff: int) -> Measured:
        """By how much its hits are more than those of another rule on the same events."""
        return difference(self.hits[cutoff], other.hits[cutoff], self.users)


class Copier:
    """Puts what stands in the visible history first, the latest on top."""

    def score(self, requests: Requests) -> Scores:
        """1 … 50 by recency, 0 for what does not stand there."""
        scores = np.zeros(requests.candidates.shape, dtype=np.float32)
        items = requests.history(_COPIED).items
        for place in range(_COPIED):  # oldest first, so the latest occurrence stays
            here = items[:, place][:, None]
            scores[(requests.candidates == here) & (here > 0)] = place + 1
        return scores


def bm25(dataset: Dataset, settings: ProtocolSettings) -> Rule:
    """The BM25 score of each candidate's text for the query."""
    engine = search_engine(dataset, settings)

    def score(requests: Requests) -> Scores:
        texts, row = np.unique(np.array(requests.query_texts, dtype=object), return_inverse=True)
        return engine.score_pairs(list(texts), row.reshape(-1), requests.candidates)

    return score


def known_pair(trained: EventLog, number_of_items: int) -> Rule:
    """1 for a candidate that a search of the log ``trained`` pairs with the query, else 0."""
    rows = trained.search.positions
    pairs = Exclusions.of_pairs(trained.query[rows], trained.item[rows], number_of_items)
    return lambda requests: pairs.contains(requests.query[:, None], requests.candidates).astype(
        np.float32
    )


def query_item_prior(trained: EventLog, number_of_queries: int, number_of_items: int) -> Rule:
    """p(item | query) from the searches of the log ``trained``, smoothed by the items' shares."""
    rows = trained.search.positions
    query, item = trained.query[rows].astype(np.int64), trained.item[rows]
    width = number_of_items + 1
    pairs, count = np.unique(query * width + item, return_counts=True)
    share = np.bincount(item, minlength=width) + 1.0  # one more, so that none is impossible
    share /= share.sum()
    events = np.bincount(query, minlength=number_of_queries + 1)

    def score(requests: Requests) -> Scores:
        asked = requests.query.astype(np.int64)[:, None]
        key = asked * width + requests.candidates
        slot = np.minimum(np.searchsorted(pairs, key), max(len(pairs) - 1, 0))
        found = np.where(pairs[slot] == key, count[slot], 0) if len(pairs) else np.zeros(key.shape)
        smoothed = found + _SMOOTHING * share[requests.candidates]
        return (smoothed / (events[asked] + _SMOOTHING)).astype(np.float32)

    return score


def seen_last(rule: Rule) -> Rule:
    """``rule``, whose scores are probabilities, with the items of the visible history last."""
    return lambda requests: rule(requests) - in_history(requests).astype(np.float32)


def usual_place(rule: Rule, dataset: Dataset, task: Task) -> Rule:
    """What stands in the order of ``rule`` where the targets of the validation lists stand most.

    It finds what neither the order nor its reverse does: targets that are never first and never
    last, say.
    """
    requests = task.requests(dataset, "valid")
    columns = task.valid_candidates.target_column.astype(np.int64)[:, None]
    targets = [
        np.take_along_axis(_places(rule(batch)), columns[rows], axis=1)[:, 0]
        for rows, batch in requests.batches(_EVENTS_AT_ONCE)
    ]
    sizes = (lists.items.shape[1] for lists in (task.valid_candidates, task.test_candidates))
    counts = np.bincount(np.concatenate(targets), minlength=max(sizes)).astype(np.float32)
    return lambda requests: counts[_places(rule(requests))]


def _places(scores: Scores) -> NDArray[np.int64]:
    """The place of each candidate in its list, from 0; ties share the one in their middle."""
    above = (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    level = (scores[:, None, :] == scores[:, :, None]).sum(axis=2)
    places: NDArray[np.int64] = above + (level - 1) // 2
    return places


def least_popular_first(trained: EventLog, task: str, number_of_items: int) -> Rule:
    """The fewest events of the task in the log ``trained`` first."""
    rows = trained.index_of(BEHAVIOURS[task]).positions
    counts = np.bincount(trained.item[rows], minlength=number_of_items + 1)
    return lambda requests: -counts[requests.candidates].astype(np.float32)


def most_popular_first(trained: EventLog, task: str, number_of_items: int) -> Rule:
    """The most events of the task in the log ``trained`` first."""
    least = least_popular_first(trained, task, number_of_items)
    return lambda requests: -least(requests)


def newest_first(trained: EventLog, number_of_items: int) -> Rule:
    """The latest first appearance in the log ``trained`` first; what never appears is newest."""
    first = np.full(number_of_items + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, trained.item, trained.timestamp)
    # Places in the order of times, since float32 holds no second of this century.
    age = np.unique(first, return_inverse=True)[1].reshape(-1).astype(np.float32)
    return lambda requests: age[requests.candidates]


def longest_history(requests: Requests) -> int:
    """The length of a window that holds every event's whole history."""
    purchases, searches = requests.history_sizes()
    return max(1, int((purchases + searches).max(initial=0)))


def in_history(requests: Requests, behaviour: str | None = None) -> NDArray[np.bool_]:
    """Which candidates stand among the visible events (of a behaviour), (events, candidates)."""
    found = np.zeros(requests.candidates.shape, dtype=bool)
    for rows, batch in requests.batches(_HISTORIES_AT_ONCE):
        items = batch.history(longest_history(batch), behaviour).items
        width = np.int64(max(items.max(), batch.candidates.max())) + 1
        event = np.arange(len(batch), dtype=np.int64)[:, None] * width
        found[rows] = np.isin(event + batch.candidates, event + items)  # padding is no candidate
    return found


def reached(rule: str, score: Rule, dataset: Dataset, task: Task) -> Reached:
    """HR@1, 5 and 10 of a rule on the test lists, ties counting by the mean over their orders."""
    requests, lists = task.requests(dataset, "test"), task.test_candidates
    parts = [
        lists.select(rows).ranks(score(batch)) for rows, batch in requests.batches(_EVENTS_AT_ONCE)
    ]
    hits = {k: np.concatenate([gains(part, f"HR@{k}") for part in parts]) for k in CUTOFFS}
    users = dataset.log.user[task.test.position]
    return Reached(
        rule=rule,
        task=task.name,
        hits=hits,
        users=users,
        rates={k: measured(values, users) for k, values in hits.items()},
        chance={k: _chance(k, lists) for k in CUTOFFS},
    )


def _chance(k: int, lists: Candidates) -> float:
    """HR@k of a rule that knows nothing."""
    if lists.gains is not None:  # several relevant items, any of which would be found by chance
        return float(gains(lists.ranks(np.zeros(lists.items.shape)), f"HR@{k}").mean())
    lengths, events = np.unique(lists.lengths, return_counts=True)
    return float(np.average(np.minimum(1.0, k / lengths), weights=events))
