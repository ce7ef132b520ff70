"""Graded relevance: several relevant items an event, each with a gain, tie-aware without sorting.

Where a data set holds judgements, a search has a list of judged items instead of a single true one.
With gains g and the place r of each judged item, ``NDCG@k`` is the sum of ``g [r <= k] /
log2(r + 1)`` over the best that any order reaches (Järvelin and Kekäläinen 2002, with the gain
itself as the numerator, as trec_eval has it). Items of an event's greatest gain are its relevant
ones: ``Recall@k`` is the share of them among the first k, and HR@k and MRR@k are those of the first
of them. With one judged item all four are what :mod:`benchmark.protocol.metrics` says.

Ties count by the same rules: the mean over all orders of what scores alike, the worst order, or the
best one. In the mean a sum needs the places of single items only; the first relevant item of r
among t that tie stands at the j-th place with probability ``C(t - j, r - 1) / C(t, r)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, LongArray
from benchmark.protocol.exclusions import Exclusions

Floats = NDArray[np.float64]

COLUMNS = ("event", "gain", "above", "tied", "returned")


@dataclass(frozen=True)
class JudgedItems:
    """The items with a gain above 0 of some events; every array is (judged,), event by event."""

    event: LongArray  # which of the events, from 0
    item: LongArray
    gain: LongArray

    @classmethod
    def of(cls, dataset: Dataset, positions: LongArray) -> JudgedItems | None:
        """Those of the events at log rows ``positions`` (events,); None without judgements."""
        judgements = dataset.judgements
        if judgements is None:
            return None
        event, rows = judgements.of_queries(dataset.log.query[positions])
        kept = judgements.gain[rows] > 0
        rows = rows[kept]
        item, gain = judgements.item[rows], judgements.gain[rows]
        return cls(event[kept], item.astype(np.int64), gain.astype(np.int64))

    def among(self, events: NDArray[np.integer]) -> JudgedItems:
        """Those of ``events``, ascending, numbered by their place there."""
        kept = np.isin(self.event, events)
        place = np.searchsorted(events, self.event[kept])
        return JudgedItems(place, self.item[kept], self.gain[kept])

    def without(self, barred: Exclusions) -> JudgedItems:
        """Those that are ranked among all items; rows of ``barred`` are the events."""
        kept = ~barred.contains(self.event, self.item)
        return JudgedItems(self.event[kept], self.item[kept], self.gain[kept])


@dataclass(frozen=True)
class JudgedRanks:
    """Where the judged items with a gain stand; every array is (judged,), event by event.

    ``above`` counts the candidates of a higher score, ``tied`` those others of the same, as in
    :class:`benchmark.protocol.metrics.Ranks`.
    """

    event: LongArray
    gain: LongArray
    above: LongArray
    tied: LongArray
    returned: NDArray[np.bool_]

    @classmethod
    def in_lists(
        cls,
        scores: NDArray[np.floating],
        gains: NDArray[np.integer],
        is_absent: NDArray[np.bool_] | None,
    ) -> JudgedRanks:
        """Those of scores and gains (events, candidates); absent columns hold no candidate."""
        event, column = np.nonzero(gains > 0)
        own = scores[event, column][:, None]
        counts = np.ones(scores.shape, dtype=bool) if is_absent is None else ~is_absent
        above = np.count_nonzero((scores[event] > own) & counts[event], axis=1)
        tied = np.count_nonzero((scores[event] == own) & counts[event], axis=1) - 1
        gain = gains[event, column].astype(np.int64)
        return cls(event, gain, above, tied, own[:, 0] != -np.inf)

    @classmethod
    def among_all(cls, scores: NDArray[np.float32], judged: JudgedItems) -> JudgedRanks:
        """Those of scores (events, items + 1), NaN where an item is not ranked: it has no rank."""
        own = scores[judged.event, judged.item]
        ranked = ~np.isnan(own)
        event, own = judged.event[ranked], own[ranked]
        above, tied = np.zeros((2, len(event)), dtype=np.int64)
        ends = np.searchsorted(event, np.arange(len(scores) + 1))
        for row in np.unique(event).tolist():  # one at a time: a row may have millions of columns
            part = slice(ends[row], ends[row + 1])
            above[part] = np.count_nonzero(scores[row] > own[part, None], axis=1)
            tied[part] = np.count_nonzero(scores[row] == own[part, None], axis=1) - 1
        return cls(event, judged.gain[ranked], above, tied, own != -np.inf)

    @classmethod
    def together(cls, parts: Sequence[JudgedRanks], events: Sequence[int]) -> JudgedRanks:
        """Those of several sets of events, of ``events`` each, one after another."""
        before = np.cumsum([0, *events[:-1]]).tolist()
        moved = [
            replace(part, event=part.event + start)
            for part, start in zip(parts, before, strict=True)
        ]
        return cls(*(np.concatenate([getattr(one, name) for one in moved]) for name in COLUMNS))

    def all_returned(self) -> JudgedRanks:
        """With a rank for what was not returned: it stands, tied, after what was."""
        return replace(self, returned=np.ones(len(self.event), dtype=bool))

    @property
    def places(self) -> int:
        """No item stands at a later place."""
        return int((self.above + self.tied).max(initial=0)) + 1


def graded_gains(
    judged: JudgedRanks, events: int, metric: str, table: Floats, cutoff: int, ties: str
) -> Floats:
    """The metric of each event, (events,); 0 where an event has no judged item.

    Args:
        judged: the ranks.
        events: how many there are.
        metric: "HR" and "MRR" are of the first relevant item, "NDCG" weighs items by their gains,
            and any other sums over the relevant items.
        table: (places,) what an item at each place counts; no shorter than ``judged.places``.
        cutoff: places behind it count nothing.
        ties: "expected", "pessimistic" or "optimistic".
    """
    best = np.zeros(events, dtype=np.int64)
    np.maximum.at(best, judged.event, judged.gain)
    is_relevant = judged.gain == best[judged.event]
    if metric in ("HR", "MRR"):
        return _of_the_first(judged, is_relevant, events, table, cutoff, ties)
    weight = judged.gain if metric == "NDCG" else is_relevant.astype(np.int64)
    reached = np.bincount(judged.event, weight * _counts(judged, table, ties), minlength=events)
    # The most that any order reaches: items by falling weight; of relevant ones, all of them.
    order = np.lexsort((-weight, judged.event))
    place = _place_in_group(judged.event[order])
    most = np.ones(len(order)) if metric == "Recall" else table[place]
    ideal = np.bincount(judged.event[order], weight[order] * most, minlength=events)
    return np.divide(reached, ideal, out=np.zeros(events), where=ideal > 0)


def _place_in_group(group: NDArray[np.integer]) -> LongArray:
    """Of sorted groups, the place of each element in its group, from 0."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(np.append(starts, len(group)))
    place: LongArray = np.arange(len(group)) - np.repeat(starts, sizes)
    return place


