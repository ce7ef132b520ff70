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

from benchmark.data.recipe import KuaisarSource, Recipe
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

WHERE = "https://zenodo.org/record/8181109"
TERMS = (
    "KuaiSAR (Sun et al., CIKM 2023) has the licence CC BY-NC-SA 4.0: for non-commercial use, not "
    "redistributed here. Its words are anonymous numbers, so there is no text to read."
)
LEVELS = ("first", "second", "third", "fourth")
NO_CATEGORY = ("", "empty", "空", "0")


def _clicked(values: dict[str, Any]) -> NDArray[np.bool_]:
    return np.asarray(values["click"] == 1)


RECOMMENDATIONS = TableSchema(
    "rec_inter",
    (
        Column("user_id", "id"),
        Column("item_id", "id"),
        Column("timestamp", "milliseconds"),
        Column("click", "flag"),
    ),
)
SEARCHES = TableSchema(
    "src_inter",
    (
        Column("user_id", "id"),
        Column("search_session_id", "id"),
        Column("search_session_timestamp", "milliseconds"),
        Column("keyword", "words"),
        Column("item_id", "id"),
        Column("click_cnt", "count"),
        Column("item_type", "text"),
    ),
)
ITEMS = TableSchema(
    "item_features",
    (
        Column("item_id", "id"),
        Column("caption", "words"),
        *(Column(f"{level}_level_category_name_en", "text", required=False) for level in LEVELS),
    ),
    unique=("item_id",),
)


def files(recipe: Recipe) -> tuple[Path, ...]:
    """The three tables that are used.

    Raises:
        BenchmarkError: one is missing.
    """
    folder = recipe.source_folder
    paths = [schema.find(folder) for schema in (RECOMMENDATIONS, SEARCHES, ITEMS)]
    for schema, path in zip((RECOMMENDATIONS, SEARCHES, ITEMS), paths, strict=True):
        if path is None:
            raise BenchmarkError(
                f"{folder / schema.name}.csv: the file is missing; fetch KuaiSAR from {WHERE}, "
                "unpack it and name its folder with --source (licence CC BY-NC-SA 4.0)."
            )
    return tuple(path for path in paths if path is not None)


def check(folder: Path, problems: Problems) -> list[str]:
    """Note every fault of the tables in ``folder``; returns remarks that are no faults."""
    clicks = read_table(replace(RECOMMENDATIONS, keep=_clicked), folder, problems)
    shown = read_table(SEARCHES, folder, problems)
    items = read_table(ITEMS, folder, problems)
    if items is None:
        return []
    known = items.ids("item_id").distinct
    if clicks is not None:
        rows_in(clicks, "item_id", known, ITEMS.name, problems)
    remarks = ["All words are numbers: systems that need readable text cannot run."]
    if shown is not None:
        ours = _of_types(shown, KuaisarSource.model_fields["item_types"].default)
        rows_in(ours, "item_id", known, ITEMS.name, problems)
        found = np.zeros(len(ours), dtype=np.int64)
        _, sessions, without = positives(_searches(ours, found), False)
        remarks.append(f"{without:,} of {sessions:,} searches have no click.")
    return remarks


def read(recipe: Recipe) -> RawLog:
    """Read and check the tables.

    Raises:
        BenchmarkError: one is missing or damaged, or holds a value that cannot be used.
    """
    options = cast(KuaisarSource, recipe.source)
    files(recipe)
    problems = Problems()
    folder = recipe.source_folder
    clicks = read_table(replace(RECOMMENDATIONS, keep=_clicked), folder, problems)
    shown = read_table(SEARCHES, folder, problems)
    problems.raise_first()
    clicks, shown = cast(Table, clicks), _of_types(cast(Table, shown), options.item_types)
    # The catalogue has millions of items without an event: their captions are not kept.
    wanted = {*clicks.ids("item_id").distinct, *shown.ids("item_id").distinct}

    def is_wanted(values: dict[str, Any]) -> NDArray[np.bool_]:
        return np.asarray(pd.Series(values["item_id"]).isin(wanted))

    items = read_table(replace(ITEMS, keep=is_wanted), folder, problems)
    problems.raise_first()
    items = cast(Table, items)
    known = items.ids("item_id").distinct
    strict = problems if options.unknown_items == "refuse" else Problems()
    click_item = rows_in(clicks, "item_id", known, ITEMS.name, strict)
    shown_item = rows_in(shown, "item_id", known, ITEMS.name, strict)
    problems.raise_first()
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
    return Table(shown.path, shown.row[kept], columns)


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
