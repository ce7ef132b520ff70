"""Texts to tokens, by the tokenizer of an encoder's folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.kit.pretrained.model_folder import PretrainedFiles, loaded_tokenizer
from benchmark.kit.text.markers import Markers

_TEXTS_TOKENISED_AT_ONCE = 8192


@dataclass(frozen=True)
class Tokens:
    """The token ids of many texts in a row, (tokens,): ``t``'s are at offsets[t]:offsets[t + 1]."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    padding: int

    @classmethod
    def of_lists(cls, rows: Iterable[Sequence[int] | NDArray[np.integer]], padding: int) -> Tokens:
        """From the ids of each text."""
        ids = [np.zeros(0, dtype=np.int32), *(np.asarray(row, dtype=np.int32) for row in rows)]
        return cls(np.concatenate(ids), np.cumsum([len(row) for row in ids]), padding)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(texts,) tokens of each text."""
        return np.diff(self.offsets)

    def padded(self, rows: NDArray[np.integer]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids (rows, length of the longest) padded on the right, and the mask of real tokens."""
        start, length = self.offsets[:-1][rows], self.lengths[rows]
        slot = np.arange(int(length.max(initial=1)))[None, :]
        mask = slot < length[:, None]
        ids = np.where(mask, self.ids[np.where(mask, start[:, None] + slot, 0)], self.padding)
        return torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(mask)


class Tokenizer:
    """The tokenizer of an encoder's folder."""

    def __init__(self, files: PretrainedFiles) -> None:
        self._tokenizer = loaded_tokenizer(files)
        self.padding = int(self._tokenizer.pad_token_id)
        self._markers = Markers(
            self._tokenizer.backend_tokenizer,
            self._tokenizer.all_special_ids,
            self._tokenizer.unk_token,
        )

    def __call__(self, texts: Sequence[str], prompt: str, most_tokens: int) -> Tokens:
        """``prompt`` and text, special tokens around them, cut after ``most_tokens``.

        The names of special tokens within a text are text: no special token comes out of them.
        """
        ids: list[NDArray[np.int32]] = []
        for start in range(0, len(texts), _TEXTS_TOKENISED_AT_ONCE):
            part = [prompt + text for text in texts[start : start + _TEXTS_TOKENISED_AT_ONCE]]
            rows, within = self._rows(part, most_tokens)
            marked = self._markers.found_in(part, within)
            if marked:
                plain = [self._markers.parted(part[row]) for row in marked]
                again, _ = self._rows(plain, most_tokens)
                for row, found in zip(marked, again, strict=True):
                    rows[row] = found
            # A text of no token at all would be attended to nowhere.
            ids.extend(np.asarray(row or [self.padding], dtype=np.int32) for row in rows)
        return Tokens.of_lists(ids, self.padding)

    def _rows(
        self, texts: Sequence[str], most_tokens: int
    ) -> tuple[list[list[int]], list[list[int]]]:
        """The ids of each text, and those of them that came out of the text itself."""
        found = self._tokenizer(
            list(texts), truncation=True, max_length=most_tokens, return_special_tokens_mask=True
        )
        within = [
            [number for number, around in zip(row, mask, strict=True) if not around]
            for row, mask in zip(found["input_ids"], found["special_tokens_mask"], strict=True)
        ]
        return found["input_ids"], within
