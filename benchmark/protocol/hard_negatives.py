"""BM25 hard negatives of the search task: scored once per distinct query, cut per event.

``bm25-top`` takes the best hits without the target, so the target is the odd one out: a ranker
that puts BM25's *lowest* first wins without learning. ``bm25-filtered`` drops the hits that the log
pairs with the query, so whoever has seen the pair of target and query in training knows the target.
``bm25-matched`` draws documents whose BM25 ranks follow the distribution of the targets' own ranks,
which makes target and negatives exchangeable for any function of that rank. Most of these share no
word and no buyer with the query, so counts of training pairs then tell the target; with
``search_matched_by: known-pairs`` the ranks are those of an order in which the items that training
pairs with the query stand first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, IntArray, LongArray
from benchmark.protocol.negatives import Exclusions, first_distinct, sample_negatives
from benchmark.protocol.settings import ProtocolSettings
from benchmark.retrieval import BM25Engine, make_engine

_SCORE_STEP = 1e-4  # Lucene's hit list rounds scores to this, which is what makes ties
_CHUNK_ENTRIES = 4_000_000
_QUERIES_AT_ONCE = 64
_LONGEST = 1.0 - 1e-9  # of a rank's piece of the line, so that rounding cannot hit it twice


def search_engine(dataset: Dataset, settings: ProtocolSettings) -> BM25Engine:
    """The BM25 engine over the item texts; document ids are item ids, 0 is the blank padding."""
    return make_engine(settings.bm25_engine, dataset.items.text, analyser=settings.bm25_analyser)


def evaluation_depth(settings: ProtocolSettings, number_of_items: int) -> int:
    """The deepest BM25 rank, from 1, whose hit a list may hold as a negative, but for ties with it.

    It is the last rank where lists may hold any item: by the law of ``bm25-filtered`` and
    ``bm25-matched``, and where fewer hits are retrieved than a list needs, since random items then
    fill it up.
    """
    # One hit more than the list holds, since the target, which stands anywhere, is taken out.
    needed = settings.negatives + 1
    is_enough = settings.search_depth is None or settings.search_depth >= needed
    if settings.search_negatives == "bm25-top" and is_enough:
        return min(needed, number_of_items)
    return number_of_items


def score_levels(scores: NDArray[np.floating]) -> LongArray:
    """Scores of hits in whole steps, negated: lower is better, ties share a level, all below 0."""
    steps = np.round(scores.astype(np.float64) / _SCORE_STEP).astype(np.int64)
    levels: LongArray = np.minimum(-steps, -1)
    return levels


@dataclass(frozen=True)
class _QueryHits:
    """The documents that match one query; a lower level is a better score, equal ones share it."""

    query: int
    events: LongArray  # rows of the event arrays that ask this query
    documents: IntArray
    levels: LongArray


def bm25_negatives(
    dataset: Dataset,
    user: IntArray,
    query: IntArray,
    target: IntArray,
    settings: ProtocolSettings,
    random: np.random.Generator,
    engine: BM25Engine | None = None,
    trained_pairs: Exclusions | None = None,
) -> tuple[IntArray, LongArray]:
    """The hard negatives of search events.

    Args:
        user, query, target: (events,).
        engine: that of :func:`search_engine`, if it is there already.
        trained_pairs: the (query, item) pairs of training, for ``search_matched_by: known-pairs``.

    Returns:
        (events, negatives) items, and how many are BM25 hits; the rest is filled up uniformly with
        items that the user never touched, and is 0 where there are too few of these.
    """
    engine = engine or search_engine(dataset, settings)
    if settings.search_negatives == "bm25-matched":
        first = trained_pairs if settings.search_matched_by == "known-pairs" else None
        matched = _matched_negatives(dataset, engine, query, target, settings, random, first)
        return matched, np.full(len(target), settings.negatives, dtype=np.int64)
    known = _known_pairs(dataset) if settings.search_negatives == "bm25-filtered" else None
    negatives = np.zeros((len(target), settings.negatives), dtype=np.int32)
    found = np.zeros(len(target), dtype=np.int64)
    source = _tied_hits if settings.search_ties == "per-event" else _ordered_hits
    for hits in source(dataset, engine, query, settings):
        if known is not None:
            hits = _without_known(hits, known)
        negatives[hits.events], found[hits.events] = _best_without_target(
            hits, target[hits.events], settings, random
        )
    short = np.flatnonzero(found < settings.negatives)
    if len(short):
        barred = Exclusions.of_log(dataset.log, dataset.number_of_items).among(user[short])
        if known is not None:
            barred = barred.with_more(known.among(query[short]))
        negatives[short] = _filled_up(negatives[short], target[short], barred, random)
    return negatives, found


def _grouped(query: IntArray) -> tuple[IntArray, list[LongArray]]:
    """The distinct queries, ascending, and the rows that ask each."""
    order = np.argsort(query, kind="stable")
    distinct, start = np.unique(query[order], return_index=True)
    return distinct, np.split(order, start[1:])


def _tied_hits(
    dataset: Dataset, engine: BM25Engine, query: IntArray, settings: ProtocolSettings
) -> Iterator[_QueryHits]:
    """Every distinct query of ``query`` (events,) with all its hits, in ascending query id.

    Levels are those of :func:`score_levels`; what does not match would have level 0.
    """
    distinct, groups = _grouped(query)
    for first in range(0, len(distinct), _QUERIES_AT_ONCE):
        block = distinct[first : first + _QUERIES_AT_ONCE]
        scores = engine.score_all([dataset.queries.text[number] for number in block]).tocsr()
        for offset, number in enumerate(block):
            row = slice(scores.indptr[offset], scores.indptr[offset + 1])
            documents = scores.indices[row].astype(np.int32)
            real = documents > 0
            levels = score_levels(scores.data[row][real])
            yield _QueryHits(int(number), groups[first + offset], documents[real], levels)


def _ordered_hits(
    dataset: Dataset, engine: BM25Engine, query: IntArray, settings: ProtocolSettings
) -> Iterator[_QueryHits]:
    """Every distinct query with its hits in the engine's order, which leaves no ties."""
    distinct, groups = _grouped(query)
    filtered = settings.search_negatives == "bm25-filtered"
    enough = dataset.number_of_items if filtered else settings.negatives + 1
    depth = settings.search_depth or enough
    for first in range(0, len(distinct), _QUERIES_AT_ONCE):
        block = distinct[first : first + _QUERIES_AT_ONCE]
        found = engine.search([dataset.queries.text[number] for number in block], depth)
        for offset, number in enumerate(block):
            documents = found.documents[offset]
            documents = documents[documents > 0].astype(np.int32)
            yield _QueryHits(
                int(number), groups[first + offset], documents, np.arange(len(documents))
            )


