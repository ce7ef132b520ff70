"""Rows of queries: those of the table as they are, those of new texts made, nothing for others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmark.kit.text.query_tables import rows_of_queries

TABLE = np.array([[0, 0], [1, 2], [3, 0]], dtype=np.int32)


def lengths(texts: Sequence[str]) -> np.ndarray:
    """Three columns a text, so that rows of new texts are wider than those of the table."""
    return np.array([[len(text), 9, 9] for text in texts], dtype=np.int32)


def never(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError("there is no new text")


def test_known_queries_get_the_tables_rows() -> None:
    queries = np.array([[2, 0], [1, 1]])
    np.testing.assert_array_equal(rows_of_queries(TABLE, queries, (), never), TABLE[queries])


def test_new_texts_stand_after_the_table_and_widen_it() -> None:
    found = rows_of_queries(TABLE, np.array([4, 1, 3]), ("tea", "coffee"), lengths)
    np.testing.assert_array_equal(found, [[6, 9, 9], [1, 2, 0], [3, 9, 9]])
    assert found.dtype == TABLE.dtype
    narrow = rows_of_queries(TABLE, np.array([3, 1]), ("tea",), lambda texts: lengths(texts)[:, :1])
    np.testing.assert_array_equal(narrow, [[3, 0], [1, 2]])


@pytest.mark.parametrize("texts", [(), ("tea",)])
def test_a_number_without_a_text_raises(texts: tuple[str, ...]) -> None:
    with pytest.raises(IndexError):
        rows_of_queries(TABLE, np.array([3 + len(texts)]), texts, lengths)
