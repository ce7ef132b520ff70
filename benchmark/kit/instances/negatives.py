"""Training negatives that follow the law of the lists that will be ranked.

They never come from the evaluation lists, and never look at held-out events; but which of the
user's own items are among them, and how often, is what the protocol's lists are like:

- recommendation: no item of the user, or none that he touched up to the event, whichever the lists
  leave out; by the lists' own law, uniform or popularity, unless a system's setting says otherwise;
- search: at as many places as a list would have items that the user touched before, these items
  (:mod:`benchmark.kit.instances.touched`); everywhere else what the system draws, and nothing
  touched. Where lists hold nothing that the user touched, no negative is.

Negatives that a system takes from the other events of its batch follow no such law.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray, LongArray
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.instances.touched import FirstTouches, TouchedHits
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.histories import unit_of_rows
from benchmark.protocol.negatives import sample_negatives
from benchmark.systems.view import TrainingView

Law = Literal["protocol", "uniform", "popularity"]

_ROUNDS = 20  # of rejection where slots are drawn independently


class NegativeSampler:
    """Draws the negatives of many training events at once.

    Args:
        task: that of the events, "recommendation" or "search".
        law: "uniform" over the catalogue; "popularity" in proportion to training counts; or
            "protocol", that of the lists of recommendation, and uniform for search.
        hits: where the hard negatives of searches come from.
    """

    def __init__(
        self,
        view: TrainingView,
        task: str = "recommendation",
        law: Law = "protocol",
        hits: HardNegatives | None = None,
    ) -> None:
        lists = view.protocol
        self._log, self._size, self._hits = view.log, view.corpus.number_of_items, hits
        self._weights = self._weights_of(view, task, law)
        self._touches = FirstTouches(view.log, self._size)
        is_search = task == "search"
        holds_touched = is_search and lists.search_exclude == "none"
        self._listed = TouchedHits.of(view) if holds_touched else None
        is_prefix = not is_search and lists.recommendation_exclude == "earlier-interactions"
        self._of_users = (
            None if holds_touched or is_prefix else Exclusions.of_log(view.log, self._size)
        )
        # A search counts what was touched before its end: none of its clicks is a negative of it.
        self._until = _ends_of_units(unit_of_rows(view.log, lists))

    @staticmethod
    def _weights_of(view: TrainingView, task: str, law: Law) -> NDArray[np.float64] | None:
        log, size = view.log, view.corpus.number_of_items
        items = log.item
        if law == "protocol" and task == "recommendation":
            law, items = view.protocol.recommendation_negatives, items[log.recommendation.positions]
        if law != "popularity":
            return None
        return np.bincount(items, minlength=size + 1).astype(np.float64)

    def draw(
        self,
        position: NDArray[np.integer],
        number: int,
        random: np.random.Generator,
        hits: int = 0,
    ) -> IntArray:
        """(events, number) distinct items; where a user has too few left, some repeat.

        Args:
            position: (events,) the rows of the events in the training log.
            hits: how many of them are hard negatives where the query has such; the last columns.
        """
        user, target = self._log.user[position], self._log.item[position]
        if not number:
            return np.zeros((len(position), 0), dtype=np.int32)
        drawn = self._drawn(user, target, position, number, random)
        if self._hits is not None and hits:
            with_hits = self._hits.replace(drawn, self._log.query[position], random, hits)
            touched = self._is_struck(user[:, None], with_hits, self._until[position][:, None])
            drawn = np.where(touched, drawn, with_hits)
        if self._listed is not None:
            listed = self._listed.draw(position, number, random)
            drawn = np.where(listed > 0, listed, drawn)
        return drawn

    def _drawn(
        self,
        user: IntArray,
        target: IntArray,
        position: NDArray[np.integer],
        number: int,
        random: np.random.Generator,
    ) -> IntArray:
        """Items (events, number) that no list would leave out for having been touched."""
        rows: NDArray[np.integer] = user
        struck = self._of_users
        if struck is None:
            rows = np.arange(len(position))
            event, item = self._touches.before(user, self._until[position])
            struck = Exclusions(np.sort(event * (self._size + 1) + item), self._size)
        drawn, found = sample_negatives(random, rows, target, struck, number, self._weights)
        short = np.flatnonzero(found < number)
        if len(short):
            anything = random.integers(1, self._size + 1, size=(len(short), number))
            repeated = anything == target[short][:, None]
            anything[repeated] = anything[repeated] % self._size + 1
            drawn[short] = np.where(drawn[short] == 0, anything, drawn[short])
        return drawn

    def draw_one_per_slot(
        self, position: NDArray[np.integer], random: np.random.Generator
    ) -> IntArray:
        """An independent negative for every slot of any shape; those of a row may repeat.

        They follow the sampler's law. Rejection stops after twenty rounds, which matters only for
        users who know almost the whole catalogue. Touched hits of searches have no part in it.

        Args:
            position: the rows of the slots' events in the training log; any item where it is -1.
        """
        drawn = self._independent(position.shape, random)
        user = self._log.user[np.maximum(position, 0)]
        for _ in range(_ROUNDS):
            bad = (position >= 0) & self._is_struck(user, drawn, self._until[position])
            if not bad.any():
                break
            drawn[bad] = self._independent((int(bad.sum()),), random)
        return drawn.astype(np.int32)

    def _is_struck(
        self, user: IntArray, item: NDArray[np.integer], until: LongArray
    ) -> NDArray[np.bool_]:
        """Whether the lists leave each item out; for a touch before log rows ``until`` if so."""
        if self._of_users is not None:
            return self._of_users.contains(user, item)
        return self._touches.row(user, item) < until

    def _independent(self, shape: tuple[int, ...], random: np.random.Generator) -> LongArray:
        if self._weights is None:
            return random.integers(1, self._size + 1, size=shape)
        cumulative = np.cumsum(self._weights)
        drawn = np.searchsorted(cumulative, random.random(shape) * cumulative[-1], side="right")
        return np.minimum(drawn, len(cumulative) - 1)  # the product may round up to the total


def _ends_of_units(unit: LongArray) -> LongArray:
    """The row behind the last one of each row's unit, (rows,), given its first row, (rows,)."""
    last = np.zeros(len(unit), dtype=np.int64)
    np.maximum.at(last, unit, np.arange(len(unit)))
    ends: LongArray = last[unit] + 1
    return ends
