"""The diagnostics of an evaluation protocol that need no system.

They are numbered as in the audit of the released construction: what an event sees of its own
target (D1 to D3), wrong prefixes (D4), twins across tasks (D5), the target's place in BM25's list
(D6), negatives that are relevant (D7), fill-ups (D11), pairs that training has seen (D12). Those
that need a ranker (D8, D9, D13) are in :mod:`benchmark.audit.rankers`, those of trained systems
(D10, D14) in :mod:`benchmark.audit.trained`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, RECOMMENDATION, SEARCH, Dataset, EventLog, LongArray
from benchmark.data.queries import queries_of_item
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.hard_negatives import search_engine
from benchmark.protocol.histories import (
    EventSet,
    first_of_instant,
    recency_of_target,
    visible_history,
)
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task

Figures = dict[str, float]
"""What was counted → a share or a mean."""

NEAR = 5
"""The last visible events that the paper's own model looks at."""

BM25_DEPTH = 109
"""Hits that the released construction retrieves for an event."""

_MANY_RELEVANT = 110
_SECONDS_PER_DAY = 86_400
_PARTS = ("train", "valid", "test")


def has_wrong_prefix(
    log: EventLog, events: EventSet, settings: ProtocolSettings
) -> NDArray[np.bool_]:
    """Whether a purchase has another number of visible purchases than its own place gives it."""
    own = visible_history(
        log, RECOMMENDATION, events.position, settings.model_copy(update={"counters": "by-key"})
    )
    return np.asarray(events.seen_recommendation != own.seen_recommendation)


def has_twin_in(log: EventLog, events: EventSet, others: LongArray) -> NDArray[np.bool_]:
    """Whether the log rows ``others`` hold one of the same user, item and time."""
    key = first_of_instant(log) * (int(log.item.max(initial=0)) + 1) + log.item
    return np.isin(key[events.position], key[others])


def _share(mask: Any) -> float:
    """The share of true entries; 0 of none."""
    return float(np.mean(mask)) if len(mask) else 0.0


def visibility(log: EventLog, task: Task, behaviour: int) -> Figures:
    """D1 to D3: the share of each part's events that see their target among ``behaviour`` events.

    ``near`` counts only targets among the last ``NEAR`` visible ones.
    """
    figures = {}
    for part in _PARTS:
        recency = recency_of_target(log, getattr(task, part), behaviour)
        figures[part] = _share(recency > 0)
        figures[f"{part}, last {NEAR}"] = _share((recency > 0) & (recency <= NEAR))
    return figures


def wrong_prefixes(log: EventLog, task: Task, settings: ProtocolSettings) -> Figures:
    """D4: the share of each part's purchases with a wrong prefix."""
    return {part: _share(has_wrong_prefix(log, getattr(task, part), settings)) for part in _PARTS}


def twins(log: EventLog, tasks: dict[str, Task]) -> Figures:
    """D5: the share of held-out events that have a twin in a part of the other task."""
    figures = {}
    for own, other in (("search", "recommendation"), ("recommendation", "search")):
        for part in _PARTS:
            rows = getattr(tasks[other], part).position
            share = _share(has_twin_in(log, tasks[own].test, rows))
            figures[f"{own} test in {other} {part}"] = share
    return figures


@dataclass(frozen=True)
class _TestLists:
    """The search test events with their lists; arrays (events,) but for ``negatives``."""

    query: NDArray[np.int32]
    target: NDArray[np.int32]
    negatives: NDArray[np.int32]  # (events, negatives), 0 where a list is shorter

    @classmethod
    def of(cls, log: EventLog, task: Task) -> _TestLists:
        lists = task.test_candidates
        is_target = np.zeros(lists.items.shape, dtype=bool)
        np.put_along_axis(is_target, lists.target_column[:, None].astype(np.int64), True, axis=1)
        negatives = lists.items[~is_target].reshape(len(lists), -1)
        rows = task.test.position
        return cls(log.query[rows], log.item[rows], negatives)

    def share_of_negatives(self, mask: NDArray[np.bool_]) -> float:
        """The share of the negatives for which ``mask`` (events, negatives) is true."""
        return _share(mask[self.negatives > 0])


