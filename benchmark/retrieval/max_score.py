"""MaxScore on postings in memory: the best hits without scoring every document.

After Turtle and Flood (Query evaluation: strategies and optimizations, 1995): once k documents have
been found that reach some score, a document that contains only terms whose largest impacts sum up
to less need not be looked at. The terms of a query, in descending order of what they can add at
most, therefore fall into *essential* ones, whose postings are read, and others, which are looked up
for the few documents that may still get in. What is ours:

* A score to reach is known before the first document: of each term it is stored what its k-th best
  posting adds, for k of 1, 2, 4 and so on.
* Essential postings are read in one of two ways. *Summed*: the documents in windows that fit a
  cache, one sum a document. *Alone*: one list, whose documents are looked up in the others. Short
  lists are read so first, since their documents set a score that few others reach; and long ones
  last, where the same stored figures say that few of their postings add enough.
* Look-ups take one step for the most frequent terms, which have a row as wide as the collection,
  and few for the others, of which a table says where in the postings ranges of places begin.

Nothing here decides by a rounded bound alone: what passes the bounds is summed in the order of
:class:`benchmark.retrieval.postings.QueryTerms`, as the sparse product does, and compared in single
precision, so hits and scores equal those of scoring everything, bit for bit. Without numba, these
functions are plain Python, too slow to be of use. They share one file because numba's cache on disk
notices a change in the file of the function that is called, not in one that it calls.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.retrieval.compiled import compiled

_FIRST_HITS = 1 << 16  # room that grows with what is found
_SCAN_BLOCK = 64  # postings; what is compared at once
_LOOK_UP_COST = 8  # of a document in a list, in postings that are summed
_COPIED_FROM = 16  # a list is copied to the hits that is so many times as long as all others
_SLACK = 1e-7  # more than what rounding to single precision can add to a sum
_SUM_SLACK = 1e-12  # more than what the order of a sum can change
_WORST = np.uint64(0xFFFFFFFFFFFFFFFF)


class Index(NamedTuple):
    """Postings with what pruning needs besides; compiled functions take it as it is.

    Attributes:
        starts, places, impacts, largest: as in :class:`Postings`.
        quantile_starts: (terms + 1,) int64, a term's part of the next.
        quantiles: float32, the impact of each term's best, 2nd, 4th, 8th ... posting.
        shifts: (terms,) int64, a range of a term's table holds ``2 ** shift`` places.
        table_starts: (terms + 1,) int64, a term's part of the next; empty for short lists.
        tables: int32, how many postings of the term stand before each range.
        wide_rows: (terms,) int64, a term's row of the next, -1 for none.
        wide: (rows, documents) float32, what the term adds to each document.
    """

    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    impacts: NDArray[np.float32]
    largest: NDArray[np.float32]
    quantile_starts: NDArray[np.int64]
    quantiles: NDArray[np.float32]
    shifts: NDArray[np.int64]
    table_starts: NDArray[np.int64]
    tables: NDArray[np.int32]
    wide_rows: NDArray[np.int64]
    wide: NDArray[np.float32]


@compiled
def fill_tables(index: Index) -> None:
    """Write ``tables``, which has its size already."""
    for term in range(len(index.shifts)):
        first, last = index.starts[term], index.starts[term + 1]
        posting = first
        for entry in range(index.table_starts[term], index.table_starts[term + 1]):
            place = (entry - index.table_starts[term]) << index.shifts[term]
            while posting < last and index.places[posting] < place:
                posting += 1
            index.tables[entry] = posting - first


@compiled
def fill_quantiles(index: Index) -> None:
    """Write ``quantiles``, which has its size already."""
    for term in range(len(index.shifts)):
        # Negated, so that the best of a part stand before its end, ready for the next smaller part.
        rest = -index.impacts[index.starts[term] : index.starts[term + 1]]
        size = len(rest)
        for entry in range(
            index.quantile_starts[term + 1] - 1, index.quantile_starts[term] - 1, -1
        ):
            number = 1 << (entry - index.quantile_starts[term])
            _select(rest, size, number)
            index.quantiles[entry] = -rest[number - 1]
            size = number


@compiled
def _select(values: NDArray[Any], size: int, number: int) -> None:
    """Bring the ``number`` smallest of the first ``size`` values to the front, the largest last."""
    first, last, wanted = 0, size - 1, number - 1
    while first < last:
        low, middle, high = values[first], values[(first + last) >> 1], values[last]
        pivot = max(min(low, middle), min(max(low, middle), high))
        left, right = first, last
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            last = right
        elif wanted >= left:
            first = left
        else:
            return


@compiled
def _add_term(
    index: Index,
    term: int,
    count: float,
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
    number: int,
) -> None:
    """Add what a term adds to each of ``number`` documents."""
    row = index.wide_rows[term]
    if row >= 0:
        # No branch: whether a document has a frequent term cannot be foreseen.
        for candidate in range(number):
            sums[candidate] += count * np.float64(index.wide[row, places[candidate]])
        return
    first, last = index.starts[term], index.starts[term + 1]
    table, shift = index.table_starts[term], index.shifts[term]
    has_table = index.table_starts[term + 1] > table
    for candidate in range(number):
        place = places[candidate]
        if has_table:
            entry = table + (place >> shift)
            posting = first + index.tables[entry]
            end = first + index.tables[entry + 1]
            while posting < end and index.places[posting] < place:
                posting += 1
        else:
            posting, end = first, last
            while posting < end:
                middle = (posting + end) >> 1
                if index.places[middle] < place:
                    posting = middle + 1
                else:
                    end = middle
            end = last
        if posting < end:
            is_hit = index.places[posting] == place
            sums[candidate] += count * np.float64(index.impacts[posting]) * is_hit


@compiled
def scores_of(
    index: Index,
    offsets: NDArray[np.int64],
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    row: NDArray[np.int64],
    places: NDArray[np.int32],
) -> NDArray[np.float32]:
    """Scores (n, c) of the documents at ``places`` (n, c) for the queries ``row`` (n,)."""
    scores = np.zeros(places.shape, dtype=np.float32)
    sums = np.empty(places.shape[1], dtype=np.float64)
    for event in range(len(row)):
        sums[:] = 0
        for asked in range(offsets[row[event]], offsets[row[event] + 1]):
            _add_term(index, terms[asked], counts[asked], places[event], sums, len(sums))
        scores[event] = sums
    return scores


@compiled
def all_hits(
    index: Index,
    offsets: NDArray[np.int64],
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    names: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Every document that matches, in no order: offsets (queries + 1,), names and scores (hits,).

    ``names`` (documents,) are what to call the documents at each place.
    """
    documents = len(names)
    most = 0
    for query in range(len(offsets) - 1):
        postings = 0
        for asked in range(offsets[query], offsets[query + 1]):
            postings += index.starts[terms[asked] + 1] - index.starts[terms[asked]]
        most += min(postings, documents)
    found = np.empty(most + 1, dtype=np.int32)  # the last one is for what is not new
    scores = np.empty(most, dtype=np.float32)
    hit_offsets = np.zeros(len(offsets), dtype=np.int64)
    sums = np.zeros(documents, dtype=np.float64)
    number = 0
    for query in range(len(offsets) - 1):
        first, own = number, slice(offsets[query], offsets[query + 1])
        longest, postings = 0, 0
        for asked in range(own.start, own.stop):
            length = index.starts[terms[asked] + 1] - index.starts[terms[asked]]
            longest, postings = max(longest, length), postings + length
        if postings * _COPIED_FROM < longest * (_COPIED_FROM + 1):
            number = _copied(index, terms[own], counts[own], found, scores, number)
        else:
            number = _summed(index, terms[own], counts[own], sums, found, scores, number)
        for hit in range(first, number):
            found[hit] = names[found[hit]]
        hit_offsets[query + 1] = number
    return hit_offsets, found[:number], scores[:number]


