"""Ranking among all items that a protocol admits, beside the candidate lists.

Scores of all items are (requests, items + 1) float32, column ``i`` that of item ``i``; column 0 is
nobody's. A recommendation's target is ranked among the items that may be its negatives: all but
those that the user touched, as ``recommendation_exclude`` says. A search's is ranked among every
item but the other clicks of the same search, and whatever ``search_exclude`` and
``search_all_items`` take out besides; what fills up a list of too few BM25 hits is a part of these,
items that the user never touched. Ranks, and the best items of each event, follow from one
block of scores at a time, so that memory does not grow with the number of events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import RECOMMENDATION, Dataset, IntArray, LongArray
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.graded import JudgedItems, JudgedRanks
from benchmark.protocol.hard_negatives import SearchEvents, known_pairs
from benchmark.protocol.histories import EventSet
from benchmark.protocol.lists import touched_by_users
from benchmark.protocol.metrics import Ranks
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings

Scores = NDArray[np.float32]

_SCORES_AT_ONCE = 1 << 24  # 64 MB
_PAIRS_AT_ONCE = 51_200  # of a call that scores candidates: 512 requests with lists of 100
_ITEMS_AT_ONCE = 1024
_BLOCK = 32  # columns of which one maximum is taken
_FEWEST_BLOCKS = 2  # in multiples of how many items are asked for


def barred_items(
    dataset: Dataset, behaviour: int, events: EventSet, settings: ProtocolSettings
) -> Exclusions:
    """What each event is not ranked against, its own target left out; rows are the events."""
    log, size = dataset.log, dataset.number_of_items
    target = log.item[events.position]
    if behaviour == RECOMMENDATION:
        touched, rows = touched_by_users(dataset, events, settings)
        barred = touched.among(rows)
    else:
        barred = SearchEvents.of(dataset, events.position, settings).barred
        if settings.search_all_items == "without-relevant":
            relevant = known_pairs(dataset).among(log.query[events.position])
            barred = barred.with_more(relevant)
    own = np.arange(len(events)) * (size + 1) + target
    return Exclusions(barred.keys[~np.isin(barred.keys, own)], size)


def eligible_items(barred: Exclusions, events: int) -> LongArray:
    """How many items each event's target is ranked against, (events,)."""
    row, _ = barred.items_of(np.arange(events))
    number: LongArray = barred.number_of_items - 1 - np.bincount(row, minlength=events)
    return number


def blocks(requests: Requests) -> Iterator[tuple[slice, Requests]]:
    """The requests, without candidates, in batches whose scores of all items fit into memory."""
    size = max(1, _SCORES_AT_ONCE // (requests.number_of_items + 1))
    yield from requests.without_candidates().batches(size)


def scores_in_blocks(score: Callable[[Requests], Scores], requests: Requests) -> Scores:
    """The scores of all items by a function that scores candidates, some items at a time.

    Every request is scored once for each block of items: systems that have item vectors, or a tree
    of identifiers, know a faster way.

    Args:
        score: maps requests to the scores of their candidates, (requests, candidates).
        requests: their candidates are not looked at.
    """
    scores = np.full((len(requests), requests.number_of_items + 1), -np.inf, dtype=np.float32)
    for first in range(1, requests.number_of_items + 1, _ITEMS_AT_ONCE):
        items = np.arange(
            first, min(first + _ITEMS_AT_ONCE, requests.number_of_items + 1), dtype=np.int32
        )
        for rows, batch in requests.batches(max(1, _PAIRS_AT_ONCE // len(items))):
            asked = batch.with_candidates(np.tile(items, (len(batch), 1)))
            scores[rows, items[0] : items[-1] + 1] = score(asked)
    return scores


def admitted(scores: Scores, barred: Exclusions) -> Scores:
    """The scores (requests, items + 1) with NaN in place of what is not ranked."""
    kept: Scores = scores.copy()
    row, item = barred.items_of(np.arange(len(scores)))
    kept[row, item] = np.nan
    kept[:, 0] = np.nan
    return kept


def ranks_among(
    scores: Scores, targets: NDArray[np.integer], judged: JudgedItems | None = None
) -> Ranks:
    """Where the targets (requests,), and what was ``judged``, stand among all that was admitted.

    Args:
        scores: of :func:`admitted`.
        targets: (requests,).
        judged: the items with a gain of each request, where relevance is graded.
    """
    target = scores[np.arange(len(scores)), targets]
    # Nothing is greater than NaN, or equal to it.
    above = np.count_nonzero(scores > target[:, None], axis=1)
    tied = np.count_nonzero(scores == target[:, None], axis=1) - 1
    ranks = Ranks(above.astype(np.int32), tied.astype(np.int32), target != -np.inf)
    if judged is None:
        return ranks
    return replace(ranks, judged=JudgedRanks.among_all(scores, judged))


def best_items(scores: Scores, number: int) -> tuple[IntArray, Scores]:
    """The best items of each request, best first; of equal ones the lowest id first.

    Args:
        scores: (requests, items + 1), NaN where an item is not ranked.
        number: how many; at most all items.

    Returns:
        Items int32 and their scores float32, both (requests, number); 0 and -inf where nothing is
        left, or what is left was pruned (-inf).
    """
    number = min(number, scores.shape[1] - 1)
    filled = np.where(np.isnan(scores), np.float32(-np.inf), scores)
    items = _those_that_can_be_among(filled, number)
    # One whole number for score and item: numbers of it are partitioned many at a time.
    columns = np.int64(scores.shape[1])
    place = columns - (np.arange(columns)[None, :] if items is None else items)
    values = filled if items is None else np.take_along_axis(filled, items, axis=1)
    key = (_ordered(values) << np.int64(32)) + place
    best = -np.sort(np.partition(-key, number - 1, axis=1)[:, :number], axis=1)
    found = (columns - (best & np.int64(2**32 - 1))).astype(np.int32)
    of_found: Scores = np.take_along_axis(filled, found.astype(np.int64), axis=1)
    found[np.isneginf(of_found)] = 0
    return found, of_found


def _those_that_can_be_among(filled: Scores, number: int) -> LongArray | None:
    """Columns (requests, some) among which the best ``number`` are; None if these are nearly all.

    The ``number``-th largest maximum of blocks of columns is a bound: so many columns reach it.
    Rows that have fewer such columns than others are filled up with column 0, which is nobody's.
    """
    requests, columns = filled.shape
    blocks_of_columns = columns // _BLOCK
    if blocks_of_columns < _FEWEST_BLOCKS * number:
        return None
    # Every so-manieth column is of one block: maxima of long rows are taken many at a time.
    whole = filled[:, : blocks_of_columns * _BLOCK].reshape(requests, _BLOCK, blocks_of_columns)
    maxima = whole.max(axis=1)
    bound = np.partition(maxima, blocks_of_columns - number, axis=1)[:, blocks_of_columns - number]
    row, column = np.nonzero(filled >= bound[:, None])
    counts = np.bincount(row, minlength=requests)
    if counts.max() > columns // 4:
        return None
    some = np.zeros((requests, int(counts.max())), dtype=np.int64)
    some[row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)] = column
    return some


def _ordered(scores: Scores) -> LongArray:
    """Whole numbers in the order of the scores, equal for equal ones."""
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)  # -0 becomes 0
    # Of negative floats the greater magnitude has the greater bits.
    ordered: LongArray = np.where(bits < 0, np.int64(-(2**31)) - bits, bits)
    return ordered
