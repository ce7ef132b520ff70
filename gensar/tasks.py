"""GenSAR's six training tasks and how often an epoch sees each.

Paper (section on training) and the original's mix, https://github.com/TengShi-RUC/GenSAR, commit
bd1a126, ``run_amazon.py``: every recommendation event once an epoch, the other tasks so many times,
drawn anew and with replacement. The tasks are next item by recommendation (NRIP), next item by
search (NSIP), next query (NSQP), search without a user by pseudo-queries, and the identifier of a
text and the text of an identifier, with semantic and collaborative identifiers in equal number.

All that can be trained on stands in one row space, block after block; an epoch is a list of row
numbers, so a batch is the same whenever it is asked for. Wordings, and which of an item's
pseudo-queries is asked, are drawn at every access.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from benchmark.data.dataset import LongArray
from benchmark.kit.language_models.prompt_instances import Pieces, PromptInstances, measured
from benchmark.kit.language_models.pseudo_queries import PseudoQueries
from benchmark.kit.text.pieces import assembled_lengths, batches_by_length, stacked
from benchmark.protocol.requests import TrainingExamples
from benchmark.systems.view import TrainingView
from gensar.prompts import Family, Prompts

Samples = Literal["all"] | Annotated[int, Field(ge=0)]
"""How often an epoch sees a task: a number of draws with replacement, 0 for a task that is left
out, or every row once."""


class TaskMix(BaseModel):
    """Samples an epoch of each task; the defaults are the original's on Amazon."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    next_item: Samples = "all"
    """NRIP: history → next recommended item, over recommendation events."""
    next_search_item: Samples = 100_000
    """NSIP: history and query → item, over search events."""
    next_query: Samples = 1_000
    """NSQP: history → query, over search events."""
    pseudo_query: Samples = 1_000
    """Pseudo-query → item, over items."""
    text_to_identifier: Samples = 1_000
    """Desc2ID: item text → identifier; so many with either kind of identifier."""
    identifier_to_text: Samples = 1_000
    """ID2Desc: identifier → item text; so many with either kind of identifier."""

    @property
    def reads_texts(self) -> bool:
        """Whether any task reads or writes item texts."""
        return self.text_to_identifier != 0 or self.identifier_to_text != 0


@dataclass(frozen=True)
class _Block:
    """The rows of one task: ``make(rows, random)`` gives prompts and targets."""

    size: int
    samples: Samples
    make: Callable[[LongArray, np.random.Generator], Pieces]


