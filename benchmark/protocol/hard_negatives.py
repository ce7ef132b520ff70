"""BM25 hard negatives of the search task: scored once per distinct query, cut per event.

``bm25-top`` takes the best hits without the target, so the target is the odd one out: a ranker
that puts BM25's *lowest* first wins without learning. ``bm25-filtered`` drops the hits that the log
pairs with the query, so whoever has seen the pair of target and query in training knows the target.
``bm25-matched`` takes items that are alike the target, see :mod:`benchmark.protocol.matched`.

Of several clicks of one search none is a negative of another (``searches: whole``), and where the
settings say so nothing that the user touched is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import SEARCH, Dataset, EventLog, IntArray, LongArray
from benchmark.hashing import HashArray, row_uniform
from benchmark.protocol.histories import unit_of_rows
from benchmark.protocol.negatives import Exclusions, HashedLaw, first_distinct, hashed_negatives
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.urn import event_keys
from benchmark.retrieval import BM25Engine, make_engine, score_steps

_SCORE_STEP = 1e-4  # Lucene's hit list rounds scores to this, which is what makes ties
_CHUNK_ENTRIES = 4_000_000
_QUERIES_AT_ONCE = 64


def search_engine(dataset: Dataset, settings: ProtocolSettings) -> BM25Engine:
    """The BM25 engine over the item texts; document ids are item ids, 0 is the blank padding."""
    return make_engine(settings.bm25_engine, dataset.items.text, analyser=settings.bm25_analyser)


def evaluation_depth(settings: ProtocolSettings, number_of_items: int) -> int:
    """The deepest BM25 rank, from 1, whose hit a list may hold as a negative, but for ties with it.

    It is the last rank where lists may hold any item: by the law of ``bm25-filtered`` and
    ``bm25-matched``, where fewer hits are retrieved than a list needs, since random items then
    fill it up, and where lists leave out what the user touched, since deeper hits then replace it.
    """
    # One hit more than the list holds, since the target, which stands anywhere, is taken out.
    needed = settings.negatives + 1
    is_enough = settings.search_depth is None or settings.search_depth >= needed
    if settings.search_negatives == "bm25-top" and settings.search_exclude == "none" and is_enough:
        return min(needed, number_of_items)
    return number_of_items


def score_levels(scores: NDArray[np.floating]) -> LongArray:
    """Scores of hits in whole steps, negated: lower is better, ties share a level, all below 0."""
    return -score_steps(scores, _SCORE_STEP)


@dataclass(frozen=True)
class SearchEvents:
    """Searches that get lists; every array has shape (events,).

    ``key`` is a hash of each event. ``barred`` are the items that the list of an event may not hold
    besides its target, ``touched`` those that its user touched; their rows are the events.
    """

    user: IntArray
    query: IntArray
    target: IntArray
    key: HashArray
    barred: Exclusions
    touched: Exclusions

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        rows: LongArray,
        settings: ProtocolSettings,
        allowed: NDArray[np.bool_] | None = None,
    ) -> SearchEvents:
        """The events at the log rows ``rows``.

        Args:
            allowed: (log rows,), those that say what a user touched; all of them if absent.
        """
        log, size = dataset.log, dataset.number_of_items
        known = log if allowed is None else log.keep(allowed)
        touched = Exclusions.of_log(known, size).among(log.user[rows])
        barred = _fellow_clicks(log, rows, settings, size)
        if settings.search_exclude == "touched":
            barred = barred.with_more(touched)
        return cls(
            user=log.user[rows],
            query=log.query[rows],
            target=log.item[rows],
            key=event_keys(dataset, rows, settings.seed),
            barred=barred,
            touched=touched,
        )

    def followed_by(self, other: SearchEvents) -> SearchEvents:
        """These events, then the other ones."""
        shift = len(self) * (self.barred.number_of_items + 1)

        def together(first: Exclusions, second: Exclusions) -> Exclusions:
            keys = np.concatenate([first.keys, second.keys + shift])
            return Exclusions(keys, first.number_of_items)

        return SearchEvents(
            user=np.concatenate([self.user, other.user]),
            query=np.concatenate([self.query, other.query]),
            target=np.concatenate([self.target, other.target]),
            key=np.concatenate([self.key, other.key]),
            barred=together(self.barred, other.barred),
            touched=together(self.touched, other.touched),
        )

    def __len__(self) -> int:
        return len(self.user)


def _fellow_clicks(
    log: EventLog, rows: LongArray, settings: ProtocolSettings, number_of_items: int
) -> Exclusions:
    """The items clicked in the same search as each of ``rows``, its own item included."""
    searches = np.flatnonzero(log.behaviour == SEARCH)
    unit = unit_of_rows(log, settings)
    searches = searches[np.argsort(unit[searches], kind="stable")]
    ordered = unit[searches]
    start = np.searchsorted(ordered, unit[rows], side="left")
    count = np.searchsorted(ordered, unit[rows], side="right") - start
    event = np.repeat(np.arange(len(rows)), count)
    within = np.arange(len(event)) - np.repeat(np.cumsum(count) - count, count)
    return Exclusions.of_pairs(event, log.item[searches[start[event] + within]], number_of_items)


@dataclass(frozen=True)
class QueryHits:
    """The documents that match one query; a lower level is a better score, equal ones share it."""

    query: int
    events: LongArray  # rows of the event arrays that ask this query
    documents: IntArray
    levels: LongArray


def bm25_negatives(
    dataset: Dataset,
    events: SearchEvents,
    settings: ProtocolSettings,
    engine: BM25Engine | None = None,
) -> tuple[IntArray, LongArray]:
    """The hard negatives of search events by ``bm25-top`` or ``bm25-filtered``.

    Args:
        engine: that of :func:`search_engine`, if it is there already.

    Returns:
        (events, negatives) items, and how many are BM25 hits; the rest is filled up uniformly with
        items that the user never touched, and is 0 where there are too few of these.
    """
    engine = engine or search_engine(dataset, settings)
    known = known_pairs(dataset) if settings.search_negatives == "bm25-filtered" else None
    negatives = np.zeros((len(events), settings.negatives), dtype=np.int32)
    found = np.zeros(len(events), dtype=np.int64)
    source = tied_hits if settings.search_ties == "per-event" else _ordered_hits
    for hits in source(dataset, engine, events.query, settings):
        if known is not None:
            hits = _without_known(hits, known)
        negatives[hits.events], found[hits.events] = _best_allowed(dataset, hits, events, settings)
    short = np.flatnonzero(found < settings.negatives)
    if len(short):
        barred = events.touched.among(short).with_more(events.barred.among(short))
        if known is not None:
            barred = barred.with_more(known.among(events.query[short]))
        law = HashedLaw.uniform(settings.seed, dataset.item_keys)
        negatives[short] = _filled_up(
            law, events.key[short], negatives[short], events.target[short], barred
        )
    return negatives, found


def grouped(query: IntArray) -> tuple[IntArray, list[LongArray]]:
    """The distinct queries, ascending, and the rows that ask each."""
    order = np.argsort(query, kind="stable")
    distinct, start = np.unique(query[order], return_index=True)
    return distinct, np.split(order, start[1:])


def tied_hits(
    dataset: Dataset, engine: BM25Engine, query: IntArray, settings: ProtocolSettings
) -> Iterator[QueryHits]:
    """Every distinct query of ``query`` (events,) with all its hits, in ascending query id.

    Levels are those of :func:`score_levels`; what does not match would have level 0.
    """
    distinct, groups = grouped(query)
    for first in range(0, len(distinct), _QUERIES_AT_ONCE):
        block = distinct[first : first + _QUERIES_AT_ONCE]
        scores = engine.score_all([dataset.queries.text[number] for number in block]).tocsr()
        for offset, number in enumerate(block):
            row = slice(scores.indptr[offset], scores.indptr[offset + 1])
            documents = scores.indices[row].astype(np.int32)
            real = documents > 0
            levels = score_levels(scores.data[row][real])
            yield QueryHits(int(number), groups[first + offset], documents[real], levels)


def _ordered_hits(
    dataset: Dataset, engine: BM25Engine, query: IntArray, settings: ProtocolSettings
) -> Iterator[QueryHits]:
    """Every distinct query with its hits in the engine's order, which leaves no ties."""
    distinct, groups = grouped(query)
    is_cut = settings.search_negatives == "bm25-top" and settings.search_exclude == "none"
    depth = settings.search_depth or (
        settings.negatives + 1 if is_cut and settings.searches != "whole" else len(dataset.items)
    )
    for first in range(0, len(distinct), _QUERIES_AT_ONCE):
        block = distinct[first : first + _QUERIES_AT_ONCE]
        found = engine.search([dataset.queries.text[number] for number in block], depth)
        for offset, number in enumerate(block):
            documents = found.documents[offset]
            documents = documents[documents > 0].astype(np.int32)
            yield QueryHits(
                int(number), groups[first + offset], documents, np.arange(len(documents))
            )


