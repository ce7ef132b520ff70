"""What both backbones are: a language model of transformers with its tokenizer, kept in one folder.

``seq2seq`` and ``causal`` say of which kind the two are, and how prompts are read. Either starts
from a pretrained model by hub name or folder, or from ``scratch``: random weights of any size and a
tokenizer trained on the data set's own texts, which stand in where no pretrained model can be had.
Codes of item identifiers and other markers are added as ordinary tokens of one id each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from benchmark.files import read_json, write_json
from benchmark.kit.decoding.levels import EncodedPrompts
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.modules import load_state, load_untied_state, save_state, untied_state
from benchmark.kit.pretrained.choice import BackboneChoice
from benchmark.kit.pretrained.model_folder import PretrainedFiles
from benchmark.systems.contract import RunContext

_ROWS_ARE_MULTIPLES_OF = 8  # rows of the embedding, which tensor cores like
_WEIGHTS, _CONFIG = "model.safetensors", "backbone.json"
_TOKENIZER, _MARKS = "tokenizer.json", "marks.json"


def fused_attention() -> str:
    """Torch's, which is made for GPUs; small models on a CPU learn faster without it: "eager"."""
    return "sdpa" if torch.cuda.is_available() else "eager"


def rounded_up(number: int) -> int:
    """Rows of a table of so many tokens."""
    return -(-number // _ROWS_ARE_MULTIPLES_OF) * _ROWS_ARE_MULTIPLES_OF


class LanguageModel(nn.Module, ABC):
    """A model of transformers, ``inner``, and its loss."""

    @property
    @abstractmethod
    def inner(self) -> Any:
        """The model of transformers."""

    @classmethod
    @abstractmethod
    def of_files(cls, files: PretrainedFiles) -> Self:
        """The pretrained model of a folder, in float32.

        Raises:
            BenchmarkError: its weights are missing, or it cannot be used.
        """

    @classmethod
    @abstractmethod
    def of_scratch(cls, size: Any, tokenizer: TextTokenizer) -> Self:
        """A model of this size with random weights, drawn from torch's generator."""

    @abstractmethod
    def grow(self, number_of_tokens: int) -> None:
        """Give the tables at least ``number_of_tokens`` rows; new ones are drawn as it draws them.

        Rows that a pretrained table has beyond its tokenizer's tokens are taken as they are.
        """

    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """What :meth:`of_sizes` makes the same network of, as JSON."""

    @classmethod
    @abstractmethod
    def of_sizes(cls, sizes: dict[str, Any]) -> Self:
        """A model with random weights; ``sizes`` as :meth:`sizes` gives them."""

    def own_state(self) -> dict[str, torch.Tensor]:
        """All weights by the names of transformers, each tied one under its first name only."""
        return untied_state(self.inner)

    def load_own_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take weights as :meth:`own_state` gives them.

        Raises:
            BenchmarkError: their names or shapes are not those of this model.
        """
        load_untied_state(self.inner, state)

    def save(self, folder: Path) -> None:
        """Write weights and sizes."""
        save_state(self.own_state(), folder / _WEIGHTS)
        write_json(folder / _CONFIG, self.sizes())

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Self:
        """Read what :meth:`save` wrote, to the bit.

        Raises:
            BenchmarkError: a file is missing, or the weights are not those of the sizes.
        """
        model = cls.of_sizes(read_json(folder / _CONFIG))
        model.load_own_state(load_state(folder / _WEIGHTS))
        return model.to(device).eval()


@dataclass
class LanguageBackbone(ABC):
    """A model with its tokenizer. Subclasses name the classes of both."""

    model: Any
    tokenizer: Any

    models: ClassVar[type[LanguageModel]]
    tokenizers: ClassVar[type[TextTokenizer]]

    @classmethod
    def make(
        cls,
        settings: BackboneChoice,
        texts: Sequence[str],
        added_tokens: Sequence[str],
        context: RunContext,
    ) -> Self:
        """A backbone as it is before training, on the run's device.

        Args:
            texts: what a scratch tokenizer learns from, such as
                :func:`benchmark.kit.language_models.tokenizer.texts_of`.
            added_tokens: become ordinary tokens of one id each, in this order.
        """
        torch.manual_seed(int(context.random("backbone").integers(2**62)))
        files = settings.find()
        if files is None:
            tokenizer = cls.tokenizers.trained_on(texts, settings.scratch.text_tokens)
            tokenizer.add(added_tokens)
            model = cls.models.of_scratch(settings.scratch, tokenizer)
        else:
            tokenizer = cls.tokenizers.of_files(files)
            tokenizer.add(added_tokens)
            model = cls.models.of_files(files)
            if added_tokens:
                model.grow(tokenizer.size)
        model.to(context.device)
        return cls(model, tokenizer)

    def writer(self) -> Any:
        """The network as the decoding engine reads it, in evaluation mode."""
        return self.model.eval().inner

    @property
    @abstractmethod
    def end_of_prompts(self) -> int | None:
        """The token that closes what is read, if any."""

    @abstractmethod
    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> EncodedPrompts:
        """What the network makes of prompts (prompts, tokens), put together on any device."""

    def save(self, folder: Path) -> None:
        """Write weights, sizes and tokenizer."""
        self.model.save(folder)
        write_json(folder / _MARKS, self.tokenizer.marks())
        self.tokenizer.save(folder / _TOKENIZER)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Self:
        """Read what :meth:`save` wrote, to the bit.

        Raises:
            BenchmarkError: a file is missing, or the weights are not those of the sizes.
        """
        model, marks = cls.models.load(folder, device), read_json(folder / _MARKS)
        return cls(model, cls.tokenizers.load(folder / _TOKENIZER, marks))