class TaskInstances(PromptInstances):
    """All tasks as instances; an epoch has as many as the mix says.

    Args:
        most_tokens: cut for prompts and targets.
        window: batches that are sorted by length together.
        loss_group_size: instances whose tokens are averaged together.
    """

    def __init__(
        self,
        view: TrainingView,
        prompts: Prompts,
        mix: TaskMix,
        pseudo_queries: PseudoQueries,
        *,
        most_tokens: int = 2048,
        window: int = 1,
        loss_group_size: int | None = None,
    ) -> None:
        self.prompts = prompts
        self.tokens, self.end = prompts.tokens, prompts.end
        self.most_input_tokens = self.most_target_tokens = most_tokens
        self.loss_group_size = loss_group_size
        self.window = window
        self.pseudo_queries = pseudo_queries
        self.bought, self.searched = view.examples("recommendation"), view.examples("search")
        self.asked_items = np.flatnonzero(pseudo_queries.counts)
        items = view.corpus.number_of_items
        blocks = (
            _Block(len(self.bought), mix.next_item, self._next_item),
            _Block(len(self.searched), mix.next_search_item, self._next_search_item),
            _Block(len(self.searched), mix.next_query, self._next_query),
            _Block(len(self.asked_items), mix.pseudo_query, self._pseudo_query),
            _Block(items, mix.text_to_identifier, self._semantic_of_text),
            _Block(items, mix.text_to_identifier, self._collaborative_of_text),
            _Block(items, mix.identifier_to_text, self._text_of_semantic),
            _Block(items, mix.identifier_to_text, self._text_of_collaborative),
        )
        self.blocks = [block for block in blocks if block.size and block.samples != 0]
        self.starts = np.cumsum([0, *(block.size for block in self.blocks)])
        self.lengths = self._measure()

    def __len__(self) -> int:
        return sum(_epoch_size(block) for block in self.blocks)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[LongArray]:
        """The rows of a fresh epoch, shuffled, in batches of similar length."""
        drawn = [np.zeros(0, dtype=np.int64)]
        for block, start in zip(self.blocks, self.starts, strict=False):
            if block.samples == "all":
                drawn.append(start + np.arange(block.size))
            else:
                drawn.append(start + random.integers(block.size, size=block.samples))
        rows = random.permutation(np.concatenate(drawn))
        return batches_by_length(rows, self.lengths[rows], batch_size, random, self.window)

    def task_of(self, rows: LongArray) -> LongArray:
        """(rows,) the number of each row's task among those that are trained on."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def pieces(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        """Wordings and pseudo-queries are drawn."""
        block_of = self.task_of(rows)
        places, inputs, targets = [], [], []
        for number in np.unique(block_of):
            place = np.flatnonzero(block_of == number)
            made = self.blocks[number].make(rows[place] - self.starts[number], random)
            places.append(place)
            inputs.append(made[0])
            targets.append(made[1])
        order = np.argsort(np.concatenate(places))
        return stacked(inputs)[order], stacked(targets)[order]

    def _measure(self) -> LongArray:
        """(rows,) tokens of each row's prompt in some wording, and of its target."""
        random = np.random.default_rng(0)

        def lengths_of(rows: LongArray) -> LongArray:
            inputs, targets = self.pieces(rows, random)
            return assembled_lengths(self.tokens, inputs) + assembled_lengths(self.tokens, targets)

        return measured(int(self.starts[-1]), lengths_of)

    # The tasks

    def _next_item(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        events = self.bought.select(rows)
        prompt = self._after_history(self.prompts.recommend, events, random)
        return prompt, self.prompts.clicked(events.target)

    def _next_query(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        events = self.searched.select(rows)
        prompt = self._after_history(self.prompts.ask, events, random)
        return prompt, self.prompts.asked(events.query)

    def _after_history(
        self, family: Family, events: TrainingExamples, random: np.random.Generator
    ) -> LongArray:
        wording = random.integers(len(family), size=len(events))
        return family.pieces(wording, self.prompts.history(events))

    def _next_search_item(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        events = self.searched.select(rows)
        history, query = self.prompts.history(events), self.prompts.asked(events.query)
        return self._search(history, query, random), self.prompts.found(events.target)

    def _pseudo_query(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        items = self.asked_items[rows]
        query = self.prompts.pseudo(self.pseudo_queries.draw(items, random))
        history = np.zeros((len(rows), 0), dtype=np.int64)
        return self._search(history, query, random), self.prompts.found(items)

    def _search(
        self, history: LongArray, query: LongArray, random: np.random.Generator
    ) -> LongArray:
        wordings = (
            random.integers(len(family), size=len(query))
            for family in (self.prompts.search_history, self.prompts.search)
        )
        return self.prompts.search_prompt(history, query, *wordings)

    def _semantic_of_text(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        return self._identifier_of_text(rows + 1, True, random)

    def _collaborative_of_text(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        return self._identifier_of_text(rows + 1, False, random)

    def _text_of_semantic(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        return self._text_of_identifier(rows + 1, True, random)

    def _text_of_collaborative(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        return self._text_of_identifier(rows + 1, False, random)

    def _identifier_of_text(
        self, items: LongArray, is_semantic: bool, random: np.random.Generator
    ) -> Pieces:
        family = self.prompts.identify
        wording = random.integers(len(family), size=len(items))
        prompt = family.pieces(wording, self.prompts.text(items))
        return prompt, self.prompts.identifier(items, is_semantic)

    def _text_of_identifier(
        self, items: LongArray, is_semantic: bool, random: np.random.Generator
    ) -> Pieces:
        family = self.prompts.describe
        wording = random.integers(len(family), size=len(items))
        prompt = family.pieces(wording, self.prompts.identifier(items, is_semantic))
        return prompt, self.prompts.text(items)


def _epoch_size(block: _Block) -> int:
    return block.size if block.samples == "all" else block.samples