def known_pairs(dataset: Dataset) -> Exclusions:
    """The (query, item) pairs of the whole log, as exclusions by query."""
    searched = dataset.log.search.positions
    return Exclusions.of_pairs(
        dataset.log.query[searched], dataset.log.item[searched], dataset.number_of_items
    )


def _without_known(hits: QueryHits, known: Exclusions) -> QueryHits:
    keep = ~known.contains(np.asarray(hits.query), hits.documents)
    return QueryHits(hits.query, hits.events, hits.documents[keep], hits.levels[keep])


def _best_allowed(
    dataset: Dataset, hits: QueryHits, events: SearchEvents, settings: ProtocolSettings
) -> tuple[IntArray, LongArray]:
    """The first ``negatives`` hits of one query for each of its events, without what is barred.

    Hits of one level are ordered by a hash of event and item, before the list is cut.
    """
    number, asking = settings.negatives, hits.events
    negatives = np.zeros((len(asking), number), dtype=np.int32)
    found = np.zeros(len(asking), dtype=np.int64)
    barred = events.barred.among(asking)
    most_barred = int(np.bincount(barred.items_of(np.arange(len(asking)))[0], minlength=1).max())
    wanted = settings.search_depth or number + 1 + most_barred
    depth = min(wanted, len(hits.documents))
    if depth == 0:
        return negatives, found
    near = hits.levels <= np.partition(hits.levels, depth - 1)[depth - 1]
    documents, levels = hits.documents[near], hits.levels[near]
    item_keys = dataset.item_keys[documents][None, :]
    step = max(1, _CHUNK_ENTRIES // len(documents))
    for start in range(0, len(asking), step):
        part = np.arange(start, min(start + step, len(asking)))
        tie = row_uniform(settings.seed, "tie", events.key[asking[part]][:, None], item_keys)
        ranked = documents[np.argsort(levels + tie, axis=1)[:, :depth]]
        allowed = ranked != events.target[asking[part]][:, None]
        allowed &= ~barred.contains(part[:, None], ranked)
        negatives[part], found[part] = first_distinct(ranked, allowed, number)
    return negatives, found


def _filled_up(
    law: HashedLaw, keys: HashArray, negatives: IntArray, target: IntArray, barred: Exclusions
) -> IntArray:
    """The lists (events, negatives) with other items in place of their zeros."""
    number = negatives.shape[1]
    rows = np.arange(len(target))
    extra, _ = hashed_negatives(law, keys, rows, target, barred, number)
    # A full draw holds enough items that are not in the list yet.
    both = np.concatenate([negatives, extra], axis=1)
    return first_distinct(both, both > 0, number)[0]
