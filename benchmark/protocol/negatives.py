"""Sampled negatives, drawn for many events at once.

Rejection: draw more than needed, strike what is excluded or repeated, keep the first ones in the
order of drawing; so the law is that of drawing one after another. Where so few items are left that
rejection would take long, a Gumbel top-k over all items draws the rest by the same law.

Where the numbers come from is one of two: a generator, for training (:func:`sample_negatives`), or
hashes of each event alone, for the lists of an evaluation (:func:`hashed_negatives`), which then
hang neither on the order of the events nor on who else is in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.hashing import HashArray, row_hash, row_uniform
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.urn import Urn

_CHUNK = 4096  # events of a draw from a generator, which takes its numbers chunk by chunk
_CHUNK_OF_HASHES = 512  # so that the draws of a chunk stay in the processor's cache
_REJECTION_NEEDS = 4.0  # effective number of eligible items, in multiples of what is asked for
_REJECTION_SHARE = 0.25  # eligible share of the whole mass, so that not too many draws are struck
_MOST_DRAWS = 8  # in the first round, in multiples of what is asked for
_ROUNDS = 8  # of rejection; what is missing then is drawn by Gumbel top-k
_GUMBEL_ENTRIES = 4_000_000


def first_distinct(
    draws: NDArray[np.integer], allowed: NDArray[np.bool_], number: int
) -> tuple[IntArray, NDArray[np.int64]]:
    """The first ``number`` distinct allowed values of each row, in order of drawing.

    Args:
        draws: (rows, drawn) values.
        allowed: (rows, drawn).

    Returns:
        (rows, number) values, 0 where a row has too few, and the count of each row.
    """
    values = np.where(allowed, draws, -1)
    ordered = np.sort(values, axis=1)
    repeats = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    keep = allowed.copy()
    keep[repeats] = _is_first(values[repeats])
    rank = np.cumsum(keep, axis=1)
    keep &= rank <= number
    row, column = np.nonzero(keep)
    out = np.zeros((len(draws), number), dtype=np.int32)
    out[row, rank[row, column] - 1] = draws[row, column]
    return out, np.minimum(rank[:, -1], number) if draws.shape[1] else np.zeros(len(draws), int)


def _is_first(values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether each value is the first of its kind in its row, and not negative."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    new = ordered >= 0
    new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    is_first = np.empty_like(new)
    np.put_along_axis(is_first, order, new, axis=1)
    return is_first


class _Draws(Protocol):
    """Where drawn items come from; ``rows`` are rows of all events."""

    at_once: int
    """How many draws an event has in a round."""
    chunk: int
    """How many events are drawn together."""

    def items(self, rows: LongArray, round_number: int) -> IntArray:
        """(rows, at_once) items, each drawn by the law; 0 for a draw of nothing."""
        ...

    def gumbel(self, rows: LongArray) -> NDArray[np.float64]:
        """(rows, items + 1) numbers of the standard Gumbel law."""
        ...


class _FromGenerator:
    """Draws of one generator after another."""

    chunk = _CHUNK

    def __init__(
        self, random: np.random.Generator, weights: NDArray[np.float64], at_once: int
    ) -> None:
        self.at_once = at_once
        self._random = random
        self._cumulative = np.cumsum(weights)

    def items(self, rows: LongArray, round_number: int) -> IntArray:
        place = self._random.random((len(rows), self.at_once)) * self._cumulative[-1]
        found = np.searchsorted(self._cumulative, place, side="right")
        drawn: IntArray = np.minimum(found, len(self._cumulative) - 1).astype(np.int32)
        return drawn

    def gumbel(self, rows: LongArray) -> NDArray[np.float64]:
        return self._random.gumbel(size=(len(rows), len(self._cumulative)))


class _FromHashes:
    """Draws of each event's own hash."""

    chunk = _CHUNK_OF_HASHES

    def __init__(self, law: HashedLaw, keys: HashArray, at_once: int) -> None:
        self.at_once = int(np.ceil(at_once / law.urn.share_of_full_places))
        self._law, self._keys = law, keys

    def items(self, rows: LongArray, round_number: int) -> IntArray:
        number = np.arange(round_number * self.at_once, (round_number + 1) * self.at_once)
        hashes = row_hash(self._law.seed, "draw", self._keys[rows][:, None], number[None, :])
        return _to_the_left(self._law.urn.draw(hashes))

    def gumbel(self, rows: LongArray) -> NDArray[np.float64]:
        event, item = self._keys[rows][:, None], self._law.item_keys[None, :]
        uniform = row_uniform(self._law.seed, "rest", event, item)
        with np.errstate(divide="ignore"):
            numbers: NDArray[np.float64] = -np.log(-np.log(uniform))
        return numbers


