"""The identifiers of a catalogue as one array, and how well they tell the items apart.

Every generative system reads them from here, however they were made: by quantising vectors, by
clustering, or by hand. Codes are small numbers; what token or word a code becomes is the system's
affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.files import read_json, write_array, write_json

PADDING = -1

_CODES_FILE = "codes.npy"
_SIZES_FILE = "identifiers.json"


@dataclass(frozen=True)
class IdentifierReport:
    """How well identifiers tell items apart.

    ``sharing`` is the share of items whose identifier another item has too; ``codebook_use`` is,
    for each level, the share of its codes that any item has; ``entropy`` that of a level's codes
    over the items, as a share of the largest possible; ``fan_out`` the mean number of codes of a
    level that follow a prefix in use, (levels,); ``mean_length`` counts codes an item.
    """

    items: int
    distinct: int
    sharing: float
    codebook_use: tuple[float, ...]
    entropy: tuple[float, ...]
    fan_out: tuple[float, ...]
    mean_length: float

    def as_json(self) -> dict[str, float]:
        """Flat figures, levels counted from 1, as ``System.identifier_quality`` gives them."""
        by_level = {
            f"{name}_{level}": value
            for name in ("codebook_use", "entropy", "fan_out")
            for level, value in enumerate(getattr(self, name), start=1)
        }
        return {
            "items": float(self.items),
            "distinct": float(self.distinct),
            "sharing": self.sharing,
            "mean_length": self.mean_length,
            **by_level,
        }


@dataclass(frozen=True)
class Identifiers:
    """One identifier for each item.

    ``codes`` is (number_of_items + 1, levels) int32: row 0 is the padding item and all -1, and an
    identifier that is shorter than the longest one ends in -1. ``sizes`` says how many codes each
    level has, so the codes of level l are 0 … sizes[l] - 1.

    Raises:
        SystemFailure: the codes have another shape or type, or one is out of its range.
    """

    codes: NDArray[np.int32]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        complaint = _complaint(self.codes, self.sizes)
        if complaint:
            raise SystemFailure(f"identifiers: {complaint}.")

    @classmethod
    def of_items(cls, codes: NDArray[np.integer], sizes: Sequence[int]) -> Identifiers:
        """From ``codes`` (number_of_items, levels) of items 1, 2, …, without a row for padding."""
        table = np.full((len(codes) + 1, codes.shape[1]), PADDING, dtype=np.int32)
        table[1:] = codes
        return cls(table, tuple(int(size) for size in sizes))

    @property
    def number_of_items(self) -> int:
        """Items are 1 … number_of_items."""
        return len(self.codes) - 1

    @property
    def levels(self) -> int:
        """Codes of the longest identifier."""
        return len(self.sizes)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(number_of_items + 1,) codes of each identifier, 0 for the padding item."""
        lengths: NDArray[np.int64] = np.count_nonzero(self.codes != PADDING, axis=1)
        return lengths

    def report(self) -> IdentifierReport:
        """Collisions and use of the codebooks."""
        codes = self.codes[1:]
        members = np.bincount(groups_of(codes))
        used = [np.unique(level[level != PADDING]).size for level in codes.T]
        levels = list(zip(codes.T, self.sizes, strict=True))
        prefixes = [
            np.unique(groups_of(codes[(codes[:, :length] != PADDING).all(axis=1), :length])).size
            for length in range(len(levels) + 1)
        ]
        return IdentifierReport(
            items=len(codes),
            distinct=len(members),
            sharing=float(members[members > 1].sum() / max(len(codes), 1)),
            codebook_use=tuple(n / size for n, size in zip(used, self.sizes, strict=True)),
            entropy=tuple(_entropy(level[level != PADDING], size) for level, size in levels),
            fan_out=tuple(longer / max(shorter, 1) for shorter, longer in pairwise(prefixes)),
            mean_length=float(self.lengths[1:].mean()) if len(codes) else 0.0,
        )

    def save(self, folder: Path) -> None:
        """Write the codes and sizes into ``folder``."""
        write_array(folder / _CODES_FILE, self.codes)
        write_json(folder / _SIZES_FILE, {"sizes": list(self.sizes)})

    @classmethod
    def load(cls, folder: Path) -> Identifiers:
        """Read what :meth:`save` wrote.

        Raises:
            BenchmarkError: a file is missing or damaged.
        """
        content = read_json(folder / _SIZES_FILE)
        try:
            codes = np.load(folder / _CODES_FILE, allow_pickle=False)
            return cls(codes, tuple(content["sizes"]))
        except (OSError, ValueError, TypeError, KeyError, SystemFailure) as error:
            raise BenchmarkError(f"{folder}: holds no readable identifiers ({error}).") from None


def _entropy(codes: NDArray[np.integer], size: int) -> float:
    """Of the codes of one level over the items, as a share of that of ``size`` equal ones."""
    if size < 2 or not len(codes):
        return 1.0
    share = np.bincount(codes) / len(codes)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum() / np.log(size))


def groups_of(codes: NDArray[np.integer]) -> NDArray[np.int64]:
    """(rows,) for each row of ``codes`` the number of its group; equal rows have equal numbers."""
    if not codes.size:  # no rows, or rows of nothing, which are all equal
        return np.zeros(len(codes), dtype=np.int64)
    _, group = np.unique(codes, axis=0, return_inverse=True)
    numbers: NDArray[np.int64] = group.reshape(-1).astype(np.int64, copy=False)
    return numbers


def _complaint(codes: NDArray[np.int32], sizes: tuple[int, ...]) -> str:
    if codes.ndim != 2 or codes.dtype != np.int32 or not len(codes):
        return "the codes must be int32 of shape (number of items + 1, levels)"
    if codes.shape[1] != len(sizes):
        return f"there are {codes.shape[1]} levels of codes and {len(sizes)} sizes"
    if (codes[0] != PADDING).any():
        return "row 0 is the padding item and must be all -1"
    if (codes < PADDING).any() or (codes >= np.array(sizes, dtype=np.int64)).any():
        return f"a code is out of the range that the sizes {list(sizes)} give"
    is_code = codes != PADDING
    if (is_code[:, 1:] & ~is_code[:, :-1]).any():
        return "a code follows padding"
    if len(sizes) and not is_code[1:, 0].all():
        return f"item {int(np.argmin(is_code[1:, 0])) + 1} has no code"
    return ""
