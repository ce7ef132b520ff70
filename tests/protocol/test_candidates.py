"""Candidate lists: the target's place, the fingerprint, independence of the order of building."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.hashing import row_hash, text_keys
from benchmark.protocol import task as task_module
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from benchmark.randomness import stable_random
from tests.damage import cut_in_half, flip_a_bit
from tests.protocol.logs import alike_items_dataset, dataset_of, log_of, shop_dataset

PAPER = PRESETS["paper"]


def fingerprints(tasks: dict[str, Task]) -> dict[str, tuple[str, str]]:
    return {
        name: (task.valid_candidates.fingerprint, task.test_candidates.fingerprint)
        for name, task in tasks.items()
    }


def test_the_target_stands_in_every_column_equally_often() -> None:
    events, size = 20_000, 20
    targets = np.arange(events) + 1000
    negatives = np.tile(np.arange(1, size), (events, 1))
    keys, item_keys = (row_hash(0, "test", np.arange(number)) for number in (events, 30_000))
    lists = Candidates.from_negatives(targets, negatives, keys, item_keys)
    rows = np.arange(events)
    assert (lists.items[rows, lists.target_column] == targets).all()
    counts = np.bincount(lists.target_column, minlength=size)
    z = (counts - events / size) / np.sqrt(events / size * (1 - 1 / size))
    assert np.abs(z).max() < 4.5
    # The negatives are in random order too: hard negatives come best first.
    others = np.where(lists.items < size, lists.items, 0)
    assert others.mean(axis=0) == pytest.approx(np.arange(1, size).sum() / size, abs=0.3)
    assert (np.sort(others, axis=1)[:, 1:] == np.arange(1, size)).all()


def test_the_fingerprint_changes_with_one_swap() -> None:
    lists = Candidates(np.array([[1, 2, 3], [4, 5, 6]], np.int32), np.array([0, 2], np.int32))
    assert lists.fingerprint == Candidates(lists.items.copy(), lists.target_column).fingerprint
    swapped = lists.items.copy()
    swapped[1, :2] = swapped[1, 1::-1]
    assert Candidates(swapped, lists.target_column).fingerprint != lists.fingerprint
    moved = np.array([1, 2], np.int32)
    assert Candidates(lists.items, moved).fingerprint != lists.fingerprint
    assert lists.select(slice(0, 1)).fingerprint != lists.fingerprint


@pytest.mark.parametrize("protocol", PRESETS)
def test_equal_seeds_give_equal_lists_and_others_do_not(protocol: str) -> None:
    dataset = alike_items_dataset() if protocol == "clean" else shop_dataset(seed=1)
    settings = PRESETS[protocol]
    tasks = build_tasks(dataset, settings)
    assert fingerprints(build_tasks(dataset, settings)) == fingerprints(tasks)
    other = fingerprints(build_tasks(dataset, settings.model_copy(update={"seed": 7})))
    for name, prints in fingerprints(tasks).items():
        assert not set(prints) & set(other[name])


def test_lists_do_not_depend_on_the_other_task() -> None:
    dataset = shop_dataset(seed=1)
    only_purchases = dataset.with_log(dataset.log.keep(dataset.log.behaviour == 0))
    both, alone = build_tasks(dataset, PAPER), build_tasks(only_purchases, PAPER)
    assert list(alone) == ["recommendation"]
    # The user's search items are purchases too here, so the same items are excluded; validation
    # lists do not look at the test events of the other task either.
    assert fingerprints(alone)["recommendation"][1] == fingerprints(both)["recommendation"][1]


def test_lists_do_not_depend_on_the_order_in_which_tasks_are_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = shop_dataset(seed=1)
    expected = fingerprints(build_tasks(dataset, PAPER))
    splits_of = task_module._splits
    monkeypatch.setattr(
        task_module, "_splits", lambda *given: dict(reversed(splits_of(*given).items()))
    )
    tasks = build_tasks(dataset, PAPER)
    assert list(tasks) == ["search", "recommendation"]
    assert fingerprints(tasks) == expected


def test_stable_random_depends_on_seed_and_purpose() -> None:
    first = stable_random(1, "search", "test").random(3).tolist()
    assert stable_random(1, "search", "test").random(3).tolist() == first
    for seed, purpose in ((2, ("search", "test")), (1, ("search", "valid")), (1, ("test",))):
        assert stable_random(seed, *purpose).random(3).tolist() != first


def test_nothing_to_hold_out_gives_one_sentence() -> None:
    two = dataset_of(log_of([(1, "r", 1, 1), (1, "r", 2, 2)]), 200)
    with pytest.raises(BenchmarkError, match="data set test: there are no recommendation events"):
        build_tasks(two, PAPER)
    same_time = dataset_of(log_of([(1, "r", item, 1) for item in range(1, 9)]), 200)
    with pytest.raises(BenchmarkError, match="global-time split: none falls into this part"):
        build_tasks(same_time, ProtocolSettings(split="global-time"))
    empty = two.with_log(two.log.keep(np.zeros(2, dtype=bool)))
    with pytest.raises(BenchmarkError, match="data set test: the log holds no events"):
        build_tasks(empty, PAPER)


def test_users_with_too_few_events_are_noted() -> None:
    rows = [(1, "r", item, item) for item in (1, 2, 3)] + [(2, "r", 1, 1)]
    task = build_tasks(dataset_of(log_of(rows), 200), PAPER)["recommendation"]
    assert task.notes == ("Not tested on recommendation, for fewer than three purchases: 1 user.",)


# Tasks that are kept on disk


def same(one: dict[str, Task], other: dict[str, Task]) -> bool:
    """Whether two sets of tasks are equal to the last number."""

    def flat(value: object) -> object:
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.tolist()
        if value is None or isinstance(value, (str, int, tuple)):
            return value
        return {key: flat(part) for key, part in vars(value).items() if key != "fingerprint"}

    return [(k, flat(v)) for k, v in one.items()] == [(k, flat(v)) for k, v in other.items()]


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the tasks were built although they are kept")

    monkeypatch.setattr("benchmark.protocol.kept_tasks.build_tasks", fail)


@pytest.mark.parametrize("protocol", PRESETS)
def test_kept_tasks_equal_built_ones(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = shop_dataset(seed=1)
    built = load_tasks(dataset, PRESETS[protocol], tmp_path / "new" / "place")
    forbid_building(monkeypatch)
    assert same(built, load_tasks(dataset, PRESETS[protocol], tmp_path / "new" / "place"))


def test_other_settings_and_other_data_are_kept_apart(tmp_path: Path) -> None:
    dataset = shop_dataset(seed=1)
    load_tasks(dataset, PAPER, tmp_path)
    load_tasks(dataset, PAPER.model_copy(update={"negatives": 98}), tmp_path)
    load_tasks(shop_dataset(seed=2), PAPER, tmp_path)
    for seed in (3, 4):  # without a fingerprint the content decides
        one = replace(shop_dataset(seed), fingerprint="")
        assert same(load_tasks(one, PAPER, tmp_path), build_tasks(one, PAPER))
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 5


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "empty manifest", "no manifest", "file"])
def test_a_damaged_cache_is_made_again(damage: str, tmp_path: Path) -> None:
    dataset = shop_dataset(seed=1)
    built = load_tasks(dataset, PAPER, tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    arrays, manifest = folder / "search.npz", folder / "manifest.json"
    size = arrays.stat().st_size
    if damage == "bit":
        flip_a_bit(arrays)
    elif damage == "cut":
        cut_in_half(arrays)
    elif damage == "gone":
        arrays.unlink()
    elif damage == "empty manifest":
        manifest.write_text("{}")
    elif damage == "no manifest":
        manifest.unlink()
    else:
        (folder / "tasks.json").write_text("[")
    assert same(load_tasks(dataset, PAPER, tmp_path), built)
    assert arrays.stat().st_size == size  # and the cache is whole again


def test_a_place_that_cannot_be_written_gives_one_sentence(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    with pytest.raises(BenchmarkError, match=r"file.*cannot be kept there"):
        load_tasks(shop_dataset(seed=1), PAPER, occupied / "below")


def test_shorter_lists_are_shown_filled_up_and_ranked_as_they_are() -> None:
    negatives = np.array([[2, 3, 4, 5], [7, 8, 0, 0], [9, 0, 0, 0]])
    targets = np.array([1, 6, 3])
    keys, item_keys = np.arange(3, dtype=np.uint64), text_keys([str(item) for item in range(10)])
    lists = Candidates.from_negatives(targets, negatives, keys, item_keys)
    assert lists.lengths.tolist() == [5, 3, 2]
    assert np.array_equal(np.sort(lists.items[1])[2:], [6, 7, 8])
    assert not lists.items[1, 3:].any() and not lists.items[2, 2:].any()
    shown = lists.shown
    np.testing.assert_array_equal(shown[0], lists.items[0])
    np.testing.assert_array_equal(shown[1], lists.items[1][[0, 1, 2, 0, 1]])
    np.testing.assert_array_equal(shown[2], lists.items[2][[0, 1, 0, 1, 0]])
    # A score of the item alone: the repeated columns count for nothing, wherever the target is.
    ranks = lists.ranks(-shown.astype(np.float32))
    assert ranks.above.tolist() == [0, 0, 0] and ranks.tied.tolist() == [0, 0, 0]
    worst = lists.ranks(np.where(shown == targets[:, None], 0.0, 1.0))
    assert worst.above.tolist() == [4, 2, 1]
    level = lists.ranks(np.zeros(shown.shape))
    assert level.tied.tolist() == [4, 2, 1]


def test_lists_are_as_wide_as_the_longest_and_say_when_they_came_from_outside() -> None:
    dataset = shop_dataset(seed=1)
    settings = PRESETS["paper"].model_copy(update={"negatives": dataset.number_of_items - 1})
    for task in build_tasks(dataset, settings).values():
        lists = task.test_candidates
        assert lists.items.shape[1] == lists.lengths.max()
    task = build_tasks(dataset, PRESETS["paper"])["search"]
    assert task.with_test_candidates(task.test_candidates).notes == task.notes
    targets = dataset.log.item[task.test.position]
    other = Candidates.with_targets(task.test_candidates.items[:, ::-1].copy(), targets)
    changed = task.with_test_candidates(other)
    note = "The search test lists came from outside: the protocol makes others."
    assert changed.has_outside_lists and changed.notes == (*task.notes, note)
