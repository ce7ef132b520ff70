"""Yambda's flat tables in their published form, with invented events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.sources import read_source, source_files
from benchmark.data.validate import validate
from benchmark.errors import BenchmarkError
from tests.data.conftest import write_parquet
from tests.data.published import built, events_of, recipe_of, validated_by

LISTENS: dict[str, Any] = {
    "uid": [10, 10, 20, 20],
    "timestamp": [0, 5, 5, 26_000_000],
    "item_id": [9_390_623, 7, 7, 8],
    "is_organic": [1, 0, 1, 1],
    "played_ratio_pct": [100, 80, 49, 50],
    "track_length_seconds": [200, 120, 120, 300],
}
TYPES = {
    "uid": np.uint32,
    "timestamp": np.uint32,
    "item_id": np.uint32,
    "is_organic": np.uint8,
    "played_ratio_pct": np.uint16,
    "track_length_seconds": np.uint32,
}


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    columns = {
        name: np.array(values, dtype=TYPES[name]) for name, values in {**LISTENS, **changes}.items()
    }
    write_parquet(folder / "listens.parquet", columns)
    likes = {name: columns[name] for name in ("uid", "timestamp", "item_id", "is_organic")}
    write_parquet(folder / "likes.parquet", likes)
    return folder


def test_likes(tmp_path: Path) -> None:
    dataset = built(recipe_of("yambda", write(tmp_path / "50m")))
    assert events_of(dataset) == [
        ("10", "9390623", "", 0),
        ("10", "7", "", 5),
        ("20", "7", "", 5),
        ("20", "8", "", 26_000_000),
    ]
    assert set(dataset.items.text) == {""}
    assert not dataset.has_readable_text


def test_listens_that_were_heard(tmp_path: Path) -> None:
    dataset = built(recipe_of("yambda", write(tmp_path / "50m"), events="listens"))
    assert [event[1] for event in events_of(dataset)] == ["9390623", "7", "8"]
    assert "1 listens to less than 50 % of the track were left out." in dataset.notes


def test_organic_events_alone(tmp_path: Path) -> None:
    dataset = built(recipe_of("yambda", write(tmp_path / "50m"), organic_only=True))
    assert [event[1] for event in events_of(dataset)] == ["9390623", "7", "8"]
    assert "1 events of the service's recommender were left out." in dataset.notes


def test_validate_reads_a_folder_by_the_shipped_recipe(tmp_path: Path) -> None:
    every = [(user, item) for user in range(5) for item in range(5)]
    folder = write(
        tmp_path / "50m",
        uid=[user for user, _ in every],
        item_id=[item for _, item in every],
        timestamp=[5 * item for _, item in every],
        is_organic=[1] * 25,
        played_ratio_pct=[100] * 25,
        track_length_seconds=[100] * 25,
    )
    assert validated_by("yambda-50m-likes", folder).faults == ()
    found = validate(folder)
    assert (found.kind, found.faults) == ("Yambda", ())


def test_what_is_wrong_is_named_with_its_row(tmp_path: Path) -> None:
    folder = write(tmp_path / "50m", is_organic=[1, 0, 2, 1])
    assert "listens.parquet: row 3, column is_organic: " in "\n".join(validate(folder).faults)
    with pytest.raises(BenchmarkError, match=r"source\.maximum_rows \(3\)"):
        read_source(recipe_of("yambda", folder, maximum_rows=3))


def test_a_listen_of_unknown_length_is_named_with_its_row(tmp_path: Path) -> None:
    folder = write(tmp_path / "50m")
    write_parquet(folder / "listens.parquet", {**LISTENS, "played_ratio_pct": [100, 80, None, 50]})
    complaint = "listens.parquet: row 3, column played_ratio_pct: the value is missing"
    with pytest.raises(BenchmarkError, match=complaint):
        read_source(recipe_of("yambda", folder, events="listens", minimum_played=0))


def test_what_was_left_out_is_said_with_the_keys_that_decide(tmp_path: Path) -> None:
    folder = write(tmp_path / "50m", is_organic=[0, 0, 0, 1], played_ratio_pct=[90, 80, 90, 10])
    complaint = (
        "listens.parquet: no event is left: 1 by source.minimum_played: 50 and 3 by "
        "source.organic_only: true were left out"
    )
    with pytest.raises(BenchmarkError, match=complaint):
        read_source(recipe_of("yambda", folder, events="listens", organic_only=True))


def test_a_table_may_be_a_folder_of_parts(tmp_path: Path) -> None:
    folder = write(tmp_path / "50m")
    whole = built(recipe_of("yambda", folder))
    (folder / "likes.parquet").rename(tmp_path / "part")
    (folder / "likes.parquet").mkdir()
    complaint = (
        r"likes\.parquet is there, but .* since it is a folder without parts \(\*\.parquet\)"
    )
    with pytest.raises(BenchmarkError, match=complaint):
        source_files(recipe_of("yambda", folder))
    (tmp_path / "part").rename(folder / "likes.parquet" / "0.parquet")
    assert source_files(recipe_of("yambda", folder)) == (folder / "likes.parquet" / "0.parquet",)
    assert events_of(built(recipe_of("yambda", folder))) == events_of(whole)


def test_a_missing_table_is_told_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"likes\.parquet: the file is missing; .*yambda"):
        source_files(recipe_of("yambda", tmp_path))
