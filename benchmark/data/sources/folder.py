"""A folder of Parquet files in the tidy format of ``datasets/README.md``: a user's own log.

``interactions.parquet`` (user_id, item_id, timestamp, maybe rating and position), ``items.parquet``
(item_id, maybe title, description, brand and categories) and, for ``search.kind: own``,
``searches.parquet`` (user_id, item_id, query, timestamp, maybe session).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import NO_QUERY, NO_SESSION, Paths, RawItems, RawLog, recommendation_log
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import FolderSource
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import Ids, Table, read_table, rows_in, together
from benchmark.errors import quoted

PARQUET = (".parquet",)
INTERACTIONS = TableSchema(
    "interactions",
    (
        Column("user_id", "id"),
        Column("item_id", "id"),
        Column("timestamp", "seconds"),
        Column("rating", "number", required=False),
        Column("position", "whole", required=False),
    ),
    suffixes=PARQUET,
)
ITEMS = TableSchema(
    "items",
    (
        Column("item_id", "id"),
        Column("title", "text", required=False),
        Column("description", "text", required=False),
        Column("brand", "text", required=False),
        Column("categories", "paths", required=False),
    ),
    unique="item_id",
    suffixes=PARQUET,
)
SEARCHES = TableSchema(
    "searches",
    (
        Column("user_id", "id"),
        Column("item_id", "id"),
        Column("query", "text", filled=True),
        Column("timestamp", "seconds"),
        Column("session", "id", required=False),
    ),
    suffixes=PARQUET,
)


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """The Parquet files that the recipe uses; what is missing is noted."""
    folder = recipe.source_folder
    if not folder.is_dir():
        faults.add(folder, 0, "", "the folder of source.path is missing")
        return [None, None, None]
    wanted = [INTERACTIONS, ITEMS] + ([SEARCHES] if recipe.search.kind == "own" else [])
    return [schema.find(folder, faults) for schema in wanted]


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The folder's log; every fault is noted, and with one there is no log."""
    options = cast(FolderSource, recipe.source)
    paths = find(recipe, faults)
    log = load_purchases(paths[0], paths[1], options.maximum_rows, faults)
    if recipe.search.kind == "own":
        log = _with_searches(log, SEARCHES.of_at_most(options.maximum_rows), paths[2], faults)
    elif log is not None and SEARCHES.places(recipe.source_folder):
        log = log.with_notes("searches.parquet was not used, since search.kind is not 'own'.")
    texts_count = not options.allow_items_without_text
    if log is not None and paths[1] is not None and texts_count and not faults.of(paths[1]):
        _note_items_without_text(log, paths[1], faults)
    return None if faults else log


def load_purchases(
    interactions: Path | None, items: Path | None, maximum_rows: int, faults: Faults
) -> RawLog | None:
    """The catalogue and the events outside of search; every fault is noted.

    Where only the items could be read the log is empty, so that searches can be checked against
    them.
    """
    table = read_table(ITEMS.of_at_most(maximum_rows), items, faults)
    events = read_table(INTERACTIONS.of_at_most(maximum_rows), interactions, faults)
    if table is None:
        return None
    return _log_of(events, _catalogue(table), faults)


def last_levels(paths: Paths) -> tuple[str, ...]:
    """The last level of each hierarchy, each name once: what a query of ``channels`` may name."""
    return tuple(dict.fromkeys(path[-1] for path in paths if path))


def _catalogue(table: Table) -> RawItems:
    """The items in the order of the file, the first row of each id."""
    ids = table.ids("item_id")
    _, first = np.unique(ids.code, return_index=True)
    rows = np.sort(first[ids.code[first] >= 0]).tolist()
    title, description, brand, categories = (
        [table.texts(name)[row] for row in rows]
        for name in ("title", "description", "brand", "categories")
    )
    return RawItems(
        external_id=ids.distinct,
        title=title,
        description=description,
        brand=brand,
        categories=categories,
        attributes=[last_levels(paths) for paths in categories],
        decade=[""] * len(rows),
    )


def _log_of(table: Table | None, items: RawItems, faults: Faults) -> RawLog:
    if table is None:
        nothing = np.zeros(0, dtype=np.int64)
        return recommendation_log(
            users=[], items=items, user=nothing, item=nothing, timestamp=nothing, position=nothing
        )
    users = table.ids("user_id")
    has_order = "position" in table.present
    return recommendation_log(
        users=users.distinct,
        items=items,
        user=users.code,
        item=rows_in(table, "item_id", items.external_id, "items.parquet", faults),
        timestamp=table.numbers("timestamp"),
        position=table.numbers("position") if has_order else np.arange(len(table)),
        rating=table.numbers("rating").astype(np.float32),
    )


def _with_searches(
    log: RawLog | None, schema: TableSchema, path: Path | None, faults: Faults
) -> RawLog | None:
    """The log with the folder's own searches behind the interactions."""
    table = read_table(schema, path, faults)
    if table is None or log is None:
        return None
    searchers, timestamp = table.ids("user_id"), table.numbers("timestamp")
    item = rows_in(table, "item_id", log.items.external_id, "items.parquet", faults)
    if faults:
        return None
    query_text = sorted(set(table.texts("query")))
    place = {text: row for row, text in enumerate(query_text)}
    query = np.array([place[text] for text in table.texts("query")], dtype=np.int64)
    users, codes = together([Ids(log.user, list(log.users)), searchers])
    if "session" in table.present:
        session = table.ids("session").code
    else:
        triples = np.stack([searchers.code, query, timestamp], axis=1)
        session = np.unique(triples, axis=0, return_inverse=True)[1].reshape(-1)
    before = len(log)

    def joined(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([first, second])

    return RawLog(
        users=users,
        items=log.items,
        user=joined(*codes),
        item=joined(log.item, item),
        timestamp=joined(log.timestamp, timestamp),
        rating=joined(log.rating, np.full(len(item), np.nan, dtype=np.float32)),
        position=joined(log.position, np.arange(len(item))),
        query=joined(np.full(before, NO_QUERY), query),
        session=joined(np.full(before, NO_SESSION), session),
        query_text=query_text,
        notes=log.notes,
    )


def _note_items_without_text(log: RawLog, path: Path, faults: Faults) -> None:
    items = log.items
    named = np.unique(log.item[log.item >= 0]).tolist()
    empty = [row for row in named if not (items.title[row] or items.description[row])]
    if empty:
        first = quoted(min(items.external_id[row] for row in empty))
        faults.add(
            path,
            0,
            "",
            f"columns title and description: {len(empty):,} items have neither, the first is "
            f"{first}; set source.allow_items_without_text: true if that is meant",
        )


files, read = files_by(find), read_by(load)
