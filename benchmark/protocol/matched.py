"""Lists of items that are alike the target: ``bm25-matched``, the hard negatives of ``clean``.

The best BM25 hits as negatives give the target away to whoever ranks them last, and negatives that
share no buyer with the query give it to whoever counts pairs. Here a list holds one *kind* of items
only: those that training pairs with the query if it does so with the target, else those that it
does not. A ranker that knows the pairs, and no more, then ties all of a list.

Within a kind the items stand in BM25's order, and what is known of a target before a list is made
is how high it stands there: :class:`benchmark.protocol.place_law.PlaceLaw`, two numbers a kind. By
it each member of a list is equally likely to be the target for whoever knows BM25's order, as long
as the list is not too long for the law. Lists of a data set are equally long: as long as half of
the searches allow. The others are not ranked, nor those whose target the user has seen before: no
list can hide these.

The numbers are estimated on the validation searches of the kind and rounded, so that an event more
or less hardly ever changes them. Lists hang on others' events through them and through the pairs of
training, and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset, IntArray, LongArray
from benchmark.errors import BenchmarkError
from benchmark.hashing import row_uniform
from benchmark.protocol.blocks import Arrays, Blocks, rows_by_query
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.hard_negatives import SearchEvents, search_engine
from benchmark.protocol.histories import EventSet, recency_of_target
from benchmark.protocol.orders import Orders
from benchmark.protocol.place_law import LENGTHS, PlaceLaw, Places
from benchmark.protocol.settings import ProtocolSettings
from benchmark.retrieval import BM25Engine

COVERAGE = 1 / 2
"""The share of validation searches that must have lists of the length that is chosen."""

_QUERIES_OF_A_BLOCK = 2048
_MOST_OF = 0.8  # the laws of those that get lists may leave out so many of them once more


@dataclass(frozen=True)
class MatchedLists:
    """Negatives of held-out searches: ``negatives`` (events, length), ``is_ranked`` (events,).

    ``length`` is the same for all; the rows of events that are not ranked hold zeros. ``fill_ups``
    (events,) says how many of its negatives match no word of the query. ``notes`` say what was left
    out.
    """

    negatives: IntArray
    is_ranked: NDArray[np.bool_]
    fill_ups: LongArray
    notes: tuple[str, ...]


def matched_lists(
    dataset: Dataset,
    events: EventSet,
    asked: SearchEvents,
    is_valid: NDArray[np.bool_],
    settings: ProtocolSettings,
    trained_pairs: Exclusions,
    engine: BM25Engine | None = None,
    blocks: Blocks | None = None,
) -> MatchedLists:
    """Lists of the held-out searches ``events``, of validation and test together.

    Laws and length come from validation alone, which may not depend on the test.

    Args:
        is_valid: (events,), which of them are of validation.
        asked: the same events with what their lists may not hold.
        trained_pairs: the (query, item) pairs that training may look at, by query.
        blocks: where what is finished is kept; nowhere if absent.

    Raises:
        BenchmarkError: half of the searches cannot have even one negative.
    """
    engine, blocks = engine or search_engine(dataset, settings), blocks or Blocks()
    is_known = trained_pairs.contains(asked.query, asked.target)
    was_seen = np.zeros(len(events), dtype=bool)
    if settings.search_exclude == "touched":
        for behaviour in (RECOMMENDATION, SEARCH):
            was_seen |= recency_of_target(dataset.log, events, behaviour) > 0
    orders = Orders(dataset, engine, asked, is_known, settings.seed, trained_pairs)
    places = _places(orders, blocks)
    laws, longest, length = _chosen(dataset, places, is_known, is_valid, was_seen, settings)
    is_ranked = longest > length
    negatives = np.zeros((len(events), length), dtype=np.int32)
    fill_ups = np.zeros(len(events), dtype=np.int64)

    def block(rows: LongArray) -> Arrays:
        hit = np.zeros((len(rows), length), dtype=np.int64)
        for kind, law in laws.items():
            own = is_known[rows] == kind
            hit[own] = law.comb(places.select(rows[own]), length + 1)
        is_fill_up = hit >= places.hits[rows][:, None]
        return {"negatives": orders.items_at(rows, hit), "fill_ups": is_fill_up.sum(axis=1)}

    ranked = np.flatnonzero(is_ranked)
    parts = rows_by_query(asked.query[ranked], _QUERIES_OF_A_BLOCK)
    for rows, arrays in blocks.of("matched-lists", [ranked[part] for part in parts], block):
        negatives[rows], fill_ups[rows] = arrays["negatives"], arrays["fill_ups"]
    notes = _notes(length, is_ranked, was_seen, settings)
    return MatchedLists(negatives, is_ranked, fill_ups, notes)


def _places(orders: Orders, blocks: Blocks) -> Places:
    """Where the targets of all events stand in the order of their kind."""
    rank, items, hits = (np.zeros(len(orders.asked), dtype=np.int64) for _ in range(3))
    parts = rows_by_query(orders.asked.query, _QUERIES_OF_A_BLOCK)
    for rows, arrays in blocks.of("matched-places", parts, orders.places):
        rank[rows], items[rows], hits[rows] = (arrays[name] for name in ("rank", "items", "hits"))
    point = row_uniform(orders.seed, "comb", orders.asked.key)
    return Places(rank, items, hits, point)


def _laws(
    places: Places, is_known: NDArray[np.bool_], counts: NDArray[np.bool_]
) -> dict[bool, PlaceLaw]:
    """The law of each kind from the places of the events that count, (events,)."""
    kinds = {kind: counts & (is_known == kind) for kind in (True, False)}
    return {kind: PlaceLaw.of(places.select(rows)) for kind, rows in kinds.items() if rows.any()}


def _longest(
    laws: dict[bool, PlaceLaw],
    places: Places,
    is_known: NDArray[np.bool_],
    counts: NDArray[np.bool_],
) -> LongArray:
    """How many candidates the list of each event can have, (events,); 0 for who does not count."""
    longest = np.zeros(len(places), dtype=np.int64)
    for kind, law in laws.items():
        rows = counts & (is_known == kind)
        longest[rows] = law.longest(places.select(rows))
    return longest


def _chosen(
    dataset: Dataset,
    places: Places,
    is_known: NDArray[np.bool_],
    is_valid: NDArray[np.bool_],
    was_seen: NDArray[np.bool_],
    settings: ProtocolSettings,
) -> tuple[dict[bool, PlaceLaw], LongArray, int]:
    """The laws, how many candidates each event can have, and the most negatives for all of them.

    :data:`COVERAGE` of the validation searches can have so many.
    """
    longest = _longest(_laws(places, is_known, is_valid & ~was_seen), places, is_known, ~was_seen)
    wanted = settings.negatives
    for length in (wanted, *(shorter for shorter in LENGTHS if shorter < wanted)):
        counts = longest > length
        if np.mean(counts[is_valid]) < COVERAGE:
            continue
        # Once more, for those that get lists: laws of queries with few items are others.
        laws = _laws(places, is_known, is_valid & counts)
        again = _longest(laws, places, is_known, counts)
        if np.mean(again[is_valid] > length) >= _MOST_OF * COVERAGE:
            return laws, again, length
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
            f"Search lists hold {length + 1} candidates instead of {settings.negatives + 1}, since "
            "only half of the searches have so many items that are alike the target."
        )
    if not is_ranked.all():
        seen = f" ({np.mean(was_seen):.1%} since the user saw the target before)"
        notes.append(
            f"{np.mean(~is_ranked):.1%} of the searches held out for validation and test are not "
            "ranked, for too few items "
            f"alike the target{seen if was_seen.any() else ''}."
        )
    return tuple(notes)
