"""What recommenders share whose items have codes that were learned from their texts.

The codes are an artifact, so systems with the same settings learn them once; figures about them,
and what stood in for the sentence encoder, go with the weights into a saved system's folder. A
:class:`CodeGenerator` reads and writes codes alone, a :class:`PromptedCodes` words as well.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from baselines.encoders import bge_or_stand_in
from benchmark.data.dataset import IntArray, LongArray
from benchmark.errors import SystemFailure
from benchmark.files import read_json, write_json
from benchmark.kit.decoding.identifier_system import IdentifierSystem
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.card import card
from benchmark.kit.identifiers.learned import FIGURES, LearnedIdentifiers, learned_once
from benchmark.kit.language_models.prompted import PromptedSystem
from benchmark.kit.text.encoders import TextEncoder
from benchmark.protocol.requests import Requests, TrainingExamples
from benchmark.systems.contract import System
from benchmark.systems.view import Corpus, TrainingView

TASK = "recommendation"
LONGEST_TEXT = 256
"""Tokens of an item text that the encoder reads."""

_ORIGIN = "origin.json"


def recommendations(view: TrainingView) -> TrainingExamples:
    """The recommendation events of the training log.

    Raises:
        SystemFailure: there are none.
    """
    examples = view.examples(TASK)
    if not len(examples):
        raise SystemFailure("there are no recommendation events to learn from.")
    return examples


class ItemCodes(System):
    """Learned codes of items. After ``fit`` or ``load`` there are ``identifiers``.

    ``figures`` are about them, and ``encoder_stand_in`` says what stands in for the sentence
    encoder that was meant; it is empty if nothing does.
    """

    codes_are: ClassVar[str] = "semantic"
    """What figures call them."""
    identifiers_in: ClassVar[str] = "."
    """The folder of the codes in that of a saved system."""
    stand_in_is: ClassVar[str] = "stand_in"
    """The key of the sentence on the encoder in a saved system's folder."""

    identifiers: Identifiers
    figures: dict[str, float]
    encoder_stand_in: str

    def bge(self, choice: str, use: str) -> TextEncoder:
        """BGE, or what stands in for it; see :func:`bge_or_stand_in`."""
        encoder, self.encoder_stand_in = bge_or_stand_in(choice, use, self.context)
        return encoder

    def take_codes(
        self,
        name: str,
        view: TrainingView,
        determined_by: Mapping[str, Any],
        learn: Callable[[], LearnedIdentifiers],
    ) -> None:
        """Set codes and figures from an artifact; arguments as for :func:`learned_once`."""
        learned = learned_once(self.context, name, determined_by, learn)
        self.identifiers = learned.identifiers
        self.figures = learned.figures | card(learned.identifiers, view)

    def save_codes(self, folder: Path) -> None:
        """Write codes, figures and what stood in for the encoder."""
        self.identifiers.save(folder / self.identifiers_in)
        write_json(folder / FIGURES, self.figures)
        write_json(folder / _ORIGIN, {self.stand_in_is: self.encoder_stand_in})

    def load_codes(self, folder: Path) -> None:
        """Read what :meth:`save_codes` wrote; no text is encoded again."""
        self.identifiers = Identifiers.load(folder / self.identifiers_in)
        self.figures = read_json(folder / FIGURES)
        self.encoder_stand_in = read_json(folder / _ORIGIN)[self.stand_in_is]

    def identifier_quality(self) -> dict[str, dict[str, float]]:
        """How well the codes tell items apart, and how they came about."""
        return {self.codes_are: self.figures}

    def stand_ins(self) -> tuple[str, ...]:
        """What stands in for the sentence encoder that was meant."""
        return (self.encoder_stand_in,) if self.encoder_stand_in else ()


class CodeGenerator(ItemCodes, IdentifierSystem):
    """A T5 of codes: it reads those of a history and writes those of the next item."""

    tasks = (TASK,)
    model: Any

    def writer(self) -> Any:
        """The T5."""
        return self.model.eval().t5

    def histories(self, requests: Requests) -> Iterator[tuple[LongArray, IntArray]]:
        """Rows of requests and their items (rows, longest), those of similar length together.

        Items are padded with 0 on the right; without any there is one column of padding.
        """
        history = requests.history(self.config.history_length, TASK, padding="right")
        tokens = 1 + history.count.astype(np.int64) * self.targets_of(TASK).shape[1]
        for rows in self.batches(requests, tokens):
            longest = max(int(history.count[rows].max()), 1)
            yield rows, history.items[rows][:, :longest]

    def number_of_parameters(self) -> int:
        """All weights."""
        return sum(weight.numel() for weight in self.model.parameters())


class PromptedCodes(ItemCodes, PromptedSystem):
    """A language model with a tokenizer of texts: its prompts hold words and codes of items.

    After ``fit`` or ``load`` there is ``prompts`` too.
    """

    identifiers_in = "identifiers"
    stand_in_is = "encoder_stand_in"

    prompts: Any
    _targets: LongArray

    @abstractmethod
    def make_prompts(self, corpus: Corpus) -> None:
        """Set ``prompts`` and what is to be written for each item, once there is a tokenizer."""

    def targets_of(self, task: str) -> LongArray:
        """The codes of all items, each with its end."""
        return self._targets

    def save(self, folder: Path) -> None:
        """Write the language model and the identifiers."""
        super().save(folder)
        self.save_codes(folder)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote; no text is embedded again."""
        super().load(folder, corpus)
        self.load_codes(folder)
        self.make_prompts(corpus)

    def stand_ins(self) -> tuple[str, ...]:
        """What stands in for the pretrained language model and for the text encoder."""
        backbone = self.config.backbone.stand_in()
        return (backbone, *super().stand_ins()) if backbone else super().stand_ins()
