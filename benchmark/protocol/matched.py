"""Lists of items that are alike the target: ``bm25-matched``, the hard negatives of ``clean``.

The best BM25 hits as negatives give the target away to whoever ranks them last, and negatives that
share no buyer with the query give it to whoever counts pairs. Here a list holds one *kind* of items
only: those that training pairs with the query if it does so with the target, else those that it
does not. A ranker that knows the pairs, and no more, then ties all of a list.

Within a kind the items stand in BM25's order, ties and misses in the order of a hash. What is known
of a target before a list is made is how high it stands there: :class:`PlaceLaw`, one number a kind.
Every item gets a piece of a line, as long as the law makes it likely to be the target, and a list
is what the teeth of a comb hit, one unit apart, laid through a random point of the target's piece.
So each member of a list is equally likely to be the target for whoever knows BM25's order, as long
as no piece is longer than the teeth are apart. That bounds the length of a list. Lists of a data
set are equally long: as long as half of the searches allow. The others are not ranked, nor those
whose target the user has seen before: no list can hide these.

The law's number is estimated on all held-out searches of the kind and rounded, so that an event
more or less hardly ever changes it. Lists hang on others' events through it and through the pairs
of training, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset, IntArray, LongArray
from benchmark.errors import BenchmarkError
from benchmark.hashing import row_uniform
from benchmark.protocol.hard_negatives import QueryHits, SearchEvents, search_engine, tied_hits
from benchmark.protocol.histories import EventSet, recency_of_target
from benchmark.protocol.negatives import Exclusions
from benchmark.protocol.settings import ProtocolSettings
from benchmark.retrieval import BM25Engine

LENGTHS = (99, 79, 59, 49, 39, 29, 24, 19, 14, 9, 7, 4, 3, 2, 1)
"""How many negatives lists may have where the protocol's number is too many."""

COVERAGE = 1 / 2
"""The share of held-out searches that must have lists of the length that is chosen."""

_COARSEST_STEP = 1 / 32  # to which a law's exponent is rounded
_STANDS_OUT = 1.5  # so many times the law's share of targets at the first place is too many for it
_ALMOST_ONE = 1.0 + 1e-9  # so that a list may hold all items of a kind in spite of rounding