def _to_the_left(drawn: IntArray) -> IntArray:
    """The rows of ``drawn`` without their zeros, in the same order; filled up with zeros."""
    row, column = np.nonzero(drawn)
    count = np.bincount(row, minlength=len(drawn))
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    left = np.zeros((len(drawn), int(count.max(initial=0))), dtype=np.int32)
    left[row, within] = drawn[row, column]
    return left


@dataclass(frozen=True)
class HashedLaw:
    """A law of negatives that is drawn from by hash.

    ``urn`` holds what is drawn with equal chance: the items, or events in whose number items are
    popular. ``weights`` (items + 1,) are the chances that come of it, ``item_keys`` (items + 1,)
    hashes of the items.
    """

    seed: int
    urn: Urn
    weights: NDArray[np.float64]
    item_keys: HashArray

    @classmethod
    def uniform(cls, seed: int, item_keys: HashArray) -> HashedLaw:
        """Every item alike."""
        weights = np.ones(len(item_keys))
        return cls(seed, Urn.of(item_keys[1:], np.arange(1, len(item_keys))), weights, item_keys)

    @classmethod
    def of_events(
        cls, seed: int, item_keys: HashArray, keys: HashArray, item: NDArray[np.integer]
    ) -> HashedLaw:
        """In proportion to how often items stand in events with these ``keys`` (events,)."""
        weights = np.bincount(item, minlength=len(item_keys)).astype(np.float64)
        return cls(seed, Urn.of(keys, item), weights, item_keys)


def hashed_negatives(
    law: HashedLaw,
    keys: HashArray,
    rows: NDArray[np.integer],
    targets: NDArray[np.integer],
    exclusions: Exclusions,
    number: int,
) -> tuple[IntArray, NDArray[np.int64]]:
    """Like :func:`sample_negatives`, each event's by its own hash; ``keys`` is (events,)."""
    plan = _Plan.of(law.weights, number)
    source = _FromHashes(law, keys, plan.at_once)
    return _drawn(source, plan, rows, targets, exclusions, number)


def sample_negatives(
    random: np.random.Generator,
    rows: NDArray[np.integer],
    targets: NDArray[np.integer],
    exclusions: Exclusions,
    number: int,
    weights: NDArray[np.float64] | None = None,
) -> tuple[IntArray, NDArray[np.int64]]:
    """Draw ``number`` distinct items for each event.

    Args:
        rows: (events,) the row of ``exclusions`` that counts for each event.
        targets: (events,) an item that may not be drawn, 0 for none.
        weights: (number_of_items + 1,) non-negative; uniform over 1 … number_of_items if absent.

    Returns:
        (events, number) items, and how many each event found (fewer than ``number`` only if fewer
        items are eligible; the rest of such a row is 0).
    """
    if weights is None:
        weights = np.ones(exclusions.number_of_items + 1)
    plan = _Plan.of(weights, number)
    source = _FromGenerator(random, plan.weights, plan.at_once)
    return _drawn(source, plan, rows, targets, exclusions, number)


@dataclass(frozen=True)
class _Plan:
    """How items are drawn by ``weights`` (items + 1,), of which that of the padding is 0.

    An event has ``at_once`` draws in a round. Rejection is quick for whom the share ``mass`` of the
    weights is left, and of ``distinct`` times this share, ``needed`` in multiples of one more item
    than asked for.
    """

    weights: NDArray[np.float64]
    at_once: int
    total: float
    distinct: float
    needed: float

    @classmethod
    def of(cls, weights: NDArray[np.float64], number: int) -> _Plan:
        """The plan for ``number`` items an event; the weight of the padding does not count."""
        weights = weights.astype(np.float64)
        weights[0] = 0.0
        total = max(float(weights.sum()), 1e-300)
        at_once = number + number // 4 + 8
        if np.ptp(weights[1:]) == 0:
            # Enough mass must be left, and spread over enough items.
            effective_items = total**2 / max(float((weights**2).sum()), 1e-300)
            return cls(weights, at_once, total, effective_items, _REJECTION_NEEDS)
        # A few items may have most of the mass, so what counts is what all rounds would give.
        at_once = _draws_for(weights[1:], number, at_once)
        return cls(weights, at_once, total, _expected_distinct(weights, _ROUNDS * number), 2.0)

    def quick_rows(self, barred: Exclusions, rows: int, number: int) -> LongArray:
        """The rows for which rejection is quick."""
        index, item = barred.items_of(np.arange(rows))
        left = 1.0 - np.bincount(index, weights=self.weights[item], minlength=rows) / self.total
        enough = left * self.distinct >= self.needed * (number + 1)
        return np.flatnonzero(enough & (left >= _REJECTION_SHARE))


