"""Ranks and items of :mod:`benchmark.protocol.query_order` as machine code, for large catalogues.

Both are found level by level. The hashes of a level's items are spread evenly, so their highest
bits put them into buckets of about one size; these are counted, and only the buckets that hold what
is asked for are looked into. Without numba, these functions are plain Python, too slow to be of
use. They share one file because numba's cache on disk notices a change in the file of the function
that is called, not in one that it calls.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.retrieval.compiled import compiled

_OF_A_BUCKET = 4
_MOST_BUCKET_BITS = 12  # so that the counts of all buckets stay in the fastest cache
_FINE_BITS = 9  # levels are counted in groups of so many, then one by one in the groups asked for
_FINE = 1 << _FINE_BITS
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
_FIRST_SHIFT, _SECOND_SHIFT, _THIRD_SHIFT = np.uint64(30), np.uint64(27), np.uint64(31)


class Hits(NamedTuple):
    """All hits of some queries; those of query ``q`` are ``offsets[q]:offsets[q + 1]``.

    Attributes:
        offsets: (queries + 1,) int64.
        documents: (hits,) int32, from 1.
        scores: (hits,) float32.
        states: (queries,) the hash of seed and query, into which that of an item is mixed.
        item_keys: (items + 1,) hashes of the items.
        step: scores of equally many steps tie.
    """

    offsets: NDArray[np.int64]
    documents: NDArray[np.int32]
    scores: NDArray[np.float32]
    states: NDArray[np.uint64]
    item_keys: NDArray[np.uint64]
    step: float


class _Query(NamedTuple):
    """The hits of one query.

    Attributes:
        documents: (hits,) int32.
        levels: (hits,) int32, the best is the lowest.
        sizes: (groups,) int64, how many hits have a level of each group, the worst first.
        starts: (groups,) int64, how many are of better groups.
        is_grouped: whether the hits stand by group, the best first.
        state: as in :class:`Hits`.
    """

    documents: NDArray[np.int32]
    levels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]
    is_grouped: bool
    state: np.uint64


class Room(NamedTuple):
    """Room for the items of one level.

    Attributes:
        members: (items + 1,) int32, the items.
        hashes: (items + 1,) theirs.
        first: (buckets + 1,) int32, how many items have a hash below those of each bucket.
        slots: (buckets,) int32, for a while, where to write what is in each bucket that is asked
            for; -1 for the others.
        is_hit: (items + 1,) for a while, what matches the query.
        levels: (items + 1,) int32, room for those of a query's hits.
        filled: (3,) int64, the level whose items these are, 1 for none, how many they are, and by
            how many bits a hash is shifted to its bucket.
    """

    members: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    first: NDArray[np.int32]
    slots: NDArray[np.int32]
    is_hit: NDArray[np.bool_]
    levels: NDArray[np.int32]
    filled: NDArray[np.int64]


@compiled
def room_of(size: int) -> Room:
    """Room for catalogues of ``size`` - 1 items."""
    buckets = 1 << _MOST_BUCKET_BITS
    return Room(
        np.empty(size, dtype=np.int32),
        np.empty(size, dtype=np.uint64),
        np.zeros(buckets + 1, dtype=np.int32),
        np.full(buckets, -1, dtype=np.int32),
        np.zeros(size, dtype=np.bool_),
        np.empty(size, dtype=np.int32),
        np.ones(3, dtype=np.int64),
    )


@compiled
def _levels_of(scores: NDArray[np.float32], step: float, levels: NDArray[np.int32]) -> int:
    """Write the level of each score, and return the lowest; equal scores often follow each other.

    As in :func:`benchmark.protocol.best_hits.score_levels`.
    """
    lowest, last, level = 0, np.float32(-1), 0
    for hit in range(len(scores)):
        if scores[hit] != last:
            last = scores[hit]
            level = -int(max(np.rint(np.float64(last) / step), 1.0))
            lowest = min(lowest, level)
        levels[hit] = level
    return lowest


@compiled
def _sizes_of_groups(levels: NDArray[np.int32], lowest: int) -> NDArray[np.int64]:
    """How many hits each group of :data:`_FINE` levels holds, the worst levels first."""
    sizes = np.zeros((-lowest >> _FINE_BITS) + 1, dtype=np.int64)
    last, run = 0, 0
    for hit in range(len(levels)):
        group = -levels[hit] >> _FINE_BITS
        if group != last:
            sizes[last] += run
            last, run = group, 0
        run += 1
    sizes[last] += run
    return sizes


@compiled
def _prepared(hits: Hits, query: int, room: Room) -> _Query:
    """The hits of a query with their levels, by group where that saves much reading."""
    room.filled[0] = 1
    part = slice(hits.offsets[query], hits.offsets[query + 1])
    documents, levels = hits.documents[part], room.levels[: part.stop - part.start]
    lowest = _levels_of(hits.scores[part], hits.step, levels)
    sizes = _sizes_of_groups(levels, lowest)
    starts = np.zeros(len(sizes), dtype=np.int64)
    for group in range(len(sizes) - 1, 0, -1):
        starts[group - 1] = starts[group] + sizes[group]
    is_grouped = 2 * sizes.max() <= len(levels)
    if is_grouped:
        ends = starts.copy()
        by_group, their_levels = np.empty_like(documents), np.empty_like(levels)
        for hit in range(len(levels)):
            group = -levels[hit] >> _FINE_BITS
            by_group[ends[group]], their_levels[ends[group]] = documents[hit], levels[hit]
            ends[group] += 1
        documents, levels = by_group, their_levels
    return _Query(documents, levels, sizes, starts, is_grouped, hits.states[query])


@compiled
def _span(query: _Query, level: int) -> tuple[int, int]:
    """From where to where the hits of a level are."""
    group = -level >> _FINE_BITS
    if not query.is_grouped:
        return 0, len(query.levels)
    if group >= len(query.sizes):
        return 0, 0
    return query.starts[group], query.starts[group] + query.sizes[group]


@compiled
def _better(query: _Query, level: int) -> int:
    """How many hits are of a better level; all of them for 0."""
    if level == 0:
        return len(query.levels)
    start, end = _span(query, level)
    bound, number = np.int32(level), 0
    for hit in range(start, end):
        number += query.levels[hit] < bound
    return start + number


@compiled
def _level_at(query: _Query, rank: int) -> tuple[int, int]:
    """The level of the hit at ``rank``, and how many are better; 0 and all beyond the last hit."""
    levels = query.levels
    if rank >= len(levels):
        return 0, len(levels)
    group = len(query.sizes) - 1
    while query.starts[group] + query.sizes[group] <= rank:
        group -= 1
    start, end = _span(query, -(group << _FINE_BITS))
    fine = np.zeros(_FINE, dtype=np.int64)
    last, run = 0, 0
    for hit in range(start, end):
        if levels[hit] != last:
            if -last >> _FINE_BITS == group:
                fine[-last & (_FINE - 1)] += run
            last, run = levels[hit], 0
        run += 1
    if -last >> _FINE_BITS == group:
        fine[-last & (_FINE - 1)] += run
    better, one = query.starts[group], _FINE - 1
    while better + fine[one] <= rank:
        better += fine[one]
        one -= 1
    return -((group << _FINE_BITS) + one), better


@compiled
def _fill(
    room: Room, query: _Query, level: int, item_keys: NDArray[np.uint64]
) -> tuple[int, np.uint64]:
    """Find the items of a level, 0 for what does not match, and count them by bucket.

    Returns how many there are, and by how many bits a hash is shifted to its bucket.
    """
    if room.filled[0] == level:
        return room.filled[1], np.uint64(room.filled[2])
    members, hashes, number = room.members, room.hashes, 0
    documents, levels = query.documents, query.levels
    if level == 0:
        for hit in range(len(documents)):
            room.is_hit[documents[hit]] = True
        for item in range(1, len(item_keys)):
            members[number] = item  # overwritten where the item is a hit
            number += not room.is_hit[item]
        for hit in range(len(documents)):
            room.is_hit[documents[hit]] = False
    else:
        start, end = _span(query, level)
        own = np.int32(level)
        for hit in range(start, end):
            members[number] = documents[hit]  # overwritten where the hit is of another level
            number += levels[hit] == own
    for place in range(number):
        value = (query.state ^ item_keys[members[place]]) + _INCREMENT
        value = (value ^ (value >> _FIRST_SHIFT)) * _FIRST_FACTOR
        value = (value ^ (value >> _SECOND_SHIFT)) * _SECOND_FACTOR
        hashes[place] = value ^ (value >> _THIRD_SHIFT)
    bits = 1
    while bits < _MOST_BUCKET_BITS and number > _OF_A_BUCKET << bits:
        bits += 1
    shift = np.uint64(64 - bits)
    first = room.first
    first[: (1 << bits) + 1] = 0
    for place in range(number):
        first[np.int64(hashes[place] >> shift) + 1] += 1
    for bucket in range(1 << bits):
        first[bucket + 1] += first[bucket]
    room.filled[0], room.filled[1], room.filled[2] = level, number, 64 - bits
    return number, shift


@compiled
def _gathered(
    room: Room, number: int, shift: np.uint64, buckets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The places of what is in the ``buckets`` (any,), which end at their ``slots``."""
    first, slots, size = room.first, room.slots, 0
    for bucket in buckets:
        if slots[bucket] < 0:
            slots[bucket] = size
            size += first[bucket + 1] - first[bucket]
    places = np.empty(size, dtype=np.int64)
    for place in range(number):
        bucket = np.int64(room.hashes[place] >> shift)
        if slots[bucket] >= 0:
            places[slots[bucket]] = place
            slots[bucket] += 1
    return places