@compiled
def _summed(
    index: Index,
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    sums: NDArray[np.float64],
    found: NDArray[np.int32],
    scores: NDArray[np.float32],
    number: int,
) -> int:
    """Write places and scores of the hits of a query from ``number`` on; returns where they end.

    ``sums`` (documents,) are 0 before and after.
    """
    first = number
    for asked in range(len(terms)):
        term, count = terms[asked], counts[asked]
        for posting in range(index.starts[term], index.starts[term + 1]):
            place = index.places[posting]
            total = sums[place]
            found[number] = place  # overwritten where the place is not new
            number += total == 0
            sums[place] = total + count * np.float64(index.impacts[posting])
    for hit in range(first, number):
        place = found[hit]
        scores[hit] = sums[place]
        sums[place] = 0
    return number


@compiled
def _copied(
    index: Index,
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    found: NDArray[np.int32],
    scores: NDArray[np.float32],
    number: int,
) -> int:
    """The same where one list is nearly all there is: copied, but for what others hold too."""
    longest, postings = 0, 0
    for asked in range(len(terms)):
        length = index.starts[terms[asked] + 1] - index.starts[terms[asked]]
        postings += length
        if length > index.starts[terms[longest] + 1] - index.starts[terms[longest]]:
            longest = asked
    first, last = index.starts[terms[longest]], index.starts[terms[longest] + 1]
    others = np.empty(postings - (last - first), dtype=np.int32)
    filled = 0
    for asked in range(len(terms)):
        if asked != longest:
            part = index.places[index.starts[terms[asked]] : index.starts[terms[asked] + 1]]
            others[filled : filled + len(part)] = part
            filled += len(part)
    others.sort()
    distinct = 0
    for place in others:
        if distinct == 0 or others[distinct - 1] != place:
            others[distinct] = place
            distinct += 1
    totals = np.zeros(distinct, dtype=np.float64)
    for asked in range(len(terms)):
        _add_term(index, terms[asked], counts[asked], others, totals, distinct)
    copied = number
    number += last - first
    found[copied:number] = index.places[first:last]
    scores[copied:number] = index.impacts[first:last]
    if counts[longest] != 1.0:
        for hit in range(copied, number):
            scores[hit] = counts[longest] * np.float64(scores[hit])
    for other in range(distinct):
        within = np.searchsorted(index.places[first:last], others[other])
        if within < last - first and index.places[first + within] == others[other]:
            scores[copied + within] = totals[other]
        else:
            found[number], scores[number] = others[other], totals[other]
            number += 1
    return number


