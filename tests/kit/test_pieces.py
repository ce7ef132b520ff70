"""Wordings and pieces: what stands where in prompts, and rows of tokens that are padded."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.kit.text.encoders import Tokens
from benchmark.kit.text.pieces import (
    NO_PIECE,
    NO_TOKEN,
    assembled_rows,
    shuffled_by_length,
    stacked,
    tokens_of_rows,
)
from benchmark.kit.text.wordings import Wordings, column, listed, slots_of, without_slots


def tokens_of(*rows: list[int]) -> Tokens:
    return Tokens.of_lists(rows, 0)


def test_token_lists_stand_in_a_row() -> None:
    tokens = tokens_of([5, 6], [], [7])
    assert tokens.ids.tolist() == [5, 6, 7] and tokens.offsets.tolist() == [0, 2, 2, 3]
    ids, mask = tokens.padded(np.array([2, 0]))
    assert ids.tolist() == [[7, 0], [5, 6]] and mask.tolist() == [[True, False], [True, True]]
    assert len(Tokens.of_lists([], 0)) == 0


def test_slots_are_filled_where_a_wording_has_them() -> None:
    texts = ["after {history} for {user} .", "{user} wants"]
    wordings = Wordings(texts, 10, ("user", "history"))
    assert wordings.literals == ["after", "for", ".", "", "wants", ""]
    assert wordings.uses.tolist() == [[1, 1], [1, 0]]
    values = {"user": np.array([[7], [8]]), "history": np.array([[1, 2], [3, NO_PIECE]])}
    pieces = wordings.filled(np.array([0, 1]), values)
    assert [row[row != NO_PIECE].tolist() for row in pieces] == [[10, 1, 2, 11, 7, 12], [8, 14]]


def test_a_wording_with_a_slot_that_nobody_named_is_refused() -> None:
    with pytest.raises(ValueError):
        Wordings(["{other}"], 0, ("user",))


def test_literals_are_measured_without_what_fills_the_slots() -> None:
    wordings = Wordings(["a b {user} c", "{user}"], 0, ("user",))
    assert len(wordings) == 2
    lengths = wordings.literal_lengths(tokens_of([5, 6], [7], [], []))
    assert lengths.tolist() == [3, 0]


def test_slots_have_names_and_leave_their_texts() -> None:
    assert slots_of("{a} and {b} and {a}") == ("a", "b", "a")
    assert without_slots("ask {query} now") == "ask  now"


def test_a_separator_stands_between_what_is_shown() -> None:
    items = np.array([[3, 4, 5]])
    shown = np.array([[True, False, True]])
    pieces = listed(100, items, shown, 9)[0]
    assert pieces[pieces != NO_PIECE].tolist() == [103, 9, 105]
    assert column(100, items[0]).tolist() == [[103], [104], [105]]


def test_rows_of_targets_are_padded_and_become_tokens_again() -> None:
    rows = assembled_rows(tokens_of([5], [6, 7]), np.array([[0], [1]]), end=1)
    assert rows.tolist() == [[5, 1, NO_TOKEN], [6, 7, 1]]
    again = tokens_of_rows(rows, 0)
    assert again.ids.tolist() == [5, 1, 6, 7, 1] and again.offsets.tolist() == [0, 2, 5]


def test_prompts_of_different_widths_stand_below_each_other() -> None:
    both = stacked([np.array([[1, 2]]), np.array([[3], [4]])])
    assert both.tolist() == [[1, 2], [3, NO_PIECE], [4, NO_PIECE]]


def test_batches_of_a_shuffle_hold_all_rows_and_like_lengths() -> None:
    lengths = np.tile([1, 9], 20)
    batches = shuffled_by_length(lengths, 5, np.random.default_rng(0), window=8)
    assert sorted(np.concatenate(batches).tolist()) == list(range(40))
    assert all(len(np.unique(lengths[rows])) == 1 for rows in batches)