@compiled
def _smaller(room: Room, places: NDArray[np.int64], value: np.uint64) -> int:
    """How many of the ``places`` (any,) have a smaller hash than ``value``."""
    number = 0
    for place in places:
        number += room.hashes[place] < value
    return number


@compiled
def _ranks_of_level(
    room: Room, number: int, shift: np.uint64, hashes: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """How many items of the level have a smaller hash than each of ``hashes`` (any,)."""
    first, slots = room.first, room.slots
    buckets = (hashes >> shift).astype(np.int64)
    places = _gathered(room, number, shift, buckets)
    ranks = np.empty(len(hashes), dtype=np.int64)
    for asked in range(len(hashes)):
        bucket = buckets[asked]
        end = slots[bucket]
        own = places[end - (first[bucket + 1] - first[bucket]) : end]
        ranks[asked] = first[bucket] + _smaller(room, own, hashes[asked])
    slots[buckets] = -1
    return ranks


@compiled
def _items_of_level(
    room: Room, number: int, shift: np.uint64, ranks: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The items of the level at ``ranks`` (any,)."""
    first, slots = room.first, room.slots
    last = np.int64(1) << np.int64(np.uint64(64) - shift)
    buckets = np.searchsorted(first[: last + 1], ranks, side="right") - 1
    places = _gathered(room, number, shift, buckets)
    found = np.empty(len(ranks), dtype=np.int32)
    for asked in range(len(ranks)):
        bucket = buckets[asked]
        end = slots[bucket]
        own = places[end - (first[bucket + 1] - first[bucket]) : end]
        for place in own:
            if first[bucket] + _smaller(room, own, room.hashes[place]) == ranks[asked]:
                found[asked] = room.members[place]
                break
    slots[buckets] = -1
    return found


@compiled
def _ranks_of_query(
    room: Room,
    query: _Query,
    item_keys: NDArray[np.uint64],
    levels: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """The rank of each of (asked,) levels, which ascend, and hashes."""
    ranks = np.empty(len(levels), dtype=np.int64)
    start = 0
    while start < len(levels):
        end, level = start, levels[start]
        while end < len(levels) and levels[end] == level:
            end += 1
        number, shift = _fill(room, query, level, item_keys)
        within = _ranks_of_level(room, number, shift, hashes[start:end])
        ranks[start:end] = _better(query, level) + within
        start = end
    return ranks


@compiled
def ranks_of(
    hits: Hits,
    room: Room,
    offsets: NDArray[np.int64],
    levels: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """How many items stand before each level and hash (asked,) in the order of its query.

    Args:
        room: for these items.
        offsets: (queries + 1,), those of each query.
        levels: (asked,), ascending for each query; 0 for what does not match.
        hashes: (asked,).
    """
    ranks = np.empty(len(levels), dtype=np.int64)
    for number in range(len(offsets) - 1):
        first, last = offsets[number], offsets[number + 1]
        query = _prepared(hits, number, room)
        ranks[first:last] = _ranks_of_query(
            room, query, hits.item_keys, levels[first:last], hashes[first:last]
        )
    return ranks


@compiled
def _furthest(
    allowed: NDArray[np.int64], event: NDArray[np.int64], levels: NDArray[np.int64]
) -> int:
    """A rank that none of the ``allowed`` (events, any) goes beyond, but for what does not match.

    ``event`` (barred,), from 0, says whose list may not hold an item of these ``levels``.
    """
    furthest = 0
    for row in range(len(allowed)):
        furthest = max(furthest, allowed[row].max() + np.sum((event == row) & (levels < 0)))
    return furthest


@compiled
def _with_barred(allowed: NDArray[np.int64], barred: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranks of those at ``allowed`` ranks, given the ranks of what is barred, ascending."""
    ranks: NDArray[np.int64] = allowed.copy()
    for place in range(len(barred)):
        # Minus their own number these say how many allowed ones stand before each.
        ranks += barred[place] - place <= allowed
    return ranks


@compiled
def _items_of_query(
    room: Room, query: _Query, item_keys: NDArray[np.uint64], ranks: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The items at ``ranks`` (any,)."""
    items = np.empty(len(ranks), dtype=np.int32)
    order = np.argsort(ranks)
    end = len(ranks)
    while end > 0:
        # The last first, since their level is mostly the one that is filled already.
        level, better = _level_at(query, ranks[order[end - 1]])
        number, shift = _fill(room, query, level, item_keys)
        start = end
        while start > 0 and ranks[order[start - 1]] >= better:
            start -= 1
        places = order[start:end]
        items[places] = _items_of_level(room, number, shift, ranks[places] - better)
        end = start
    return items


@compiled
def items_at(
    hits: Hits,
    room: Room,
    event_offsets: NDArray[np.int64],
    allowed: NDArray[np.int64],
    offsets: NDArray[np.int64],
    event: NDArray[np.int64],
    levels: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> NDArray[np.int32]:
    """The items at ranks (events, any) among those that the list of each event may hold.

    Args:
        room: for these items.
        event_offsets: (queries + 1,), the events of each query.
        allowed: (events, any), the ranks; at least one.
        offsets: (queries + 1,), the barred items of each query.
        event: (barred,), whose list may not hold it.
        levels: (barred,), ascending for each query; 0 for what does not match.
        hashes: (barred,).
    """
    items = np.zeros(allowed.shape, dtype=np.int32)
    for number in range(len(event_offsets) - 1):
        first_event, last_event = event_offsets[number], event_offsets[number + 1]
        asked = allowed[first_event:last_event]
        query = _prepared(hits, number, room)
        # What is barred behind all that is asked for moves nothing, and needs no rank.
        part = slice(offsets[number], offsets[number + 1])
        own, own_levels = event[part] - first_event, levels[part]
        bound, _ = _level_at(query, _furthest(asked, own, own_levels))
        counted = np.searchsorted(own_levels, bound, side="right")
        barred = _ranks_of_query(
            room, query, hits.item_keys, own_levels[:counted], hashes[part][:counted]
        )
        ranks = np.empty(asked.shape, dtype=np.int64)
        for row in range(len(asked)):
            ranks[row] = _with_barred(asked[row], np.sort(barred[own[:counted] == row]))
        found = _items_of_query(room, query, hits.item_keys, ranks.reshape(-1))
        items[first_event:last_event] = found.reshape(ranks.shape)
    return items
