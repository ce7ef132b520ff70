"""Parts of unfinished work: taken if they are what they say and hold what was written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmark.sealed import read_part, write_part

ARRAYS = {
    "above": np.arange(40, dtype=np.int32),
    "tied": np.zeros(40, np.int32),
    "scores": np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32),
}


def same(found: dict[str, np.ndarray] | None) -> bool:
    return found is not None and all(
        np.array_equal(found[name], ARRAYS[name]) and found[name].dtype == ARRAYS[name].dtype
        for name in ARRAYS
    )


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "search-000000000.npz"
    write_part(path, "job search 0:40", ARRAYS)
    assert same(read_part(path, "job search 0:40"))
    return path


@pytest.mark.parametrize(
    "what", ["other search 0:40", "job recommendation 0:40", "job search 40:80", "job search 0:4"]
)
def test_a_part_of_something_else_is_not_taken(what: str, part: Path) -> None:
    """All of them are as long as what is asked for."""
    assert read_part(part, what) is None


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("change", ["value", "type", "shape", "absent"])
def test_a_part_with_another_content_is_not_taken(name: str, change: str, part: Path) -> None:
    with np.load(part) as stored:
        arrays = dict(stored)
    if change == "value":
        arrays[name] = arrays[name][::-1].copy() + 1
    elif change == "type":
        arrays[name] = arrays[name].astype(np.float64)
    elif change == "shape":
        arrays[name] = arrays[name][:, None]
    else:
        del arrays[name]
    np.savez(part, **arrays)
    assert read_part(part, "job search 0:40") is None


def test_a_flipped_or_cut_part_is_not_taken(part: Path, tmp_path: Path) -> None:
    whole, random = part.read_bytes(), np.random.default_rng(1)
    harmless = 0
    for _ in range(300):
        content = bytearray(whole)
        place = int(random.integers(len(content)))
        if random.random() < 0.3:
            content = content[:place]
        else:
            content[place] ^= 1 << int(random.integers(8))
        (tmp_path / "damaged.npz").write_bytes(content)
        found = read_part(tmp_path / "damaged.npz", "job search 0:40")
        assert found is None or same(found)
        harmless += found is not None
    assert harmless < 60  # bits that no reader looks at


def test_no_part_and_a_folder_are_nothing(part: Path, tmp_path: Path) -> None:
    assert read_part(tmp_path / "absent.npz", "a") is None
    assert read_part(tmp_path, "a") is None
    shutil.copy(part, tmp_path / "b.npz")
    assert same(read_part(tmp_path / "b.npz", "job search 0:40"))
