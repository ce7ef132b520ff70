"""Systems whose language model reads prompts put together from pieces and writes identifiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch

from benchmark.data.dataset import LongArray
from benchmark.kit.decoding.identifier_system import IdentifierSystem
from benchmark.kit.decoding.levels import EncodedPrompts
from benchmark.kit.language_models.backbone import LanguageBackbone
from benchmark.kit.language_models.seq2seq import Backbone
from benchmark.kit.text.encoders import Tokens
from benchmark.kit.text.pieces import assembled, assembled_lengths
from benchmark.protocol.requests import Requests
from benchmark.systems.view import Corpus

_BACKBONE = "backbone"  # a folder


class PromptedSystem(IdentifierSystem):
    """A system on a backbone. After ``fit`` or ``load`` there is ``backbone``."""

    backbones: ClassVar[type[LanguageBackbone]] = Backbone
    """What makes and loads the language model with its tokenizer."""

    backbone: Any

    def writer(self) -> Any:
        """The language model."""
        return self.backbone.writer()

    def read(
        self,
        requests: Requests,
        tokens: Tokens,
        pieces: LongArray,
        most_tokens: int | None = None,
    ) -> Iterator[tuple[LongArray, EncodedPrompts]]:
        """What the language model makes of prompts, those of similar length together.

        Args:
            requests: what the prompts are of.
            tokens: the pieces, tokenised.
            pieces: (requests, pieces), which of them each prompt is made of.
            most_tokens: prompts are cut after so many, the end included.
        """
        end = self.backbone.end_of_prompts
        for rows in self.batches(requests, assembled_lengths(tokens, pieces)):
            ids, mask = assembled(tokens, pieces[rows], end, most_tokens)
            with torch.inference_mode():
                read = self.backbone.read(ids, mask)
            yield rows, read

    def save(self, folder: Path) -> None:
        """Write the language model and its tokenizer."""
        self.backbone.save(folder / _BACKBONE)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote."""
        self.backbone = self.backbones.load(folder / _BACKBONE, self.context.device)

    def number_of_parameters(self) -> int:
        """Weights of the language model."""
        return sum(weight.numel() for weight in self.backbone.model.parameters())
