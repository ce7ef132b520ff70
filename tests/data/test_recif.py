"""RecIF-Bench in its published form, with invented users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.data.sources import read_source, source_files
from benchmark.data.validate import validate
from benchmark.errors import BenchmarkError
from tests.data.published import built, events_of, recipe_of, validated_by

ACTIONS = ("longview", "like", "follow", "forward", "not_interested")


def user(uid: int, hist: list[int], target: list[int], **columns: Any) -> dict[str, Any]:
    """A row with every column that the page of the data names for videos, ads and goods."""
    videos = {"hist": hist, "target": target}
    flags = {
        f"{part}_video_{action}": [int(action == "longview" and pid % 2 == 1) for pid in pids]
        for part, pids in videos.items()
        for action in ACTIONS
    }
    lists = {f"{part}_video_pid": pids for part, pids in videos.items()}
    other: dict[str, Any] = {
        f"{part}_{kind}_pid": [] for part in videos for kind in ("ad", "goods")
    }
    keywords = {"inter_keyword_to_items": None, "inter_user_profile_with_pid": "x"}
    return {"uid": uid, "split": 0, **lists, **flags, **other, **keywords, **columns}


USERS = [
    user(
        1,
        [101, 102, 103],
        [105],
        hist_ad_pid=[7],
        target_ad_pid=[9],
        hist_goods_pid=[101, 5],
        inter_keyword_to_items=json.dumps({"猫  视频": [103, 999], "做饭": [101]}),
    ),
    user(2, [103, 104], [101, 103], inter_keyword_to_items="{}"),
    user(3, [], []),
]
CAPTIONS = {101: "一只猫", 103: "两只猫", 105: None, 7: "广告", 888: "没人看"}
INTEGERS = pa.list_(pa.int64())


def write(folder: Path, users: list[dict[str, Any]] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    rows = USERS if users is None else users
    kinds: dict[str, Any] = {"inter_keyword_to_items": pa.string()}
    columns = {
        name: pa.array(
            [row[name] for row in rows],
            type=kinds.get(name, INTEGERS if isinstance(rows[0][name], list) else None),
        )
        for name in rows[0]
    }
    pq.write_table(pa.table(columns), folder / "onerec_bench_release.parquet")
    captions = pa.table({"pid": list(CAPTIONS), "dense_caption": list(CAPTIONS.values())})
    pq.write_table(captions, folder / "pid2caption.parquet")
    return folder


def test_long_views_in_order_and_searches_behind_them(tmp_path: Path) -> None:
    dataset = built(recipe_of("recif", write(tmp_path / "recif"), "own"))
    assert sorted(events_of(dataset), key=lambda event: (event[0], event[3], event[1])) == [
        ("1", "101", "", 0),
        ("1", "103", "", 1),
        ("1", "105", "", 2),
        ("1", "103", "猫 视频", 3),
        ("1", "999", "猫 视频", 3),
        ("1", "101", "做饭", 4),
        ("2", "103", "", 0),
        ("2", "101", "", 1),
        ("2", "103", "", 2),
    ]
    texts = dict(zip(dataset.items.external_id, dataset.items.text, strict=True))
    assert (texts["101"], texts["105"], texts["999"]) == ("一只猫", "", "")
    assert "888" not in texts


@pytest.mark.parametrize(
    ("source", "items"),
    [
        ({"action": "shown"}, ["101", "102", "103", "105", "103", "104", "101", "103"]),
        ({"domain": "ad"}, ["7", "9"]),
        ({"domain": "goods"}, ["101", "5"]),
    ],
)
def test_domains_and_actions(source: dict[str, Any], items: list[str], tmp_path: Path) -> None:
    dataset = built(recipe_of("recif", write(tmp_path / "recif"), **source))
    assert [event[1] for event in events_of(dataset)] == items
    if source.get("domain") == "goods":  # another space of ids: 101 is no cat there
        assert set(dataset.items.text) == {""}


def test_validate_reads_a_folder_by_the_shipped_recipe(tmp_path: Path) -> None:
    keywords = json.dumps({"猫": [101]})
    users = [user(n, [101, 103] * 4, [101], inter_keyword_to_items=keywords) for n in range(6)]
    assert validated_by("recif-video", write(tmp_path / "recif", users)).faults == ()
    ads_and_goods = [{**row, "hist_ad_pid": [7], "hist_goods_pid": [5]} for row in users]
    found = validate(write(tmp_path / "recif", ads_and_goods))
    assert (found.kind, found.faults) == ("RecIF-Bench", ())


def test_what_is_wrong_is_named_with_its_row(tmp_path: Path) -> None:
    broken = {**USERS[0], "hist_video_longview": [1], "inter_keyword_to_items": '{"a": "b"}'}
    folder = write(tmp_path / "recif", [USERS[1], broken])
    with pytest.raises(BenchmarkError, match="row 2, column hist_video_longview: has another len"):
        read_source(recipe_of("recif", folder))
    complaint = "row 2, column inter_keyword_to_items: is no JSON mapping of keywords to lists"
    assert complaint in "\n".join(validate(folder).faults)


def test_half_a_character_in_a_keyword_is_named_with_its_row(tmp_path: Path) -> None:
    row = user(4, [101], [103], inter_keyword_to_items=r'{"a\ud800": [101]}')
    folder = write(tmp_path / "recif", [*USERS, row])
    complaint = "row 4, column inter_keyword_to_items: holds half a character in the keyword 'a�'"
    with pytest.raises(BenchmarkError, match=complaint):
        read_source(recipe_of("recif", folder, "own"))
    whole = {**row, "inter_keyword_to_items": r'{"\ud83d\ude00": [101]}'}
    written = write(tmp_path / "whole", [whole])
    assert ("4", "101", "😀", 2) in events_of(
        built(recipe_of("recif", written, "own", action="shown"))
    )


@pytest.mark.parametrize(
    ("values", "kind"), [([7, 8], "int64"), (["7", "8"], "string"), ([None, None], "null")]
)
def test_a_column_without_lists_is_not_called_unreadable(
    values: list[Any], kind: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "recif", USERS[:2])
    path = folder / "onerec_bench_release.parquet"
    table = pq.read_table(path)
    place = table.schema.names.index("hist_video_pid")
    pq.write_table(table.set_column(place, "hist_video_pid", pa.array(values)), path)
    with pytest.raises(BenchmarkError) as caught:
        read_source(recipe_of("recif", folder))
    assert str(caught.value) == f"{path}: column hist_video_pid: must hold lists, not {kind}."


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ({"action": "like"}, "source.domain: video and source.action: like"),
        ({"domain": "goods"}, "source.domain: goods"),
    ],
)
def test_what_was_left_out_is_said_with_the_keys_that_decide(
    source: dict[str, str], keys: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "recif", USERS[1:])
    with pytest.raises(BenchmarkError, match=f"parquet: holds no event for {keys}."):
        read_source(recipe_of("recif", folder, **source))


def test_goods_have_no_searches(tmp_path: Path) -> None:
    recipe = recipe_of("recif", write(tmp_path / "recif"), "own", domain="goods")
    with pytest.raises(BenchmarkError, match="goods does not have; allowed is none"):
        read_source(recipe)


def test_missing_tables_are_told_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"onerec_bench_release\.parquet: .*OpenOneRec-RecIF"):
        source_files(recipe_of("recif", tmp_path))
