"""Where targets stand in BM25's order of the items that are alike them, and lists drawn by it.

An order has two parts: the items that match a word of the query, in BM25's order, then those that
match none, in the order of a hash. The law of targets has two numbers. ``odds`` says how many times
as likely a matching item is the target as one that matches nothing; ``exponent`` that a share of
``x ** exponent`` of the matching targets stands in the first share ``x`` of the matching items.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import LongArray

LENGTHS = (99, 79, 59, 49, 39, 29, 24, 19, 14, 9, 7, 4, 3, 2, 1)
"""How many negatives lists may have where the protocol's number is too many."""

_EXPONENT_STEP = 3.0  # about, in deviations of an exponent near 1
_ODDS_STEP = 4.0  # about, in deviations of the logarithm of odds near 1
_LARGEST_ODDS_OCTAVE = 16
_STANDS_OUT = 1.5  # so many times the law's share of targets at the first place is too many for it
_ALMOST_ONE = 1.0 + 1e-9  # so that a list may hold all items of a kind in spite of rounding


@dataclass(frozen=True)
class Places:
    """Where the targets of events stand; every array has shape (events,).

    ``rank`` counts from 0 among ``items``, of which the first ``hits`` match a word of the query.
    ``point`` is in [0, 1): where in its item's piece of the order the target stands.
    """

    rank: LongArray
    items: LongArray
    hits: LongArray
    point: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rank)

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Places:
        """The places at ``rows``."""
        return Places(*(getattr(self, column.name)[rows] for column in fields(self)))


@dataclass(frozen=True)
class PlaceLaw:
    """How likely each item of an order is the target; see the module for both numbers.

    A list has at most ``most`` candidates, where more targets stand first than the law says.
    """

    exponent: float
    odds: float = 1.0
    most: int = 2**31

    @classmethod
    def of(cls, places: Places) -> PlaceLaw:
        """The most likely law of these targets, rounded so that one less seldom changes it."""
        law = cls(_exponent_of(places.select(places.rank < places.hits)), _odds_of(places))
        first = float(np.mean(places.rank == 0))
        expected = float(law.before(np.ones(len(places)), places).mean())
        error = np.sqrt(expected * (1.0 - expected) / len(places))
        if first <= max(_STANDS_OUT * expected, expected + 2.0 * error):
            return law
        # So many stand first that BM25's best hit alone gives them away to longer lists.
        lengths = (length for length in (*LENGTHS, 0) if (length + 1) * first <= 1.0)
        return cls(law.exponent, law.odds, next(lengths, 0) + 1)

    def share_of_hits(self, places: Places) -> NDArray[np.float64]:
        """How likely the target is one of the items that match, (events,)."""
        weight = self.odds * places.hits
        share: NDArray[np.float64] = weight / (weight + places.items - places.hits)
        return share

    def before(self, rank: NDArray[np.floating], places: Places) -> NDArray[np.float64]:
        """How likely the target stands before ``rank`` (events,), which need not be whole."""
        share = self.share_of_hits(places)
        among_hits = np.clip(rank / np.maximum(places.hits, 1), 0.0, 1.0) ** self.exponent
        misses = places.items - places.hits
        among_misses = np.clip((rank - places.hits) / np.maximum(misses, 1), 0.0, 1.0)
        likely: NDArray[np.float64] = share * among_hits + (1.0 - share) * among_misses
        return likely

    def rank_at(self, share: NDArray[np.float64], places: Places) -> LongArray:
        """The whole rank where :meth:`before` reaches ``share``; both (events, any)."""
        of_hits = self.share_of_hits(places)[:, None]
        hits, items = places.hits[:, None], places.items[:, None]
        among_hits = np.clip(share / np.maximum(of_hits, 1e-300), 0.0, 1.0)
        among_misses = np.clip((share - of_hits) / np.maximum(1.0 - of_hits, 1e-300), 0.0, 1.0)
        hit = np.minimum((hits * among_hits ** (1.0 / self.exponent)).astype(np.int64), hits - 1)
        miss = hits + ((items - hits) * among_misses).astype(np.int64)
        rank = np.where(share < of_hits, hit, miss)
        within: LongArray = np.clip(rank, 0, items - 1)
        return within

    def longest(self, places: Places) -> LongArray:
        """How many candidates the list of each event can have, its target included."""
        hits, misses = places.hits, places.items - places.hits
        pieces = [
            self.before(np.ones(len(places)), places),
            self.before(hits + 0.0, places) - self.before(hits - 1.0, places),
            (1.0 - self.share_of_hits(places)) / np.maximum(misses, 1),
        ]
        longest = np.floor(_ALMOST_ONE / np.max(pieces, axis=0)).astype(np.int64)
        bounded: LongArray = np.minimum(longest, np.minimum(places.items, self.most))
        return bounded

    def comb(self, places: Places, size: int) -> LongArray:
        """The ranks of the negatives in lists of ``size`` candidates, (events, size - 1).

        Every item has a piece of a line, as long as it is likely to be the target. A list is what
        the teeth of a comb hit, one unit apart, laid through the target's point.
        """
        start = self.before(places.rank.astype(np.float64), places)
        end = self.before(places.rank + 1.0, places)
        place = size * (start + places.point * (end - start))
        own = np.minimum(np.floor(place), size - 1)
        teeth = np.arange(size)[None, :] + (place - own)[:, None]
        hit = self.rank_at(teeth / size, places)
        others = np.arange(size)[None, :] != own[:, None]
        negatives: LongArray = hit[others].reshape(len(places), size - 1)
        return negatives


def _exponent_of(hits: Places) -> float:
    """The exponent of targets that match, by maximum likelihood; 1 without any."""
    if not len(hits):
        return 1.0
    place = np.maximum((hits.rank + hits.point) / hits.hits, 1e-12)
    likely = len(place) / max(-float(np.log(place).sum()), 1e-12)
    step = _step(_EXPONENT_STEP, len(place))
    return float(max(step, np.round(likely / step) * step))


def _step(deviations: float, targets: int) -> float:
    """To what an estimate of so many targets is rounded: a power of two."""
    return float(2.0 ** np.round(np.log2(deviations / np.sqrt(targets))))


def _odds_of(places: Places) -> float:
    """The odds under which as many targets match as do, found by halving the range of octaves."""
    is_mixed = (places.hits > 0) & (places.hits < places.items)
    mixed = places.select(is_mixed)
    if not len(mixed):
        return 1.0
    matching = float(np.mean(mixed.rank < mixed.hits))
    low, high = -float(_LARGEST_ODDS_OCTAVE), float(_LARGEST_ODDS_OCTAVE)
    for _ in range(40):
        middle = (low + high) / 2
        if float(PlaceLaw(1.0, 2.0**middle).share_of_hits(mixed).mean()) < matching:
            low = middle
        else:
            high = middle
    step = _step(_ODDS_STEP, len(mixed))
    return float(2.0 ** (np.round(low / step) * step))
