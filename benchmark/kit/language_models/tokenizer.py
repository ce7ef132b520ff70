"""The tokenizer of language models: a pretrained one, or one trained on the data's texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import LongArray
from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.files import atomic_path
from benchmark.kit.pretrained.model_folder import PretrainedFiles, loaded_tokenizer
from benchmark.kit.text.markers import Markers
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.text.words import training_queries
from benchmark.systems.view import TrainingView

PADDING_TOKEN, END_TOKEN, UNKNOWN_TOKEN = "<pad>", "</s>", "<unk>"
"""The scratch tokenizer's first three tokens, with T5's ids 0, 1 and 2."""

WORD_MARK = "\u2581"
"""What T5's tokenizers, and ours, write for the blank before a word."""

_TEXTS_TOKENISED_AT_ONCE = 8192


class TextTokenizer:
    """Texts to token ids and back, without markers of beginning or end.

    ``padding`` and ``end`` are the ids of T5's padding and end of a text. A text is always split as
    text: none of its tokens is the end, padding or an added token, whatever it holds. Where added
    tokens are meant, :meth:`marked` is asked.
    """

    def __init__(self, backend: Any, padding: int, end: int) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.padding, self.end = padding, end
        self._find_markers()

    @classmethod
    def of_files(cls, files: PretrainedFiles) -> TextTokenizer:
        """The tokenizer of a pretrained model's folder."""
        loaded = loaded_tokenizer(files)
        return cls(loaded.backend_tokenizer, int(loaded.pad_token_id), int(loaded.eos_token_id))

    @classmethod
    def trained_on(cls, texts: Iterable[str], most_tokens: int) -> Self:
        """Byte-pair encoding over words and single punctuation marks in lower case.

        Equal texts give an equal tokenizer, whatever their order; of the trainers of the library
        "tokenizers" this is the only one of which that is true.
        """
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        backend: Any = Tokenizer(models.BPE(unk_token=UNKNOWN_TOKEN, fuse_unk=True))
        backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Punctuation(),
                pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
            ]
        )
        backend.decoder = decoders.Metaspace(prepend_scheme="always")
        special = [PADDING_TOKEN, END_TOKEN, UNKNOWN_TOKEN]
        trainer = trainers.BpeTrainer(
            vocab_size=most_tokens, special_tokens=special, show_progress=False
        )
        backend.train_from_iterator(sorted(Counter(texts).elements()), trainer)
        return cls(backend, special.index(PADDING_TOKEN), special.index(END_TOKEN))

    @property
    def size(self) -> int:
        """The number of tokens, the added ones included."""
        return int(self._backend.get_vocab_size())

    @property
    def begins_word(self) -> NDArray[np.bool_]:
        """(tokens,) whether a token begins a word, which T5's mark at its front says."""
        begins = np.zeros(self.size, dtype=bool)
        begins[[n for word, n in self._backend.get_vocab().items() if word[:1] == WORD_MARK]] = True
        return begins

    def add(self, tokens: Sequence[str]) -> LongArray:
        """Add ordinary tokens that are always one id, in their order; returns their ids (tokens,).

        Raises:
            SystemFailure: one of them is not encoded as a single id.
        """
        from tokenizers import AddedToken

        self._backend.add_tokens([AddedToken(token, normalized=False) for token in tokens])
        self._find_markers()
        encoded = self.marked(tokens)
        if (split := encoded.lengths != 1).any():
            token = tokens[int(np.flatnonzero(split)[0])]
            raise SystemFailure(f"the tokenizer does not encode the added token {token} as one id.")
        return encoded.ids.astype(np.int64)

    def __call__(self, texts: Sequence[str], most_tokens: int | None = None) -> Tokens:
        """The ids of each text, the first ``most_tokens`` of them, split as text throughout."""
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_TOKENISED_AT_ONCE):
            part = list(texts[start : start + _TEXTS_TOKENISED_AT_ONCE])
            rows = self._encoded(part)
            for row in self._markers.found_in(part, rows):
                rows[row] = self._encoded([self._markers.parted(part[row])])[0]
            ids += rows
        return self._as_tokens(ids, most_tokens)

    def marked(self, texts: Sequence[str], most_tokens: int | None = None) -> Tokens:
        """Like a call, for texts of our own in which the names of added tokens stand for them."""
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TEXTS_TOKENISED_AT_ONCE):
            ids += self._encoded(list(texts[start : start + _TEXTS_TOKENISED_AT_ONCE]))
        return self._as_tokens(ids, most_tokens)

    def as_text(self, texts: Sequence[str]) -> list[str]:
        """The texts as they may stand beside added tokens in a text for :meth:`marked`."""
        plain = list(texts)
        for start in range(0, len(plain), _TEXTS_TOKENISED_AT_ONCE):
            part = plain[start : start + _TEXTS_TOKENISED_AT_ONCE]
            for row in self._markers.found_in(part, self._encoded(part)):
                plain[start + row] = self._markers.parted(part[row])
        return plain

    def _find_markers(self) -> None:
        added = self._backend.get_added_tokens_decoder()
        self._markers = Markers(self._backend, [*added, self.padding, self.end], UNKNOWN_TOKEN)

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        found = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in found]

    def _as_tokens(self, rows: Sequence[Sequence[int]], most_tokens: int | None) -> Tokens:
        return Tokens.of_lists((row[:most_tokens] for row in rows), self.padding)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts of token ids; padding and end are left out."""
        texts = self._backend.decode_batch([list(row) for row in ids], skip_special_tokens=True)
        return [text.strip() for text in texts]

    def marks(self) -> dict[str, Any]:
        """What :meth:`load` needs beside the file of :meth:`save`: arguments of the class."""
        return {"padding": self.padding, "end": self.end}

    def save(self, path: Path) -> None:
        """Write it as JSON, in the format of the library "tokenizers"."""
        with atomic_path(path) as temporary:
            self._backend.save(str(temporary))

    @classmethod
    def load(cls, path: Path, marks: dict[str, Any]) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            BenchmarkError: the file is missing or no tokenizer.
        """
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_file(str(path)), **marks)
        except Exception as error:  # the library raises bare exceptions
            raise BenchmarkError(f"{path}: is not readable as a tokenizer ({error}).") from None


def texts_of(view: TrainingView) -> list[str]:
    """What a scratch tokenizer learns from: all item texts and the queries of the training log."""
    queries = view.corpus.queries.text
    return [*view.corpus.items.text[1:], *(queries[number] for number in training_queries(view))]
