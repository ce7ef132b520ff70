"""A folder of Parquet files in the tidy format of ``datasets/README.md``: a user's own log.

``interactions.parquet`` (user_id, item_id, timestamp, maybe rating and position), ``items.parquet``
(item_id, maybe title, description, brand and categories) and, for ``search.kind: own``,
``searches.parquet`` (user_id, item_id, query, timestamp, maybe session).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.recipe import FolderSource, Recipe
from benchmark.data.sources.parquet import Ids, ParquetColumns
from benchmark.data.sources.raw import (
    NO_QUERY,
    NO_SESSION,
    Paths,
    RawItems,
    RawLog,
    recommendation_log,
)
from benchmark.errors import BenchmarkError

INTERACTIONS = "interactions.parquet"
ITEMS = "items.parquet"
SEARCHES = "searches.parquet"
MAXIMUM_ROWS = 50_000_000


def files(recipe: Recipe) -> tuple[Path, ...]:
    """The Parquet files that the recipe uses.

    Raises:
        BenchmarkError: the folder or a file is missing.
    """
    folder = recipe.source_folder
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: the folder of source.path is missing.")
    names = [INTERACTIONS, ITEMS] + ([SEARCHES] if recipe.search.kind == "own" else [])
    for name in names:
        if not (folder / name).is_file():
            raise BenchmarkError(f"{folder / name}: the file is missing.")
    return tuple(folder / name for name in names)


def read(recipe: Recipe) -> RawLog:
    """Read and check the folder.

    Raises:
        BenchmarkError: a file is missing or damaged, or holds a value that cannot be used.
    """
    options = cast(FolderSource, recipe.source)
    paths = files(recipe)
    log = read_purchases(paths[0], paths[1], options.maximum_rows)
    if recipe.search.kind == "own":
        log = _with_searches(log, paths[2], options)
    elif (recipe.source_folder / SEARCHES).is_file():
        log = log.with_notes(f"{SEARCHES} was not used, since search.kind is not 'own'.")
    if not options.allow_items_without_text:
        _refuse_items_without_text(log, paths[1])
    return log


def read_purchases(interactions: Path, items: Path, maximum_rows: int) -> RawLog:
    """The catalogue and the events outside of search.

    Raises:
        BenchmarkError: a file is missing or damaged, or holds a value that cannot be used.
    """
    return _read_interactions(interactions, _read_items(items, maximum_rows), maximum_rows)


def last_levels(paths: Paths) -> tuple[str, ...]:
    """The last level of each hierarchy, each name once: what a query of ``channels`` may name."""
    return tuple(dict.fromkeys(path[-1] for path in paths if path))


def _read_items(path: Path, maximum_rows: int) -> RawItems:
    columns = ParquetColumns.read(
        path,
        required=["item_id"],
        optional=["title", "description", "brand", "categories"],
        maximum_rows=maximum_rows,
    )
    ids = columns.ids("item_id")
    if len(ids.distinct) < len(columns):
        row = _first_repetition(ids.code)
        raise columns.complaint(row, "item_id", f"{ids.distinct[ids.code[row - 1]]!r} stands twice")
    categories = columns.paths("categories")
    items = RawItems(
        external_id=[ids.distinct[code] for code in ids.code.tolist()],
        title=columns.texts("title"),
        description=columns.texts("description"),
        brand=columns.texts("brand"),
        categories=categories,
        attributes=[last_levels(paths) for paths in categories],
        decade=[""] * len(columns),
    )
    return items.take(np.argsort(ids.code))


def _read_interactions(path: Path, items: RawItems, maximum_rows: int) -> RawLog:
    columns = ParquetColumns.read(
        path,
        required=["user_id", "item_id", "timestamp"],
        optional=["rating", "position"],
        maximum_rows=maximum_rows,
    )
    if not len(columns):
        raise BenchmarkError(f"{path}: holds no events.")
    users, timestamp = columns.ids("user_id"), columns.seconds("timestamp")
    item = _rows_of_items(columns, items)
    _refuse_repetitions(columns, "user_id, item_id and timestamp", users.code, item, timestamp)
    has_order = columns.has("position")
    return recommendation_log(
        users=users.distinct,
        items=items,
        user=users.code,
        item=item,
        timestamp=timestamp,
        position=columns.whole_numbers("position") if has_order else np.arange(len(columns)),
        rating=columns.numbers("rating"),
    )


def _with_searches(log: RawLog, path: Path, options: FolderSource) -> RawLog:
    """The log with the folder's own searches behind the interactions."""
    columns = ParquetColumns.read(
        path,
        required=["user_id", "item_id", "query", "timestamp"],
        optional=["session"],
        maximum_rows=options.maximum_rows,
    )
    if not len(columns):
        raise BenchmarkError(f"{path}: holds no events.")
    searchers, timestamp = columns.ids("user_id"), columns.seconds("timestamp")
    item = _rows_of_items(columns, log.items)
    query_text, query = _queries(columns)
    _refuse_repetitions(
        columns, "user_id, item_id, query and timestamp", searchers.code, item, query, timestamp
    )
    if columns.has("session"):
        session = columns.ids("session").code
    else:
        triples = np.stack([searchers.code, query, timestamp], axis=1)
        session = np.unique(triples, axis=0, return_inverse=True)[1].reshape(-1)
    users = sorted({*log.users, *searchers.distinct})
    row_of_user = {external: row for row, external in enumerate(users)}

    def rows_of(external_ids: Sequence[str]) -> NDArray[np.int64]:
        return np.array([row_of_user[external] for external in external_ids], dtype=np.int64)

    before = len(log)
    buyer = rows_of(log.users)[log.user]
    searcher = rows_of(searchers.distinct)[searchers.code]
    return RawLog(
        users=users,
        items=log.items,
        user=np.concatenate([buyer, searcher]),
        item=np.concatenate([log.item, item]),
        timestamp=np.concatenate([log.timestamp, timestamp]),
        rating=np.concatenate([log.rating, np.full(len(item), np.nan, dtype=np.float32)]),
        position=np.concatenate([log.position, np.arange(len(item))]),
        query=np.concatenate([np.full(before, NO_QUERY), query]),
        session=np.concatenate([np.full(before, NO_SESSION), session]),
        query_text=query_text,
        notes=log.notes,
    )


