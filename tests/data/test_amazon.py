"""Amazon from the published files of 2014, and from a folder in the tidy format.

That the official construction is reproduced count for count is tested with the golden file.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.build import build_dataset
from benchmark.data.dataset import SEARCH, Dataset
from benchmark.data.prepare import load
from benchmark.data.recipe import Recipe, load_recipe, parse_recipe
from benchmark.data.sources import read_source
from benchmark.data.sources.amazon_products import clean_text
from benchmark.errors import BenchmarkError
from tests.data.conftest import write_parquet
from tests.data.faulty_server import Plan, serving

DAY = 86_400
REVIEWS = [  # user, item, stars, day
    ("ann", "B2", 5, 3),
    ("ann", "B1", 3, 3),
    ("ann", "B3", 4, 1),
    ("bob", "B1", 2, 2),
    ("bob", "B4", 1, 2),
]
METADATA: list[dict[str, Any]] = [
    {"asin": "B9", "title": "Never reviewed"},
    {"asin": "B1", "title": "One", "description": "", "brand": "by\nAcme"},
    {"asin": "B2", "title": "Two..", "categories": [["Shop", "Big Things"]]},
    {"asin": "B3", "description": "Third &amp; last", "categories": [["Shop", "Toys"], ["Shop"]]},
    {"asin": "B4", "categories": [["Shop", "Toys"]]},
]
QUERIES = ["shop things", "shop toys"]
TRAIN = ["ann_0 0 B2 1", "ann_1 0 B3 1", "zoe_0 0 B1 1"]
TEST = ["ann_1 0 B2 1", "bob_1 0 B4 1"]


def compressed(lines: list[str]) -> bytes:
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "files"
    place.mkdir()
    reviews = [
        json.dumps({"reviewerID": u, "asin": i, "overall": s, "unixReviewTime": d * DAY})
        for u, i, s, d in REVIEWS
    ]
    (place / "reviews_Shop_5.json.gz").write_bytes(compressed(reviews))
    (place / "meta_Shop.json.gz").write_bytes(compressed([repr(row) for row in METADATA]))
    (place / "query_text.txt.gz").write_bytes(compressed(QUERIES))
    (place / "train.qrels.gz").write_bytes(compressed(TRAIN))
    (place / "test.qrels.gz").write_bytes(compressed(TEST))
    return place


def recipe_for(folder: Path, source: dict[str, Any] | None = None, **keys: Any) -> Recipe:
    content = {
        "name": "shop",
        "source": {"kind": "amazon", "category": "Shop", "path": str(folder), **(source or {})},
        "search": {"kind": "own"},
        "ties": "rating",
        "item_ids": "sorted",
        **keys,
    }
    return parse_recipe(content, "shop")


def dataset_of(recipe: Recipe) -> Dataset:
    return build_dataset(recipe, read_source(recipe))


def rows(dataset: Dataset) -> list[tuple[str, str, int, str]]:
    log = dataset.log
    return [
        (dataset.users[u], dataset.items.external_id[i], t // DAY, dataset.queries.text[q])
        for u, i, t, q in zip(log.user, log.item, log.timestamp, log.query, strict=True)
    ]


def test_purchases_by_day_stars_and_product_then_sessions(folder: Path) -> None:
    found = rows(dataset_of(recipe_for(folder)))
    ann = [row[1:] for row in found if row[0] == "ann"]
    assert [row[:2] for row in ann] == [("B3", 1), ("B3", 1), ("B1", 3), ("B2", 3), ("B2", 3)]
    assert [row[2] for row in ann[:2]] == ["", "shop toys"]
    # Two rows name (ann, B2); one of them, chosen by the shuffle, became the session.
    assert ann[4][2] in QUERIES
    assert len({row for row in found if row[3]}) == 2


def test_items_without_text_go_with_their_events(folder: Path) -> None:
    dataset = dataset_of(recipe_for(folder))
    assert dataset.items.external_id == ("", "B1", "B2", "B3")
    assert all(row[1] != "B4" for row in rows(dataset))
    assert any("1 items without title and description" in note for note in dataset.notes)
    assert any("1 pairs of the relevance files have no review" in note for note in dataset.notes)


def test_texts_and_brand_are_cleaned(folder: Path) -> None:
    items = dataset_of(recipe_for(folder)).items
    assert items.text[1:] == ("One. .", "Two.", "Third & last.")
    assert items.brand[1] == "Acme"


def test_queries_of_hierarchies_where_none_are_published(folder: Path) -> None:
    dataset = dataset_of(recipe_for(folder, search={"kind": "twins", "share": 1.0}))
    searched = {row[1]: row[3] for row in rows(dataset) if row[3]}
    assert searched == {"B2": "shop big things", "B3": "shop toys"}


def test_a_subcategory(folder: Path) -> None:
    recipe = recipe_for(folder, {"subcategory": "Toys"}, search={"kind": "none"})
    assert dataset_of(recipe).items.external_id == ("", "B3")


def test_uncompressed_files_and_the_folder_of_the_queries(folder: Path) -> None:
    expected = dataset_of(recipe_for(folder)).fingerprint
    inner = folder / "reviews_Shop_5.json.gz"
    packed = inner.read_bytes()
    inner.unlink()
    (folder / "reviews_Shop_5.json").write_bytes(gzip.decompress(packed))
    inner.mkdir()
    for name in ("query_text.txt.gz", "train.qrels.gz", "test.qrels.gz"):
        (folder / name).rename(inner / name)
    assert dataset_of(recipe_for(folder)).fingerprint == expected


def test_a_missing_relevance_file_is_explained(folder: Path) -> None:
    (folder / "train.qrels.gz").unlink()
    with pytest.raises(BenchmarkError) as caught:
        read_source(recipe_for(folder))
    assert "train.qrels.gz: the file is missing" in str(caught.value)
    assert "search.kind: twins" in str(caught.value)


GOOD_REVIEW = {"reviewerID": "ann", "asin": "B1", "overall": 3, "unixReviewTime": 1}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("reviews_Shop_5.json.gz", compressed([json.dumps(GOOD_REVIEW)] * 99)[:-9], "is cut off"),
        ("reviews_Shop_5.json.gz", b"<html>", "cannot be read"),
        ("reviews_Shop_5.json.gz", gzip.compress(b"", mtime=0), "holds no rows"),
        ("reviews_Shop_5.json.gz", gzip.compress(b"\n\xff\xfe\n", mtime=0), "row 2: is not UTF-8"),
        ("reviews_Shop_5.json.gz", compressed(["{}", "["]), "row 2: is neither JSON nor"),
        ("reviews_Shop_5.json.gz", compressed(["nonsense"]), "row 1: is neither JSON nor"),
        (
            "reviews_Shop_5.json.gz",
            compressed([json.dumps({**GOOD_REVIEW, "unixReviewTime": -1})]),
            "row 1, column unixReviewTime: -1 is negative",
        ),
        (
            "reviews_Shop_5.json.gz",
            compressed([json.dumps({**GOOD_REVIEW, "overall": "many"})]),
            "row 1, column overall: 'many' is not a number",
        ),
        (
            "meta_Shop.json.gz",
            compressed(["{'asin': 'B1'}"] * 2),
            "row 2, column asin: 'B1' stands twice",
        ),
        (
            "meta_Shop.json.gz",
            compressed(["{'title': 'x'}"]),
            "row 1, column asin: the key is missing",
        ),
        ("train.qrels.gz", compressed(["ann 0 B1 1"]), "row 1: is not of the form"),
        ("train.qrels.gz", compressed(["ann_7 0 B1 1"]), "row 1: names query line 7"),
    ],
)
def test_each_fault_is_one_sentence(
    folder: Path, name: str, content: bytes, complaint: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(BenchmarkError) as caught:
        read_source(recipe_for(folder))
    assert str(folder / name) in str(caught.value)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


# A folder in the tidy format


def write_tidy(folder: Path, ratings: list[float] | None = None) -> Path:
    folder.mkdir()
    columns: dict[str, Any] = {
        "user_id": ["a"] * 40,
        "item_id": [f"B{number:02}" for number in range(40)],
        "timestamp": [DAY] * 40,
    }
    if ratings:
        columns["rating"] = ratings
    write_parquet(folder / "interactions.parquet", columns)
    write_parquet(
        folder / "items.parquet", {"item_id": columns["item_id"], "title": ["Thing"] * 40}
    )
    return folder


def test_ratings_that_are_missing_may_be_drawn(tmp_path: Path) -> None:
    folder = write_tidy(tmp_path / "tidy")
    plain = recipe_for(folder, search={"kind": "none"})
    drawn = recipe_for(folder, {"missing_ratings": "drawn"}, search={"kind": "none"})
    assert dataset_of(plain).log.item.tolist() == list(range(1, 41))
    log = read_source(drawn)
    assert set(log.rating.tolist()) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert np.mean(log.rating >= 4) > 0.5
    order = dataset_of(drawn).log.item - 1
    stars = log.rating[order]
    assert (np.diff(stars) >= 0).all()
    assert any("were drawn" in note for note in dataset_of(drawn).notes)


def test_ratings_that_are_there_stay(tmp_path: Path) -> None:
    folder = write_tidy(tmp_path / "tidy", ratings=[5.0] * 39 + [1.0])
    drawn = recipe_for(folder, {"missing_ratings": "drawn"}, search={"kind": "none"})
    assert dataset_of(drawn).log.item.tolist() == [40, *range(1, 40)]


def test_tidy_folders_have_no_relevance_files(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"search\.kind: own needs"):
        read_source(recipe_for(write_tidy(tmp_path / "tidy")))


# Where the files come from


RECIPE = """
name: shop
source: {{kind: amazon, category: Shop{files}}}
search: {{kind: none}}
ties: rating
"""


def write_recipe(tmp_path: Path, files: str = "") -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(RECIPE.format(files=files))
    return path


def test_the_folder_given_once_is_remembered(folder: Path, tmp_path: Path) -> None:
    recipe, root = write_recipe(tmp_path), tmp_path / "prepared"
    given = load(recipe, root=root, source=folder)
    assert load(recipe, root=root).fingerprint == given.fingerprint
    with pytest.raises(BenchmarkError, match="the folder of --source is missing"):
        load(recipe, root=root, source=tmp_path / "absent")


def test_a_folder_that_cannot_be_used_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    recipe, root = write_recipe(tmp_path), tmp_path / "prepared"
    given = load(recipe, root=root, source=folder)
    with pytest.raises(BenchmarkError, match="the file is missing"):
        load(recipe, root=root, source=tmp_path)
    assert load(recipe, root=root).fingerprint == given.fingerprint


def test_missing_files_are_downloaded(folder: Path, tmp_path: Path) -> None:
    reviews = (folder / "reviews_Shop_5.json.gz").read_bytes()
    metadata = (folder / "meta_Shop.json.gz").read_bytes()
    root = tmp_path / "prepared"
    with serving(Plan(reviews)) as first, serving(Plan(metadata)) as second:
        recipe = write_recipe(
            tmp_path,
            f", files: {{reviews_Shop_5.json.gz: {{url: '{first}', size: {len(reviews)}}}, "
            f"meta_Shop.json.gz: {{url: '{second}'}}}}",
        )
        downloaded = load(recipe, root=root)
    assert load(recipe, root=root).fingerprint == downloaded.fingerprint  # without a server
    at_hand = dataset_of(recipe_for(folder, search={"kind": "none"}, item_ids="permuted"))
    assert at_hand.fingerprint == downloaded.fingerprint


def test_the_recipes_of_the_project() -> None:
    names = ("amazon-electronics", "amazon-beauty", "amazon-beauty-skincare", "amazon-toys")
    for name in names:
        recipe = load_recipe(Path("datasets") / f"{name}.yaml")
        assert recipe.source.kind == "amazon"
        assert recipe.ties == "rating"
        assert recipe.item_ids == "sorted"
    assert load_recipe(Path("datasets/amazon-electronics.yaml")).search.kind == "own"


def test_a_purchase_that_repeats_has_a_draw_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "tidy"
    folder.mkdir()
    days = list(range(1, 201))
    write_parquet(
        folder / "interactions.parquet",
        {"user_id": ["a"] * 200, "item_id": ["X"] * 200, "timestamp": [d * DAY for d in days]},
    )
    write_parquet(
        folder / "items.parquet",
        {"item_id": ["X"], "title": ["Thing"], "categories": [[["Shop", "Toys"]]]},
    )
    dataset = dataset_of(recipe_for(folder, search={"kind": "twins", "share": 0.5}))
    assert 60 < np.count_nonzero(dataset.log.behaviour == SEARCH) < 140


def test_tags_that_never_end_stay_and_take_no_time_to_find() -> None:
    assert clean_text("<b>a</b> < c <d") == "a < c <d."
    assert clean_text("<a<b>c<i>d</i>") == "cd."
    assert clean_text("<1>5 <_x y>6</2 >") == "5 6."
    for text in ("<" + "a" * 99_000, "<a" * 49_000):
        assert clean_text("<b>" + text) == ""  # as long as it was