# A hit is one number: the bits of its score upside down, which order positive scores, then its
# place. The smaller the number, the better the hit.


@compiled
def _key(score: np.float32, place: np.int32) -> np.uint64:
    bits = np.uint64(~np.float32(score).view(np.uint32))
    key: np.uint64 = (bits << np.uint64(32)) | np.uint64(place)
    return key


@compiled
def _score_of(key: np.uint64) -> np.float32:
    score: np.float32 = np.uint32(~key >> np.uint64(32)).view(np.float32)
    return score


@compiled
def _steps_of(score: np.float32, step: float) -> float:
    """As in :func:`benchmark.retrieval.engine.score_steps`."""
    return max(float(np.rint(np.float64(score) / step)), 1.0)


@compiled
def _lowest_tie(score: np.float32, step: float) -> np.float32:
    """A score that is at most the lowest which ties with this one."""
    if step == 0:
        return score
    steps = _steps_of(score, step)
    lowest: np.float32 = np.float32(0 if steps == 1 else (steps - 0.5) * step * (1 - 2 * _SLACK))
    return lowest


@compiled
def _cut(
    kept: NDArray[np.uint64], size: int, wanted: int, step: float
) -> tuple[int, np.float32, np.uint64]:
    """Keep the wanted best of the first ``size`` hits and their ties, at the front.

    Returns how many these are, the score that another one must reach, and the last of the wanted
    ones where nothing that is worse can get in.
    """
    if size < wanted:
        return size, np.float32(0), _WORST
    _select(kept, size, wanted)
    last = kept[wanted - 1]
    score = _score_of(last)
    if step == 0:
        return wanted, score, last
    steps = _steps_of(score, step)
    surely = (steps - 0.5) * step * (1 + 2 * _SLACK)
    number = wanted
    for hit in range(wanted, size):
        score = _score_of(kept[hit])
        if score > surely or _steps_of(score, step) >= steps:
            kept[number] = kept[hit]
            number += 1
    return number, _lowest_tie(_score_of(last), step), _WORST


@compiled
def _offer(
    kept: NDArray[np.uint64],
    size: int,
    low: np.float32,
    last: np.uint64,
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
    number: int,
    wanted: int,
    step: float,
) -> tuple[NDArray[np.uint64], int, np.float32, np.uint64]:
    """Add those of ``number`` documents to the hits that may be among the best."""
    for candidate in range(number):
        score = np.float32(sums[candidate])
        if score < low:
            continue
        key = _key(score, places[candidate])
        if key > last:
            continue
        if size == len(kept):
            size, low, last = _cut(kept, size, wanted, step)
            if 2 * size > len(kept):
                longer = np.empty(4 * len(kept), dtype=np.uint64)
                longer[:size] = kept[:size]
                kept = longer
            if score < low or key > last:
                continue
        kept[size] = key
        size += 1
    return kept, size, low, last


@compiled
def _complete(
    index: Index,
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    rest: NDArray[np.float64],
    first: int,
    goal: float,
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
    number: int,
) -> int:
    """Add the terms from ``first`` on, dropping documents that can no longer reach the goal."""
    for asked in range(first, len(terms)):
        left = 0
        for candidate in range(number):
            if sums[candidate] + rest[asked] >= goal:
                places[left] = places[candidate]
                sums[left] = sums[candidate]
                left += 1
        number = left
        if number == 0:
            break
        _add_term(index, terms[asked], counts[asked], places, sums, number)
    return number