def _queries(columns: ParquetColumns) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct query texts and for each row the place of its own, (rows,)."""
    texts = columns.texts("query")
    if "" in texts:
        raise columns.complaint(texts.index("") + 1, "query", "the query is empty")
    distinct = sorted(set(texts))
    place = {text: row for row, text in enumerate(distinct)}
    return distinct, np.array([place[text] for text in texts], dtype=np.int64)


def _rows_of_items(columns: ParquetColumns, items: RawItems) -> NDArray[np.int64]:
    """For each event the row of its item in the catalogue, (events,)."""
    ids: Ids = columns.ids("item_id")
    row_of_item = {external: row for row, external in enumerate(items.external_id)}
    absent = [code for code, external in enumerate(ids.distinct) if external not in row_of_item]
    if absent:
        first = min(absent, key=ids.first_row_of)
        raise columns.complaint(
            ids.first_row_of(first),
            "item_id",
            f"{ids.distinct[first]!r} is not in {ITEMS} ({len(absent):,} such item ids in all)",
        )
    return np.array([row_of_item[external] for external in ids.distinct], dtype=np.int64)[ids.code]


def _first_repetition(*keys: NDArray[np.int64]) -> int:
    """The first row, from 1, whose keys stood in an earlier row; 0 where there is none."""
    order = np.lexsort(keys)  # stable: equal rows stay in the order of the file
    repeats = np.ones(max(len(order) - 1, 0), dtype=bool)
    for key in keys:
        ordered = key[order]
        repeats &= ordered[1:] == ordered[:-1]
    return int(order[1:][repeats].min()) + 1 if repeats.any() else 0


def _refuse_repetitions(columns: ParquetColumns, names: str, *keys: NDArray[np.int64]) -> None:
    row = _first_repetition(*keys)
    if row:
        raise columns.complaint(row, names.split(",")[0], f"repeats {names} of an earlier row")


def _refuse_items_without_text(log: RawLog, path: Path) -> None:
    named = np.unique(log.item).tolist()
    items = log.items
    empty = [row for row in named if not (items.title[row] or items.description[row])]
    if empty:
        raise BenchmarkError(
            f"{path}: columns title and description: {len(empty):,} items have neither, the first "
            f"is {items.external_id[empty[0]]!r}; set source.allow_items_without_text: true if "
            "that is meant."
        )
