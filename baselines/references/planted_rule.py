"""Planted rule: who knows by which rule a generated log was made, and reads the history, no more.

For data of the source ``generated`` alone. What it reaches is the ceiling of a planted world:
whether an event followed the rule or chance, nobody can know beforehand. A recommendation is the
successor of the last one, unless the history holds it; of what a search may have meant, the item of
the taste that the user's earlier clicks speak for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmark.data.source_options import FEWEST_ITEMS, GeneratedSource
from benchmark.data.sources.generated import TASTES, planted_rule
from benchmark.errors import SystemFailure
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, System, SystemConfig
from benchmark.systems.view import Corpus, TrainingView

_SEEN = -1.0  # below whatever the rule says of an item


class PlantedRuleConfig(SystemConfig):
    """The options of the recipe's source that decide the rule; ``items`` are all if absent."""

    items: int | None = Field(default=None, ge=FEWEST_ITEMS)
    seed: int = Field(default=2024, ge=0)
    strength: float = Field(default=0.85, ge=0, le=1)


class PlantedRule(System):
    """The probability of each item, up to a factor a request; items of the history stand last."""

    Config = PlantedRuleConfig
    config: PlantedRuleConfig
    successor: NDArray[np.int64]  # (items + 1,) the next item on the cycle
    taste: NDArray[np.int64]  # (items + 1,)
    topic: NDArray[np.int64]  # (items + 1,) -1 for the padding item and items of no query
    topic_of_query: dict[str, int]

    def fit(self, view: TrainingView) -> None:
        """Nothing to learn."""
        self._know(view.corpus)

    def _know(self, corpus: Corpus) -> None:
        """Number the rule's items as the corpus does, by their titles.

        Raises:
            SystemFailure: they are not the items of the corpus.
        """
        size = self.config.items or max(corpus.number_of_items, FEWEST_ITEMS)
        rule = planted_rule(GeneratedSource(kind="generated", items=size, seed=self.config.seed))
        place = {title: number for number, title in enumerate(rule.titles)}
        number = np.array([place.get(title, -1) for title in corpus.items.title[1:]], np.int64)
        if (number < 0).any():
            raise SystemFailure(
                f"the items of {corpus.name} are not those of a generated log of {size} items, so "
                "no rule of it is known."
            )
        known = np.zeros(size, dtype=np.int64)  # 0 where the corpus lacks the item
        known[number] = np.arange(1, len(number) + 1)
        self.successor = np.concatenate([[0], known[rule.successor[number]]])
        self.taste = np.concatenate([[0], number % TASTES])
        topic = number // TASTES
        self.topic = np.concatenate([[-1], np.where(topic < len(rule.queries), topic, -1)])
        self.topic_of_query = {query: topic for topic, query in enumerate(rule.queries)}

    def score(self, requests: Requests) -> FloatArray:
        """The planted probability of each candidate; -1 for those of the history."""
        scores = self.score_all_items(requests)
        return np.take_along_axis(scores, requests.candidates.astype(np.int64), axis=1)

    def score_all_items(self, requests: Requests) -> FloatArray:
        """The same of all items."""
        scores = np.zeros((len(requests), len(self.taste)), dtype=np.float32)
        every = np.arange(len(requests))
        if requests.task == "recommendation":
            last = requests.history(1, "recommendation").items[:, -1]
            scores[every, self.successor[last]] = self.config.strength
        else:
            asked = [self.topic_of_query.get(text, -2) for text in requests.query_texts]
            topic = np.array(asked, dtype=np.int64)
            meant = topic[:, None] == self.topic[None, :]  # (requests, items + 1)
            scores[meant] = self._of_tastes(requests)[:, self.taste][meant]
        recommended, searched = requests.history_sizes()
        longest = int((recommended + searched).max(initial=0))
        if longest:
            items = requests.history(longest).items
            scores[every[:, None], items] = _SEEN
        scores[:, 0] = _SEEN
        return scores

    def _of_tastes(self, requests: Requests) -> FloatArray:
        """(requests, tastes): how probable a click on an item of each taste is."""
        _, searched = requests.history_sizes()
        longest = max(1, int(searched.max(initial=0)))
        clicked = requests.history(longest, "search").items
        counts = np.zeros((len(requests), TASTES))
        row, column = np.nonzero(clicked)
        np.add.at(counts, (row, self.taste[clicked[row, column]]), 1)
        own = max(self.config.strength, 1e-9)
        other = max((1.0 - self.config.strength) / (TASTES - 1), 1e-9)
        # Each click on a taste speaks for it by own / other.
        logs = counts * (np.log(own) - np.log(other))
        belief = np.exp(logs - logs.max(axis=1, keepdims=True))
        belief /= belief.sum(axis=1, keepdims=True)
        probability: FloatArray = (other + belief * (own - other)).astype(np.float32)
        return probability

    def save(self, folder: Path) -> None:
        """Nothing to keep."""

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Nothing to restore but what the configuration says."""
        self._know(corpus)
