"""Prompts and targets put together, as arrays, from pieces that were tokenised once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.dataset import LongArray
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.training import Batch

IGNORED = -100
"""The label of a position that is no part of the loss."""

NO_PIECE = -1
"""The piece number of an empty place."""

NO_TOKEN = -1
"""Pads token ids of different lengths where no tokenizer's padding is meant."""


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Several collections of token lists as one, in order."""
    ids = np.concatenate([part.ids for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    return Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), parts[0].padding)


def tokens_of_rows(rows: NDArray[np.integer], padding: int) -> Tokens:
    """Token ids (texts, length), padded with :data:`NO_TOKEN` on the right, as token lists."""
    is_token = rows != NO_TOKEN
    offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(is_token, axis=1))])
    return Tokens(rows[is_token].astype(np.int32), offsets, padding)


def assembled(
    tokens: Tokens,
    pieces: NDArray[np.integer],
    end: int | None = None,
    most_tokens: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts put together from token lists, padded on the right.

    Args:
        tokens: the pieces.
        pieces: (prompts, any number), which pieces a prompt is made of, -1 for none.
        end: the id that closes each prompt, if any.
        most_tokens: prompts are cut after so many, the end included.

    Returns:
        ids int64 and mask of real tokens, both (prompts, length of the longest).
    """
    present = pieces >= 0
    flat = pieces[present]
    lengths = tokens.lengths[flat]
    row = np.repeat(np.nonzero(present)[0], lengths)
    total = np.bincount(row, minlength=len(pieces))
    place = np.arange(len(row))
    inner = place - np.repeat(np.cumsum(lengths) - lengths, lengths)
    column = place - np.repeat(np.cumsum(total) - total, total)
    values = tokens.ids[np.repeat(tokens.offsets[:-1][flat], lengths) + inner]
    closing = 0 if end is None else 1
    if most_tokens is not None:
        kept = column < most_tokens - closing
        row, column, values = row[kept], column[kept], values[kept]
        total = np.minimum(total, most_tokens - closing)
    width = max(1, int(total.max(initial=0)) + closing)
    ids = np.full((len(pieces), width), tokens.padding, dtype=np.int64)
    ids[row, column] = values
    if end is not None:
        ids[np.arange(len(pieces)), total] = end
    mask = np.arange(width)[None, :] < (total + closing)[:, None]
    return torch.from_numpy(ids), torch.from_numpy(mask)


def assembled_rows(
    tokens: Tokens, pieces: NDArray[np.integer], end: int | None = None
) -> LongArray:
    """The same as one array (prompts, length of the longest), padded with :data:`NO_TOKEN`."""
    ids, mask = assembled(tokens, pieces, end)
    rows: LongArray = ids.masked_fill(~mask, NO_TOKEN).numpy()
    return rows


def stacked(parts: Sequence[LongArray]) -> LongArray:
    """Piece numbers (prompts, pieces) one below the other, filled up to one width."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [
            np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=NO_PIECE)
            for part in parts
        ]
    )


def assembled_lengths(tokens: Tokens, pieces: NDArray[np.integer]) -> LongArray:
    """How many tokens each prompt of :func:`assembled` has, (prompts,), without an end."""
    lengths = np.where(pieces >= 0, tokens.lengths[np.maximum(pieces, 0)], 0).sum(axis=1)
    return lengths.astype(np.int64)


def labels_of(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Target ids (batch, tokens) as labels: padding is :data:`IGNORED`."""
    return ids.masked_fill(~mask, IGNORED)


def batches_by_length(
    rows: LongArray,
    lengths: LongArray,
    batch_size: int,
    random: np.random.Generator,
    window: int,
) -> list[LongArray]:
    """Cut shuffled rows into batches of similar lengths, so that little padding is computed.

    Args:
        rows: (instances,) in random order.
        lengths: (instances,) the length of each row.
        window: so many batches after one another are sorted by length together; 1 sorts within each
            batch only, which leaves the batches as they are but serves micro-batches.
    """
    span = batch_size * max(1, window)
    batches = []
    for start in range(0, len(rows), span):
        part = slice(start, start + span)
        ordered = rows[part][np.argsort(lengths[part], kind="stable")]
        batches += [
            ordered[place : place + batch_size] for place in range(0, len(ordered), batch_size)
        ]
    return [batches[number] for number in random.permutation(len(batches))]


def shuffled_by_length(
    lengths: LongArray, batch_size: int, random: np.random.Generator, window: int
) -> list[LongArray]:
    """A fresh shuffle of all instances, whose lengths these are, by :func:`batches_by_length`."""
    rows = random.permutation(len(lengths)).astype(np.int64)
    return batches_by_length(rows, lengths[rows], batch_size, random, window)


def seq2seq_batch(
    tokens: Tokens,
    inputs: NDArray[np.integer],
    targets: NDArray[np.integer],
    end: int,
    most_input_tokens: int | None = None,
    most_target_tokens: int | None = None,
) -> Batch:
    """The batch of :class:`Seq2Seq` for prompts and targets given as pieces."""
    ids, mask = assembled(tokens, inputs, end, most_input_tokens)
    labels = labels_of(*assembled(tokens, targets, end, most_target_tokens))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