def _known_pairs(dataset: Dataset) -> Exclusions:
    """The (query, item) pairs of the whole log, as exclusions by query."""
    searched = dataset.log.search.positions
    return Exclusions.of_pairs(
        dataset.log.query[searched], dataset.log.item[searched], dataset.number_of_items
    )


def _without_known(hits: _QueryHits, known: Exclusions) -> _QueryHits:
    keep = ~known.contains(np.asarray(hits.query), hits.documents)
    return _QueryHits(hits.query, hits.events, hits.documents[keep], hits.levels[keep])


def _best_without_target(
    hits: _QueryHits, target: IntArray, settings: ProtocolSettings, random: np.random.Generator
) -> tuple[IntArray, LongArray]:
    """The first ``negatives`` hits of one query for each of its events, the target left out.

    Hits of one level are ordered by a random key per event, before the list is cut.
    """
    number = settings.negatives
    negatives = np.zeros((len(target), number), dtype=np.int32)
    found = np.zeros(len(target), dtype=np.int64)
    depth = min(settings.search_depth or number + 1, len(hits.documents))
    if depth == 0:
        return negatives, found
    near = hits.levels <= np.partition(hits.levels, depth - 1)[depth - 1]
    documents, levels = hits.documents[near], hits.levels[near]
    step = max(1, _CHUNK_ENTRIES // len(documents))
    for start in range(0, len(target), step):
        part = slice(start, start + step)
        keys = levels + random.random((len(target[part]), len(documents)))
        ranked = documents[np.argsort(keys, axis=1)[:, :depth]]
        allowed = ranked != target[part][:, None]
        negatives[part], found[part] = first_distinct(ranked, allowed, number)
    return negatives, found


def _filled_up(
    negatives: IntArray, target: IntArray, barred: Exclusions, random: np.random.Generator
) -> IntArray:
    """The lists (events, negatives) with other items in place of their zeros."""
    number = negatives.shape[1]
    extra, _ = sample_negatives(random, np.arange(len(target)), target, barred, number)
    # A full draw holds enough items that are not in the list yet.
    both = np.concatenate([negatives, extra], axis=1)
    return first_distinct(both, both > 0, number)[0]


def _matched_negatives(
    dataset: Dataset,
    engine: BM25Engine,
    query: IntArray,
    target: IntArray,
    settings: ProtocolSettings,
    random: np.random.Generator,
    first: Exclusions | None,
) -> IntArray:
    """Documents drawn by BM25 rank such that the target's rank is no odd one among theirs.

    Every rank of the catalogue gets a piece of a line: the share of targets that stand there, times
    the length of a list. A list is what the teeth of a comb hit, one unit apart, and the comb is
    laid through a random point of the target's piece. So given a list, each of its members is
    equally likely to be the target, and a ranker by BM25, or against it, is at chance. One limit:
    a document stands in a list once, so where more than one target in a hundred has the same rank,
    BM25 is that good, and no list can hide it.
    """
    tie_seed = int(random.integers(2**63))
    ranks = np.zeros(len(target), dtype=np.int64)
    for events, order in _full_orders(dataset, engine, query, settings, tie_seed, first):
        place = np.empty(len(order) + 1, dtype=np.int64)
        place[order] = np.arange(len(order))
        ranks[events] = place[target[events]]
    pieces = _pieces(ranks, dataset.number_of_items, settings.negatives + 1)
    edges = np.concatenate([[0.0], np.cumsum(pieces)])
    negatives = np.zeros((len(target), settings.negatives), dtype=np.int32)
    for events, order in _full_orders(dataset, engine, query, settings, tie_seed, first):
        negatives[events] = order[
            _comb_through(ranks[events], edges, settings.negatives + 1, random)
        ]
    return negatives


def _full_orders(
    dataset: Dataset,
    engine: BM25Engine,
    query: IntArray,
    settings: ProtocolSettings,
    tie_seed: int,
    first: Exclusions | None,
) -> Iterator[tuple[LongArray, IntArray]]:
    """The rows of each query and all items in its BM25 order, ties and misses by a seeded key.

    The items that ``first`` pairs with the query stand before all others.
    """
    random = np.random.Generator(np.random.PCG64(tie_seed))
    for hits in _tied_hits(dataset, engine, query, settings):
        level = np.zeros(dataset.number_of_items + 1, dtype=np.int64)  # of misses
        level[hits.documents] = hits.levels
        if first is not None:
            known = first.items_of(np.array([hits.query]))[1]
            level[known] += level.min() - 1
        keys = level[1:] + random.random(dataset.number_of_items)
        yield hits.events, (np.argsort(keys) + 1).astype(np.int32)


def _pieces(ranks: LongArray, documents: int, size: int) -> NDArray[np.float64]:
    """The length of each rank's piece of the line, (documents,), at most 1, ``size`` in the sum.

    Between the ranks of the targets their distribution function is interpolated, so that a small
    number of targets leaves no rank without a piece.
    """
    if documents == size:
        return np.ones(documents)
    distinct, counts = np.unique(ranks, return_counts=True)
    below = np.cumsum(counts) - counts / 2
    share = np.diff(
        np.interp(
            np.arange(documents + 1),
            np.concatenate([[0], distinct + 0.5, [documents]]),
            np.concatenate([[0], below, [len(ranks)]]),
        )
    )
    pieces: NDArray[np.float64] = share * (size / share.sum())
    full = np.zeros(documents, dtype=bool)
    while (pieces > _LONGEST).any():
        full |= pieces > _LONGEST
        left = size - _LONGEST * np.count_nonzero(full)
        pieces = np.where(full, _LONGEST, share * (left / share[~full].sum()))
    return pieces


def _comb_through(
    own: LongArray, edges: NDArray[np.float64], size: int, random: np.random.Generator
) -> LongArray:
    """The ranks (events, size - 1) that a comb through the piece of ``own`` hits besides."""
    point = edges[own] + random.random(len(own)) * (edges[own + 1] - edges[own])
    own_tooth = np.minimum(np.floor(point), size - 1)
    teeth = np.arange(size)[None, :] + (point - own_tooth)[:, None]
    hit = np.searchsorted(edges, teeth, side="right") - 1
    others = np.arange(size)[None, :] != own_tooth[:, None]
    negatives: LongArray = np.minimum(hit, len(edges) - 2)[others]
    return negatives.reshape(len(own), size - 1)
