"""Yambda: listens and likes of a music service, without any text; for the sequential systems.

Ploshkin et al., "Yambda-5B: A Large-Scale Multi-modal Dataset for Ranking And Retrieval", arXiv
2505.22238; https://huggingface.co/datasets/yandex/yambda, Apache-2.0. A folder holds one size of
the flat tables, such as ``flat/50m``, and the source reads ``likes`` or ``listens`` of it. Items
have no text at all, so no searches can be made. Times are seconds of a clock of its own, in steps
of five: several events stand at one instant, which the recipe's ``ties`` orders.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import RawLog, recommendation_log
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import YambdaSource
from benchmark.data.sources.joint import catalogue
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import read_table

WHERE = "https://huggingface.co/datasets/yandex/yambda"
TERMS = (
    "Yambda (Ploshkin et al., arXiv 2505.22238) has the licence Apache-2.0. Its tracks have no "
    "text, and its times are seconds of a clock of its own, not dates."
)
_EVENT = (
    Column("uid", "id"),
    Column("item_id", "id"),
    Column("timestamp", "seconds"),
    Column("is_organic", "flag"),
)
TABLES = {
    "likes": TableSchema("likes", _EVENT, suffixes=(".parquet",)),
    "listens": TableSchema(
        "listens",
        (*_EVENT, Column("played_ratio_pct", "number", filled=True)),
        suffixes=(".parquet",),
    ),
}


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """The table that is used; that it is missing is noted."""
    schema = TABLES[cast(YambdaSource, recipe.source).events]
    remedy = f"fetch flat/50m (or another size) from {WHERE} and name its folder with --source"
    return [schema.find(recipe.source_folder, faults, remedy)]


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the table; every fault is noted, and with one there is no log."""
    options = cast(YambdaSource, recipe.source)
    unheard = inorganic = 0

    def is_kept(values: dict[str, Any]) -> NDArray[np.bool_]:
        nonlocal unheard, inorganic
        kept = np.ones(len(values["timestamp"]), dtype=bool)
        if options.events == "listens":
            kept = values["played_ratio_pct"] >= options.minimum_played
            unheard += int(np.count_nonzero(~kept))
        if options.organic_only:
            inorganic += int(np.count_nonzero(kept & (values["is_organic"] == 0)))
            kept = kept & (values["is_organic"] == 1)
        return kept

    schema = replace(TABLES[options.events], keep=is_kept, maximum_rows=options.maximum_rows)
    table = read_table(schema, find(recipe, faults)[0], faults)
    if table is not None and not len(table) and not faults:
        left_out = [f"{unheard:,} by source.minimum_played: {options.minimum_played}"] * (
            unheard > 0
        )
        left_out += [f"{inorganic:,} by source.organic_only: true"] * (inorganic > 0)
        faults.add(table.path, 0, "", f"no event is left: {' and '.join(left_out)} were left out")
    if faults or table is None:
        return None
    tracks = table.ids("item_id").distinct
    log = recommendation_log(
        users=table.ids("uid").distinct,
        items=catalogue(tracks, [""] * len(tracks)),
        user=table.ids("uid").code,
        item=table.ids("item_id").code,
        timestamp=table.numbers("timestamp"),
        position=table.row,
        notes=(TERMS,),
    )
    if unheard:
        share = f"{options.minimum_played} % of the track"
        log = log.with_notes(f"{unheard:,} listens to less than {share} were left out.")
    if inorganic:
        log = log.with_notes(f"{inorganic:,} events of the service's recommender were left out.")
    return log


files, read = files_by(find), read_by(load)
