"""The base class of systems that are one torch module and read queries as words."""

from __future__ import annotations

from pathlib import Path

from benchmark.kit.modules import TorchSystem
from benchmark.kit.text.words import Vocabulary
from benchmark.systems.view import Corpus

_VOCABULARY = "vocabulary.json"


class WordSystem(TorchSystem):
    """A torch system whose queries are words; ``vocabulary`` exists before ``build`` is called."""

    reads_query_texts = True

    vocabulary: Vocabulary

    def save(self, folder: Path) -> None:
        """Write weights and vocabulary."""
        super().save(folder)
        self.vocabulary.save(folder / _VOCABULARY)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read the vocabulary, build the network and read its weights."""
        self.vocabulary = Vocabulary.load(folder / _VOCABULARY)
        super().load(folder, corpus)
