"""Training instances from histories: one a prefix, or all positions of a user in one.

An instance a prefix is what models with one target an instance need. All positions at once gives
tens of times more targets per second where the model is causal, and is what the originals of such
models do. Both are gathers from the log; no history is copied per instance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, EventLog, IntArray, LongArray
from benchmark.systems.view import TrainingView

Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class SequenceWindows:
    """Windows of consecutive events of one behaviour.

    ``rows`` (windows, length) are rows of the training log, -1 where padded; ``is_target``
    (windows, length) says which of them may be trained as targets; ``user`` is (windows,).
    """

    rows: LongArray
    is_target: NDArray[np.bool_]
    user: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def items(self, log: EventLog, windows: NDArray[np.int64]) -> IntArray:
        """(chosen windows, length) item ids, 0 where padded."""
        rows = self.rows[windows]
        return np.where(rows >= 0, log.item[np.maximum(rows, 0)], 0).astype(np.int32)


def target_mask(view: TrainingView, task: str) -> NDArray[np.bool_]:
    """Which rows of the training log are training targets of ``task``, shape (events,)."""
    mask = np.zeros(len(view.log), dtype=bool)
    mask[view.examples(task).position] = True
    return mask


def sequence_windows(
    view: TrainingView,
    length: int,
    task: str = "recommendation",
    *,
    last_only: bool = False,
    overlap: int = 1,
    shortest: int = 2,
) -> SequenceWindows:
    """Cut each user's training list of one behaviour into windows of ``length`` events.

    Windows are counted from the end and left-padded; neighbours share ``overlap`` events, so that
    with 1 the first event of a later window, which is only an input there, is a target in the
    window before. Windows with fewer than ``shortest`` events are dropped.

    Args:
        last_only: keep the newest window of each user only.
        shortest: 2, or 1 for models that predict the first event from nothing.
    """
    log = view.log
    index = log.index_of(BEHAVIOURS[task])
    count = np.diff(index.offsets)
    step = max(1, length - overlap)
    pieces = np.where(count < shortest, 0, 1 + np.maximum(0, -((count - length) // -step)))
    if last_only:
        pieces = np.minimum(pieces, 1)
    user = np.repeat(np.arange(len(count)), pieces)
    piece = np.arange(len(user)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    end = index.offsets[1:][user] - piece * step
    slot = end[:, None] + np.arange(-length, 0)[None, :]
    inside = slot >= index.offsets[:-1][user][:, None]
    rows = (
        np.where(inside, index.positions[np.where(inside, slot, 0)], -1)
        if len(index.positions)
        else np.full(slot.shape, -1)
    )
    mask = target_mask(view, task)
    keep = inside.sum(axis=1) >= shortest
    return SequenceWindows(
        rows=rows[keep].astype(np.int64),
        is_target=(inside & mask[np.maximum(rows, 0)])[keep] if len(mask) else inside[keep],
        user=user[keep].astype(np.int32),
    )


def padded_right(column: NDArray[Value], count: NDArray[np.integer]) -> NDArray[Value]:
    """A column (rows, length) that is padded on the left, padded with 0 on the right instead.

    Args:
        count: (rows,) how many of the last ones of a row are no padding.
    """
    length = column.shape[1]
    source = np.arange(length)[None, :] + (length - count)[:, None]
    inside = source < length
    moved = np.take_along_axis(column, np.where(inside, source, 0), axis=1)
    moved[~inside] = 0
    return moved
