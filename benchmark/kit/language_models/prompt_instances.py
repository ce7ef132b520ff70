"""Instances that are a prompt and a target, put together from pieces."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmark.data.dataset import LongArray
from benchmark.kit.text.pieces import IGNORED, assembled_lengths, batches_by_length, seq2seq_batch
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.training import Batch, Instances, Part
from benchmark.kit.training.micro_batches import ALONE, Cut, Limit, Process, cuts, loss_weights

_ROWS_MEASURED_AT_ONCE = 65_536

Pieces = tuple[LongArray, LongArray]
"""Prompts and targets as piece numbers, each (rows, pieces), -1 for none."""


class PromptInstances(Instances):
    """Prompts and targets as lists of pieces, which ``pieces.assembled`` puts together.

    The loss of a batch is the mean over its tokens, or, with ``loss_group_size``, the mean of such
    means over random groups of so many instances, whatever is computed at once.
    """

    has_fixed_shapes: ClassVar[bool] = True
    draws_for_all_processes: ClassVar[bool] = True

    tokens: Tokens
    end: int
    most_input_tokens: int | None
    most_target_tokens: int | None
    loss_group_size: int | None

    @abstractmethod
    def pieces(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        """The pieces of the instances at ``rows``; anything sampled is drawn from ``random``."""

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Input ids, mask and labels of a ``Seq2Seq``, in row order."""
        return self._assembled(*self.pieces(rows, random))

    def _assembled(self, inputs: LongArray, targets: LongArray) -> Batch:
        return seq2seq_batch(
            self.tokens,
            inputs,
            targets,
            self.end,
            self.most_input_tokens,
            self.most_target_tokens,
        )

    def parts(
        self,
        rows: NDArray[np.int64],
        random: np.random.Generator,
        limit: Limit,
        process: Process = ALONE,
    ) -> list[Part]:
        """Parts of similar lengths that weigh each token as :func:`loss_weights` says.

        Groups are drawn from the whole step, so weights are the same however many processes share
        it.
        """
        own = process.own(np.arange(len(rows)))
        is_one_mean = not self.loss_group_size or self.loss_group_size >= len(rows)
        is_one_part = limit.room is None and (limit.instances or len(rows)) >= len(rows)
        if is_one_mean and is_one_part and len(own) == len(rows) and not limit.fixed_shapes:
            return [(self.batch(rows, random), 1.0)]
        inputs, targets = self.pieces(rows, random)
        target_tokens = self._lengths(targets, self.most_target_tokens)
        weights = loss_weights(target_tokens, self.loss_group_size, random)
        if len(own) < len(rows):
            weights = weights * np.float32(process.number)  # gradients of processes are averaged
        inputs, targets, weights = inputs[own], targets[own], weights[own]
        return [
            (self._part(cut, inputs, targets, weights), 1.0)
            for cut in cuts(
                self._lengths(inputs, self.most_input_tokens), target_tokens[own], limit
            )
        ]

    def _lengths(self, pieces: LongArray, most: int | None) -> LongArray:
        """(rows,) tokens with the end."""
        lengths = assembled_lengths(self.tokens, pieces) + 1
        return lengths if most is None else np.minimum(lengths, most)

    def _part(
        self, cut: Cut, inputs: LongArray, targets: LongArray, weights: NDArray[np.float32]
    ) -> Batch:
        batch = self._assembled(inputs[cut.rows], targets[cut.rows])
        fill = {
            "input_ids": (self.tokens.padding, cut.inputs),
            "attention_mask": (False, cut.inputs),
            "labels": (IGNORED, cut.targets),
        }
        missing = cut.size - len(cut.rows)
        filled = {
            key: F.pad(batch[key], (0, width - batch[key].shape[1], 0, missing), value=value)
            for key, (value, width) in fill.items()
        }
        filled["attention_mask"][len(cut.rows) :, 0] = True  # attention needs something to read
        weight = torch.from_numpy(weights[cut.rows])
        return {**filled, "weights": F.pad(weight, (0, missing))}

    def probe(self, instances: int, inputs: int, targets: int) -> Batch:
        """A batch of ends of texts, of these lengths."""
        return {
            "input_ids": torch.full((instances, inputs), self.end),
            "attention_mask": torch.ones((instances, inputs), dtype=torch.bool),
            "labels": torch.full((instances, targets), self.end),
            "weights": torch.full((instances,), 1.0 / (instances * targets)),
        }


def measured(number: int, lengths_of: Callable[[LongArray], LongArray]) -> LongArray:
    """(number,) what ``lengths_of`` gives for rows (rows,), asked for some of them at a time."""
    found = [np.zeros(0, dtype=np.int64)]
    for start in range(0, number, _ROWS_MEASURED_AT_ONCE):
        found.append(lengths_of(np.arange(start, min(start + _ROWS_MEASURED_AT_ONCE, number))))
    return np.concatenate(found)


@dataclass(frozen=True)
class TokenPairs(PromptInstances):
    """Fixed pairs of a prompt and its target.

    ``inputs`` is (pairs, pieces) and ``targets`` (pairs, pieces), -1 for none.
    """

    tokens: Tokens
    inputs: LongArray
    targets: LongArray
    end: int
    most_input_tokens: int | None = None
    most_target_tokens: int | None = None
    loss_group_size: int | None = None
    window: int = 16

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[LongArray]:
        """A fresh shuffle, sorted by length within windows."""
        rows = random.permutation(len(self)).astype(np.int64)
        lengths = assembled_lengths(self.tokens, self.inputs)[rows]
        return batches_by_length(rows, lengths, batch_size, random, self.window)

    def pieces(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        """Those that were given; nothing is drawn."""
        return self.inputs[rows], self.targets[rows]
