"""Training negatives: items that the user has not interacted with in the training log.

They never come from the evaluation lists, and never look at held-out events.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.protocol.negatives import Exclusions, sample_negatives
from benchmark.systems.view import TrainingView


class NegativeSampler:
    """Draws negatives for many users at once.

    Args:
        law: "uniform" over the catalogue, or "popularity" in proportion to training counts.
        exclude: "user" strikes all training items of the user, "target" only the event's own item.
    """

    def __init__(
        self,
        view: TrainingView,
        law: Literal["uniform", "popularity"] = "uniform",
        exclude: Literal["user", "target"] = "user",
    ) -> None:
        size = view.corpus.number_of_items
        self._exclusions = (
            Exclusions.of_log(view.log, size)
            if exclude == "user"
            else Exclusions(np.zeros(0, dtype=np.int64), size)
        )
        self._weights = (
            np.bincount(view.log.item, minlength=size + 1).astype(np.float64)
            if law == "popularity"
            else None
        )

    def draw(
        self,
        user: NDArray[np.integer],
        target: NDArray[np.integer],
        number: int,
        random: np.random.Generator,
    ) -> IntArray:
        """(events, number) distinct items; where a user has too few left, some repeat.

        Args:
            user, target: (events,).
        """
        drawn, found = sample_negatives(
            random, user, target, self._exclusions, number, self._weights
        )
        short = np.flatnonzero(found < number)
        if len(short):
            size = self._exclusions.number_of_items
            anything = random.integers(1, size + 1, size=(len(short), number))
            repeated = anything == target[short][:, None]
            anything[repeated] = anything[repeated] % size + 1
            drawn[short] = np.where(drawn[short] == 0, anything, drawn[short])
        return drawn

    def draw_one_per_slot(
        self,
        user: NDArray[np.integer],
        slots: tuple[int, int],
        random: np.random.Generator,
    ) -> IntArray:
        """Independent negatives for every slot of (rows, length) sequences, with repetition.

        They follow the sampler's law. Rejection is by the user's items only and stops after twenty
        rounds, which matters only for users who know almost the whole catalogue.

        Args:
            user: (rows,).
        """
        drawn = self._independent(slots, random)
        for _ in range(20):
            bad = self._exclusions.contains(user[:, None], drawn)
            if not bad.any():
                break
            drawn[bad] = self._independent((int(bad.sum()),), random)
        return drawn.astype(np.int32)

    def _independent(self, shape: tuple[int, ...], random: np.random.Generator) -> LongArray:
        if self._weights is None:
            return random.integers(1, self._exclusions.number_of_items + 1, size=shape)
        cumulative = np.cumsum(self._weights)
        drawn = np.searchsorted(cumulative, random.random(shape) * cumulative[-1], side="right")
        return np.minimum(drawn, len(cumulative) - 1)  # the product may round up to the total
