"""Items with the queries that they answer, in batches: of one prefix of codes, or of all pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.dataset import LongArray
from benchmark.kit.identifiers.value import groups_of
from benchmark.kit.text.encoders import Tokens
from benchmark.kit.text.pieces import assembled, shuffled_by_length
from benchmark.kit.training import Batch, Instances

_BATCHES_SORTED_TOGETHER = 16


@dataclass(frozen=True)
class ItemQueries:
    """The queries of each item: ``i``'s are at ``rows[offsets[i]:offsets[i + 1]]`` in ``tokens``.

    ``offsets`` is (number_of_items + 2,); item 0, the padding, has none.
    """

    tokens: Tokens
    rows: LongArray
    offsets: LongArray

    @classmethod
    def of_pairs(cls, tokens: Tokens, row: LongArray, item: LongArray, items: int) -> ItemQueries:
        """From pairs (pairs,) of a query and an item."""
        counts = np.bincount(item, minlength=items + 1)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return cls(tokens, row[np.argsort(item, kind="stable")], offsets)

    def draw(self, items: LongArray, random: np.random.Generator) -> LongArray:
        """A query for each item, (items,) places in ``tokens``; every item must have some."""
        counts = self.offsets[items + 1] - self.offsets[items]
        return self.rows[self.offsets[items] + random.integers(counts)]


class ItemBatches(Instances):
    """Items with queries; those of a batch share the codes so far with its first one.

    If these are too few, others fill the batch. With no codes it is a shuffle cut into batches; the
    items behind the last whole one wait for the next epoch.

    Args:
        texts: tokens of all items, padding item first.
        queries: of all items.
        prefixes: (number_of_items, positions) the codes so far.
        codes: (number_of_items, any positions) what a batch brings as ``codes``.
        end: what closes texts and queries.
    """

    def __init__(
        self, texts: Tokens, queries: ItemQueries, prefixes: LongArray, codes: LongArray, end: int
    ) -> None:
        self.texts, self.queries, self.end = texts, queries, end
        self.items = np.flatnonzero(np.diff(queries.offsets))
        self.codes = codes[self.items - 1]
        group = groups_of(prefixes[self.items - 1])
        counts = np.bincount(group)
        self.order = np.argsort(group, kind="stable")
        self.place = np.argsort(self.order, kind="stable")
        self.first = (np.cumsum(counts) - counts)[group]
        self.end_of_group = np.cumsum(counts)[group]

    def __len__(self) -> int:
        return len(self.items)

    def steps(self, batch_size: int) -> int:
        """Whole batches of items."""
        return max(1, len(self) // batch_size)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[LongArray]:
        """Each batch is drawn around an item, a different one each time."""
        size, steps = min(batch_size, len(self)), self.steps(batch_size)
        shuffled = random.permutation(len(self)).astype(np.int64)
        if self.end_of_group[0] - self.first[0] == len(self):
            return list(shuffled[: steps * size].reshape(steps, size))
        return [self._around(int(row), size, random) for row in shuffled[:steps]]

    def _around(self, row: int, size: int, random: np.random.Generator) -> LongArray:
        """``size`` distinct rows of the group of ``row``, or all of it and others."""
        first, end = int(self.first[row]), int(self.end_of_group[row])
        if end - first >= size:
            others = first + random.choice(end - first - 1, size - 1, replace=False)
            others += others >= self.place[row]
            return np.append(self.order[others], row)
        others = random.choice(len(self) - (end - first), size - (end - first), replace=False)
        others[others >= first] += end - first
        return np.concatenate([self.order[first:end], self.order[others]])

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Texts, a drawn query of each, and codes; see :func:`batch_of`."""
        items = self.items[rows]
        drawn = self.queries.draw(items, random)
        codes = self.codes[rows]
        return batch_of(self.texts, items, self.queries.tokens, drawn, codes, self.end)


@dataclass(frozen=True)
class PairBatches(Instances):
    """Every pair of an item and one of its queries, as often as it occurs.

    Fields as for :class:`ItemBatches`. Batches hold texts of similar length.
    """

    texts: Tokens
    queries: ItemQueries
    codes: LongArray
    end: int

    def __len__(self) -> int:
        return len(self.queries.rows)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[LongArray]:
        """A fresh shuffle, sorted by length within windows."""
        lengths = self.texts.lengths[self._items(np.arange(len(self)))]
        return shuffled_by_length(lengths, batch_size, random, _BATCHES_SORTED_TOGETHER)

    def _items(self, rows: LongArray) -> LongArray:
        return np.searchsorted(self.queries.offsets, rows, side="right").astype(np.int64) - 1

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Texts, queries and codes; nothing is drawn."""
        items = self._items(rows)
        asked, codes = self.queries.rows[rows], self.codes[items - 1]
        return batch_of(self.texts, items, self.queries.tokens, asked, codes, self.end)


def batch_of(
    texts: Tokens, items: LongArray, queries: Tokens, asked: LongArray, codes: LongArray, end: int
) -> Batch:
    """What a step reads: ids, masks and codes.

    Args:
        texts, queries: tokens.
        items, asked: (batch,) places in them.
        codes: (batch, any positions).
        end: what closes texts and queries.

    Returns:
        ``text_ids``, ``text_mask``, ``query_ids``, ``query_mask``, ``codes``.
    """
    text_ids, text_mask = assembled(texts, items[:, None], end)
    query_ids, query_mask = assembled(queries, asked[:, None], end)
    return {
        "text_ids": text_ids,
        "text_mask": text_mask,
        "query_ids": query_ids,
        "query_mask": query_mask,
        "codes": torch.from_numpy(codes),
    }
