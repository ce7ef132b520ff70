"""From a log in its order to a data set: dense numbers from 1, and the item text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import (
    RECOMMENDATION,
    SEARCH,
    Dataset,
    EventLog,
    Items,
    Judgements,
    Queries,
)
from benchmark.data.raw import RawItems, RawLog
from benchmark.data.recipe import Recipe
from benchmark.files import sha256_of_json
from benchmark.hashing import row_hash, text_keys


def new_rows(kept: NDArray[np.int64], before: int) -> NDArray[np.int64]:
    """(before,) where each row stands among the ``kept`` ones; -1 for the others."""
    rows = np.full(before, -1, dtype=np.int64)
    rows[kept] = np.arange(len(kept))
    return rows


def session_groups(log: RawLog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of searches, and for each the number of its session; twice (searches,).

    Two users may use one number for sessions of their own.
    """
    rows = np.flatnonzero(log.is_search)
    order = np.lexsort((log.session[rows], log.user[rows]))
    user, session = log.user[rows][order], log.session[rows][order]
    new = np.ones(len(rows), dtype=np.int64)
    new[1:] = (user[1:] != user[:-1]) | (session[1:] != session[:-1])
    group = np.empty(len(rows), dtype=np.int64)
    group[order] = np.cumsum(new) - 1
    return rows, group


def with_dense_ids(recipe: Recipe, log: RawLog) -> Dataset:
    """Users, items, queries and sessions get their numbers from 1; ``log`` is in log order."""
    keys = text_keys(log.items.external_id)
    rows = (
        np.argsort(row_hash(recipe.seed, "item id", keys), kind="stable")
        if recipe.item_ids == "permuted"
        else np.arange(len(log.items))
    )
    item_id = new_rows(rows, len(log.items)) + 1
    items = _items_with_text(recipe, log.items.take(rows))
    textless = items.text.count("") - 1
    if textless:
        fields = ", ".join(recipe.text)
        log = log.with_notes(f"{textless:,} items have an empty item text (fields: {fields}).")
    is_search = log.is_search
    query_text, query = _numbered_queries(log)
    return Dataset(
        name=recipe.name,
        items=items,
        queries=Queries(text=("", *query_text)),
        users=("", *log.users),
        log=EventLog.from_columns(
            user=log.user + 1,
            item=item_id[log.item],
            query=query,
            behaviour=np.where(is_search, SEARCH, RECOMMENDATION),
            timestamp=log.timestamp,
            session=_numbered_sessions(log),
            number_of_users=len(log.users),
        ),
        notes=log.notes,
        has_readable_text=recipe.source.readable_text,
        salt=_salt_of(recipe),
        judgements=_numbered_judgements(log, item_id),
        cuts=log.cuts,
    )


def _salt_of(recipe: Recipe) -> str:
    """A hash of what the recipe says, but for where the files lie."""
    said = recipe.model_dump(mode="json")
    said["source"] = {k: v for k, v in said["source"].items() if k not in ("path", "files")}
    return sha256_of_json(said)


def _numbered_queries(log: RawLog) -> tuple[list[str], NDArray[np.int64]]:
    """The queries in use, in the order of their text, and each event's number, 0 for none."""
    ordered, number = _query_numbers(log)
    return [log.query_text[row] for row in ordered], number[log.query]


def _query_numbers(log: RawLog) -> tuple[list[int], NDArray[np.int64]]:
    """The rows of the queries in use, in the order of their text, and the number of each row."""
    used = np.unique(log.query[log.is_search]).tolist()
    ordered = sorted(used, key=log.query_text.__getitem__)
    number = np.zeros(len(log.query_text) + 1, dtype=np.int64)  # the last place is NO_QUERY's
    number[ordered] = np.arange(1, len(ordered) + 1)
    return ordered, number


def _numbered_judgements(log: RawLog, item_id: NDArray[np.int64]) -> Judgements | None:
    """The judgements of queries in use; of a pair that was judged twice the greatest gain."""
    if log.judgements is None:
        return None
    judged = log.judgements
    query, item = _query_numbers(log)[1][judged.query], item_id[judged.item]
    order = np.lexsort((-judged.gain, item, query))
    order = order[query[order] > 0]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(query[order]) != 0) | (np.diff(item[order]) != 0)
    rows = order[first]
    columns = (query[rows], item[rows], judged.gain[rows])
    return Judgements(*(column.astype(np.int32) for column in columns)) if len(rows) else None


def _numbered_sessions(log: RawLog) -> NDArray[np.int64]:
    """Sessions numbered in the order in which the log reaches them, 0 for no session."""
    rows, group = session_groups(log)
    _, first = np.unique(group, return_index=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    numbers = np.zeros(len(log), dtype=np.int64)
    numbers[rows] = rank[group]
    return numbers


def _items_with_text(recipe: Recipe, items: RawItems) -> Items:
    """The catalogue with the padding item in front and the recipe's item text."""
    fields: dict[str, Sequence[str]] = {
        "title": items.title,
        "description": items.description,
        "brand": items.brand,
        "categories": [_flat(paths) for paths in items.categories],
        "decade": items.decade,
    }
    columns = zip(*(fields[name] for name in recipe.text), strict=True)
    return Items(
        external_id=("", *items.external_id),
        title=("", *items.title),
        description=("", *items.description),
        brand=("", *items.brand),
        categories=((), *items.categories),
        text=("", *(" ".join(part for part in parts if part) for parts in columns)),
    )


def _flat(paths: Sequence[Sequence[str]]) -> str:
    """All levels of all hierarchies, each name once."""
    return " ".join(dict.fromkeys(level for path in paths for level in path))
