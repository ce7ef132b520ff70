"""Amazon Reviews 2023 and Amazon-C4 in their published form, with invented reviews."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.sources import read_source, source_files
from benchmark.data.validate import validate
from benchmark.errors import BenchmarkError
from tests.data.joint_files import csv_bytes
from tests.data.published import built, events_of, recipe_of, validated_by

SECOND = 1_588_687_728
REVIEWS = [  # user, product, stars, seconds after SECOND
    ("AE1", "B1", 5.0, 0),
    ("AE1", "B2", 3.0, 60),
    ("AE2", "B1", 4.0, 30),
    ("AE2", "B3", 1.0, 90),
]
METADATA: list[dict[str, Any]] = [
    {
        "parent_asin": "B1",
        "title": "Racing <b>wheel</b> &amp; pedals",
        "features": ["Turns 900 degrees", "Fits most desks"],
        "description": ["A wheel."],
        "store": "Acme",
        "categories": ["Video Games", "PC", "Racing Wheels"],
    },
    {"parent_asin": "B2", "title": "Pad", "features": [], "description": [], "categories": []},
    {"parent_asin": "B9", "title": "Never reviewed", "store": None, "categories": []},
]
QUERIES = [  # qid, query, item_id, user_id, ori_rating, ori_review
    [0, "I need something to steer with, for a small desk", "B1", "AE2", 5, "Steers, well"],
    [1, "a pad for my nephew", "B2", "AE2", 5, "he never bought it"],
    [2, "of another category", "B77", "AE77", 4, "elsewhere"],
]
QUERY_HEADER = ["qid", "query", "item_id", "user_id", "ori_rating", "ori_review"]


def review(user: str, product: str, stars: float, after: int) -> dict[str, Any]:
    return {
        "rating": stars,
        "title": "Such a nice thing",
        "text": "Text, with a comma",
        "images": [],
        "asin": f"{product}-blue",
        "parent_asin": product,
        "user_id": user,
        "timestamp": (SECOND + after) * 1000 + 923,
        "helpful_vote": 0,
        "verified_purchase": True,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "files"
    place.mkdir()
    write_lines(place / "Video_Games.jsonl", [review(*row) for row in REVIEWS])
    write_lines(place / "meta_Video_Games.jsonl", METADATA)
    (place / "test.csv").write_bytes(csv_bytes(QUERY_HEADER, QUERIES))
    return place


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")


def test_reviews_and_texts(folder: Path) -> None:
    text = ("title", "description")
    dataset = built(recipe_of("amazon-2023", folder, text=text, category="Video_Games"))
    assert events_of(dataset) == [
        ("AE1", "B1", "", SECOND),
        ("AE1", "B2", "", SECOND + 60),
        ("AE2", "B1", "", SECOND + 30),
    ]
    row = dataset.items.external_id.index("B1")
    assert dataset.items.text[row] == (
        "Racing wheel & pedals. Turns 900 degrees Fits most desks. A wheel."
    )
    assert dataset.items.brand[row] == "Acme"
    assert dataset.items.categories[row] == (("Video Games", "PC", "Racing Wheels"),)
    assert any("1 items without title and description" in note for note in dataset.notes)


def test_ratings_alone_give_the_same_events(folder: Path) -> None:
    before = built(recipe_of("amazon-2023", folder, category="Video_Games"))
    (folder / "Video_Games.jsonl").unlink()
    rows = [
        [user, product, stars, (SECOND + after) * 1000] for user, product, stars, after in REVIEWS
    ]
    header = ["user_id", "parent_asin", "rating", "timestamp"]
    (folder / "Video_Games.csv").write_bytes(csv_bytes(header, rows))
    after = built(recipe_of("amazon-2023", folder, category="Video_Games"))
    assert after.fingerprint == before.fingerprint


def test_a_query_is_a_search_at_the_time_of_its_review(folder: Path) -> None:
    dataset = built(recipe_of("amazon-2023", folder, "own", category="Video_Games"))
    searches = [event for event in events_of(dataset) if event[2]]
    assert searches == [("AE2", "B1", QUERIES[0][1], SECOND + 30)]
    # AE2 never reviewed B2, and AE77 reviewed nothing here.
    assert any("2 queries of Amazon-C4 have no review" in note for note in dataset.notes)


def test_queries_of_other_categories_alone_are_said_with_the_key(folder: Path) -> None:
    (folder / "test.csv").write_bytes(csv_bytes(QUERY_HEADER, QUERIES[1:]))
    complaint = r"test\.csv: none of the 2 queries is .* source\.category: Video_Games has a review"
    with pytest.raises(BenchmarkError, match=complaint):
        read_source(recipe_of("amazon-2023", folder, "own", category="Video_Games"))


def test_queries_of_the_hierarchies(folder: Path) -> None:
    recipe = recipe_of("amazon-2023", folder, "twins", category="Video_Games")
    made = recipe.model_copy(update={"search": recipe.search.model_copy(update={"share": 1.0})})
    assert {event[2] for event in events_of(built(made))} == {"", "video games pc racing wheels"}


@pytest.mark.parametrize("name", ["amazon-2023-video-games", "amazon-2023-video-games-c4"])
def test_validate_reads_a_folder_by_the_shipped_recipes(name: str, folder: Path) -> None:
    every = [(f"AE{n % 6}", "B1" if n % 2 else "B2", 5.0, n) for n in range(72)]
    write_lines(folder / "Video_Games.jsonl", [review(*row) for row in every])
    rows = [[n, "a wheel", "B1", "AE1", 5, ""] for n in range(2)]
    (folder / "test.csv").write_bytes(csv_bytes(QUERY_HEADER, rows))
    assert validated_by(name, folder).faults == ()
    found = validate(folder)
    assert (found.kind, found.faults) == ("Amazon 2023", ())


def test_what_is_wrong_is_named_with_its_row(folder: Path) -> None:
    broken = {**review("AE3", "B1", 5.0, 0), "timestamp": SECOND}
    write_lines(folder / "Video_Games.jsonl", [review(*REVIEWS[0]), broken])
    write_lines(folder / "meta_Video_Games.jsonl", [METADATA[0], METADATA[0]])
    (folder / "test.csv").write_bytes(csv_bytes(QUERY_HEADER, [[0, "", "B1", "AE1", 5, ""]]))
    faults = "\n".join(validate(folder).faults)
    assert "Video_Games.jsonl: row 2, column timestamp: " in faults
    assert "meta_Video_Games.jsonl: row 2, column parent_asin: 'B1' stands twice" in faults
    assert "test.csv: row 1, column query: the query is empty" in faults


def test_missing_files_are_told_where_they_are(folder: Path) -> None:
    (folder / "test.csv").unlink()
    recipe = recipe_of("amazon-2023", folder, "own", category="Video_Games")
    with pytest.raises(BenchmarkError, match=r"test\.csv: the file is missing .*Amazon-C4"):
        source_files(recipe)
