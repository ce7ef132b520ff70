"""The folder source: what it reads, and one sentence for every unusable cell."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from benchmark.data.__main__ import main
from benchmark.data.build import build_dataset
from benchmark.data.dataset import Dataset
from benchmark.data.raw import counted_once
from benchmark.data.recipe import Recipe
from benchmark.data.sources import read_source


def build(recipe: Recipe) -> Dataset:
    return build_dataset(recipe, read_source(recipe))


def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], **source: Any) -> str:
    """Prepare through the command; returns the one line on stderr, after exit code 2."""
    search = source.pop("search", {"kind": "none"})
    content = {
        "name": "shop",
        "source": {"kind": "folder", "path": "log", **source},
        "search": search,
        "text": ["title"],
    }
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump(content))
    assert main(["prepare", str(path), "--root", str(tmp_path / "prepared")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert not [path for path in (tmp_path / "prepared").glob("*") if path.is_dir()]
    return lines[0]


BAD_TABLES: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "interactions",
        {"user_id": None},
        ["column user_id: the column is missing", "item_id, timestamp"],
    ),
    ("interactions", {"timestamp": None}, ["column timestamp: the column is missing"]),
    ("items", {"item_id": None}, ["items.parquet: column item_id: the column is missing"]),
    ("interactions", {"user_id": [1.5] * 4}, ["column user_id: must be text or whole numbers"]),
    ("interactions", {"user_id": ["a", None, "b", "b"]}, ["row 2, column user_id", "missing"]),
    ("interactions", {"user_id": ["a", "a", " ", "b"]}, ["row 3, column user_id", "empty"]),
    ("interactions", {"item_id": ["X", "Q", "X", "P"]}, ["row 2, column item_id: 'Q'", "2 such"]),
    ("interactions", {"timestamp": [True] * 4}, ["column timestamp: must be seconds"]),
    ("interactions", {"timestamp": [1, None, 2, 3]}, ["row 2, column timestamp", "missing"]),
    ("interactions", {"timestamp": [1, 2, 3, -5]}, ["row 4, column timestamp: -5 is negative"]),
    ("interactions", {"timestamp": [1, 2, 3, 1.5]}, ["row 4, column timestamp: 1.5 is not"]),
    ("interactions", {"timestamp": [1.0, float("inf"), 3, 4]}, ["row 2, column timestamp: inf"]),
    ("interactions", {"timestamp": ["1", "2", "noon", "4"]}, ["row 3, column timestamp: 'noon'"]),
    ("interactions", {"timestamp": ["1", "9" * 400, "3", "4"]}, ["row 2, column timestamp"]),
    (
        "interactions",
        {"timestamp": [1, 2, 3, 1_600_000_000_000]},
        ["row 4, column timestamp", "not milliseconds"],
    ),
    ("interactions", {"position": [0, None, 0, 1]}, ["row 2, column position", "missing"]),
    ("interactions", {"position": ["a"] * 4}, ["column position: must be whole numbers"]),
    ("interactions", {"rating": ["good"] * 4}, ["column rating: must be numbers"]),
    ("items", {"item_id": ["X", "Y", "X"]}, ["row 3, column item_id: 'X' stands twice"]),
    ("items", {"title": [1, 2, 3]}, ["column title: must be text"]),
    ("items", {"categories": ["a", "b", "c"]}, ["column categories: must be lists of hier"]),
    (
        "items",
        {"title": ["Zeta", None, " "]},
        ["items.parquet: columns title and description: 2 items have neither", "'X'", "allow_"],
    ),
]


@pytest.mark.parametrize(("table", "changes", "parts"), BAD_TABLES)
def test_an_unusable_column_gives_one_sentence(
    table: str,
    changes: dict[str, Any],
    parts: list[str],
    write_folder: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_folder(**{table: changes})
    message = run(tmp_path, capsys)
    assert f"{table}.parquet" in message
    for part in parts:
        assert part in message


def test_repeats_count_once_whatever_their_order(write_folder: Any, make_recipe: Any) -> None:
    log = {
        "user_id": ["a", "a", "b", "b"],
        "item_id": ["X", "X", "X", "X"],
        "timestamp": [100, 100, 100, 100],
        "rating": [1.0, 5.0, None, 2.0],
    }
    searches = {
        "user_id": ["a", "a", "a"],
        "item_id": ["X", "X", "Y"],
        "query": ["xi", "xi", "xi"],
        "timestamp": [400, 300, 300],
        "session": [1, 1, 1],
    }
    prints = set()
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        columns = {name: [values[row] for row in order] for name, values in log.items()}
        rows = [row for row in order if row < 3]
        clicks = {name: [values[row] for row in rows] for name, values in searches.items()}
        write_folder(interactions=columns, searches=clicks)
        recipe = make_recipe(search={"kind": "own"})
        raw = read_source(recipe)
        dataset = build_dataset(recipe, raw)
        assert dataset.log.timestamp.tolist() == [100, 300, 300, 100]
        assert any(note.startswith("2 recommendation events") for note in dataset.notes)
        assert any(note.startswith("1 clicks of one search") for note in dataset.notes)
        kept = counted_once(raw)
        assert sorted(kept.rating[~kept.is_search].tolist()) == [2.0, 5.0]
        prints.add(dataset.fingerprint)
    assert len(prints) == 1


def test_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "log: the folder of source.path is missing" in run(tmp_path, capsys)


@pytest.mark.parametrize("table", ["interactions", "items"])
def test_missing_file(
    table: str, write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (write_folder() / f"{table}.parquet").unlink()
    assert f"{table}.parquet: the file is missing" in run(tmp_path, capsys)


def test_a_table_in_another_format_is_named(
    write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder()
    (folder / "items.parquet").rename(folder / "items.csv")
    message = run(tmp_path, capsys)
    assert "items.parquet: the file is missing; items.csv is there, but sources of this" in message


def test_empty_log(write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(
        interactions={
            "user_id": pa.array([], pa.string()),
            "item_id": pa.array([], pa.string()),
            "timestamp": pa.array([], pa.int64()),
        }
    )
    assert "interactions.parquet: holds no rows" in run(tmp_path, capsys)


def test_nothing_left_after_the_core_filter(
    write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder()
    assert "source.core: no event is left after the 3-core filter" in run(tmp_path, capsys, core=3)


def test_too_many_rows(
    write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder()
    message = run(tmp_path, capsys, maximum_rows=3)
    assert "interactions.parquet: has 4 rows, more than source.maximum_rows (3)" in message


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "magic"])
def test_damaged_parquet(
    damage: str, write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_folder() / "interactions.parquet"
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "text": b"user_id,item_id\n",
            "empty": b"",
            "magic": b"PAR1" + b"\x00" * 40 + b"PAR1",
        }[damage]
    )
    message = run(tmp_path, capsys)
    assert "interactions.parquet: is not a readable Parquet file" in message


def test_a_flipped_byte_is_found_where_pages_have_checksums(
    write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    path = write_folder() / "interactions.parquet"
    table = pq.read_table(path)
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, path, write_page_checksum=True, **plain)
    content = bytearray(path.read_bytes())
    content[content.index((200).to_bytes(8, "little"))] ^= 1  # the timestamp 200, in the data
    path.write_bytes(bytes(content))
    assert "is not a readable Parquet file" in run(tmp_path, capsys)


def test_text_that_is_not_utf8(
    write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = pa.array([b"Zeta", b"\xff\xfe", b"Xi"], pa.binary()).view(pa.string())
    write_folder(items={"title": broken})
    assert "items.parquet: is not a readable Parquet file" in run(tmp_path, capsys)


def test_own_searches_need_their_file(
    write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder()
    message = run(tmp_path, capsys, search={"kind": "own"})
    assert "searches.parquet: the file is missing" in message


def test_an_empty_query_is_named(
    write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searches = {"user_id": ["a"], "item_id": ["X"], "query": ["  "], "timestamp": [5]}
    write_folder(searches=searches)
    message = run(tmp_path, capsys, search={"kind": "own"})
    assert "searches.parquet: row 1, column query: the query is empty" in message


@pytest.mark.parametrize("kind", ["twins", "channels"])
def test_searches_of_items_without_categories(
    kind: str, write_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(items={"categories": None})
    assert f"search.kind: '{kind}'" in run(tmp_path, capsys, search={"kind": kind})


def test_events_are_sorted_by_user_and_time(write_folder: Any, make_recipe: Any) -> None:
    write_folder()
    dataset = build(make_recipe())
    assert dataset.users == ("", "a", "b")
    assert dataset.log.user.tolist() == [1, 1, 2, 2]
    assert dataset.log.timestamp.tolist() == [100, 200, 100, 100]
    names = [dataset.items.external_id[item] for item in dataset.log.item]
    assert names[:2] == ["X", "Y"]
    assert set(names[2:]) == {"X", "Z"}
    assert dataset.items.text[0] == ""
    assert sorted(dataset.items.text[1:]) == ["Xi", "Ypsilon", "Zeta"]


def test_sorted_item_ids_follow_the_external_ids(write_folder: Any, make_recipe: Any) -> None:
    write_folder()
    dataset = build(make_recipe(item_ids="sorted"))
    assert dataset.items.external_id == ("", "X", "Y", "Z")


def test_ties_by_position_follow_the_source(write_folder: Any, make_recipe: Any) -> None:
    for position, expected in (([0, 1, 0, 1], ["X", "Z"]), ([0, 1, 1, 0], ["Z", "X"])):
        write_folder(interactions={"position": position})
        dataset = build(make_recipe(ties="position"))
        assert [dataset.items.external_id[item] for item in dataset.log.item[2:]] == expected


def test_ties_by_hash_do_not_follow_item_ids(write_folder: Any, make_recipe: Any) -> None:
    users = [f"u{number}" for number in range(400) for _ in range(2)]
    write_folder(
        interactions={"user_id": users, "item_id": ["X", "Z"] * 400, "timestamp": [7] * 800}
    )
    dataset = build(make_recipe(item_ids="sorted"))
    first = dataset.log.item[0::2] < dataset.log.item[1::2]
    assert 0.4 < first.mean() < 0.6  # 400 fair coins: 0.5 ± 0.1 is four standard deviations


@pytest.mark.parametrize(
    "timestamp",
    [
        ["100", "200", "100", "100"],
        [100.0, 200.0, 100.0, 100.0],
        [datetime.fromtimestamp(second, tz=UTC) for second in (100, 200, 100, 100)],
        pa.array([100_000, 200_000, 100_000, 100_000], pa.timestamp("ms")),
        pa.array([100, 200, 100, 100], pa.uint32()),
    ],
)
def test_instants_in_other_types(timestamp: Any, write_folder: Any, make_recipe: Any) -> None:
    write_folder(interactions={"timestamp": timestamp})
    assert build(make_recipe()).log.timestamp.tolist() == [100, 200, 100, 100]


def test_dates_are_midnight(write_folder: Any, make_recipe: Any) -> None:
    write_folder(interactions={"timestamp": pa.array([1, 2, 1, 1], pa.date32())})
    assert build(make_recipe()).log.timestamp.tolist() == [86_400, 172_800, 86_400, 86_400]


def test_ids_may_be_numbers_or_dictionaries(write_folder: Any, make_recipe: Any) -> None:
    write_folder(
        interactions={
            "user_id": pa.array([10, 10, 9, 9]),
            "item_id": pa.array(["X", "Y", "X", "Z"]).dictionary_encode(),
        }
    )
    assert build(make_recipe()).users == ("", "10", "9")


def test_columns_of_nulls_are_empty_texts(write_folder: Any, make_recipe: Any) -> None:
    nan = pa.array([float("nan")] * 3, from_pandas=True)
    write_folder(items={"description": pa.nulls(3), "brand": nan})
    dataset = build(make_recipe())
    assert set(dataset.items.description) == {""}
    assert set(dataset.items.brand) == {""}


def test_items_without_text_by_permission(write_folder: Any, make_recipe: Any) -> None:
    write_folder(items={"title": ["Zeta", None, "Xi"]})
    dataset = build(make_recipe(source={"allow_items_without_text": True}))
    assert "1 items have an empty item text (fields: title)." in dataset.notes


def test_items_without_events_are_left_out(write_folder: Any, make_recipe: Any) -> None:
    columns = {name: ["a", "a"] for name in ("user_id",)}
    write_folder(interactions={**columns, "item_id": ["X", "Y"], "timestamp": [1, 2]})
    dataset = build(make_recipe())
    assert dataset.number_of_items == 2
    assert any("1 left out" in note for note in dataset.notes)


def test_core_filter_repeats_until_nothing_changes(write_folder: Any, make_recipe: Any) -> None:
    # c has two events, but one of them is Z's only one; without Z, c has one event and goes too.
    write_folder(
        interactions={
            "user_id": ["a", "a", "b", "b", "c", "c"],
            "item_id": ["X", "Y", "X", "Y", "X", "Z"],
            "timestamp": [1, 2, 3, 4, 5, 6],
        }
    )
    dataset = build(make_recipe(source={"core": 2}))
    assert dataset.users == ("", "a", "b")
    assert len(dataset.log) == 4
    assert "1 user, 1 item and 2 events were dropped by the 2-core filter." in dataset.notes


def test_twins_follow_their_purchases(write_folder: Any, make_recipe: Any) -> None:
    write_folder()
    log = build(make_recipe(search={"kind": "twins", "share": 1.0})).log
    assert log.behaviour.tolist() == [0, 1, 0, 1, 0, 0, 1, 1]
    assert log.timestamp.tolist() == [100, 100, 200, 200, 100, 100, 100, 100]
    assert log.item[1] == log.item[0]
    assert sorted(log.item[4:6]) == sorted(log.item[6:8])
    assert log.session.tolist() == [0, 1, 0, 2, 0, 0, 3, 4]
    assert ((log.query > 0) == (log.behaviour == 1)).all()


def test_twins_take_their_query_from_a_hierarchy(write_folder: Any, make_recipe: Any) -> None:
    write_folder()
    dataset = build(make_recipe(search={"kind": "twins", "share": 1.0}))
    assert dataset.queries.text == ("", "root big leaf", "root leaf")
    for query, item in zip(dataset.log.query, dataset.log.item, strict=True):
        if query:
            expected = "root big leaf" if dataset.items.title[item] == "Ypsilon" else "root leaf"
            assert dataset.queries.text[query] == expected


def test_items_without_a_query_get_no_twin(write_folder: Any, make_recipe: Any) -> None:
    paths = [[["Root"]], [["Root", "Big Leaf"]], [["Root", "Leaf"]]]
    write_folder(items={"categories": pa.array(paths, pa.list_(pa.list_(pa.string())))})
    dataset = build(make_recipe(search={"kind": "twins", "share": 1.0}))
    searched = {dataset.items.title[item] for item in dataset.log.item[dataset.log.query > 0]}
    assert searched == {"Ypsilon", "Xi"}
    note = "1 items have no query, and their 1 events no search session."
    assert note in dataset.notes


def test_the_share_of_twins(write_folder: Any, make_recipe: Any) -> None:
    users = [f"u{number}" for number in range(3000)]
    write_folder(interactions={"user_id": users, "item_id": ["X"] * 3000, "timestamp": [5] * 3000})
    log = build(make_recipe(search={"kind": "twins"})).log
    share = (log.behaviour == 1).sum() / 3000
    assert abs(share - 0.7) < 0.034  # four standard deviations of 3,000 draws


def test_own_searches(write_folder: Any, make_recipe: Any) -> None:
    write_folder(
        searches={
            "user_id": ["b", "c", "b", "b"],
            "item_id": ["Y", "X", "Z", "X"],
            "query": ["big  leaf", "xi", "big leaf", "xi"],
            "timestamp": [100, 50, 100, 90],
        }
    )
    dataset = build(make_recipe(search={"kind": "own"}))
    log = dataset.log
    assert dataset.users == ("", "a", "b", "c")
    assert dataset.queries.text == ("", "big leaf", "xi")
    assert log.user.tolist() == [1, 1, 2, 2, 2, 2, 2, 3]
    assert log.behaviour.tolist() == [0, 0, 1, 0, 0, 1, 1, 1]
    assert log.query.tolist() == [0, 0, 2, 0, 0, 1, 1, 2]
    assert log.session.tolist() == [0, 0, 1, 0, 0, 2, 2, 3]  # two clicks of one search


def test_own_sessions_by_number(write_folder: Any, make_recipe: Any) -> None:
    write_folder(
        searches={
            "user_id": ["a", "a", "b"],
            "item_id": ["X", "Y", "X"],
            "query": ["q", "q", "q"],
            "timestamp": [300, 300, 300],
            "session": [7, 8, 7],
        }
    )
    session = build(make_recipe(search={"kind": "own"})).log.session
    assert session[session > 0].tolist() == [1, 2, 3]


def test_unused_searches_are_noted(write_folder: Any, make_recipe: Any) -> None:
    write_folder(searches={"user_id": ["a"], "item_id": ["X"], "query": ["q"], "timestamp": [300]})
    assert any("searches.parquet was not used" in note for note in build(make_recipe()).notes)


def test_a_row_order_does_not_change_the_data(write_folder: Any, make_recipe: Any) -> None:
    write_folder()
    first = build(make_recipe(search={"kind": "twins"}))
    shuffled = np.array([3, 0, 2, 1])
    base = {"user_id": "aabb", "item_id": "XYXZ", "timestamp": [100, 200, 100, 100]}
    columns = {name: [values[row] for row in shuffled] for name, values in base.items()}
    write_folder(interactions=columns)
    assert build(make_recipe(search={"kind": "twins"})).fingerprint == first.fingerprint
