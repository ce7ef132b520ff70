"""Rows of what a system makes of query texts: of the data set's, made once, and of new ones.

A system keeps a table with a row for every query of the corpus, row 0 for none. Requests may ask
for texts that the corpus lacks (:attr:`benchmark.protocol.requests.Events.new_queries`); their
numbers follow the corpus's, and their rows are made when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)


def rows_of_queries(
    table: NDArray[Number],
    queries: NDArray[np.integer[Any]],
    new_texts: Sequence[str],
    make: Callable[[Sequence[str]], NDArray[Number]],
) -> NDArray[Number]:
    """The rows of ``queries``, of any shape (…), as (…, width).

    Args:
        table: (queries + 1, width) of the corpus's queries, padded with 0 on the right.
        queries: numbers; ``len(table)`` is the first of ``new_texts``, and so on.
        new_texts: of queries that the table lacks.
        make: gives the rows (texts, any width) of texts. Not called where there are none, and then
            the rows are the table's own, as wide as it is.

    Raises:
        IndexError: a number has no text.
    """
    if not len(new_texts):
        return table[queries]
    made = make(new_texts)
    width = max(table.shape[1], made.shape[1])
    is_new = queries >= len(table)
    rows = np.zeros((*queries.shape, width), dtype=table.dtype)
    rows[~is_new, : table.shape[1]] = table[queries[~is_new]]
    rows[is_new, : made.shape[1]] = made[queries[is_new] - len(table)]
    return rows
