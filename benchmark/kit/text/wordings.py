"""Wordings with slots as rows of pieces: what a prompt says around what it is filled with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.kit.text.encoders import Tokens
from benchmark.kit.text.pieces import NO_PIECE, assembled_lengths

_SLOT = re.compile(r"\{(\w+)\}")


def slots_of(text: str) -> tuple[str, ...]:
    """The names of the slots of a wording, such as ``item`` of ``{item}``, in their order."""
    return tuple(_SLOT.findall(text))


def without_slots(text: str) -> str:
    """What stands around the slots, for a tokenizer that learns from texts."""
    return _SLOT.sub("", text)


class Wordings:
    """Texts with slots, as rows of pieces: literals around what the slots are filled with.

    ``literals`` are to be tokenised, in this order, as the pieces from ``first_piece`` on.

    Args:
        texts: such as ``"What follows {history} ?"``; literals are stripped of blanks.
        first_piece: the number of the first literal among all pieces.
        slots: the names that may occur.
    """

    def __init__(self, texts: Sequence[str], first_piece: int, slots: Sequence[str]) -> None:
        self.slots = tuple(slots)
        cut = [_SLOT.split(text) for text in texts]  # literal, slot, literal, …
        width = max(len(parts) for parts in cut) // 2
        literals = [[part.strip() for part in parts[::2]] for parts in cut]
        literals = [row + [""] * (width + 1 - len(row)) for row in literals]
        self.literals = list(chain(*literals))
        number = first_piece + np.arange(len(self.literals)).reshape(len(cut), -1)
        is_empty = np.array([not literal for literal in self.literals]).reshape(number.shape)
        self._pieces = np.where(is_empty, NO_PIECE, number)  # (wordings, literals)
        self._slots = np.full((len(cut), width), NO_PIECE)
        for row, parts in zip(self._slots, cut, strict=True):
            row[: len(parts) // 2] = [self.slots.index(name) for name in parts[1::2]]

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def uses(self) -> NDArray[np.int64]:
        """(wordings, slots) how often a wording has each of ``slots``."""
        numbers = np.arange(len(self.slots))
        return np.count_nonzero(self._slots[:, None] == numbers[:, None], axis=2)

    def literal_lengths(self, tokens: Tokens) -> LongArray:
        """(wordings,) the tokens of all literals of each."""
        return assembled_lengths(tokens, self._pieces)

    def filled(self, wording: LongArray, values: Mapping[str, LongArray]) -> LongArray:
        """Texts (rows, pieces).

        Args:
            wording: (rows,) which text each row has.
            values: for each slot that occurs, what fills it, (rows, any number of pieces).
        """
        literals, slots = self._pieces[wording], self._slots[wording]
        columns = [literals[:, :1]]
        for place in range(slots.shape[1]):
            for name, value in values.items():
                is_here = slots[:, place, None] == self.slots.index(name)
                columns.append(np.where(is_here, value, NO_PIECE))
            columns.append(literals[:, place + 1 : place + 2])
        return np.concatenate(columns, axis=1).astype(np.int64)


def column(first_piece: int, numbers: NDArray[np.integer]) -> LongArray:
    """(rows, 1) the pieces of entries ``numbers`` (rows,) of a table that begins there."""
    return (first_piece + numbers.astype(np.int64))[:, None]


def listed(
    first_piece: int, items: IntArray, shown: NDArray[np.bool_], separator: int
) -> LongArray:
    """(rows, 2 * length) the items that are shown, each but the first one behind a separator.

    Args:
        first_piece: of the table over the items.
        items: (rows, length).
        shown: (rows, length) which of them.
        separator: the piece between two of them.
    """
    follows = shown & (np.cumsum(shown, axis=1) > 1)
    between = np.where(follows, separator, NO_PIECE)
    item = np.where(shown, first_piece + items, NO_PIECE)
    return np.stack([between, item], axis=2).reshape(len(items), -1).astype(np.int64)
