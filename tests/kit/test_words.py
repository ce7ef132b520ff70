"""Words: one rule for items and queries, and nothing learnt from held-out queries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.dataset import Dataset, EventLog, Items, Queries
from benchmark.errors import BenchmarkError
from benchmark.files import write_json
from benchmark.kit.text.words import (
    FIRST_WORD,
    QueryWords,
    Vocabulary,
    training_queries,
    words_of,
)
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.view import TrainingView

ITEM_TEXTS = ["", "Hand cream", "Night cream, rich", "Soap", "Hand soap", "Oil", "Balm"]
QUERY_TEXTS = ["", "hand care", "night care", "zebra hand"]


def small_view() -> TrainingView:
    """One user searches the first two queries in training; the third one is held out."""
    queries = np.array([1, 2, 1, 3, 3])
    nothing = np.zeros(len(queries), dtype=np.int64)
    items = Items(ITEM_TEXTS, ITEM_TEXTS, ITEM_TEXTS, ITEM_TEXTS, [()] * 7, ITEM_TEXTS)
    log = EventLog.from_columns(
        user=nothing + 1,
        item=np.array([1, 2, 3, 4, 1]),
        query=queries,
        behaviour=nothing + 1,
        timestamp=np.arange(len(queries)),
        session=np.arange(1, len(queries) + 1),
        number_of_users=1,
    )
    dataset = Dataset("small", items, Queries(QUERY_TEXTS), ["", "user"], log)
    settings = ProtocolSettings(negatives=1)
    return TrainingView(dataset, build_tasks(dataset, settings), settings)


def test_a_text_is_cut_at_word_boundaries_and_put_in_lower_case() -> None:
    assert words_of("Men's T-Shirt (2 pack) & more") == ["men's", "t", "shirt", "2", "pack", "more"]
    assert words_of("无线 Mouse") == ["无", "线", "mouse"]
    assert words_of("&!") == []


def test_the_vocabulary_never_sees_a_query_that_is_held_out() -> None:
    view = small_view()
    assert training_queries(view).tolist() == [1, 2]
    for reads_items in (False, True):
        vocabulary = Vocabulary.of_view(view, reads_items=reads_items)
        assert "care" in vocabulary.words
        assert "zebra" not in vocabulary.words
        assert ("soap" in vocabulary.words) == reads_items
        words = QueryWords.of_corpus(vocabulary, view.corpus, longest=50)
        assert words.ids[3].tolist() == [FIRST_WORD + vocabulary.words.index("hand"), 0]


def test_rows_are_item_and_query_ids() -> None:
    view = small_view()
    vocabulary = Vocabulary.of_view(view, reads_items=True)
    items = vocabulary.encode(view.corpus.items.text, longest=50)
    queries = QueryWords.of_corpus(vocabulary, view.corpus, longest=50).ids
    assert items.shape == (7, 3) and items.dtype == np.int32
    assert queries.shape == (4, 2) and queries.dtype == np.int32
    assert not items[0].any() and not queries[0].any()
    names = ["", *vocabulary.words]
    assert [names[number] for number in items[2]] == ["night", "cream", "rich"]
    assert [names[number] for number in items[4]] == ["hand", "soap", ""]


def test_rare_words_of_items_count_as_no_words_unless_a_training_query_holds_them() -> None:
    view = small_view()
    vocabulary = Vocabulary.of_view(view, reads_items=True, minimum_count=2)
    assert vocabulary.words == ("care", "cream", "hand", "night", "soap")
    assert vocabulary.encode(view.corpus.items.text, 50)[5].tolist() == [0, 0]
    assert vocabulary.number_of_ids == 6


def test_unknown_words_take_no_place_among_those_that_are_kept() -> None:
    vocabulary = Vocabulary(("cream", "hand"))
    assert vocabulary.encode(["my new hand cream", "nothing"], longest=2).tolist() == [
        [2, 1],
        [0, 0],
    ]


def test_long_texts_lose_their_end() -> None:
    corpus = small_view().corpus
    vocabulary = Vocabulary.of_view(small_view())
    whole = QueryWords.of_corpus(vocabulary, corpus, longest=50)
    words = QueryWords.of_corpus(vocabulary, corpus, longest=1)
    np.testing.assert_array_equal(words.ids, whole.ids[:, :1])
    new, asked = ["care for a hand"], np.array([[1, len(words.ids)]])
    first = words.of(asked, new)
    assert first.shape == (1, 2, 1)
    np.testing.assert_array_equal(first, whole.of(asked, new)[..., :1])


def test_a_stored_vocabulary_encodes_alike(tmp_path: Path) -> None:
    view = small_view()
    stored = Vocabulary.of_view(view, reads_items=True)
    stored.save(tmp_path / "words.json")
    loaded = Vocabulary.load(tmp_path / "words.json")
    assert loaded == stored
    texts = view.corpus.items.text
    np.testing.assert_array_equal(loaded.encode(texts, 50), stored.encode(texts, 50))


def test_no_text_at_all_is_encoded_too() -> None:
    empty = Vocabulary.of_texts(["", "!"])
    assert empty.number_of_ids == FIRST_WORD
    assert empty.encode(["", "?"], 5).tolist() == [[0], [0]]
    assert empty.encode([], 5).shape == (0, 1)
    corpus = replace(small_view().corpus, queries=Queries([""]))
    assert QueryWords.of_corpus(empty, corpus, longest=5).ids.shape == (1, 1)


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "words.json", {"hand": 2})
    with pytest.raises(BenchmarkError, match="is not a vocabulary"):
        Vocabulary.load(tmp_path / "words.json")
