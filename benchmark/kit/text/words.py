"""Words as numbers: a vocabulary, and word-id matrices of texts and of all queries.

The rule of tokenisation: a text is cut at the word boundaries of Unicode Standard Annex 29 (as in
:func:`benchmark.retrieval.analysis.tokenise`; ideographs are words of their own) and put in lower
case. Nothing is stemmed and no stop word is dropped.

The vocabulary holds every word of the training queries, and the words of the item texts that occur
often enough. It never looks at a query that occurs in held-out events only, so such a query may
have words that it lacks. One rule for every system: a word that is not in the vocabulary counts as
no word. It has no id, and a text is read as if it were not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import PADDING_QUERY, IntArray
from benchmark.errors import BenchmarkError
from benchmark.files import read_json, write_json
from benchmark.kit.text.query_tables import rows_of_queries
from benchmark.retrieval.analysis import tokenise
from benchmark.systems.view import Corpus, TrainingView

PADDING_WORD = 0
FIRST_WORD = 1
"""The id of the vocabulary's first word; the others follow."""


def words_of(text: str) -> list[str]:
    """The words of a text, in order.

    >>> words_of("Women's skin-care, 2 oz.")
    ["women's", 'skin', 'care', '2', 'oz']
    """
    return [token.lower() for token in tokenise(text)]


@dataclass(frozen=True)
class Vocabulary:
    """Distinct words in alphabetical order; the word at place ``n`` has the id ``FIRST_WORD + n``.

    >>> vocabulary = Vocabulary(("cream", "hand"))
    >>> vocabulary.encode(["Hand cream", "", "night cream"], longest=50).tolist()
    [[2, 1], [0, 0], [1, 0]]
    """

    words: tuple[str, ...]

    @classmethod
    def of_texts(
        cls,
        item_texts: Iterable[str],
        query_texts: Iterable[str] = (),
        minimum_count: int = 1,
    ) -> Vocabulary:
        """All words of the queries, and those that occur ``minimum_count`` times in item texts."""
        counts = Counter(word for text in item_texts for word in words_of(text))
        often = {word for word, count in counts.items() if count >= minimum_count}
        asked = {word for text in query_texts for word in words_of(text)}
        return cls(tuple(sorted(often | asked)))

    @classmethod
    def of_view(
        cls, view: TrainingView, *, reads_items: bool = False, minimum_count: int = 1
    ) -> Vocabulary:
        """All words of the training queries, and those of item texts if these are read too.

        Args:
            minimum_count: occurrences in item texts that a word needs, unless a training query
                holds it.
        """
        texts = view.corpus.queries.text
        asked = [texts[query] for query in training_queries(view)]
        return cls.of_texts(view.corpus.items.text if reads_items else (), asked, minimum_count)

    @property
    def number_of_ids(self) -> int:
        """Rows of an embedding table: the words and the padding word."""
        return FIRST_WORD + len(self.words)

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {word: FIRST_WORD + number for number, word in enumerate(self.words)}

    def encode(self, texts: Sequence[str], longest: int) -> IntArray:
        """The known words of each text, padded with ``PADDING_WORD`` on the right.

        Args:
            longest: so many known words of a text are kept, the first ones.

        Returns:
            (texts, words), as wide as the longest text needs, at least 1.
        """
        id_of = self._id_of
        rows = [[id_of[word] for word in words_of(text) if word in id_of] for text in texts]
        lengths = np.minimum([len(row) for row in rows], longest).astype(np.int64)
        encoded = np.zeros((len(rows), max(1, int(lengths.max(initial=0)))), dtype=np.int32)
        filled = np.arange(encoded.shape[1])[None, :] < lengths[:, None]
        encoded[filled] = [word for row in rows for word in row[:longest]]
        return encoded

    def save(self, path: Path) -> None:
        """Write the words as JSON."""
        write_json(path, list(self.words))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what :meth:`save` wrote.

        Raises:
            BenchmarkError: the file is missing, or is no list of words.
        """
        words = read_json(path)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise BenchmarkError(f"{path}: is not a vocabulary, that is, a list of words.")
        return cls(tuple(words))


@dataclass(frozen=True)
class QueryWords:
    """The word ids of a corpus's queries, which a system makes in ``fit`` and again in ``load``.

    ``ids`` is (number_of_queries + 1, words) int32, padded on the right; the rows are query ids, so
    row 0 is all padding. A request's query is found by its id, whether or not it occurs in
    training; that of a text which the corpus lacks by :meth:`of`. ``longest`` words are read.
    """

    vocabulary: Vocabulary
    ids: IntArray
    longest: int

    @classmethod
    def of_corpus(cls, vocabulary: Vocabulary, corpus: Corpus, longest: int) -> QueryWords:
        """Encode the queries of a corpus."""
        return cls(vocabulary, vocabulary.encode(corpus.queries.text, longest), longest)

    def of(self, queries: NDArray[np.integer], new_texts: Sequence[str] = ()) -> IntArray:
        """The words (…, words) of queries (…), those of ``new_texts`` after the corpus's."""
        return rows_of_queries(
            self.ids, queries, new_texts, lambda texts: self.vocabulary.encode(texts, self.longest)
        )


def training_queries(view: TrainingView) -> NDArray[np.int32]:
    """The distinct query ids of the training log, ascending."""
    asked = np.unique(view.log.query)
    return asked[asked != PADDING_QUERY]
