"""Candidate lists: what each held-out event's target is ranked against."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray
from benchmark.hashing import HashArray, row_hash


@dataclass(frozen=True)
class Candidates:
    """One candidate list an event, the true item at a column that a hash gives.

    ``items`` is (events, candidates) int32; ``target_column`` (events,) is kept from systems.
    """

    items: IntArray
    target_column: IntArray

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the lists and of the place of the targets."""
        digest = hashlib.sha256()
        for array in (self.items, self.target_column):
            digest.update(np.ascontiguousarray(array, dtype=np.int32).tobytes())
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

        Args:
            targets: (events,).
            negatives: (events, negatives), without the target.
            keys: (events,) a hash of each event.
            item_keys: (items + 1,) a hash of each item.
        """
        together = np.concatenate([targets[:, None], negatives], axis=1).astype(np.int32)
        place = row_hash(0, "column", keys[:, None], item_keys[together])
        order = np.argsort(place, axis=1, kind="stable")
        return cls.with_targets(np.take_along_axis(together, order, axis=1), targets)

    @classmethod
    def with_targets(cls, items: IntArray, targets: NDArray[np.integer]) -> Candidates:
        """Lists (events, candidates) that hold each event's target exactly once."""
        return cls(items, np.argmax(items == targets[:, None], axis=1).astype(np.int32))

    def select(self, rows: NDArray[np.integer] | slice) -> Candidates:
        """The lists at ``rows``."""
        return Candidates(self.items[rows], self.target_column[rows])
