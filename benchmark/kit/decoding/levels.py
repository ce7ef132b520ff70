"""What decodes the nodes of trees level by level, whatever the network behind it.

The search (``benchmark.kit.decoding.search``) asks a decoder for the hidden states of a level's
nodes and for log-probabilities of their children; T5s and causal language models give the first in
their own ways, the second is the same product with the rows of an output layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from benchmark.kit.products import linear

_SMALLEST_SUM = 1e-30
"""Sums of exponentials below it may have lost terms that are too small for a float32."""

_LOGITS_AT_ONCE = {"cpu": (256, 1024), "cuda": (4096, 16384)}
"""Nodes and tokens of the vocabulary whose logits are held at once: a CPU's cache is small."""


class LevelDecoder(ABC):
    """The hidden states of nodes, one call a level, and the logits of what may follow them."""

    device: torch.device

    start_token: int
    """What leads to the roots."""

    @abstractmethod
    def restart(self) -> None:
        """Forget all nodes; the next ones are roots."""

    @abstractmethod
    def __call__(
        self, token: torch.Tensor, parent: torch.Tensor, event: torch.Tensor
    ) -> torch.Tensor:
        """Decode the next level; returns what the output layer reads, (nodes, width).

        Args:
            token: (nodes,) the token of each node; :attr:`start_token` for roots.
            parent: (nodes,) the place of its parent among the nodes of the last call.
            event: (nodes,) its event, rising.
        """

    @abstractmethod
    def output_rows(self) -> torch.Tensor:
        """(tokens, width) the whole output layer."""

    def rows_of_level(self) -> torch.Tensor:
        """Its rows whose tokens can follow at the level that came last."""
        return self.output_rows()

    def log_normalisers(self, states: torch.Tensor) -> torch.Tensor:
        """Log of the sum of the exponentials of all logits, float32 (nodes,).

        Args:
            states: (nodes, width), as a call returned them.
        """
        nodes = _LOGITS_AT_ONCE["cpu" if self.device.type == "cpu" else "cuda"][0]
        rows = self.rows_of_level()
        sums = torch.cat([self._sums_of_exponentials(some, rows) for some in states.split(nodes)])
        is_safe = (sums > _SMALLEST_SUM) & (sums < torch.inf)
        logs = sums.log()
        if not is_safe.all():
            logits = linear(states[~is_safe], rows).float()
            logs[~is_safe] = logits.logsumexp(dim=1)
        return logs

    def _sums_of_exponentials(self, states: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Without the pass that looks for the largest logit first; it is seldom needed."""
        tokens = _LOGITS_AT_ONCE["cpu" if self.device.type == "cpu" else "cuda"][1]
        sums = torch.zeros(len(states), device=self.device)
        for rows in output.split(tokens):
            sums += linear(states, rows).float().exp_().sum(dim=1)
        return sums

    def logits(self, states: torch.Tensor, row: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """Single logits, float32 (pairs,).

        Args:
            states: (nodes, width), as a call returned them.
            row: (pairs,) rows of ``states``.
            token: (pairs,) one token each.
        """
        distinct, column = token.unique(return_inverse=True)
        rows = self.output_rows().index_select(0, distinct)
        return linear(states, rows)[row, column].float()


class EncodedPrompts(ABC):
    """What a network made of the prompts of some events, for a decoder to start from."""

    @abstractmethod
    def __len__(self) -> int:
        """How many events."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it lies."""

    @abstractmethod
    def decoder(self, model: Any) -> LevelDecoder:
        """What decodes nodes below these prompts by ``model``.

        Raises:
            SystemFailure: the model is not in evaluation mode.
        """

    @abstractmethod
    def split(self, events: int) -> Sequence[EncodedPrompts]:
        """The same in parts of so many events, the last one of what is left."""


def ranges(counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For ``counts`` (owners,) things each: the owner of every thing, and its number there."""
    owner = torch.repeat_interleave(counts)
    first = counts.cumsum(0) - counts
    return owner, torch.arange(len(owner), device=counts.device) - first[owner]
