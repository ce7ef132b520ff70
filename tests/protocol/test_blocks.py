"""Blocks that are kept: what a kill, damage or another key costs, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.protocol import blocks, hard_negatives, lists, matched
from benchmark.protocol.blocks import Arrays, Blocks, ranges, rows_by_query
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import PRESETS
from tests.damage import cut_in_half, flip_a_bit
from tests.protocol.logs import alike_items_dataset, shop_dataset
from tests.protocol.test_candidates import same


class Maker:
    """Makes blocks of three arrays, and remembers which; dies before the part ``until``."""

    def __init__(self, until: int = -1) -> None:
        self.made: list[int] = []
        self.until = until

    def __call__(self, part: int) -> Arrays:
        if part == self.until:
            raise KeyboardInterrupt
        self.made.append(part)
        return {
            "numbers": np.arange(part, part + 200, dtype=np.int32).reshape(-1, 2),
            "mask": np.arange(9) % 2 == part % 2,
            "none": np.zeros((0, 4)),
        }


def blocks_in(folder: Path, maker: Maker, key: str = "key") -> list[Any]:
    found = Blocks(folder, key).of("name", range(5), maker)
    return [(part, {n: (a.dtype.str, a.tolist()) for n, a in of.items()}) for part, of in found]


def test_what_is_kept_is_not_made_again_and_is_the_same(tmp_path: Path) -> None:
    first, again, nowhere = Maker(), Maker(), Maker()
    made = blocks_in(tmp_path / "new", first)
    assert blocks_in(tmp_path / "new", again) == made
    assert (first.made, again.made) == ([0, 1, 2, 3, 4], [])
    unkept = Blocks().of("name", range(5), nowhere)
    assert [part for part, _ in unkept] == nowhere.made == [0, 1, 2, 3, 4]
    Blocks(tmp_path / "new").remove()
    assert not (tmp_path / "new").exists()


def test_a_kill_loses_the_block_it_falls_into_alone(tmp_path: Path) -> None:
    whole = blocks_in(tmp_path / "whole", Maker())
    with pytest.raises(KeyboardInterrupt):
        blocks_in(tmp_path / "killed", Maker(until=3))
    again = Maker()
    assert blocks_in(tmp_path / "killed", again) == whole
    assert again.made == [3, 4]


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "swapped", "array", "gone"])
def test_a_damaged_block_is_made_again(damage: str, tmp_path: Path) -> None:
    whole = blocks_in(tmp_path, Maker())
    second, third = (path for path in sorted(tmp_path.iterdir())[1:3])
    if damage == "bit":
        flip_a_bit(second)
    elif damage == "cut":
        cut_in_half(second)
    elif damage == "empty":
        second.write_bytes(b"")
    elif damage == "swapped":
        second.write_bytes(third.read_bytes())
    elif damage == "array":
        with np.load(second) as stored:
            arrays = {name: stored[name] for name in stored.files}
        np.savez(second, **{**arrays, "mask": ~arrays["mask"]})
    else:
        second.unlink()
    again = Maker()
    assert blocks_in(tmp_path, again) == whole
    assert again.made == [1]
    assert blocks_in(tmp_path, Maker(until=1)) == whole  # and is whole again


def test_blocks_of_another_key_are_not_taken(tmp_path: Path) -> None:
    blocks_in(tmp_path, Maker())
    again = Maker()
    blocks_in(tmp_path, again, key="other")
    assert again.made == [0, 1, 2, 3, 4]


def test_a_computation_of_one_part_is_not_kept(tmp_path: Path) -> None:
    maker = Maker()
    for _ in range(2):
        list(Blocks(tmp_path / "blocks", "key").of("name", [7], maker))
    assert maker.made == [7, 7]
    assert not (tmp_path / "blocks").exists()


def test_a_place_that_cannot_be_written_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchmarkError, match=r"file.*cannot be written"):
        blocks_in(tmp_path / "file", Maker())


def test_parts_hold_every_row_once_and_queries_whole() -> None:
    assert [(part.start, part.stop) for part in ranges(5, 2)] == [(0, 2), (2, 4), (4, 6)]
    assert ranges(0, 2) == [slice(0, 2)]
    query = np.random.default_rng(0).integers(30, size=400)
    parts = rows_by_query(query, 7)
    assert sorted(np.concatenate(parts).tolist()) == list(range(400))
    assert [len(set(query[part].tolist())) for part in parts] == [7, 7, 7, 7, 2]
    assert [part.tolist() for part in rows_by_query(query[:0], 7)] == [[]]


@pytest.mark.parametrize("preset", ["paper", "clean"])
def test_tasks_after_a_kill_are_those_without_one(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = alike_items_dataset() if preset == "clean" else shop_dataset(seed=1, users=90)
    whole = load_tasks(dataset, PRESETS[preset], tmp_path / "whole")
    monkeypatch.setattr(lists, "_EVENTS_OF_A_BLOCK", 25)
    for module in (hard_negatives, matched):
        monkeypatch.setattr(module, "_QUERIES_OF_A_BLOCK", 2)
    made: list[Path] = []
    write = blocks.write_part

    def dies_after(path: Path, what: str, arrays: Arrays) -> None:
        write(path, what, arrays)
        made.append(path)
        if len(made) % 3 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(blocks, "write_part", dies_after)
    kills, tasks = 0, None
    while tasks is None:
        try:
            tasks = load_tasks(dataset, PRESETS[preset], tmp_path / "killed")
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 2
    assert len(made) == len(set(made))  # no block was made twice
    assert same(tasks, whole)
    assert not list((tmp_path / "killed").glob("*.blocks"))


def test_blocks_that_a_kill_left_beside_finished_lists_are_removed(tmp_path: Path) -> None:
    dataset = shop_dataset(seed=1, users=90)
    load_tasks(dataset, PRESETS["paper"], tmp_path)
    (folder,) = (path for path in tmp_path.glob("tasks-*") if path.is_dir())
    left = folder.with_name(f"{folder.name}.blocks")
    left.mkdir()
    load_tasks(dataset, PRESETS["paper"], tmp_path)
    assert folder.is_dir() and not left.exists()