@compiled
def _without(
    index: Index,
    terms: NDArray[np.int64],
    low: np.float32,
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
    number: int,
) -> int:
    """Drop documents of too low a score, and those that contain one of the terms."""
    left = 0
    for candidate in range(number):
        if np.float32(sums[candidate]) >= low:
            places[left] = places[candidate]
            sums[left] = sums[candidate]
            left += 1
    number = left
    for term in terms:
        if number == 0:
            break
        found = np.zeros(number, dtype=np.float64)
        _add_term(index, term, 1.0, places, found, number)
        left = 0
        for candidate in range(number):
            if found[candidate] == 0:
                places[left] = places[candidate]
                sums[left] = sums[candidate]
                left += 1
        number = left
    return number


@compiled
def _sum_window(
    index: Index,
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    cursors: NDArray[np.int64],
    window: NDArray[np.float64],
    least: float,
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
) -> int:
    """Sum the terms over the next window of documents, of which ``cursors`` say the first postings.

    Returns how many sums reach ``least``, which ``places`` and ``sums`` then hold; -1 where there
    is no posting left. ``window`` is zero before and after.
    """
    start = np.int64(-1)
    for asked in range(len(terms)):
        if cursors[asked] < index.starts[terms[asked] + 1]:
            place = np.int64(index.places[cursors[asked]])
            if start < 0 or place < start:
                start = place
    if start < 0:
        return -1
    before = cursors.copy()
    for asked in range(len(terms)):
        posting, end, count = cursors[asked], index.starts[terms[asked] + 1], counts[asked]
        while posting < end:
            within = index.places[posting] - start
            if within >= len(window):
                break
            window[within] += count * np.float64(index.impacts[posting])
            posting += 1
        cursors[asked] = posting
    number = 0
    for asked in range(len(terms)):
        for posting in range(before[asked], cursors[asked]):
            within = index.places[posting] - start
            total = window[within]
            window[within] = 0.0  # so that a document comes once
            places[number] = index.places[posting]  # overwritten where the sum is too small
            sums[number] = total
            number += total >= least and total > 0
    return number


@compiled
def _scan(
    index: Index,
    first: int,
    last: int,
    count: float,
    least: np.float32,
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
) -> int:
    """The documents of some postings that add at least ``least``; returns how many."""
    number = 0
    for start in range(first, last, _SCAN_BLOCK):
        stop = min(start + _SCAN_BLOCK, last)
        reached = 0
        for posting in range(start, stop):
            reached += index.impacts[posting] >= least
        if reached == 0:
            continue
        for posting in range(start, stop):
            if index.impacts[posting] >= least:
                places[number] = index.places[posting]
                sums[number] = count * np.float64(index.impacts[posting])
                number += 1
    return number


@compiled
def _at_least(index: Index, term: int, least: float) -> int:
    """How many postings of a term add at least ``least``: as many or up to twice as many."""
    for entry in range(index.quantile_starts[term], index.quantile_starts[term + 1]):
        if index.quantiles[entry] < least:
            return int(1 << (entry - index.quantile_starts[term]))
    return int(index.starts[term + 1] - index.starts[term])


@compiled
def _read_alone(
    index: Index,
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    rest: NDArray[np.float64],
    asked: int,
    kept: NDArray[np.uint64],
    size: int,
    low: np.float32,
    last: np.uint64,
    wanted: int,
    step: float,
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
) -> tuple[NDArray[np.uint64], int, np.float32, np.uint64]:
    """Offer the documents of one term that contain none of the terms before it."""
    term, count = terms[asked], counts[asked]
    end = index.starts[term + 1]
    for start in range(index.starts[term], end, len(places)):
        goal = np.float64(low) * (1 - _SLACK)
        if rest[asked] < goal:
            break
        least = np.float32((goal - rest[asked + 1]) / count * (1 - _SLACK))
        stop = min(start + len(places), end)
        number = _scan(index, start, stop, count, least, places, sums)
        number = _complete(index, terms, counts, rest, asked + 1, goal, places, sums, number)
        number = _without(index, terms[:asked], low, places, sums, number)
        kept, size, low, last = _offer(kept, size, low, last, places, sums, number, wanted, step)
    return kept, size, low, last


@compiled
def _leading(lengths: NDArray[np.int64], wanted: int) -> int:
    """How many terms to read alone before the others: so few that have the wanted documents.

    These are likely to be good ones, so that the others need not be read, or not wholly. 0 where
    looking the documents up in all other lists costs more than reading these.
    """
    documents = 0
    others = lengths.sum()
    for asked in range(len(lengths)):
        documents += lengths[asked]
        others -= lengths[asked]
        if documents * _LOOK_UP_COST * (len(lengths) - 1) > others:
            break
        if documents >= wanted:
            return asked + 1
    return 0


