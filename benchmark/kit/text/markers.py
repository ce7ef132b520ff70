"""Texts are text: no end, padding, mask or identifier token comes out of a title or a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

_ROUNDS = 4  # of parting the names of markers, before what is left of them is left out


class Markers:
    """Tokens that no text may become: ends, padding, masks, codes of items.

    A tokenizer finds the names of such tokens in any text, so a title that holds ``</s>`` would end
    there. A text is always text: each name in it is parted by a blank behind its first character,
    and then splits like any other word.

    Args:
        backend: a tokenizer of the library "tokenizers".
        ids: the markers.
        unknown: the token of unknown words. Other texts become it too, so only its name is parted.
    """

    def __init__(self, backend: Any, ids: Iterable[int], unknown: str | None) -> None:
        number = backend.token_to_id(unknown) if unknown else None
        self._backend = backend
        self._unknown = unknown if unknown and number is not None else ""
        self._unknown_id = -1 if number is None else number
        self._ids = set(ids) - {self._unknown_id}
        self._sorted = np.array(sorted(self._ids), dtype=np.int64)

    def found_in(self, texts: Sequence[str], rows: Sequence[Sequence[int]]) -> list[int]:
        """The places of the texts that became a marker; ``rows`` are the ids of each text."""
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        flat = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
        owner = np.repeat(np.arange(len(rows)), lengths)
        found = set(owner[np.isin(flat, self._sorted)].tolist())
        if self._unknown:
            found.update(row for row, text in enumerate(texts) if self._unknown in text)
        return sorted(found)

    def parted(self, text: str) -> str:
        """The text with a blank inside the name of each marker."""
        for _ in range(_ROUNDS):
            spans = self._spans(text)
            if not spans:
                return text
            for start, stop in reversed(spans):
                text = f"{text[: start + 1]} {text[start + 1 : stop]}{text[stop:]}"
        # What is a marker in any spelling, such as a name of one character, is left out.
        while spans := self._spans(text):
            for start, stop in reversed(spans):
                text = f"{text[:start]} {text[stop:]}"
        return text

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Where markers stand in the text, from their first character that is no blank."""
        encoded = self._backend.encode(text, add_special_tokens=False)
        spans = []
        for one, (start, stop) in zip(encoded.ids, encoded.offsets, strict=True):
            piece = text[start:stop]
            if one in self._ids or (one == self._unknown_id and piece.strip() == self._unknown):
                start += len(piece) - len(piece.lstrip())
                spans.append((start, max(stop, start + 1)))
        return spans