def _drawn(
    source: _Draws,
    plan: _Plan,
    rows: NDArray[np.integer],
    targets: NDArray[np.integer],
    exclusions: Exclusions,
    number: int,
) -> tuple[IntArray, NDArray[np.int64]]:
    negatives = np.zeros((len(rows), number), dtype=np.int32)
    found = np.zeros(len(rows), dtype=np.int64)
    for start in range(0, len(rows), source.chunk):
        chunk = slice(start, start + source.chunk)
        barred = exclusions.among(rows[chunk])
        part = (start, targets[chunk], barred, plan.weights, negatives[chunk], found[chunk])
        quick = plan.quick_rows(barred, len(targets[chunk]), number)
        _draw_with_rejection(source, quick, *part)
        _complete_with_gumbel(source, *part)
    return negatives, found


def _expected_distinct(weights: NDArray[np.float64], draws: int) -> float:
    """How many different items so many draws give in the mean (Poisson approximation)."""
    share = weights / max(float(weights.sum()), 1e-300)
    return float(-np.expm1(-draws * share).sum())


def _draws_for(weights: NDArray[np.float64], number: int, draws: int) -> int:
    """Draws that mostly give ``number`` different items under a law that favours a few."""
    while draws < _MOST_DRAWS * number and _expected_distinct(weights, draws) < 1.3 * number:
        draws += draws // 2
    return draws


def _draw_with_rejection(
    source: _Draws,
    rows: LongArray,
    first_event: int,
    targets: NDArray[np.integer],
    barred: Exclusions,
    weights: NDArray[np.float64],
    negatives: IntArray,
    found: NDArray[np.int64],
) -> None:
    """Fill ``negatives`` and ``found`` at ``rows`` in place, as far as a few rounds get."""
    number = negatives.shape[1]
    drawn = np.zeros((len(rows), 0), dtype=np.int32)
    for round_number in range(_ROUNDS):
        if not len(rows):
            return
        fresh = source.items(first_event + rows, round_number)
        drawn = np.concatenate([drawn, fresh], axis=1)
        allowed = ~barred.contains(rows[:, None], drawn) & (drawn != targets[rows][:, None])
        allowed &= weights[drawn] > 0
        negatives[rows], found[rows] = first_distinct(drawn, allowed, number)
        unfinished = found[rows] < number
        rows, drawn = rows[unfinished], drawn[unfinished]


def _complete_with_gumbel(
    source: _Draws,
    first_event: int,
    targets: NDArray[np.integer],
    barred: Exclusions,
    weights: NDArray[np.float64],
    negatives: IntArray,
    found: NDArray[np.int64],
) -> None:
    """Go on drawing, in place, where items are missing: the top of perturbed log weights."""
    number = negatives.shape[1]
    unfinished = np.flatnonzero(found < number)
    if not len(unfinished):
        return
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    step = max(1, _GUMBEL_ENTRIES // len(weights))
    for start in range(0, len(unfinished), step):
        rows = unfinished[start : start + step]
        keys = log_weights + source.gumbel(first_event + rows)
        index, item = barred.items_of(rows)
        keys[index, item] = -np.inf
        np.put_along_axis(keys, negatives[rows].astype(np.int64), -np.inf, axis=1)
        keys[np.arange(len(rows)), targets[rows]] = -np.inf
        top = _columns_of_largest(keys, number)
        usable = np.take_along_axis(keys, top, axis=1) > -np.inf
        drawn = np.concatenate([negatives[rows], np.where(usable, top, 0)], axis=1)
        negatives[rows], found[rows] = first_distinct(drawn, drawn > 0, number)


def _columns_of_largest(keys: NDArray[np.float64], number: int) -> LongArray:
    """The columns of each row's ``number`` largest keys, best first; all if there are fewer."""
    number = min(number, keys.shape[1])
    top = np.argpartition(keys, keys.shape[1] - number, axis=1)[:, keys.shape[1] - number :]
    order = np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1)
    return np.take_along_axis(top, order, axis=1)
