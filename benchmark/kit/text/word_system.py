"""The base classes of systems that are one torch module and read queries as words."""

from __future__ import annotations

from pathlib import Path

from benchmark.kit.modules import TorchSystem
from benchmark.kit.text.words import QueryWords, Vocabulary
from benchmark.kit.training.system import TrainedSystem
from benchmark.systems.view import Corpus, TrainingView

_VOCABULARY = "vocabulary.json"


class WordSystem(TorchSystem):
    """A torch system whose queries are words, as many of each as ``query_words`` of its ``Config``.

    ``vocabulary`` and ``words``, those of the corpus's queries, exist before ``build`` is called.
    """

    reads_query_texts = True

    vocabulary: Vocabulary
    words: QueryWords

    def read_words(self, vocabulary: Vocabulary, corpus: Corpus) -> None:
        """Take a vocabulary, and encode the queries of a corpus with it."""
        self.vocabulary = vocabulary
        self.words = QueryWords.of_corpus(vocabulary, corpus, self.config.query_words)

    def save(self, folder: Path) -> None:
        """Write weights and vocabulary."""
        super().save(folder)
        self.vocabulary.save(folder / _VOCABULARY)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read the vocabulary, build the network and read its weights."""
        self.read_words(Vocabulary.load(folder / _VOCABULARY), corpus)
        super().load(folder, corpus)


class TrainedWordSystem(WordSystem, TrainedSystem):
    """Trained on instances of its own, with the words of the training queries as vocabulary."""

    def vocabulary_of(self, view: TrainingView) -> Vocabulary:
        """The words of the training queries: others have no vector that is ever trained."""
        return Vocabulary.of_view(view)

    def fit(self, view: TrainingView) -> None:
        """Take the vocabulary from the view, then build the network and train it."""
        self.read_words(self.vocabulary_of(view), view.corpus)
        super().fit(view)
