"""A company's own log of searches and recommendations, as the paper's Commercial data set is one.

Three tables, each CSV (UTF-8, with a header, plain or gzip) or Parquet: ``items``,
``recommendations`` and ``searches``; ``datasets/README.md`` describes their columns. A search
session may show many items and have several clicks. Item texts may be replaced by summaries that
``python -m benchmark.data summarise`` made.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from benchmark.data.recipe import CompanySource, Recipe
from benchmark.data.sources.joint import Clicks, Searches, catalogue, joint_log, positives
from benchmark.data.sources.raw import RawLog
from benchmark.data.sources.schema import (
    Column,
    Problems,
    Table,
    TableSchema,
    read_table,
    rows_in,
)
from benchmark.errors import BenchmarkError

ITEMS = TableSchema(
    "items",
    (
        Column("item_id", "id"),
        Column("title", "text", required=False),
        Column("description", "text", required=False),
        Column("brand", "text", required=False),
        Column("categories", "paths", required=False),
    ),
    unique=("item_id",),
)
RECOMMENDATIONS = TableSchema(
    "recommendations",
    (
        Column("user_id", "id"),
        Column("item_id", "id"),
        Column("timestamp", "seconds"),
        Column("clicked", "flag", required=False, default=1),
    ),
)
SEARCHES = TableSchema(
    "searches",
    (
        Column("user_id", "id"),
        Column("session_id", "id"),
        Column("query", "text"),
        Column("timestamp", "seconds"),
        Column("item_id", "id"),
        Column("clicked", "flag", required=False, default=1),
    ),
)
SUMMARIES = TableSchema(
    "summaries", (Column("item_id", "id"), Column("summary", "text")), unique=("item_id",)
)


def files(recipe: Recipe) -> tuple[Path, ...]:
    """The tables that are used.

    Raises:
        BenchmarkError: one is missing.
    """
    options = cast(CompanySource, recipe.source)
    folder = recipe.source_folder
    wanted = [ITEMS, RECOMMENDATIONS, SEARCHES] + ([SUMMARIES] if options.summaries else [])
    paths = []
    for schema in wanted:
        path = schema.find(folder)
        if path is None:
            remedy = (
                " (make it with python -m benchmark.data summarise)" if schema is SUMMARIES else ""
            )
            raise BenchmarkError(
                f"{folder / schema.name}: the table is missing, as .csv, .csv.gz or "
                f".parquet{remedy}."
            )
        paths.append(path)
    return tuple(paths)


def _read_all(folder: Path, problems: Problems) -> tuple[Table | None, Table | None, Table | None]:
    items = read_table(ITEMS, folder, problems)
    clicks = read_table(RECOMMENDATIONS, folder, problems)
    searches = read_table(SEARCHES, folder, problems)
    if searches is not None:
        rows = [
            r for r, text in zip(searches.row, searches.texts("query"), strict=True) if not text
        ]
        problems.add_rows(
            searches.path, np.array(rows, dtype=np.int64), "query", "the query is empty"
        )
    return items, clicks, searches


def check(folder: Path, problems: Problems) -> list[str]:
    """Note every fault of the tables in ``folder``; returns remarks that are no faults."""
    items, clicks, searches = _read_all(folder, problems)
    remarks = []
    if items is not None:
        known = items.ids("item_id").distinct
        for table in (clicks, searches):
            if table is not None:
                rows_in(table, "item_id", known, ITEMS.name, problems)
        textless = sum(
            not (a or b)
            for a, b in zip(items.texts("title"), items.texts("description"), strict=True)
        )
        if textless:
            remarks.append(f"{textless:,} of {len(items):,} items have no title and description.")
    if searches is not None:
        found = _searches(searches, np.zeros(len(searches), dtype=np.int64))
        _, sessions, without = positives(found, False)
        remarks.append(f"{without:,} of {sessions:,} searches have no click.")
    return remarks


def read(recipe: Recipe) -> RawLog:
    """Read and check the tables.

    Raises:
        BenchmarkError: one is missing or damaged, or holds a value that cannot be used.
    """
    options = cast(CompanySource, recipe.source)
    files(recipe)
    problems = Problems()
    tables = _read_all(recipe.source_folder, problems)
    problems.raise_first()
    items, clicks, searches = (cast(Table, table) for table in tables)
    known = items.ids("item_id").distinct
    strict = problems if options.unknown_items == "refuse" else Problems()
    click_item = rows_in(clicks, "item_id", known, ITEMS.name, strict)
    search_item = rows_in(searches, "item_id", known, ITEMS.name, strict)
    problems.raise_first()
    title, description = items.texts("title"), items.texts("description")
    if options.summaries:
        title, description = _summarised(recipe.source_folder, known, title, description)
    was_clicked = (clicks.numbers("clicked") == 1) & (click_item >= 0)
    log = joint_log(
        catalogue(known, title, description, items.texts("brand"), items.texts("categories")),
        Clicks(clicks.ids("user_id"), click_item, clicks.numbers("timestamp")).take(was_clicked),
        _searches(searches, search_item).take(np.flatnonzero(search_item >= 0)),
        first_item_when_no_click=options.first_item_when_no_click,
        only_users_of_both=options.only_users_of_both,
    )
    dropped = int(np.count_nonzero(click_item < 0) + np.count_nonzero(search_item < 0))
    return log.with_notes(f"{dropped:,} rows name unknown items.") if dropped else log


def _searches(table: Table, item: np.ndarray) -> Searches:
    return Searches(
        user=table.ids("user_id"),
        item=item,
        timestamp=table.numbers("timestamp"),
        query=table.texts("query"),
        session=table.ids("session_id").code,
        clicked=table.numbers("clicked") > 0,
    )


def _summarised(
    folder: Path, known: list[str], title: list[str], description: list[str]
) -> tuple[list[str], list[str]]:
    """Titles and descriptions with each summarised item's text in place of both."""
    problems = Problems()
    table = read_table(SUMMARIES, folder, problems)
    problems.raise_first()
    table = cast(Table, table)
    ids = table.ids("item_id")
    of_item = {
        ids.distinct[code]: text
        for code, text in zip(ids.code.tolist(), table.texts("summary"), strict=True)
        if text
    }
    texts = [of_item.get(external) for external in known]
    return (
        [text if text is not None else own for text, own in zip(texts, title, strict=True)],
        ["" if text is not None else own for text, own in zip(texts, description, strict=True)],
    )
