"""Amazon Reviews 2023, any category, and the long queries of Amazon-C4.

Hou et al., "Bridging Language and Items for Retrieval and Recommendation", arXiv 2403.03952;
https://huggingface.co/datasets/McAuley-Lab/Amazon-Reviews-2023 and .../Amazon-C4. A folder holds
the reviews of a category (``Video_Games.jsonl`` of ``raw/review_categories``, or the ratings alone
as ``Video_Games.csv`` of ``benchmark/5core/rating_only``), its ``meta_Video_Games.jsonl`` and, for
``search.kind: own``, ``test.csv`` of Amazon-C4.

A product is its ``parent_asin``, as the publishers have it: one item for all colours and sizes. The
description is the list of features followed by that of descriptions, the brand is the store. Texts
are cleaned as those of 2014, and items without text are left out with their events. A query of C4
was written from one user's review of one product: it becomes a search of that user at the time of
the review. C4 spans all categories; queries of users or products that the category does not have
are left out, and a note says how many. Leave-one-out tests nobody with fewer than three searches;
the split by time does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import RawItems, RawLog, counted_once, recommendation_log
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import Amazon2023Source
from benchmark.data.sources.amazon_products import OfProducts, clean_text, only_items_with_text
from benchmark.data.sources.amazon_queries import RelevanceRows, with_sessions
from benchmark.data.sources.folder import last_levels
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.instants import FIRST_SECOND_IN_MILLISECONDS
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import Table, read_table

WHERE = "https://huggingface.co/datasets/McAuley-Lab/Amazon-Reviews-2023"
WHERE_QUERIES = "https://huggingface.co/datasets/McAuley-Lab/Amazon-C4"
TERMS = (
    "Amazon Reviews 2023 and Amazon-C4: cite Hou et al. (arXiv 2403.03952); their pages state no "
    "licence for the data, so they are not redistributed here."
)
_JSON = (".jsonl", ".jsonl.gz")
_META = "meta_"

QUERIES = TableSchema(
    "test",
    (Column("query", "text", filled=True), Column("item_id", "id"), Column("user_id", "id")),
    suffixes=(".csv", ".csv.gz", ".parquet"),
)


def reviews_of(category: str) -> TableSchema:
    """The table of a category's reviews, or of their ratings alone."""
    return TableSchema(
        category,
        (
            Column("user_id", "id"),
            Column("parent_asin", "id"),
            Column("rating", "number", filled=True),
            Column("timestamp", "milliseconds", earliest=FIRST_SECOND_IN_MILLISECONDS),
        ),
        suffixes=(*_JSON, ".csv", ".csv.gz"),
    )


def metadata_of(category: str) -> TableSchema:
    """The table of a category's products."""
    return TableSchema(
        f"{_META}{category}",
        (
            Column("parent_asin", "id"),
            Column("title", "raw", required=False),
            Column("features", "raw", required=False),
            Column("description", "raw", required=False),
            Column("store", "raw", required=False),
            Column("categories", "paths", required=False),
        ),
        unique="parent_asin",
        suffixes=_JSON,
        may_be_empty=True,
    )


def categories_in(folder: Path) -> list[str]:
    """The categories whose metadata lie in the folder, sorted."""
    names = {path.name.partition(".")[0] for end in _JSON for path in folder.glob(f"{_META}*{end}")}
    return sorted(name.removeprefix(_META) for name in names)


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """Reviews, metadata and, for ``search.kind: own``, queries; what is missing is noted."""
    options, folder = cast(Amazon2023Source, recipe.source), recipe.source_folder
    remedy = f"fetch it from {WHERE} and name its folder with --source"
    schemas = (reviews_of(options.category), metadata_of(options.category))
    paths = [schema.find(folder, faults, remedy) for schema in schemas]
    if recipe.search.kind == "own":
        remedy = f"fetch it from {WHERE_QUERIES} and put it beside the reviews"
        paths.append(QUERIES.find(folder, faults, remedy))
    return paths


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the files; every fault is noted, and with one there is no log."""
    options = cast(Amazon2023Source, recipe.source)
    paths, most = find(recipe, faults), options.maximum_rows
    reviews = read_table(reviews_of(options.category).of_at_most(most), paths[0], faults)
    wanted = set(reviews.ids("parent_asin").distinct) if reviews is not None else None

    def is_wanted(values: dict[str, Any]) -> NDArray[np.bool_]:
        products = values["parent_asin"]
        return np.array([wanted is None or one in wanted for one in products], dtype=bool)

    schema = replace(metadata_of(options.category), keep=is_wanted, maximum_rows=most)
    metadata = read_table(schema, paths[1], faults)
    queries = read_table(QUERIES, paths[2], faults) if recipe.search.kind == "own" else None
    if faults or reviews is None:
        return None
    log = counted_once(
        recommendation_log(
            users=reviews.ids("user_id").distinct,
            items=_catalogue(metadata, reviews.ids("parent_asin").distinct),
            user=reviews.ids("user_id").code,
            item=reviews.ids("parent_asin").code,
            timestamp=reviews.numbers("timestamp"),
            position=np.arange(len(reviews)),
            rating=reviews.numbers("rating").astype(np.float32),
        )
    )
    if queries is not None:
        log = _with_queries(log, queries, recipe.seed)
        if not log.is_search.any():
            reason = (
                f"none of the {len(queries):,} queries is of a user and a product that "
                f"source.category: {options.category} has a review of; Amazon-C4 spans all "
                "categories, so all of them were left out"
            )
            faults.add(queries.path, 0, "", reason)
            return None
    return only_items_with_text(log).with_notes(TERMS)


def _catalogue(metadata: Table | None, products: Sequence[str]) -> RawItems:
    """The items in the order of ``products``; those without metadata have no text."""
    of_products = OfProducts(metadata, "parent_asin", products)
    column, rows = of_products.column, of_products.rows
    categories = column("categories", ())
    return RawItems(
        external_id=list(products),
        title=[_cleaned(value) for value in column("title", None)],
        description=[
            " ".join(part for part in (_cleaned(features), _cleaned(description)) if part)
            for features, description in zip(
                column("features", None), column("description", None), strict=True
            )
        ],
        brand=[_joined(value) for value in column("store", None)],
        categories=categories,
        attributes=[last_levels(paths) for paths in categories],
        decade=[""] * len(rows),
    )


def _joined(value: str | Sequence[str] | None) -> str:
    parts = [value] if isinstance(value, str) else value or ()
    return " ".join(text for part in parts if (text := part.strip()))


def _cleaned(value: str | Sequence[str] | None) -> str:
    text = _joined(value)
    return clean_text(text) if text else ""


def _with_queries(log: RawLog, queries: Table, seed: int) -> RawLog:
    """The log with a search for each query whose user reviewed its product here."""
    users, products = queries.ids("user_id"), queries.ids("item_id")
    rows = RelevanceRows(
        reviewers=[users.distinct[code] for code in users.code.tolist()],
        queries=range(len(queries)),
        products=[products.distinct[code] for code in products.code.tolist()],
    )
    return with_sessions(log, queries.texts("query"), rows, seed, "queries of Amazon-C4")


files, read = files_by(find), read_by(load)
