"""Qilin: searches and recommendations of the Xiaohongshu app, with real Chinese text.

https://huggingface.co/datasets/THUIR/Qilin and https://github.com/RED-Search/Qilin (292603e): the
public stand-in for a company's own log, since the same users search and are recommended to. It is
read from its published Parquet folders: ``recommendation_{train,test}``, ``search_{train,test}``
and ``notes``; ``test`` may be absent. Each request holds its shown notes as a list of records. The
published division into train and test is not used: the protocol makes its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import RawLog
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import QilinSource
from benchmark.data.sources.joint import Clicks, Searches, catalogue, joint_log
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import Ids, Table, read_table, rows_in, together

WHERE = "https://huggingface.co/datasets/THUIR/Qilin"
TERMS = (
    "Qilin (SIGIR 2025): its repository says MIT, its page Apache-2.0; check before you use it. "
    "Texts are Chinese: protocol.bm25_analyser=cjk makes BM25 read them."
)
PARTS = ("train", "test")
PUBLISHED = (".parquet",)


def _recommendations(part: str) -> TableSchema:
    return TableSchema(
        f"recommendation_{part}",
        (
            Column("user_idx", "id"),
            Column("note_idx", "id"),
            Column("click", "flag"),
            Column("request_timestamp", "instant"),
        ),
        exploded="rec_result_details_with_idx",
        suffixes=PUBLISHED,
    )


def _shown(part: str) -> TableSchema:
    return TableSchema(
        f"search_{part}",
        (
            Column("user_idx", "id"),
            Column("search_idx", "id"),
            Column("query", "text"),
            Column("note_idx", "id"),
            Column("click", "flag"),
            Column("search_timestamp", "instant"),
        ),
        exploded="search_result_details_with_idx",
        suffixes=PUBLISHED,
    )


NOTES = TableSchema(
    "notes",
    (
        Column("note_idx", "id"),
        Column("note_title", "text"),
        Column("note_content", "text", required=False),
    ),
    unique="note_idx",
    suffixes=PUBLISHED,
)


def present(folder: Path) -> bool:
    """Whether the folder holds a table of Qilin's."""
    schemas = [schema(part) for part in PARTS for schema in (_recommendations, _shown)]
    return any(schema.places(folder) for schema in schemas)


def _tables(folder: Path) -> tuple[list[TableSchema], list[TableSchema]]:
    """The tables of recommendations and of searches: train always, test where it is there."""
    of_both = ([_recommendations(part) for part in PARTS], [_shown(part) for part in PARTS])
    recommendations, searches = (
        [schema for schema in schemas if schema.name.endswith("train") or schema.places(folder)]
        for schemas in of_both
    )
    return recommendations, searches


def _place_of(schema: TableSchema, folder: Path, faults: Faults) -> Path | None:
    return schema.find(
        folder, faults, f"fetch Qilin from {WHERE} and name its folder with --source"
    )


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """Every Parquet file of the folders that are used; what is missing is noted."""
    folder = recipe.source_folder
    recommendations, searches = _tables(folder)
    schemas = (*recommendations, *searches, NOTES)
    return [_place_of(one, folder, faults) for one in schemas]


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the tables; every fault is noted, and with one there is no log."""
    options, folder = cast(QilinSource, recipe.source), recipe.source_folder

    def table_of(schema: TableSchema) -> Table | None:
        sized = schema.of_at_most(options.maximum_rows)
        return read_table(sized, _place_of(schema, folder, faults), faults)

    recommendations, searches = _tables(folder)
    rec_tables = [table for schema in recommendations if (table := table_of(schema)) is not None]
    src_tables = [table for schema in searches if (table := table_of(schema)) is not None]
    notes = table_of(NOTES)
    if notes is None:
        return None
    known = notes.ids("note_idx").distinct
    strict = faults if options.unknown_items == "refuse" else Faults()
    clicks_of_tables = [_clicks(table, known, strict) for table in rec_tables]
    shown = [
        _searches(table, rows_in(table, "note_idx", known, NOTES.name, strict), number)
        for number, table in enumerate(src_tables)
    ]
    if faults:
        return None
    clicks, both = _together_clicks(clicks_of_tables), _together_searches(shown)
    log = joint_log(
        catalogue(known, notes.texts("note_title"), notes.texts("note_content")),
        clicks.take(clicks.item >= 0),
        both.take(np.flatnonzero(both.item >= 0)),
        first_item_when_no_click=options.first_item_when_no_click,
        only_users_of_both=options.only_users_of_both,
    )
    dropped = int(np.count_nonzero(both.item < 0) + np.count_nonzero(clicks.item < 0))
    if dropped:
        log = log.with_notes(f"{dropped:,} rows name unknown notes.")
    return log.with_notes(TERMS)


def _clicks(table: Table, known: Sequence[str], faults: Faults) -> Clicks:
    item = rows_in(table, "note_idx", known, NOTES.name, faults)
    everything = Clicks(table.ids("user_idx"), item, table.numbers("request_timestamp"))
    return everything.take(table.numbers("click") == 1)


def _searches(table: Table, item: NDArray[np.int64], number: int) -> Searches:
    """``number`` keeps the sessions of two tables apart, which may count from 0 each."""
    return Searches(
        user=table.ids("user_idx"),
        item=item,
        timestamp=table.numbers("search_timestamp"),
        query=table.texts("query"),
        session=table.ids("search_idx").code * len(PARTS) + number,
        clicked=table.numbers("click") > 0,
    )


def _together_users(parts: Sequence[Ids]) -> Ids:
    distinct, codes = together(parts)
    return Ids(np.concatenate(codes), distinct)


def _together_clicks(parts: Sequence[Clicks]) -> Clicks:
    return Clicks(
        _together_users([part.user for part in parts]),
        np.concatenate([part.item for part in parts]),
        np.concatenate([part.timestamp for part in parts]),
    )


def _together_searches(parts: Sequence[Searches]) -> Searches:
    return Searches(
        user=_together_users([part.user for part in parts]),
        item=np.concatenate([part.item for part in parts]),
        timestamp=np.concatenate([part.timestamp for part in parts]),
        query=[text for part in parts for text in part.query],
        session=np.concatenate([part.session for part in parts]),
        clicked=np.concatenate([part.clicked for part in parts]),
    )


files, read = files_by(find), read_by(load)
