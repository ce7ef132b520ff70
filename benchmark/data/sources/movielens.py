"""MovieLens 1M, 20M, 25M and 32M, from the unpacked files of GroupLens.

https://grouplens.org/datasets/movielens; Harper and Konstan, "The MovieLens Datasets", ACM TiiS
2015. The terms do not permit redistribution, so whoever wants one fetches and unpacks it and gives
the folder. 1M has ``ratings.dat`` and ``movies.dat`` (fields between "::", Latin-1), the others
``ratings.csv`` and ``movies.csv`` (UTF-8). A title ends with the film's year, which becomes the
decade; genres are categories of one level and what made queries name, as for ml-100k.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from benchmark.data.raw import RawItems, RawLog, recommendation_log
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import MovielensSource
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.separated import Separated
from benchmark.data.tables.table import Table, read_table, rows_in

WHERE = "https://grouplens.org/datasets/movielens"
TERMS = (
    "MovieLens belongs to GroupLens: neither the files nor what is prepared from them may be "
    "redistributed; cite Harper and Konstan (ACM TiiS 2015)."
)
_SUFFIXES = (".csv", ".csv.gz", ".dat")
_YEAR = re.compile(r"^(?P<title>.*\S)\s*\((?P<year>\d{4})\)\s*$", re.DOTALL)
_NO_GENRES = ("(no genres listed)", "")


def _published(name: str, columns: tuple[Column, ...], unique: str = "") -> TableSchema:
    """A table in both published forms."""
    fields = tuple(column.name for column in columns)
    form = Separated("::", fields, encoding="latin-1")
    return TableSchema(name, columns, unique=unique, separated=form, suffixes=_SUFFIXES)


RATINGS = _published(
    "ratings",
    (
        Column("userId", "id"),
        Column("movieId", "id"),
        Column("rating", "number", filled=True),
        Column("timestamp", "seconds"),
    ),
)
MOVIES = _published(
    "movies",
    (Column("movieId", "id"), Column("title", "text"), Column("genres", "text")),
    unique="movieId",
)


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """The ratings and the films; what is missing is noted."""
    remedy = f"fetch a MovieLens from {WHERE}, unpack it and name its folder with --source"
    return [schema.find(recipe.source_folder, faults, remedy) for schema in (RATINGS, MOVIES)]


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the files; every fault is noted, and with one there is no log."""
    options = cast(MovielensSource, recipe.source)
    ratings_path, movies_path = find(recipe, faults)
    below = 0

    def is_kept(values: dict[str, np.ndarray]) -> np.ndarray:
        nonlocal below
        kept: np.ndarray = ~(values["rating"] < options.minimum_rating)
        below += int(np.count_nonzero(~kept))
        return kept

    most = options.maximum_rows
    ratings = read_table(replace(RATINGS, keep=is_kept, maximum_rows=most), ratings_path, faults)
    movies = read_table(MOVIES.of_at_most(most), movies_path, faults)
    if movies is None or ratings is None:
        return None
    item = rows_in(ratings, "movieId", movies.ids("movieId").distinct, MOVIES.name, faults)
    if not len(ratings) and not faults:
        rule = f"source.minimum_rating: {options.minimum_rating:g}"
        reason = f"all {below:,} ratings are below {rule}, so each of them was left out"
        faults.add(ratings.path, 0, "rating", reason)
    if faults:
        return None
    log = recommendation_log(
        users=ratings.ids("userId").distinct,
        items=_catalogue(movies),
        user=ratings.ids("userId").code,
        item=item,
        timestamp=ratings.numbers("timestamp"),
        position=ratings.row,
        rating=ratings.numbers("rating").astype(np.float32),
        notes=(TERMS,),
    )
    return log.with_notes(
        f"{below:,} of {below + len(log):,} ratings below {options.minimum_rating:g} were left out."
    )


def _catalogue(movies: Table) -> RawItems:
    found = [_YEAR.match(title) for title in movies.texts("title")]
    genres = [
        tuple(dict.fromkeys(genre for genre in text.split("|") if genre not in _NO_GENRES))
        for text in movies.texts("genres")
    ]
    nothing = [""] * len(movies)
    return RawItems(
        external_id=movies.ids("movieId").distinct,
        title=[
            match["title"] if match else title.strip()
            for match, title in zip(found, movies.texts("title"), strict=True)
        ],
        description=nothing,
        brand=nothing,
        categories=[tuple((genre,) for genre in of_item) for of_item in genres],
        attributes=genres,
        decade=[f"{match['year'][:3]}0s" if match else "" for match in found],
    )


files, read = files_by(find), read_by(load)
