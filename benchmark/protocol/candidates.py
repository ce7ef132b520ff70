"""Candidate lists: what each held-out event's target is ranked against."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, Judgements, LongArray
from benchmark.hashing import HashArray, row_hash
from benchmark.protocol.graded import JudgedRanks
from benchmark.protocol.metrics import Ranks, ranks_of_targets

_ROWS_AT_ONCE = 1024  # of lists that are put into order, so that they stay in the cache


@dataclass(frozen=True)
class Candidates:
    """One candidate list an event, the true item at a column that a hash gives.

    ``items`` is (events, candidates) int32, lists that are shorter than the longest end in zeros;
    ``target_column`` (events,) is kept from systems, and so are ``gains`` (events, candidates), the
    judged gain of each candidate where relevance is graded.
    """

    items: IntArray
    target_column: IntArray
    gains: IntArray | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> LongArray:
        """How many candidates each event has, (events,)."""
        lengths: LongArray = np.count_nonzero(self.items, axis=1)
        return lengths

    @property
    def is_absent(self) -> NDArray[np.bool_] | None:
        """Which columns hold no candidate, (events, candidates); None if there are none."""
        absent = self.items == 0
        return absent if absent.any() else None

    @property
    def shown(self) -> IntArray:
        """What systems are asked: the lists, shorter ones filled up with their own items in turn.

        Every item of a list may stand there twice, so a repeated one is no more and no less likely
        to be the target. Shape (events, candidates).
        """
        if self.is_absent is None:
            return self.items
        column = np.arange(self.items.shape[1])[None, :] % self.lengths[:, None]
        return np.take_along_axis(self.items, column, axis=1)

    def ranks(self, scores: NDArray[np.floating]) -> Ranks:
        """Where the targets stand, by scores (events, candidates) of what is :attr:`shown`."""
        ranks = ranks_of_targets(scores, self.target_column, self.is_absent)
        if self.gains is None:
            return ranks
        return replace(ranks, judged=JudgedRanks.in_lists(scores, self.gains, self.is_absent))

    @property
    def answers(self) -> list[NDArray[np.integer]]:
        """What is kept from systems: the targets' columns, how long lists are, and gains."""
        return [self.target_column, self.lengths, *([] if self.gains is None else [self.gains])]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the lists and of the place of the targets."""
        digest = hashlib.sha256()
        for array in (self.items, self.target_column):
            digest.update(np.ascontiguousarray(array, dtype=np.int32).tobytes())
        if self.gains is not None:
            digest.update(np.ascontiguousarray(self.gains, dtype=np.int32).tobytes())
        return digest.hexdigest()

    @classmethod
    def from_negatives(
        cls,
        targets: NDArray[np.integer],
        negatives: NDArray[np.integer],
        keys: HashArray,
        item_keys: HashArray,
    ) -> Candidates:
        """Put each target among its negatives, in an order that a hash gives.

        The lists are as wide as the longest one.

        Args:
            targets: (events,).
            negatives: (events, negatives), without the target; 0 where there is none.
            keys: (events,) a hash of each event.
            item_keys: (items + 1,) a hash of each item.
        """
        items = np.concatenate([targets[:, None], negatives], axis=1).astype(np.int32)
        for start in range(0, len(items), _ROWS_AT_ONCE):
            together = items[start : start + _ROWS_AT_ONCE]
            of_event = keys[start : start + _ROWS_AT_ONCE, None]
            place = row_hash(0, "column", of_event, item_keys[together])
            # The greatest hash, and a stable order: what is no candidate comes last.
            place[together == 0] = np.iinfo(place.dtype).max
            order = np.argsort(place, axis=1, kind="stable")
            together[:] = np.take_along_axis(together, order, axis=1)
        longest = int(np.count_nonzero(items, axis=1).max(initial=1))
        if longest < items.shape[1]:
            items = items[:, :longest].copy()  # no view, which would keep the wider array
        return cls.with_targets(items, targets)

    @classmethod
    def with_targets(cls, items: IntArray, targets: NDArray[np.integer]) -> Candidates:
        """Lists (events, candidates) that hold each event's target exactly once."""
        return cls(items, np.argmax(items == targets[:, None], axis=1).astype(np.int32))

    def select(self, rows: NDArray[np.integer] | slice) -> Candidates:
        """The lists at ``rows``."""
        gains = None if self.gains is None else self.gains[rows]
        return Candidates(self.items[rows], self.target_column[rows], gains)

    def judged_by(self, judgements: Judgements | None, query: NDArray[np.integer]) -> Candidates:
        """The lists with the gains of searches for ``query`` (events,), where there are any."""
        if judgements is None:
            return self
        return replace(self, gains=judgements.gains_of(query, self.items))
