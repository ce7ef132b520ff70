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
of items with reviews are parsed.
"""

from __future__ import annotations

import html
import json
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.download import Download, fetch
from benchmark.data.recipe import AmazonSource, Recipe
from benchmark.data.sources import folder as tidy
from benchmark.data.sources.lines import lines_of, record_of
from benchmark.data.sources.raw import (
    NO_QUERY,
    NO_SESSION,
    Paths,
    RawItems,
    RawLog,
    recommendation_log,
)
from benchmark.errors import BenchmarkError
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

LONGEST_TEXT = 2000
"""A cleaned text with so many characters or more becomes empty, as in the official notebook."""

RATING_SHARES = (0.06, 0.05, 0.08, 0.21, 0.60)
"""Of one to five stars, for ``missing_ratings: drawn``: roughly those of Amazon Electronics."""

_TAG = re.compile(r"</?\w+[^>]*>")
_QUOTE_OR_BREAK = re.compile(r'["\n\r]')
_BY_LINE = re.compile(r"^\s*by\n")
_ASIN_FIRST = re.compile(r"""^\{['"]asin['"]: ['"]([^'"\\]+)['"]""")


def review_file(category: str) -> str:
    """The published name of a category's 5-core reviews."""
    return f"reviews_{category}_5.json.gz"


def metadata_file(category: str) -> str:
    """The published name of a category's metadata."""
    return f"meta_{category}.json.gz"


def files(recipe: Recipe) -> tuple[Path, ...]:
    """The files of the recipe; without a folder at hand they are downloaded first.

    Raises:
        BenchmarkError: a file is missing, or cannot be had.
    """
    options = cast(AmazonSource, recipe.source)
    folder = recipe.source_folder
    if _is_tidy(folder):
        return (folder / tidy.INTERACTIONS, folder / tidy.ITEMS)
    names = [review_file(options.category), metadata_file(options.category)]
    if recipe.search.kind == "own":
        names += [QUERY_FILE, *RELEVANCE_FILES]
    paths = []
    for name in names:
        path = _at_hand(folder, name, options.category)
        if path is None and recipe.is_downloaded:
            path = fetch(_download(options, name), folder / name)
        if path is None:
            raise BenchmarkError(_missing(folder, name, options.category))
        paths.append(path)
    return tuple(paths)


def _is_tidy(folder: Path) -> bool:
    return (folder / tidy.INTERACTIONS).is_file() and (folder / tidy.ITEMS).is_file()


def _at_hand(folder: Path, name: str, category: str) -> Path | None:
    """The file in the folder or in the queries' own subfolder, compressed or not."""
    for place in (folder, folder / review_file(category)):
        for path in (place / name, place / name.removesuffix(".gz")):
            if path.is_file():
                return path
    return None


def _missing(folder: Path, name: str, category: str) -> str:
    if name not in RELEVANCE_FILES:
        return f"{folder / name}: the file is missing."
    return (
        f"{folder / name}: the file is missing; where {category} has no published relevance file, "
        "put yours there, or set search.kind: twins in the recipe to make the queries of the "
        "category hierarchies by the published rule."
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
        advice=_missing(Path(), name, options.category).split("; ")[-1]
        if name in RELEVANCE_FILES
        else "",
    )


def read(recipe: Recipe) -> RawLog:
    """Read and check the files.

    Raises:
        BenchmarkError: one is missing, damaged, or holds a value that cannot be used.
    """
    options = cast(AmazonSource, recipe.source)
    paths = files(recipe)
    if _is_tidy(recipe.source_folder):
        log = _read_tidy(recipe, paths)
    else:
        log = _read_published(recipe, paths)
    if options.subcategory:
        log = _only_subcategory(log, options.subcategory)
    return _only_items_with_text(log).with_notes(TERMS)


# Texts


def clean_text(text: str | Sequence[str]) -> str:
    """The official notebook's cleaning: entities, tags, quotes, line breaks and the last dot.

    >>> clean_text("<b>Bold</b> &amp; fast...")
    'Bold & fast.'
    """
    parts = [text.strip()] if isinstance(text, str) else list(text)
    plain = [_QUOTE_OR_BREAK.sub("", _TAG.sub("", html.unescape(part))) for part in parts]
    joined = plain[0] if isinstance(text, str) else " ".join(part.strip() for part in plain)
    # The first character stays even where it is a dot: "..." becomes "..".
    ended = joined[:1] + joined[1:].rstrip(".") + "."
    return ended if len(ended) < LONGEST_TEXT else ""


def clean_brand(brand: str) -> str:
    """The brand without a leading line "by"."""
    return _BY_LINE.sub("", brand).strip()


# The published files


@dataclass(frozen=True)
class _Reviews:
    """The reviews in the order of the file; columns are (reviews,), codes count from 0."""

    users: dict[str, int]
    items: dict[str, int]
    user: NDArray[np.int64]
    item: NDArray[np.int64]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]


def _read_published(recipe: Recipe, paths: Sequence[Path]) -> RawLog:
    reviews = _read_reviews(paths[0])
    items, without_metadata = _read_metadata(paths[1], reviews.items)
    notes = []
    if without_metadata:
        notes.append(f"{without_metadata:,} items with reviews have no metadata.")
    log = recommendation_log(
        users=list(reviews.users),
        items=items,
        user=reviews.user,
        item=reviews.item,
        timestamp=reviews.timestamp,
        position=np.arange(len(reviews.user)),
        rating=reviews.rating,
        notes=tuple(notes),
    )
    if recipe.search.kind != "own":
        return log
    texts = [text.strip() for _, text in lines_of(paths[2])]
    rows = read_relevance(paths[3:], len(texts))
    return _with_sessions(log, reviews, texts, rows, recipe.seed)


def _read_reviews(path: Path) -> _Reviews:
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    user, item, time, rating = array("q"), array("q"), array("q"), array("f")
    for number, line in lines_of(path):
        record = record_of(path, number, line)
        try:
            stars, seconds = float(record["overall"]), int(record["unixReviewTime"])
            user.append(users.setdefault(str(record["reviewerID"]), len(users)))
            item.append(items.setdefault(str(record["asin"]), len(items)))
        except KeyError as error:
            raise BenchmarkError(f"{path}: row {number:,}: the key {error} is missing.") from None
        except (TypeError, ValueError):
            raise BenchmarkError(
                f"{path}: row {number:,}: overall and unixReviewTime must be numbers."
            ) from None
        if seconds < 0:
            raise BenchmarkError(
                f"{path}: row {number:,}: unixReviewTime: {seconds} is negative; seconds since "
                "1970 are needed."
            )
        rating.append(stars)
        time.append(seconds)
    if not user:
        raise BenchmarkError(f"{path}: holds no reviews.")
    return _Reviews(
        users=users,
        items=items,
        user=np.frombuffer(user, dtype=np.int64),
        item=np.frombuffer(item, dtype=np.int64),
        rating=np.frombuffer(rating, dtype=np.float32),
        timestamp=np.frombuffer(time, dtype=np.int64),
    )


def _read_metadata(path: Path, wanted: dict[str, int]) -> tuple[RawItems, int]:
    """The catalogue in the order of ``wanted``, and how many of its items have no metadata."""
    title, description, brand = ([""] * len(wanted) for _ in range(3))
    categories: list[Paths] = [()] * len(wanted)
    seen = np.zeros(len(wanted), dtype=bool)
    for number, line in lines_of(path):
        early = _ASIN_FIRST.match(line)
        if early and early[1] not in wanted:
            continue  # most of the catalogue has no reviews left, and parsing is slow
        record = record_of(path, number, line)
        asin = record.get("asin")
        if not isinstance(asin, str):
            raise BenchmarkError(f"{path}: row {number:,}: the key 'asin' is missing.")
        row = wanted.get(asin)
        if row is None:
            continue
        if seen[row]:
            raise BenchmarkError(f"{path}: row {number:,}: asin {asin!r} stands twice.")
        seen[row] = True
        title[row], description[row] = (_field(record, name) for name in ("title", "description"))
        brand[row] = clean_brand(str(record.get("brand") or ""))
        categories[row] = tuple(
            tuple(str(level) for level in levels) for levels in record.get("categories") or ()
        )
    items = RawItems(
        external_id=list(wanted),
        title=title,
        description=description,
        brand=brand,
        categories=categories,
        attributes=[tidy.last_levels(paths) for paths in categories],
        decade=[""] * len(wanted),
    )
    return items, int(np.count_nonzero(~seen))


def _field(record: dict[str, Any], name: str) -> str:
    """A cleaned text; "" where the record lacks it, "." where it is empty, as in the notebook."""
    value = record.get(name)
    if value is None:
        return ""
    return clean_text(value if isinstance(value, (str, list)) else str(value))


@dataclass(frozen=True)
class RelevanceRows:
    """The rows of the relevance files, (rows,): reviewer, line of the query from 0, product."""

    reviewers: Sequence[str]
    queries: Sequence[int]
    products: Sequence[str]

    def kept(self, seed: int) -> NDArray[np.int64]:
        """One row a (reviewer, product) pair: the first one after a shuffle, in shuffled order.

        The shuffle is that of numpy's legacy generator, as in the official notebook.
        """
        order = np.arange(len(self.queries))
        np.random.RandomState(seed % 2**32).shuffle(order)
        pairs: dict[tuple[str, str], int] = {}
        for row in order.tolist():
            pairs.setdefault((self.reviewers[row], self.products[row]), row)
        return np.fromiter(pairs.values(), dtype=np.int64, count=len(pairs))


def read_relevance(paths: Sequence[Path], number_of_queries: int) -> RelevanceRows:
    """All rows ``<reviewer>_<query line> 0 <product> 1`` of the files, one file after the other.

    Raises:
        BenchmarkError: a line has another form, or names a query that is not there.
    """
    reviewers: list[str] = []
    queries: list[int] = []
    products: list[str] = []
    for path in paths:
        for number, line in lines_of(path):
            fields = line.split()
            reviewer, _, query = fields[0].rpartition("_")
            if len(fields) != 4 or not reviewer or not query.isascii() or not query.isdigit():
                raise BenchmarkError(
                    f"{path}: row {number:,}: is not of the form <reviewer>_<query line> 0 "
                    "<product> 1."
                )
            if int(query) >= number_of_queries:
                raise BenchmarkError(
                    f"{path}: row {number:,}: names query line {query}, but there are only "
                    f"{number_of_queries:,} queries."
                )
            if fields[3] != "0":
                reviewers.append(reviewer)
                queries.append(int(query))
                products.append(fields[2])
    return RelevanceRows(reviewers, queries, products)


def _with_sessions(
    log: RawLog, reviews: _Reviews, texts: Sequence[str], rows: RelevanceRows, seed: int
) -> RawLog:
    """Each kept row becomes a session at the time of the user's purchase of the item."""
    kept = rows.kept(seed).tolist()
    users = np.array([reviews.users.get(rows.reviewers[row], -1) for row in kept], dtype=np.int64)
    items = np.array([reviews.items.get(rows.products[row], -1) for row in kept], dtype=np.int64)
    query_of_row = np.array([rows.queries[row] for row in kept], dtype=np.int64)
    width = len(reviews.items)
    known = (users >= 0) & (items >= 0)
    searched = np.where(known, users * width + items, -1)
    order = np.argsort(searched, kind="stable")
    purchase = reviews.user * width + reviews.item
    slot = np.searchsorted(searched[order], purchase)
    slot = np.minimum(slot, max(len(order) - 1, 0))
    found = searched[order][slot] == purchase if len(order) else np.zeros(len(purchase), bool)
    purchases = np.flatnonzero(found)
    distinct, query_of_line = np.unique(np.array(texts), return_inverse=True)
    sessions = replace(
        log.take(purchases),
        query=query_of_line.reshape(-1)[query_of_row[order[slot[purchases]]]],
        session=np.arange(len(purchases)),
    )
    without = len(kept) - len(np.unique(purchase[purchases]))
    result = replace(log.followed_by(sessions), query_text=distinct.tolist())
    if not without:
        return result
    return result.with_notes(f"{without:,} pairs of the relevance files have no review.")


# A folder in the tidy format


def _read_tidy(recipe: Recipe, paths: Sequence[Path]) -> RawLog:
    if recipe.search.kind == "own":
        raise BenchmarkError(
            f"{paths[0].parent}: holds no relevance files, which search.kind: own needs; allowed "
            "with interactions.parquet are none, twins, channels."
        )
    options = cast(AmazonSource, recipe.source)
    log = tidy.read_purchases(paths[0], paths[1], tidy.MAXIMUM_ROWS)
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


def _only_items_with_text(log: RawLog) -> RawLog:
    items = log.items
    has_text = np.array(
        [bool(a or b) for a, b in zip(items.title, items.description, strict=True)], dtype=bool
    )
    keep = has_text[log.item]
    if keep.all():
        return log
    lost = len(np.unique(log.item[~keep]))
    purchases = int(np.count_nonzero(~keep & (log.query == NO_QUERY)))
    searches = int(np.count_nonzero(~keep & (log.session != NO_SESSION)))
    return log.take(keep).with_notes(
        f"{lost:,} items without title and description were left out, with {purchases:,} purchases "
        f"and {searches:,} searches."
    )
