"""A company's own log of searches and recommendations, as the paper's Commercial data set is one.

Three tables, each CSV (UTF-8, with a header), JSON lines (both plain or gzip) or Parquet:
``items``, ``recommendations`` and ``searches``; ``datasets/README.md`` describes their columns. A
search session may show many items and have several clicks. Item texts may be replaced by summaries
that ``python -m benchmark.data summarise`` made.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from benchmark.data.raw import RawLog
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import CompanySource
from benchmark.data.sources.joint import Clicks, Searches, catalogue, joint_log
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.instants import FIRST_SECOND_IN_MILLISECONDS
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import Table, read_table, rows_in

ITEMS = TableSchema(
    "items",
    (
        Column("item_id", "id"),
        Column("title", "text", required=False),
        Column("description", "text", required=False),
        Column("brand", "text", required=False),
        Column("categories", "paths", required=False, text_form=True),
    ),
    unique="item_id",
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
        Column("query", "text", filled=True),
        Column("timestamp", "seconds"),
        Column("item_id", "id"),
        Column("clicked", "flag", required=False, default=1),
    ),
)
SUMMARIES = TableSchema(
    "summaries", (Column("item_id", "id"), Column("summary", "text")), unique="item_id"
)


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """The tables that are used; what is missing is noted."""
    options, folder = cast(CompanySource, recipe.source), recipe.source_folder
    paths = [schema.find(folder, faults) for schema in (ITEMS, RECOMMENDATIONS, SEARCHES)]
    if options.summaries:
        remedy = "make it with python -m benchmark.data summarise"
        paths.append(SUMMARIES.find(folder, faults, remedy))
    return paths


def _timed(schema: TableSchema, options: CompanySource) -> TableSchema:
    """The table with its timestamps as the recipe declares them."""
    is_fine = options.timestamps == "milliseconds"
    columns = tuple(
        replace(
            column,
            kind=options.timestamps,
            zone=options.time_zone,
            earliest=FIRST_SECOND_IN_MILLISECONDS if is_fine else 0,
            remedy="" if is_fine else " (or source.timestamps: milliseconds in the recipe)",
        )
        if column.name == "timestamp"
        else column
        for column in schema.columns
    )
    return replace(schema, columns=columns)


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the tables; every fault is noted, and with one there is no log."""
    options = cast(CompanySource, recipe.source)
    paths = find(recipe, faults)
    schemas = [ITEMS, _timed(RECOMMENDATIONS, options), _timed(SEARCHES, options), SUMMARIES]
    sized = [schema.of_at_most(options.maximum_rows) for schema in schemas]
    items, clicks, searches = (
        read_table(schema, path, faults) for schema, path in zip(sized[:3], paths[:3], strict=True)
    )
    summaries = read_table(sized[3], paths[3], faults) if options.summaries else None
    if items is None:
        return None
    known = items.ids("item_id").distinct
    strict = faults if options.unknown_items == "refuse" else Faults()
    click_item, search_item = (
        rows_in(table, "item_id", known, ITEMS.name, strict) if table is not None else None
        for table in (clicks, searches)
    )
    if faults or clicks is None or searches is None or click_item is None or search_item is None:
        return None
    title, description = items.texts("title"), items.texts("description")
    if summaries is not None:
        title, description = _summarised(summaries, known, title, description)
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
    table: Table, known: list[str], title: list[str], description: list[str]
) -> tuple[list[str], list[str]]:
    """Titles and descriptions with each summarised item's text in place of both."""
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


files, read = files_by(find), read_by(load)
