"""Sampled negatives: what may not be drawn, the law, and the same law on every path."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.data.dataset import RECOMMENDATION
from benchmark.data.sources.generated import make_dataset
from benchmark.errors import BenchmarkError
from benchmark.protocol import negatives
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.negatives import first_distinct, sample_negatives
from benchmark.protocol.released import released_negatives
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.splits import split_task
from benchmark.protocol.task import build_tasks
from tests.protocol.logs import alike_items_dataset, dataset_of, log_of, shop_dataset

LARGEST_Z = 4.5  # of a few hundred counts: exceeded by chance once in a thousand seeds


def random_generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def nothing(items: int) -> Exclusions:
    return Exclusions(np.zeros(0, dtype=np.int64), items)


def check_shares(counts: NDArray[np.int64], share: NDArray[np.float64], trials: int) -> None:
    """Counts of ``trials`` draws against their expected shares, cell by cell."""
    assert not counts[share == 0].any()
    cell = share > 0
    deviation = np.sqrt(trials * share[cell] * (1 - share[cell]))
    z = (counts[cell] - trials * share[cell]) / deviation
    assert np.abs(z).max() < LARGEST_Z
    assert np.mean(z**2) == pytest.approx(1, abs=0.4)  # nor are they too even


# Path of the draws: rejection alone, Gumbel alone, and Gumbel after one round of rejection.
PATHS = {"rejection": (8, 0.0), "gumbel": (0, 4.0), "both": (1, 0.0)}


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    rounds, needs = PATHS[request.param]
    monkeypatch.setattr(negatives, "_ROUNDS", rounds)
    monkeypatch.setattr(negatives, "_REJECTION_NEEDS", needs)
    monkeypatch.setattr(negatives, "_REJECTION_SHARE", 0.0)
    name: str = request.param
    return name


def test_uniform_law(path: str) -> None:
    events, items, number = 6000, 60, 30
    excluded = np.arange(1, 11)  # of row 0; row 1 excludes nothing
    exclusions = Exclusions.of_pairs(np.zeros(10, int), excluded, items)
    for row, eligible in ((0, np.arange(11, 60)), (1, np.arange(1, 60))):
        drawn, found = sample_negatives(
            random_generator(1), np.full(events, row), np.full(events, 60), exclusions, number
        )
        assert (found == number).all()
        assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()  # distinct
        # Without replacement each eligible item is in a list with probability number / eligible.
        share = np.zeros(items + 1)
        share[eligible] = number / len(eligible)
        # Counts within a list are negatively correlated, so single draws are checked for spread.
        z = np.bincount(drawn.reshape(-1), minlength=items + 1) - events * share
        assert not z[share == 0].any()
        assert np.abs(z).max() < LARGEST_Z * np.sqrt(events * 0.25)
        first = np.zeros(items + 1)
        first[eligible] = 1 / len(eligible)
        check_shares(np.bincount(drawn[:, 0], minlength=items + 1), first, events)


def test_popularity_law_of_the_first_and_second_draw(path: str) -> None:
    events, items = 40_000, 12
    weights = np.array([9.0, *range(1, items + 1)])  # padding is never drawn, whatever its weight
    weights[3] = 0.0
    exclusions = Exclusions.of_pairs(np.array([0]), np.array([5]), items)
    drawn, _ = sample_negatives(
        random_generator(2), np.zeros(events, int), np.full(events, 7), exclusions, 2, weights
    )
    eligible = weights.copy()
    eligible[[0, 5, 7]] = 0.0
    total = eligible.sum()
    # p(first = i, second = j) = w_i / W * w_j / (W - w_i)
    pair = np.outer(eligible / total / (total - eligible), eligible)
    np.fill_diagonal(pair, 0.0)
    counts = np.zeros_like(pair, dtype=np.int64)
    np.add.at(counts, (drawn[:, 0], drawn[:, 1]), 1)
    check_shares(counts, pair, events)


def test_skewed_weights_and_stubborn_rows_end() -> None:
    # One item holds nearly all the mass, so ever new draws repeat it.
    weights = np.full(501, 1e-6)
    weights[1] = 1.0
    drawn, found = sample_negatives(
        random_generator(), np.zeros(50, int), np.zeros(50, int), nothing(500), 99, weights
    )
    assert (found == 99).all()
    assert (drawn[:, 0] == 1).mean() > 0.9
    # The mass looks well spread, but what this row may draw is 99 light items of a thousand.
    weights = np.ones(1001)
    weights[901:] = 1e-9
    exclusions = Exclusions.of_pairs(np.zeros(900, int), np.arange(1, 901), 1000)
    drawn, found = sample_negatives(
        random_generator(), np.zeros(3, int), np.full(3, 901), exclusions, 99, weights
    )
    assert [sorted(row) for row in drawn.tolist()] == [list(range(902, 1001))] * 3


def test_fewer_eligible_items_than_asked_for_leave_zeros() -> None:
    drawn, found = sample_negatives(
        random_generator(), np.zeros(2, int), np.array([3, 0]), nothing(5), 5
    )
    assert found.tolist() == [4, 5]
    assert sorted(drawn[0].tolist()) == [0, 1, 2, 4, 5]
    assert sorted(drawn[1].tolist()) == [1, 2, 3, 4, 5]


def test_first_distinct_keeps_the_order_of_drawing() -> None:
    draws = np.array([[7, 3, 7, 9, 3, 4], [1, 1, 1, 1, 1, 2]])
    allowed = draws != 9
    kept, found = first_distinct(draws, allowed, 3)
    assert kept.tolist() == [[7, 3, 4], [1, 2, 0]]
    assert found.tolist() == [3, 2]


def test_exclusions_by_prefix_and_among() -> None:
    log = log_of([(1, "r", 5, 1), (1, "s", 6, 2), (2, "r", 7, 1), (2, "r", 8, 2)])
    exclusions = Exclusions.of_prefixes(log, np.array([2, 1, 1]), np.array([1, 2, 0]), 9)
    rows, items = exclusions.items_of(np.arange(3))
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [(0, 7), (1, 5), (1, 6)]
    rows, items = Exclusions.of_log(log, 9).among(np.array([2, 1, 2])).items_of(np.arange(3))
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [
        *((0, 7), (0, 8)),
        *((1, 5), (1, 6)),
        *((2, 7), (2, 8)),
    ]


@pytest.mark.parametrize("law", ["uniform", "popularity"])
def test_recommendation_lists_hold_nothing_that_the_user_ever_touched(law: str) -> None:
    dataset = shop_dataset(seed=5)
    settings = ProtocolSettings.model_validate({"recommendation_negatives": law, "negatives": 50})
    log, tasks = dataset.log, build_tasks(dataset, settings)
    task = tasks["recommendation"]
    for part in ("valid", "test"):
        lists, rows = task.candidates(part), getattr(task, part).position
        for row, items, column in zip(rows, lists.items, lists.target_column, strict=True):
            own = set(log.item[log.user == log.user[row]].tolist())
            assert items[column] == log.item[row]
            assert len(set(items.tolist())) == 51
            found = set(items.tolist()) & own - {int(log.item[row])}
            tested = np.concatenate([one.test.position for one in tasks.values()])
            in_test = set(log.item[tested[log.user[tested] == log.user[row]]].tolist())
            assert found <= (in_test if part == "valid" else set())


@pytest.mark.parametrize("protocol", ["paper", "clean"])
def test_validation_lists_do_not_tell_what_the_test_holds(protocol: str) -> None:
    # An item that stands in no list of validation would be known as one of the test, or as none.
    dataset = alike_items_dataset() if protocol == "clean" else make_dataset(users=60, items=160)
    before = build_tasks(dataset, PRESETS[protocol])
    tested = np.concatenate([task.tested for task in before.values()])
    item = dataset.log.item.copy()
    item[tested] = item[tested] % dataset.number_of_items + 1
    after = build_tasks(dataset.with_log(replace(dataset.log, item=item)), PRESETS[protocol])
    for name, task in before.items():
        assert task.test_candidates.fingerprint != after[name].test_candidates.fingerprint
        for part in ("items", "target_column"):
            here, there = (getattr(tasks[name].valid_candidates, part) for tasks in (before, after))
            np.testing.assert_array_equal(here, there)


def test_earlier_interactions_leave_the_later_ones_eligible() -> None:
    # Nine items, seven of them the user's: the test event may draw none of the six before it.
    log = log_of([(1, "r", item, item) for item in range(1, 8)])
    settings = ProtocolSettings(recommendation_exclude="earlier-interactions", negatives=2)
    task = build_tasks(dataset_of(log, 9), settings)["recommendation"]
    assert sorted(task.test_candidates.items[0].tolist()) == [7, 8, 9]
    # The validation event comes before item 7, which may therefore be drawn.
    assert set(task.valid_candidates.items[0].tolist()) <= {6, 7, 8, 9}


def test_a_user_who_leaves_fewer_items_has_a_shorter_list() -> None:
    rows = [(1, "r", item, item) for item in (1, 2, 3)]
    rows += [(2, "r", item, item) for item in (1, 2, 3, 4)]
    task = build_tasks(dataset_of(log_of(rows), 102), PRESETS["paper"])["recommendation"]
    lists = task.test_candidates
    assert lists.lengths.tolist() == [100, 99]
    # Everything that the users did not touch is in their lists, and their targets.
    assert sorted(lists.items[0].tolist()) == list(range(3, 103))
    assert sorted(lists.items[1].tolist()) == [0, *range(4, 103)]
    sentence = "1 of 2 recommendation test lists are shorter than 100 candidates, the shortest 99,"
    assert task.notes == (f"{sentence} since no other items may be negatives there.",)


def test_a_user_who_touched_everything_gives_one_sentence() -> None:
    log = log_of([(1, "r", item, item) for item in (1, 2, 3)])
    settings = PRESETS["paper"].model_copy(update={"negatives": 2})
    with pytest.raises(BenchmarkError, match="data set test: user 'user-1' touched every item"):
        build_tasks(dataset_of(log, 3), settings)


def test_the_released_sampler_ends_where_the_original_would_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmark.protocol.released._MAXIMUM_DRAWS", 2000)
    log = log_of([(1, "r", 1, 1), (1, "s", 1, 1), *((1, "r", item, item) for item in (2, 3, 4))])
    settings = PRESETS["released"].model_copy(update={"negatives": 2})
    splits = {RECOMMENDATION: split_task(log, RECOMMENDATION, settings)}
    # The pool holds the kept rows 2, 3 and 4; the training row 2 asks for four of them.
    sentence = "data set test: user 'user-1' leaves only 2 eligible negatives of the 4 that"
    with pytest.raises(BenchmarkError, match=sentence):
        released_negatives(dataset_of(log, 200), splits, settings)


def test_more_negatives_than_items_give_one_sentence() -> None:
    dataset = dataset_of(log_of([(1, "r", item, item) for item in (1, 2, 3)]), 99)
    with pytest.raises(
        BenchmarkError,
        match=r"data set test: 99 items are too few.*100.*--set protocol.negatives=49",
    ):
        build_tasks(dataset, PRESETS["paper"])


def test_chunks_of_events_do_not_repeat_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "_CHUNK", 4)
    drawn, _ = sample_negatives(
        random_generator(), np.zeros(12, int), np.zeros(12, int), nothing(1000), 20
    )
    chunks = [drawn[start : start + 4].tolist() for start in (0, 4, 8)]
    assert all(one != other for one, other in pairwise(chunks))