def place_in_bm25(dataset: Dataset, task: Task, settings: ProtocolSettings) -> Figures:
    """D6: how many test targets are among BM25's best hits, and how many match no word at all."""
    lists = _TestLists.of(dataset.log, task)
    engine = search_engine(dataset, settings)
    distinct, row = np.unique(lists.query, return_inverse=True)
    texts = [dataset.queries.text[number] for number in distinct]
    row = row.reshape(-1)
    hits = engine.search(texts, BM25_DEPTH).documents
    score = engine.score_pairs(texts, row, lists.target[:, None])[:, 0]
    is_target = hits[row] == lists.target[:, None]
    return {
        f"target in the best {BM25_DEPTH} hits": _share(is_target.any(axis=1)),
        "target matches no word": _share(score == 0),
    }


def relevant_negatives(dataset: Dataset, task: Task) -> Figures:
    """D7: negatives that carry the query, and how many items do.

    An item carries a query if the log pairs the two, or if the query is made of one of the item's
    category hierarchies by the rule of the published queries.
    """
    log, lists = dataset.log, _TestLists.of(dataset.log, task)
    searched = log.search.positions
    number = {text: query for query, text in enumerate(dataset.queries.text)}
    by_category = [
        (number[text], item)
        for item, paths in enumerate(dataset.items.categories)
        for text in queries_of_item(paths)
        if text in number
    ]
    query = np.concatenate([log.query[searched], [pair[0] for pair in by_category]])
    item = np.concatenate([log.item[searched], [pair[1] for pair in by_category]])
    carried = Exclusions.of_pairs(
        query.astype(np.int64), item.astype(np.int64), dataset.number_of_items
    )
    relevant = carried.contains(lists.query[:, None], lists.negatives)
    of_query = np.bincount(
        carried.keys // (dataset.number_of_items + 1), minlength=len(number) + 1
    )[lists.query]
    return {
        "relevant share of negatives": lists.share_of_negatives(relevant),
        "lists with a relevant negative": _share(relevant.any(axis=1)),
        "relevant items of the query, mean": float(of_query.mean()),
        f"queries with more than {_MANY_RELEVANT} relevant items": _share(
            of_query > _MANY_RELEVANT
        ),
    }


def fill_ups(task: Task) -> Figures:
    """D11: the share of search test negatives that are no BM25 hits."""
    negatives = int((task.test_candidates.lengths - 1).sum())
    return {"share of negatives": task.fill_ups / max(1, negatives)}


def seen_before(dataset: Dataset, tasks: dict[str, Task]) -> Figures:
    """D12: (query, target) pairs that training has, and purchases that share their day."""
    log = dataset.log
    figures = {}
    if "search" in tasks:
        task = tasks["search"]
        known = Exclusions.of_pairs(
            log.query[task.train.position], log.item[task.train.position], dataset.number_of_items
        )
        rows = task.test.position
        figures["test pairs of query and target seen in training"] = _share(
            known.contains(log.query[rows], log.item[rows])
        )
    if "recommendation" in tasks:
        rows = log.recommendation.positions
        day = log.timestamp[rows] // _SECONDS_PER_DAY
        same = (log.user[rows][1:] == log.user[rows][:-1]) & (day[1:] == day[:-1])
        shares = np.zeros(len(rows), dtype=bool)
        shares[1:] |= same
        shares[:-1] |= same
        figures["purchases that share their day with another"] = _share(shares)
    return figures


def diagnose(
    dataset: Dataset, tasks: dict[str, Task], settings: ProtocolSettings
) -> dict[str, Figures]:
    """All of them that the tasks allow, by number."""
    log = dataset.log
    found: dict[str, Figures] = {}
    recommendation, search = tasks.get("recommendation"), tasks.get("search")
    if search:
        found["D1"] = visibility(log, search, BEHAVIOURS["recommendation"])
    if recommendation:
        found["D2"] = visibility(log, recommendation, RECOMMENDATION)
        found["D3"] = visibility(log, recommendation, SEARCH)
        found["D4"] = wrong_prefixes(log, recommendation, settings)
    if search and recommendation:
        found["D5"] = twins(log, tasks)
    if search:
        found["D6"] = place_in_bm25(dataset, search, settings)
        found["D7"] = relevant_negatives(dataset, search)
        found["D11"] = fill_ups(search)
    found["D12"] = seen_before(dataset, tasks)
    return found
