"""Candidate lists: what each held-out event's target is ranked against."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray


@dataclass(frozen=True)
class Candidates:
    """One candidate list an event, the true item at a seeded random column.

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
        random: np.random.Generator,
    ) -> Candidates:
        """Put each target among its negatives and shuffle every list.

        Args:
            targets: (events,).
            negatives: (events, negatives), without the target.
        """
        ordered = np.concatenate([targets[:, None], negatives], axis=1).astype(np.int32)
        items = random.permuted(ordered, axis=1)
        return cls.with_targets(items, targets)

    @classmethod
    def with_targets(cls, items: IntArray, targets: NDArray[np.integer]) -> Candidates:
        """Lists (events, candidates) that hold each event's target exactly once."""
        return cls(items, np.argmax(items == targets[:, None], axis=1).astype(np.int32))

    def select(self, rows: NDArray[np.integer] | slice) -> Candidates:
        """The lists at ``rows``."""
        return Candidates(self.items[rows], self.target_column[rows])
