"""KuaiSAR and KuaiSAR-small: searches and recommendations of the Kuaishou app, in anonymous words.

Sun et al., "KuaiSAR: A Unified Search And Recommendation Dataset", CIKM 2023, arXiv 2306.07705;
https://zenodo.org/record/8181109 (KuaiSAR_v2.zip is the whole, KuaiSAR.zip the small one), licence
CC BY-NC-SA 4.0: whoever wants it fetches and unpacks it and gives the folder. All words are
anonymous numbers; word 20 becomes "w20", so that BM25 and word vocabularies see words. How others
preprocess it is not published in full, so the choices are options of the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.data.raw import RawLog
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import KuaisarSource
from benchmark.data.sources.joint import Clicks, Searches, catalogue, joint_log
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.instants import FIRST_SECOND_IN_MILLISECONDS
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import Table, read_table, rows_in

WHERE = "https://zenodo.org/record/8181109"
TERMS = (
    "KuaiSAR (Sun et al., CIKM 2023) has the licence CC BY-NC-SA 4.0: for non-commercial use, not "
    "redistributed here. Its words are anonymous numbers, so there is no text to read."
)
LEVELS = ("first", "second", "third", "fourth")
NO_CATEGORY = ("", "empty", "空", "0")


def _clicked(values: dict[str, Any]) -> NDArray[np.bool_]:
    return np.asarray(values["click"] == 1)


PUBLISHED = (".csv", ".csv.gz", ".parquet")
RECOMMENDATIONS = TableSchema(
    "rec_inter",
    (
        Column("user_id", "id"),
        Column("item_id", "id"),
        Column("timestamp", "milliseconds", earliest=FIRST_SECOND_IN_MILLISECONDS),
        Column("click", "flag"),
    ),
    suffixes=PUBLISHED,
)
SEARCHES = TableSchema(
    "src_inter",
    (
        Column("user_id", "id"),
        Column("search_session_id", "id"),
        Column("search_session_timestamp", "milliseconds", earliest=FIRST_SECOND_IN_MILLISECONDS),
        Column("keyword", "words"),
        Column("item_id", "id"),
        Column("click_cnt", "count"),
        Column("item_type", "text"),
    ),
    suffixes=PUBLISHED,
)
ITEMS = TableSchema(
    "item_features",
    (
        Column("item_id", "id"),
        Column("caption", "words"),
        *(Column(f"{level}_level_category_name_en", "text", required=False) for level in LEVELS),
    ),
    unique="item_id",
    suffixes=PUBLISHED,
)


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """The three tables that are used; what is missing is noted."""
    remedy = (
        f"fetch KuaiSAR from {WHERE}, unpack it and name its folder with --source (licence "
        "CC BY-NC-SA 4.0)"
    )
    tables = (RECOMMENDATIONS, SEARCHES, ITEMS)
    return [schema.find(recipe.source_folder, faults, remedy) for schema in tables]


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the tables; every fault is noted, and with one there is no log."""
    options = cast(KuaisarSource, recipe.source)
    paths, most = find(recipe, faults), options.maximum_rows
    clicks = read_table(
        replace(RECOMMENDATIONS, keep=_clicked, maximum_rows=most), paths[0], faults
    )
    shown = read_table(SEARCHES.of_at_most(most), paths[1], faults)
    if shown is not None:
        shown = _of_types(shown, options.item_types)
    # The catalogue has millions of items without an event: their captions are not kept.
    named = [table.ids("item_id").distinct for table in (clicks, shown) if table is not None]
    wanted = {external for distinct in named for external in distinct}

    def is_wanted(values: dict[str, Any]) -> NDArray[np.bool_]:
        return np.asarray(pd.Series(values["item_id"]).isin(wanted))

    items = read_table(replace(ITEMS, keep=is_wanted, maximum_rows=most), paths[2], faults)
    if items is None:
        return None
    known = items.ids("item_id").distinct
    strict = faults if options.unknown_items == "refuse" else Faults()
    click_item, shown_item = (
        rows_in(table, "item_id", known, ITEMS.name, strict) if table is not None else None
        for table in (clicks, shown)
    )
    if faults or clicks is None or shown is None or click_item is None or shown_item is None:
        return None
    log = joint_log(
        catalogue(known, items.texts("caption"), categories=_categories(items)),
        Clicks(clicks.ids("user_id"), click_item, clicks.numbers("timestamp")).take(
            click_item >= 0
        ),
        _searches(shown, shown_item).take(np.flatnonzero(shown_item >= 0)),
        first_item_when_no_click=options.first_item_when_no_click,
        only_users_of_both=options.only_users_of_both,
    )
    dropped = int(np.count_nonzero(click_item < 0) + np.count_nonzero(shown_item < 0))
    if dropped:
        log = log.with_notes(f"{dropped:,} rows name items that {ITEMS.name} does not have.")
    return log.with_notes(TERMS)


def _of_types(shown: Table, types: Sequence[str]) -> Table:
    """The shown items of the types that the recommender shows too."""
    kept = np.flatnonzero(np.isin(np.array(shown.texts("item_type"), dtype=object), list(types)))
    columns = {
        name: replace(found, code=found.code[kept])
        if hasattr(found, "code")
        else found[kept]
        if isinstance(found, np.ndarray)
        else [found[row] for row in kept.tolist()]
        for name, found in shown.columns.items()
    }
    return replace(shown, row=shown.row[kept], columns=columns)


def _searches(shown: Table, item: NDArray[np.int64]) -> Searches:
    return Searches(
        user=shown.ids("user_id"),
        item=item,
        timestamp=shown.numbers("search_session_timestamp"),
        query=shown.texts("keyword"),
        session=shown.ids("search_session_id").code,
        clicked=shown.numbers("click_cnt") > 0,
    )


def _categories(items: Table) -> list[tuple[tuple[str, ...], ...]]:
    """One hierarchy an item, as deep as it has names."""
    columns = [items.texts(f"{level}_level_category_name_en") for level in LEVELS]
    found: list[tuple[tuple[str, ...], ...]] = []
    for names in zip(*columns, strict=True):
        path: list[str] = []
        for name in names:
            if name.lower() in NO_CATEGORY:
                break
            path.append(name)
        found.append((tuple(path),) if path else ())
    return found


files, read = files_by(find), read_by(load)
