"""BM25 hard negatives of the search task: scored once per distinct query, cut per event.

``bm25-top`` takes the best hits without the target, so the target is the odd one out: a ranker
that puts BM25's *lowest* first wins without learning. ``bm25-filtered`` drops the hits that the log
pairs with the query, so whoever has seen the pair of target and query in training knows the target.
``bm25-matched`` takes items that are alike the target, see :mod:`benchmark.protocol.matched`.

Of several clicks of one search none is a negative of another (``searches: whole``), and where the
settings say so nothing that the user touched is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import SEARCH, Dataset, EventLog, IntArray, LongArray
from benchmark.hashing import HashArray
from benchmark.protocol.best_hits import Askers, BestHits, best_allowed
from benchmark.protocol.blocks import Arrays, Blocks, rows_by_query
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.histories import unit_of_rows
from benchmark.protocol.negatives import HashedLaw, first_distinct, hashed_negatives
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.urn import event_keys
from benchmark.retrieval import BM25Engine, make_engine

_QUERIES_AT_ONCE = 64
_QUERIES_OF_A_BLOCK = 2048


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

    def select(self, rows: LongArray) -> SearchEvents:
        """The events at ``rows``."""
        return SearchEvents(
            user=self.user[rows],
            query=self.query[rows],
            target=self.target[rows],
            key=self.key[rows],
            barred=self.barred.among(rows),
            touched=self.touched.among(rows),
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


def bm25_negatives(
    dataset: Dataset,
    events: SearchEvents,
    settings: ProtocolSettings,
    engine: BM25Engine | None = None,
    blocks: Blocks | None = None,
) -> tuple[IntArray, LongArray]:
    """The hard negatives of search events by ``bm25-top`` or ``bm25-filtered``.

    Args:
        engine: that of :func:`search_engine`, if it is there already.
        blocks: where finished ones are kept; nowhere if absent.

    Returns:
        (events, negatives) items, and how many are BM25 hits; the rest is filled up uniformly with
        items that the user never touched, and is 0 where there are too few of these.
    """
    maker = _Maker(dataset, events, settings, engine or search_engine(dataset, settings))
    negatives = np.zeros((len(events), settings.negatives), dtype=np.int32)
    found = np.zeros(len(events), dtype=np.int64)
    parts = rows_by_query(events.query, _QUERIES_OF_A_BLOCK)
    for rows, arrays in (blocks or Blocks()).of("search", parts, maker.block):
        negatives[rows], found[rows] = arrays["negatives"], arrays["found"]
    return negatives, found


class _Maker:
    """Makes the negatives of some events at a time."""

    def __init__(
        self,
        dataset: Dataset,
        events: SearchEvents,
        settings: ProtocolSettings,
        engine: BM25Engine,
    ) -> None:
        self.dataset, self.events, self.settings, self.engine = dataset, events, settings, engine
        is_filtered = settings.search_negatives == "bm25-filtered"
        self.known = known_pairs(dataset) if is_filtered else None
        self.law = HashedLaw.uniform(settings.seed, dataset.item_keys)

    def block(self, rows: LongArray) -> Arrays:
        """``negatives`` (rows, negatives) and ``found`` (rows,) of the events at ``rows``."""
        negatives = np.zeros((len(rows), self.settings.negatives), dtype=np.int32)
        found = np.zeros(len(rows), dtype=np.int64)
        for part in rows_by_query(self.events.query[rows], _QUERIES_AT_ONCE):
            negatives[part], found[part] = self._of(self.events.select(rows[part]))
        return {"negatives": negatives, "found": found}

    def _of(self, events: SearchEvents) -> tuple[IntArray, LongArray]:
        dataset, settings, known = self.dataset, self.settings, self.known
        is_tied = settings.search_ties == "per-event"
        distinct, row = np.unique(events.query, return_inverse=True)
        texts = [dataset.queries.text[number] for number in distinct]
        depth = self._depth(events, row, len(distinct))
        needed = depth
        if known is not None and (is_tied or settings.search_depth is None):
            needed = depth + known.counts(distinct)
        hits = (BestHits.tied if is_tied else BestHits.ordered)(self.engine, texts, needed)
        if known is not None:
            hits = hits.keep(~known.contains(distinct[hits.query], hits.documents))
        askers = Askers(row, events.target, events.key, events.barred)
        negatives, found = best_allowed(
            hits, depth, askers, dataset.item_keys, settings.seed, settings.negatives
        )
        short = np.flatnonzero(found < settings.negatives)
        if len(short):
            negatives[short] = self._filled_up(negatives[short], events.select(short))
        return negatives, found

    def _depth(self, events: SearchEvents, row: LongArray, queries: int) -> LongArray:
        """How many hits of each query are looked at, (queries,)."""
        if self.settings.search_depth is not None:
            return np.full(queries, self.settings.search_depth, dtype=np.int64)
        # So many that the target and what is barred can be taken out of them.
        most_barred = np.zeros(queries, dtype=np.int64)
        np.maximum.at(most_barred, row, events.barred.counts(np.arange(len(events))))
        return self.settings.negatives + 1 + most_barred

    def _filled_up(self, negatives: IntArray, events: SearchEvents) -> IntArray:
        """The lists (events, negatives) with other items in place of their zeros."""
        barred = events.touched.with_more(events.barred)
        rows, number = np.arange(len(events)), negatives.shape[1]
        if self.known is not None:
            barred = barred.with_more(self.known.among(events.query))
        extra, _ = hashed_negatives(self.law, events.key, rows, events.target, barred, number)
        # A full draw holds enough items that are not in the list yet.
        both = np.concatenate([negatives, extra], axis=1)
        return first_distinct(both, both > 0, number)[0]


def count_fill_ups(
    dataset: Dataset, engine: BM25Engine, query: IntArray, negatives: IntArray
) -> int:
    """How many negatives (events, any; 0 for none) of searches (events,) are no BM25 hits."""
    distinct, row = np.unique(query, return_inverse=True)
    texts = [dataset.queries.text[number] for number in distinct]
    scores = engine.score_pairs(texts, row.reshape(-1), negatives)
    return int(np.count_nonzero((scores == 0) & (negatives > 0)))


def known_pairs(dataset: Dataset) -> Exclusions:
    """The (query, item) pairs of the whole log, as exclusions by query."""
    searched = dataset.log.search.positions
    return Exclusions.of_pairs(
        dataset.log.query[searched], dataset.log.item[searched], dataset.number_of_items
    )
