"""Amazon reviews of 2014 with the product-search queries: what the paper's main data are made of.

Read as the official notebook does (data/process_orig.ipynb of
https://github.com/TengShi-RUC/GenSAR, commit bd1a126): 5-core reviews and metadata as published by
McAuley et al., queries and relevance files of
https://github.com/QingyaoAi/Amazon-Product-Search-Datasets. Both relevance files are put together,
shuffled, and of each (user, item) pair the first row stays; it becomes a search session at the time
of the purchase of that item. Texts are cleaned by the notebook's rule, and items without text are
left out with their events (the saved notebook has that line commented out, but its printed counts
need it). The five-core property is not restored.

A category without published relevance files takes ``search.kind: twins``, which makes the queries
of the category hierarchies by the rule of the published ones. In place of the published files a
folder may hold the tidy ``interactions.parquet`` and ``items.parquet`` of the folder format.

The files are read as streams: of a line of the reviews only four values stay, and only the metadata
of items with reviews are parsed. A review that stands twice counts once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.download import fetch
from benchmark.data.raw import RawItems, RawLog, counted_once, recommendation_log
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import AmazonSource
from benchmark.data.sources import folder as tidy
from benchmark.data.sources.amazon_products import (
    OfProducts,
    clean_brand,
    clean_text,
    only_items_with_text,
)
from benchmark.data.sources.amazon_queries import (
    RelevanceRows,
    read_queries,
    read_relevance,
    with_sessions,
)
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import Table, read_table
from benchmark.data.transfer import Download
from benchmark.hashing import row_uniform, text_keys

REVIEWS_URL = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
QUERIES_URL = (
    "https://raw.githubusercontent.com/QingyaoAi/Amazon-Product-Search-Datasets/master"
    "/reviews_{category}_5.json.gz"
)
QUERY_FILE = "query_text.txt.gz"
RELEVANCE_FILES = ("train.qrels.gz", "test.qrels.gz")
TERMS = (
    "Amazon reviews and metadata of 2014: cite He and McAuley (WWW 2016) and McAuley et al. (SIGIR "
    "2015), and for the queries Ai et al. (SIGIR 2017); not redistributed here."
)

RATING_SHARES = (0.06, 0.05, 0.08, 0.21, 0.60)
"""Of one to five stars, for ``missing_ratings: drawn``: roughly those of Amazon Electronics."""
_ASIN_FIRST = re.compile(r"""^\{['"]asin['"]: ['"]([^'"\\]+)['"]""")


def review_file(category: str) -> str:
    """The published name of a category's 5-core reviews."""
    return f"reviews_{category}_5.json.gz"


def metadata_file(category: str) -> str:
    """The published name of a category's metadata."""
    return f"meta_{category}.json.gz"


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """Reviews, metadata and, for ``search.kind: own``, queries and both relevance files.

    Without a folder at hand they are downloaded first; what is missing is noted.

    Raises:
        BenchmarkError: a download failed.
    """
    options = cast(AmazonSource, recipe.source)
    folder = recipe.source_folder
    if _is_tidy(folder):
        return [schema.find(folder, faults) for schema in (tidy.INTERACTIONS, tidy.ITEMS)]
    names = [review_file(options.category), metadata_file(options.category)]
    if recipe.search.kind == "own":
        names += [QUERY_FILE, *RELEVANCE_FILES]
    paths = []
    for name in names:
        path = at_hand(folder, name, options.category)
        if path is None and recipe.is_downloaded:
            path = fetch(_download(options, name), folder / name)
        if path is None:
            faults.add(folder / name, 0, "", _missing(name, options.category))
        paths.append(path)
    return paths


def _is_tidy(folder: Path) -> bool:
    return bool(tidy.INTERACTIONS.places(folder) and tidy.ITEMS.places(folder))


def at_hand(folder: Path, name: str, category: str) -> Path | None:
    """The file in the folder or in the queries' own subfolder, compressed or not."""
    for place in (folder, folder / review_file(category)):
        for path in (place / name, place / name.removesuffix(".gz")):
            if path.is_file():
                return path
    return None


def _missing(name: str, category: str) -> str:
    advice = f"; {_advice(category)}" if name in RELEVANCE_FILES else ""
    return f"the file is missing{advice}"


def _advice(category: str) -> str:
    return (
        f"where {category} has no published relevance file, put yours there, or set search.kind: "
        "twins in the recipe to make the queries of the category hierarchies by the published rule"
    )


def _download(options: AmazonSource, name: str) -> Download:
    """Where a file comes from; what the recipe says of it wins."""
    facts = options.files.get(name)
    url = facts.url if facts else None
    if url is None:
        is_query = name == QUERY_FILE or name in RELEVANCE_FILES
        base = QUERIES_URL.format(category=options.category) if is_query else REVIEWS_URL
        url = f"{base}/{name}"
    return Download(
        url=url,
        size=facts.size if facts else None,
        sha256=facts.sha256 if facts else None,
        advice=f"{_advice(options.category)}." if name in RELEVANCE_FILES else "",
    )


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the files; every fault is noted, and with one there is no log."""
    options = cast(AmazonSource, recipe.source)
    paths = find(recipe, faults)
    if _is_tidy(recipe.source_folder):
        log = _load_tidy(recipe, paths, faults)
    else:
        log = _load_published(recipe, paths, faults)
    if log is None or faults:
        return None
    if options.subcategory:
        log = _only_subcategory(log, options.subcategory)
    return only_items_with_text(log).with_notes(TERMS)


# The published files


_REVIEWS = (
    Column("reviewerID", "id"),
    Column("asin", "id"),
    Column("overall", "number", filled=True),
    Column("unixReviewTime", "seconds"),
)
_METADATA = (
    Column("asin", "id"),
    Column("title", "raw", required=False),
    Column("description", "raw", required=False),
    Column("brand", "raw", required=False),
    Column("categories", "paths", required=False),
)


def _load_published(recipe: Recipe, paths: Sequence[Path | None], faults: Faults) -> RawLog | None:
    options = cast(AmazonSource, recipe.source)
    schema = TableSchema(review_file(options.category), _REVIEWS, holds_literals=True)
    reviews = read_table(schema.of_at_most(options.maximum_rows), paths[0], faults)
    wanted = set(reviews.ids("asin").distinct) if reviews is not None else None
    metadata = _read_metadata(paths[1], options, wanted, faults)
    texts: list[str] = []
    rows: RelevanceRows | None = None
    if recipe.search.kind == "own":
        texts = read_queries(paths[2], faults)
        blank = {line for line, text in enumerate(texts) if not text}
        rows = read_relevance(paths[3:], len(texts), faults, blank)
    if faults or reviews is None:
        return None
    items, without_metadata = _catalogue(metadata, reviews.ids("asin").distinct)
    log = _log_of(reviews, items)
    if without_metadata:
        log = log.with_notes(f"{without_metadata:,} items with reviews have no metadata.")
    if rows is None:
        return log
    return with_sessions(log, texts, rows, recipe.seed)


def _log_of(reviews: Table, items: RawItems) -> RawLog:
    """The reviews in the order of the file; one that stands twice counts once."""
    return counted_once(
        recommendation_log(
            users=reviews.ids("reviewerID").distinct,
            items=items,
            user=reviews.ids("reviewerID").code,
            item=reviews.ids("asin").code,
            timestamp=reviews.numbers("unixReviewTime"),
            position=np.arange(len(reviews)),
            rating=reviews.numbers("overall").astype(np.float32),
        )
    )


def _read_metadata(
    path: Path | None, options: AmazonSource, wanted: set[str] | None, faults: Faults
) -> Table | None:
    """The metadata of the products in ``wanted`` or, where they are unknown, of all."""

    def is_unwanted(line: str) -> bool:
        # Most of the catalogue has no reviews left, and parsing is slow.
        early = _ASIN_FIRST.match(line)
        return early is not None and wanted is not None and early[1] not in wanted

    def is_wanted(values: dict[str, Any]) -> NDArray[np.bool_]:
        asins = values["asin"]
        return np.array([wanted is None or asin in wanted for asin in asins], dtype=bool)

    schema = TableSchema(
        metadata_file(options.category),
        _METADATA,
        unique="asin",
        keep=is_wanted,
        skips=is_unwanted,
        holds_literals=True,
        may_be_empty=True,
        maximum_rows=options.maximum_rows,
    )
    return read_table(schema, path, faults)


def _catalogue(metadata: Table | None, products: Sequence[str]) -> tuple[RawItems, int]:
    """The items in the order of ``products``, and how many of them have no metadata."""
    of_products = OfProducts(metadata, "asin", products)
    column, rows = of_products.column, of_products.rows
    categories = column("categories", ())
    items = RawItems(
        external_id=list(products),
        title=[_cleaned(value) for value in column("title", None)],
        description=[_cleaned(value) for value in column("description", None)],
        brand=[_brand(value) for value in column("brand", None)],
        categories=categories,
        attributes=[tidy.last_levels(paths) for paths in categories],
        decade=[""] * len(rows),
    )
    return items, rows.count(-1)


def _cleaned(value: str | Sequence[str] | None) -> str:
    """A cleaned text; "" where there is none, "." where it is empty, as in the notebook."""
    return "" if value is None else clean_text(value)


def _brand(value: str | Sequence[str] | None) -> str:
    return clean_brand(value if isinstance(value, str) else " ".join(value or ()))


# A folder in the tidy format


def _load_tidy(recipe: Recipe, paths: Sequence[Path | None], faults: Faults) -> RawLog | None:
    if recipe.search.kind == "own":
        faults.add(
            recipe.source_folder,
            0,
            "",
            "holds no relevance files, which search.kind: own needs; allowed with "
            "interactions.parquet are none, twins, channels",
        )
    options = cast(AmazonSource, recipe.source)
    log = tidy.load_purchases(paths[0], paths[1], options.maximum_rows, faults)
    if log is None or faults:
        return None
    log = replace(
        log,
        items=replace(
            log.items,
            title=[clean_text(text) if text else "" for text in log.items.title],
            description=[clean_text(text) if text else "" for text in log.items.description],
        ),
    )
    if not np.isnan(log.rating).all():
        return log
    if options.missing_ratings == "none":
        return log.with_notes("There are no ratings: purchases of one day stand by product id.")
    draw = row_uniform(
        recipe.seed,
        "rating",
        text_keys(log.users)[log.user],
        text_keys(log.items.external_id)[log.item],
    )
    stars = 1 + np.searchsorted(np.cumsum(RATING_SHARES)[:-1], draw, side="right")
    return replace(log, rating=stars.astype(np.float32)).with_notes(
        "There are no ratings. They order the purchases of one day in the released construction, "
        "so they were drawn by a hash from shares like those of Electronics "
        f"({json.dumps(RATING_SHARES)} for one to five stars)."
    )


# What is left out


def _only_subcategory(log: RawLog, subcategory: str) -> RawLog:
    """The events of items whose first hierarchy has ``subcategory`` as its second level."""
    keep = np.array(
        [bool(paths) and paths[0][1:2] == (subcategory,) for paths in log.items.categories]
    )
    kept = log.take(keep[log.item])
    return kept.with_notes(
        f"Only items with the second level {subcategory!r} in their first hierarchy: "
        f"{int(np.count_nonzero(keep)):,} of {len(keep):,}."
    )


files, read = files_by(find), read_by(load)