def _counts(judged: JudgedRanks, table: Floats, ties: str) -> Floats:
    """What each judged item counts by ``table``, (judged,)."""
    if ties == "expected":
        sums = np.concatenate([[0.0], np.cumsum(table)])
        ends = judged.above + judged.tied + 1
        value = (sums[ends] - sums[judged.above]) / (judged.tied + 1)
    else:
        value = table[_places(judged, ties)]
    return np.where(judged.returned, value, 0.0)


def _places(judged: JudgedRanks, ties: str) -> LongArray:
    """The place of each judged item, from 0, where what ties stands in the best or worst order."""
    is_best = ties == "optimistic"
    order = np.lexsort((-judged.gain if is_best else judged.gain, judged.above, judged.event))
    width = int(judged.above.max(initial=0)) + 1
    group = judged.event[order] * width + judged.above[order]
    within = _place_in_group(group)
    if not is_best:
        _, of_group, sizes = np.unique(group, return_inverse=True, return_counts=True)
        # What ties and has no gain stands first.
        within = within + judged.tied[order] + 1 - sizes[of_group.reshape(-1)]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = judged.above[order] + within
    return place


def _of_the_first(
    judged: JudgedRanks,
    is_relevant: NDArray[np.bool_],
    events: int,
    table: Floats,
    cutoff: int,
    ties: str,
) -> Floats:
    """What each event's first relevant item counts by ``table``."""
    rows = np.flatnonzero(is_relevant & judged.returned)
    value = np.zeros(events)
    if not len(rows):
        return value
    event = judged.event[rows]
    if ties != "expected":
        first = np.full(events, len(table), dtype=np.int64)
        np.minimum.at(first, event, _places(judged, ties)[rows])
        found = first < len(table)
        value[found] = table[first[found]]
        return value
    above = np.full(events, np.iinfo(np.int64).max)
    np.minimum.at(above, event, judged.above[rows])
    in_group = rows[judged.above[rows] == above[event]]
    relevant = np.bincount(judged.event[in_group], minlength=events)
    tied = np.zeros(events, dtype=np.int64)
    tied[judged.event[in_group]] = judged.tied[in_group] + 1
    some = np.flatnonzero(relevant > 0)
    above, tied, relevant = above[some], tied[some], relevant[some]
    chance = relevant / tied
    sums = np.zeros(len(some))
    for step in range(min(cutoff, int(tied.max()))):
        place = above + step
        inside = (place < len(table)) & (step < tied)
        sums[inside] += chance[inside] * table[place[inside]]
        left = np.maximum(tied - step - 1, 1)
        chance = chance * np.maximum(tied - step - relevant, 0) / left
    value[some] = sums
    return value
