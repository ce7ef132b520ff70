"""MovieLens from its files, in both published forms, with invented ratings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.data.sources import read_source, source_files
from benchmark.data.validate import validate
from benchmark.errors import BenchmarkError
from tests.data.published import built, events_of, recipe_of, validated_by

FILMS = [
    (1, "Toy Story (1995)", "Animation|Children|Comedy"),
    (2, "Misérables, Les (1995)", "Drama"),
    (7, 'Heat, the "other" one', "(no genres listed)"),
]
RATINGS = [
    (11, 1, "4.0", 978_300_760),
    (11, 2, "3.5", 978_300_761),
    (12, 7, "5.0", 978_300_762),
    (12, 2, "4.5", 978_300_700),
]


def write_csv(folder: Path, ratings: Sequence[tuple[object, ...]] | None = None) -> Path:
    """As in 20M, 25M and 32M: UTF-8, with a header, titles with commas in quotation marks."""
    folder.mkdir(exist_ok=True)
    films = [
        f'{film},"{title.replace(chr(34), chr(34) * 2)}",{kinds}' for film, title, kinds in FILMS
    ]
    rows = [",".join(map(str, row)) for row in (RATINGS if ratings is None else ratings)]
    head = "userId,movieId,rating,timestamp"
    (folder / "ratings.csv").write_text("\n".join([head, *rows, ""]), encoding="utf-8")
    text = "\n".join(["movieId,title,genres", *films, ""])
    (folder / "movies.csv").write_text(text, encoding="utf-8")
    return folder


def write_dat(folder: Path) -> Path:
    """As in 1M: Latin-1, no header, fields between two colons; ratings are whole there."""
    folder.mkdir(exist_ok=True)
    films = [f"{film}::{title}::{kinds}" for film, title, kinds in FILMS]
    rows = ["::".join(map(str, row)).replace(".0::", "::") for row in RATINGS]
    (folder / "ratings.dat").write_bytes("\r\n".join([*rows, ""]).encode("latin-1"))
    (folder / "movies.dat").write_bytes("\n".join([*films, ""]).encode("latin-1"))
    return folder


def test_ratings_that_are_all_too_low_are_said_with_the_key(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "csv", [(11, 1, "3.5", 978_300_760), (12, 7, "1", 978_300_761)])
    complaint = "column rating: all 2 ratings are below source.minimum_rating: 4, so each"
    with pytest.raises(BenchmarkError, match=complaint):
        read_source(recipe_of("movielens", folder))


def test_both_forms_give_one_data_set(tmp_path: Path) -> None:
    text = ("title", "categories", "decade")
    found = [
        built(recipe_of("movielens", write(tmp_path / name), text=text))
        for name, write in (("csv", write_csv), ("dat", write_dat))
    ]
    assert found[0].fingerprint == found[1].fingerprint
    assert events_of(found[0]) == [
        ("11", "1", "", 978_300_760),
        ("12", "2", "", 978_300_700),
        ("12", "7", "", 978_300_762),
    ]
    texts = dict(zip(found[0].items.external_id, found[0].items.text, strict=True))
    assert texts["1"] == "Toy Story Animation Children Comedy 1990s"
    assert texts["2"] == "Misérables, Les Drama 1990s"
    assert texts["7"] == 'Heat, the "other" one'
    assert "1 of 4 ratings below 4 were left out." in found[0].notes
    assert any("GroupLens" in note for note in found[0].notes)


@pytest.mark.parametrize("name", ["ml-1m", "ml-20m", "ml-25m", "ml-32m"])
def test_validate_reads_a_folder_by_the_shipped_recipes(name: str, tmp_path: Path) -> None:
    times = range(978_300_000, 978_300_036)
    every = [(user, film, 5, time) for time in times for user in [time % 6] for film in (1, 2)]
    found = validated_by(name, write_csv(tmp_path / "ml", every))
    assert found.faults == ()
    assert validate(tmp_path / "ml").kind == "MovieLens"


def test_queries_are_made_of_genres_and_decades(tmp_path: Path) -> None:
    recipe = recipe_of("movielens", write_dat(tmp_path / "ml"), search="channels")
    made = recipe.model_copy(update={"search": recipe.search.model_copy(update={"share": 1.0})})
    dataset = built(made)
    words = {"animation", "children", "comedy", "drama", "1990s"}
    queries = [query for _, item, query, _ in events_of(dataset) if item != "7"]
    assert queries and all(query and set(query.split()) <= words for query in queries)


def test_what_is_wrong_is_named_with_its_row(tmp_path: Path) -> None:
    folder = write_dat(tmp_path / "ml")
    with (folder / "ratings.dat").open("ab") as opened:
        opened.write(b"13::1::5\n13::99::5::978300760\n13::1::five::978300760\n")
    faults = "\n".join(validate(folder).faults)
    assert "ratings.dat: row 5: has 3 fields instead of 4" in faults
    assert "ratings.dat: row 6, column movieId: 99 is not in movies" in faults
    assert "ratings.dat: row 7, column rating: 'five' is" in faults
    with pytest.raises(BenchmarkError, match=r"ratings\.dat: row 5: has 3 fields"):
        read_source(recipe_of("movielens", folder))


def test_an_empty_folder_is_told_where_the_files_are(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"ratings\.csv: the file is missing .*grouplens\.org"):
        source_files(recipe_of("movielens", tmp_path))
