"""Draws by hash that hang on nothing else: not on the order of rows, nor on who else is in the log.

The negatives of an event are a function of the seed, of the event's own user, item and query, and
of the elements that may be drawn. An element more or less changes the lists that hold it, or that
it pushes something out of, and no other: see :class:`Urn`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, IntArray, LongArray
from benchmark.hashing import HashArray, row_hash, text_keys

_BITS_OF_A_SLOT = 2  # a slot holds 4 to 8 elements in the mean, so that few move with another
_PLACES = 24  # of a slot; that more are needed is as good as never
_LOW_HALF = np.uint64(0xFFFF_FFFF)


def event_keys(dataset: Dataset, rows: LongArray, seed: int) -> HashArray:
    """The hash of seed, user, item and query of each log row, (rows,), by external ids.

    With the data set's salt, which no system knows: who could compute the draws of each candidate
    would see which one drew the others.
    """
    return row_hash(
        0, "event", asking_keys(dataset, rows, seed), dataset.item_keys[dataset.log.item[rows]]
    )


def asking_keys(dataset: Dataset, rows: LongArray, seed: int) -> HashArray:
    """The hash of seed, user and query of each log row, (rows,): all but the target."""
    log = dataset.log
    return row_hash(
        seed,
        "asking",
        text_keys([dataset.salt]),
        dataset.user_keys[log.user[rows]],
        dataset.query_keys[log.query[rows]],
    )


@dataclass(frozen=True)
class Urn:
    """Elements that are drawn by 64-bit numbers, each equally likely.

    The keys divide the elements among slots by their highest bits. A number names a slot and a
    place in it, and draws the element that stands there in the order of the keys; some places are
    empty, and a number that names one draws nothing. So an element that comes or goes moves only
    those behind it in its slot, and only numbers that fall there draw something else. (All move
    where the number of elements passes a power of two.)

    ``value`` (elements,) is what each stands for, sorted by key; ``start`` (slots + 1,) cuts the
    elements into slots; ``places`` is the number of places of a slot.
    """

    value: IntArray
    start: LongArray
    places: int

    @classmethod
    def of(cls, keys: HashArray, value: NDArray[np.integer]) -> Urn:
        """An urn of elements with these keys (elements,), which should be hashes."""
        bits = max(0, len(keys).bit_length() - 1 - _BITS_OF_A_SLOT)
        order = np.argsort(keys, kind="stable")
        slot = (keys[order] >> np.uint64(64 - bits)).astype(np.int64) if bits else None
        count = np.array([len(keys)]) if slot is None else np.bincount(slot, minlength=1 << bits)
        return cls(
            value=np.asarray(value, dtype=np.int32)[order],
            start=np.concatenate([[0], np.cumsum(count)]).astype(np.int64),
            places=_PLACES * -(-int(count.max()) // _PLACES),
        )

    @property
    def share_of_full_places(self) -> float:
        """How likely a number draws something."""
        return len(self.value) / ((len(self.start) - 1) * self.places)

    def draw(self, numbers: HashArray) -> IntArray:
        """The value that each number draws, 0 for nothing; of the shape of ``numbers``."""
        bits = (len(self.start) - 1).bit_length() - 1
        slot = (
            (numbers >> np.uint64(64 - bits)).view(np.int64)
            if bits
            else np.zeros(numbers.shape, dtype=np.int64)
        )
        place = ((numbers & _LOW_HALF) * np.uint64(self.places) >> np.uint64(32)).view(np.int64)
        # Few places are full, so the tables of all elements are asked for these alone.
        is_full = place < self._count[slot]
        drawn = np.zeros(numbers.shape, dtype=np.int32)
        drawn[is_full] = self.value[self.start[slot[is_full]] + place[is_full]]
        return drawn

    @cached_property
    def _count(self) -> NDArray[np.unsignedinteger]:
        """How many elements each slot holds, (slots,), in a table that is small."""
        return np.diff(self.start).astype(np.min_scalar_type(self.places))
