"""Identifiers as a value: what it accepts, what it reports, and its way to disk and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.value import groups_of

ROWS = [[0, 1, 2], [0, 1, 2], [3, 0, -1], [1, -1, -1]]
SIZES = (4, 2, 8)


def identifiers() -> Identifiers:
    return Identifiers.of_items(np.array(ROWS), SIZES)


def test_row_0_is_the_padding_item() -> None:
    value = identifiers()
    assert value.codes.dtype == np.int32
    assert value.codes.tolist() == [[-1, -1, -1], *ROWS]
    assert (value.number_of_items, value.levels) == (4, 3)
    assert value.lengths.tolist() == [0, 3, 3, 2, 1]


def test_the_report_counts_collisions_and_used_codes() -> None:
    report = identifiers().report()
    assert (report.items, report.distinct) == (4, 3)
    assert report.sharing == 2 / 4  # the first two items
    assert report.codebook_use == (3 / 4, 2 / 2, 1 / 8)
    assert report.mean_length == (3 + 3 + 2 + 1) / 4
    assert report.as_json() == {
        "items": 4.0,
        "distinct": 3.0,
        "sharing": 0.5,
        "mean_length": 2.25,
        "codebook_use_1": 0.75,
        "codebook_use_2": 1.0,
        "codebook_use_3": 0.125,
        "entropy_1": pytest.approx(1.5 * np.log(2) / np.log(4)),  # shares 1/2, 1/4, 1/4
        "entropy_2": pytest.approx(-(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(2)),
        "entropy_3": 0.0,
        "fan_out_1": 3.0,
        "fan_out_2": 2 / 3,  # 01 and 30 follow 0 and 3; nothing follows 1
        "fan_out_3": 1 / 2,
    }


def test_a_catalogue_without_items_has_a_report() -> None:
    report = Identifiers.of_items(np.zeros((0, 2), dtype=np.int64), (4, 4)).report()
    assert (report.items, report.distinct, report.sharing, report.mean_length) == (0, 0, 0, 0)


def test_identifiers_come_back_as_they_were(tmp_path: Path) -> None:
    value = identifiers()
    value.save(tmp_path)
    loaded = Identifiers.load(tmp_path)
    assert loaded.sizes == value.sizes
    assert loaded.codes.dtype == np.int32
    np.testing.assert_array_equal(loaded.codes, value.codes)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("identifiers.json", b"{}"),
        ("identifiers.json", b'{"sizes": [4]}'),
        ("codes.npy", b"no array"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, content: bytes) -> None:
    identifiers().save(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BenchmarkError, match="no readable identifiers"):
        Identifiers.load(tmp_path)


@pytest.mark.parametrize(
    ("codes", "sizes", "complaint"),
    [
        ([[-1, -1], [0, 4]], (4, 4), "out of the range"),
        ([[-1, -1], [0, -2]], (4, 4), "out of the range"),
        ([[0, 0], [0, 1]], (4, 4), "row 0"),
        ([[-1, -1], [-1, 1]], (4, 4), "follows padding"),
        ([[-1, -1], [0, 1], [-1, -1]], (4, 4), "item 2 has no code"),
        ([[-1, -1], [0, 1]], (4,), "2 levels of codes and 1 sizes"),
        ([], (4, 4), "shape"),
    ],
)
def test_what_is_no_identifier_is_refused(
    codes: list[list[int]], sizes: tuple[int, ...], complaint: str
) -> None:
    with pytest.raises(SystemFailure, match=complaint):
        Identifiers(np.array(codes, dtype=np.int32), sizes)


def test_other_types_of_codes_are_refused() -> None:
    with pytest.raises(SystemFailure, match="int32"):
        Identifiers(np.array([[-1], [0]], dtype=np.int64), (1,))  # type: ignore[arg-type]


def test_equal_rows_are_one_group() -> None:
    group = groups_of(np.array([[1, 2], [0, 3], [1, 2]]))
    assert group[0] == group[2] != group[1]
    assert groups_of(np.zeros((3, 0), dtype=np.int64)).tolist() == [0, 0, 0]