@dataclass(frozen=True)
class PlaceLaw:
    """How likely a target stands before the place x in BM25's order of its kind: ``x ** exponent``.

    0 is the first item, 1 the end; an exponent below 1 says that BM25 ranks targets high. A list
    has at most ``most`` candidates, where more targets stand first than the exponent says.
    """

    exponent: float
    most: int = 2**31

    @classmethod
    def of(cls, rank: LongArray, items: LongArray, point: NDArray[np.float64]) -> PlaceLaw:
        """The most likely law of targets that stand at these ranks, from 0, among so many items.

        Rounded to about the deviation of an exponent near 1, so that a target less hardly changes
        it.

        Args:
            point: (targets,) in (0, 1), where in its item's piece of the order each stands.
        """
        place = np.maximum((rank + point) / items, 1e-12)
        likely = len(place) / max(-float(np.log(place).sum()), 1e-12)
        step = min(_COARSEST_STEP, 2.0 ** np.floor(np.log2(2.0 / np.sqrt(len(place)))))
        law = cls(float(max(step, np.round(likely / step) * step)))
        first, expected = float(np.mean(rank == 0)), float(law.before(1.0 / items).mean())
        error = np.sqrt(expected * (1.0 - expected) / len(rank))
        if first <= max(_STANDS_OUT * expected, expected + 2.0 * error):
            return law
        # So many stand first that BM25's best hit alone gives them away to longer lists.
        lengths = (length for length in (*LENGTHS, 0) if (length + 1) * first <= 1.0)
        return cls(law.exponent, next(lengths, 0) + 1)

    def before(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of targets that stand before each place."""
        share: NDArray[np.float64] = np.clip(place, 0.0, 1.0) ** self.exponent
        return share

    def longest(self, items: LongArray) -> LongArray:
        """How many candidates a list of each number of items can have."""
        first = self.before(1.0 / items)
        last = 1.0 - self.before(1.0 - 1.0 / items)
        longest: LongArray = np.floor(_ALMOST_ONE / np.maximum(first, last)).astype(np.int64)
        return np.minimum(longest, np.minimum(items, self.most))

    def comb(
        self, rank: LongArray, items: LongArray, point: NDArray[np.float64], size: int
    ) -> LongArray:
        """The ranks of the negatives, (events, size - 1).

        Args:
            rank: (events,) the target's rank from 0 among the items of its kind.
            items: (events,) how many these are.
            point: (events,) in [0, 1), where in the target's piece the comb is laid.
        """
        start, end = self.before(rank / items), self.before((rank + 1) / items)
        place = size * (start + point * (end - start))
        own = np.minimum(np.floor(place), size - 1)
        teeth = np.arange(size)[None, :] + (place - own)[:, None]
        at = (teeth / size) ** (1.0 / self.exponent)
        hit = np.minimum((at * items[:, None]).astype(np.int64), items[:, None] - 1)
        others = np.arange(size)[None, :] != own[:, None]
        negatives: LongArray = hit[others].reshape(len(rank), size - 1)
        return negatives


@dataclass(frozen=True)
class MatchedLists:
    """Negatives of held-out searches: ``negatives`` (events, length), ``is_ranked`` (events,).

    ``length`` is the same for all; the rows of events that are not ranked hold zeros. ``notes``
    say what was left out.
    """

    negatives: IntArray
    is_ranked: NDArray[np.bool_]
    notes: tuple[str, ...]


def matched_lists(
    dataset: Dataset,
    events: EventSet,
    settings: ProtocolSettings,
    trained_pairs: Exclusions,
    engine: BM25Engine | None = None,
) -> MatchedLists:
    """Lists of the held-out searches ``events``, of validation and test together.

    Args:
        trained_pairs: the (query, item) pairs that training may look at, by query.

    Raises:
        BenchmarkError: half of the searches cannot have even one negative.
    """
    engine = engine or search_engine(dataset, settings)
    asked = SearchEvents.of(dataset, events.position, settings)
    is_known = trained_pairs.contains(asked.query, asked.target)
    was_seen = np.zeros(len(events), dtype=bool)
    if settings.search_exclude == "touched":
        for behaviour in (RECOMMENDATION, SEARCH):
            was_seen |= recency_of_target(dataset.log, events, behaviour) > 0
    rank = np.zeros(len(events), dtype=np.int64)
    items = np.zeros(len(events), dtype=np.int64)
    orders = _Orders(dataset, engine, asked, is_known, settings, trained_pairs)
    for order in orders:
        rank[order.events], items[order.events] = order.rank_of_target, order.allowed_items
    point = row_uniform(settings.seed, "comb", asked.key)
    places = (rank, items, point)
    longest = _longest(_laws(places, is_known, ~was_seen), items, is_known, ~was_seen)
    length = _length(dataset, longest, settings)
    # Once more, for those that get lists: laws of queries with few items are others.
    laws = _laws(places, is_known, longest > length)
    is_ranked = _longest(laws, items, is_known, longest > length) > length
    negatives = np.zeros((len(events), length), dtype=np.int32)
    for order in orders:
        own = is_ranked[order.events]
        rows = order.events[own]
        if len(rows):
            law = laws[order.is_known]
            hit = law.comb(rank[rows], items[rows], point[rows], length + 1)
            negatives[rows] = order.items_at(hit, own)
    return MatchedLists(negatives, is_ranked, _notes(length, is_ranked, was_seen, settings))


def _laws(
    places: tuple[LongArray, LongArray, NDArray[np.float64]],
    is_known: NDArray[np.bool_],
    counts: NDArray[np.bool_],
) -> dict[bool, PlaceLaw]:
    """The law of each kind from rank, items and point of the events that count, each (events,)."""
    kinds = {kind: counts & (is_known == kind) for kind in (True, False)}
    return {
        kind: PlaceLaw.of(*(column[rows] for column in places))
        for kind, rows in kinds.items()
        if rows.any()
    }


def _longest(
    laws: dict[bool, PlaceLaw],
    items: LongArray,
    is_known: NDArray[np.bool_],
    counts: NDArray[np.bool_],
) -> LongArray:
    """How many candidates the list of each event can have, (events,); 0 for who does not count."""
    longest = np.zeros(len(items), dtype=np.int64)
    for kind, law in laws.items():
        rows = counts & (is_known == kind)
        longest[rows] = law.longest(items[rows])
    return longest


def _length(dataset: Dataset, longest: LongArray, settings: ProtocolSettings) -> int:
    """The most negatives that :data:`COVERAGE` of the events can have."""
    wanted = settings.negatives
    for length in (wanted, *(shorter for shorter in LENGTHS if shorter < wanted)):
        if np.mean(longest > length) >= COVERAGE:
            return length
    raise BenchmarkError(
        f"data set {dataset.name}: fewer than half of the searches have an item that is "
        "alike the target, so the protocol setting search_negatives=bm25-matched (part of the "
        "preset clean) makes no lists here; allowed are bm25-top and bm25-filtered."
    )


def _notes(
    length: int,
    is_ranked: NDArray[np.bool_],
    was_seen: NDArray[np.bool_],
    settings: ProtocolSettings,
) -> tuple[str, ...]:
    notes = []
    if length < settings.negatives:
        notes.append(
            f"Search lists hold {length + 1} candidates instead of {settings.negatives + 1}: so "
            "many items that are alike the target have half of the searches."
        )
    if not is_ranked.all():
        seen = f" ({np.mean(was_seen):.1%} since the user saw the target before)"
        notes.append(
            f"{np.mean(~is_ranked):.1%} of the held-out searches are not ranked, for too few items "
            f"alike the target{seen if was_seen.any() else ''}."
        )
    return tuple(notes)


@dataclass(frozen=True)
class _Order:
    """The items of one kind in BM25's order for one query, and the events that rank them.

    ``barred_ranks`` (events, most) are the ranks in ``order`` of the items that each event's list
    may not hold, ascending and minus their own number, so that they say how many allowed ones stand
    before each; filled up with a number beyond the end.
    """

    events: LongArray
    is_known: bool
    order: IntArray
    barred_ranks: LongArray
    rank_of_target: LongArray
    allowed_items: LongArray

    def items_at(self, allowed_rank: LongArray, chosen: NDArray[np.bool_]) -> IntArray:
        """The items at ranks (events, any) among those that the ``chosen`` events may hold."""
        barred = self.barred_ranks[chosen]
        rank = allowed_rank.copy()
        for column in range(barred.shape[1]):
            rank += barred[:, column, None] <= allowed_rank
        items: IntArray = self.order[rank]
        return items


@dataclass(frozen=True)
class _Orders:
    """Iterates over the orders of every distinct query and kind; may be iterated again."""

    dataset: Dataset
    engine: BM25Engine
    asked: SearchEvents
    is_known: NDArray[np.bool_]
    settings: ProtocolSettings
    trained_pairs: Exclusions

    def __iter__(self) -> Iterator[_Order]:
        for hits in tied_hits(self.dataset, self.engine, self.asked.query, self.settings):
            keys = self._keys(hits)
            known = np.zeros(len(keys), dtype=bool)
            known[self.trained_pairs.items_of(np.array([hits.query]))[1]] = True
            for kind in (True, False):
                events = hits.events[self.is_known[hits.events] == kind]
                if len(events):
                    members = np.flatnonzero(known == kind)
                    members = members[members > 0]
                    order = members[np.argsort(keys[members])].astype(np.int32)
                    yield self._order_of(events, kind, order)

    def _keys(self, hits: QueryHits) -> NDArray[np.float64]:
        """What sorts all items for a query, (items + 1,): BM25's levels, then a hash."""
        level = np.zeros(self.dataset.number_of_items + 1)
        level[hits.documents] = hits.levels
        query_key = self.dataset.query_keys[hits.query]
        tie = row_uniform(self.settings.seed, "matched", query_key, self.dataset.item_keys)
        return level + tie

    def _order_of(self, events: LongArray, kind: bool, order: IntArray) -> _Order:
        rank = np.full(self.dataset.number_of_items + 1, -1, dtype=np.int64)
        rank[order] = np.arange(len(order))
        target = self.asked.target[events]
        event, item = self.asked.barred.among(events).items_of(np.arange(len(events)))
        counts = (rank[item] >= 0) & (item != target[event])
        event, of_event = event[counts], rank[item[counts]]
        by_event = np.lexsort((of_event, event))
        event, of_event = event[by_event], of_event[by_event]
        number = np.bincount(event, minlength=len(events))
        within = np.arange(len(event)) - np.repeat(np.cumsum(number) - number, number)
        barred = np.full((len(events), int(number.max(initial=0))), len(order), dtype=np.int64)
        barred[event, within] = of_event - within
        before = np.bincount(
            event, weights=of_event < rank[target[event]], minlength=len(events)
        ).astype(np.int64)
        return _Order(events, kind, order, barred, rank[target] - before, len(order) - number)