@compiled
def _best_of_query(
    index: Index,
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    wanted: int,
    step: float,
    window: NDArray[np.float64],
    places: NDArray[np.int32],
    sums: NDArray[np.float64],
) -> tuple[NDArray[np.uint64], int]:
    """The hits of one query, as keys in no order at the front of the array; returns how many."""
    number_of_terms = len(terms)
    lengths = index.starts[terms + 1] - index.starts[terms]
    rest = np.zeros(number_of_terms + 1, dtype=np.float64)  # what the terms from here can add
    low = np.float32(0)  # a score that the wanted best reach
    for asked in range(number_of_terms - 1, -1, -1):
        term, count = terms[asked], counts[asked]
        rest[asked] = (rest[asked + 1] + count * np.float64(index.largest[term])) * (1 + _SUM_SLACK)
        for entry in range(index.quantile_starts[term], index.quantile_starts[term + 1]):
            if 1 << (entry - index.quantile_starts[term]) >= wanted:
                low = max(low, np.float32(count * np.float64(index.quantiles[entry])))
                break
    low = _lowest_tie(low, step)
    kept = np.empty(min(2 * wanted, max(lengths.sum(), 1)), dtype=np.uint64)
    size, last = 0, _WORST

    leading = _leading(lengths, wanted)
    for asked in range(leading):
        kept, size, low, last = _read_alone(
            index, terms, counts, rest, asked,
            kept, size, low, last, wanted, step, places, sums,
        )  # fmt: skip
    if size >= wanted:
        size, low, last = _cut(kept, size, wanted, step)
    goal = np.float64(low) * (1 - _SLACK)
    essential = number_of_terms
    while essential > leading and rest[essential - 1] < goal:
        essential -= 1

    # From the end, terms of which few documents can get in are read alone, and last.
    summed = essential
    while summed > leading:
        term = terms[summed - 1]
        likely = _at_least(index, term, (goal - rest[summed]) / counts[summed - 1])
        if likely * _LOOK_UP_COST * (number_of_terms - 1) > 2 * lengths[summed - 1]:
            break
        summed -= 1
    reading = summed
    cursors = index.starts[terms[:summed]]
    while True:
        while reading > leading and rest[reading - 1] < goal:
            reading -= 1
        if reading == leading:
            break
        number = _sum_window(
            index, terms[leading:reading], counts[leading:reading], cursors[leading:reading],
            window, goal - rest[reading], places, sums,
        )  # fmt: skip
        if number < 0:
            break
        number = _complete(index, terms, counts, rest, reading, goal, places, sums, number)
        number = _without(index, terms[:leading], low, places, sums, number)
        kept, size, low, last = _offer(kept, size, low, last, places, sums, number, wanted, step)
        goal = np.float64(low) * (1 - _SLACK)
    # Where a summed term has ceased to be essential, these have too: they can add less.
    for asked in range(summed, essential):
        kept, size, low, last = _read_alone(
            index, terms, counts, rest, asked,
            kept, size, low, last, wanted, step, places, sums,
        )  # fmt: skip
    size = _cut(kept, size, wanted, step)[0]
    return kept, size


@compiled
def best_hits(
    index: Index,
    offsets: NDArray[np.int64],
    terms: NDArray[np.int64],
    counts: NDArray[np.float64],
    wanted: NDArray[np.int64],
    step: float,
    window_size: int,
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The hits of each query, as offsets (queries + 1,) and keys (hits,) in no order."""
    window = np.zeros(window_size, dtype=np.float64)
    places = np.empty(window_size, dtype=np.int32)
    sums = np.empty(window_size, dtype=np.float64)
    hit_offsets = np.zeros(len(offsets), dtype=np.int64)
    hits = np.empty(_FIRST_HITS, dtype=np.uint64)
    found = 0
    for query in range(len(wanted)):
        first, last = offsets[query], offsets[query + 1]
        if first < last and wanted[query] > 0:
            kept, size = _best_of_query(
                index,
                terms[first:last],
                counts[first:last],
                wanted[query],
                step,
                window,
                places,
                sums,
            )
            if found + size > len(hits):
                longer = np.empty(2 * (found + size), dtype=np.uint64)
                longer[:found] = hits[:found]
                hits = longer
            hits[found : found + size] = kept[:size]
            found += size
        hit_offsets[query + 1] = found
    return hit_offsets, hits[:found]
