"""Lists of items alike the target: what they hold, how long they are, what they do not tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, EventLog
from benchmark.errors import BenchmarkError
from benchmark.protocol.hard_negatives import search_engine
from benchmark.protocol.matched import COVERAGE
from benchmark.protocol.metrics import gains, ranks_of_targets
from benchmark.protocol.place_law import LENGTHS, PlaceLaw, Places
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.task import Task, build_tasks
from tests.protocol.logs import alike_items_dataset, dataset_of, searches_of

CLEAN = PRESETS["clean"]


DATASET = alike_items_dataset()


def clean_task(dataset: Dataset = DATASET, **changes: Any) -> Task:
    return build_tasks(dataset, CLEAN.model_copy(update=changes))["search"]


def known_pairs(dataset: Dataset, task: Task) -> NDArray[np.bool_]:
    """Whether training pairs each candidate with the query, (events, candidates)."""
    log = dataset.log
    trained = task.train.position
    pairs = set(zip(log.query[trained].tolist(), log.item[trained].tolist(), strict=True))
    asked = log.query[task.test.position]
    return np.array(
        [
            [(int(query), item) in pairs for item in row]
            for query, row in zip(asked, task.test_candidates.items.tolist(), strict=True)
        ]
    )


def test_a_list_holds_one_kind_of_items_each_once_and_nothing_that_was_touched() -> None:
    task = clean_task()
    log, lists = DATASET.log, task.test_candidates
    known = known_pairs(DATASET, task)
    assert known.all(axis=1).any()
    assert (known.all(axis=1) | ~known.any(axis=1)).all()
    assert (np.diff(np.sort(lists.items, axis=1), axis=1) > 0).all()
    for position, items in zip(task.test.position[:300], lists.items, strict=False):
        own = set(log.item[log.user == log.user[position]].tolist())
        assert set(items.tolist()) & own == {log.item[position]}


def test_bm25_its_reverse_and_known_pairs_are_at_chance() -> None:
    task = clean_task()
    lists, width = task.test_candidates, task.test_candidates.items.shape[1]
    texts = [DATASET.queries.text[query] for query in DATASET.log.query[task.test.position]]
    bm25 = search_engine(DATASET, CLEAN).score_pairs(texts, np.arange(len(texts)), lists.items)
    for scores in (bm25, -bm25, known_pairs(DATASET, task).astype(np.float32)):
        ranks = ranks_of_targets(scores, lists.target_column)
        for cutoff in (1, 5, 10):
            of_events = gains(ranks, f"HR@{cutoff}")
            error = of_events.std() / np.sqrt(len(of_events))
            assert of_events.mean() - 3 * error < 1.2 * min(1.0, cutoff / width)
    # What the lists hide is there: BM25 and pairs tell the target among items taken by chance.
    anything = np.random.default_rng(1).integers(1, len(DATASET.items) + 1, lists.items.shape)
    anything[:, 0] = DATASET.log.item[task.test.position]
    scores = search_engine(DATASET, CLEAN).score_pairs(texts, np.arange(len(texts)), anything)
    ranks = ranks_of_targets(scores, np.zeros(len(texts), dtype=np.int64))
    assert gains(ranks, "HR@1").mean() > 3 / width


def test_lists_are_as_long_as_half_of_the_searches_allow() -> None:
    task = clean_task()
    length = task.test_candidates.items.shape[1] - 1
    assert length in LENGTHS
    held_out = len(task.valid) + len(task.test) + len(task.unranked)
    assert len(task.valid) + len(task.test) >= 0.9 * COVERAGE * held_out  # the law is fitted again
    assert any(f"hold {length + 1} candidates instead of 100" in note for note in task.notes)
    assert any(
        "of the searches held out for validation and test are not ranked" in note
        for note in task.notes
    )
    shorter = clean_task(negatives=5)
    assert shorter.test_candidates.items.shape[1] == 6
    assert len(shorter.test) >= len(task.test)


def test_who_is_not_ranked_is_not_trained_on_either() -> None:
    task = clean_task()
    assert len(task.unranked)
    assert not np.isin(task.unranked, task.train.position).any()
    assert set(task.held_out.tolist()) == {
        *task.valid.position.tolist(),
        *task.test.position.tolist(),
        *task.unranked.tolist(),
    }
    assert len(task.held_out) == 2 * DATASET.number_of_users


def test_targets_that_the_user_has_seen_before_are_not_ranked() -> None:
    log = DATASET.log
    last = log.offsets[2:] - 1
    again = last[::3]  # these users click the first item of theirs once more
    item = log.item.copy()
    item[again] = item[log.offsets[log.user[again]]]
    columns = {n: getattr(log, n) for n in ("user", "query", "behaviour", "timestamp", "session")}
    changed = EventLog.from_columns(item=item, number_of_users=log.number_of_users, **columns)
    task = clean_task(DATASET.with_log(changed))
    assert np.isin(again, task.unranked).all()


def test_a_catalogue_without_alike_items_is_refused_in_one_sentence() -> None:
    # Every query leads to one item alone, so no list can hide which.
    users, items = 60, 120
    user = np.repeat(np.arange(1, users + 1), 4)
    item = np.arange(len(user)) % items + 1
    log = searches_of(user, item, item)
    words = [f"word{number}x" for number in range(items)]
    with pytest.raises(BenchmarkError, match="fewer than half of the searches have an item that"):
        clean_task(dataset_of(log, items, texts=words, queries=words))


def places_by(law: PlaceLaw, events: int, items: int, hits: int, seed: int = 0) -> Places:
    """Targets that follow the law."""
    random = np.random.default_rng(seed)
    every = np.full(events, items), np.full(events, hits)
    anywhere = Places(np.zeros(events, dtype=np.int64), *every, random.random(events))
    rank = law.rank_at(random.random(events)[:, None], anywhere)[:, 0]
    return Places(rank, *every, random.random(events))


@pytest.mark.parametrize("hits", [0, 1, 120, 500])
@pytest.mark.parametrize(("exponent", "odds"), [(0.25, 8.0), (0.75, 1.0), (1.0, 4.0), (1.5, 0.25)])
def test_given_a_list_every_member_is_equally_likely_the_target(
    exponent: float, odds: float, hits: int
) -> None:
    events, items = 40_000, 500
    law = PlaceLaw(exponent, odds)
    places = places_by(law, events, items, hits)
    size = min(20, int(law.longest(places)[0]))
    assert size > 1
    others = law.comb(places, size)
    lists = np.sort(np.concatenate([places.rank[:, None], others], axis=1), axis=1)
    assert (np.diff(lists, axis=1) > 0).all()
    assert lists.min() >= 0
    assert lists.max() < items
    place = np.count_nonzero(others < places.rank[:, None], axis=1)  # of the target in its list
    z = (np.bincount(place, minlength=size) - events / size) / np.sqrt(events / size)
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize(("items", "hits"), [(2, 1), (3, 3), (17, 4), (100, 100), (12_000, 700)])
@pytest.mark.parametrize("exponent", [0.03125, 0.5, 0.90625, 1.0, 1.25, 3.0])
@pytest.mark.parametrize("odds", [0.1, 1.0, 5_000.0])
def test_no_list_of_the_longest_length_holds_an_item_twice(
    items: int, hits: int, exponent: float, odds: float
) -> None:
    law, random = PlaceLaw(exponent, odds), np.random.default_rng(1)
    rank = np.concatenate([np.zeros(200, int), random.integers(items, size=800), [items - 1] * 200])
    every = np.full(1_200, items), np.full(1_200, hits)
    places = Places(rank, *every, random.random(1_200))
    size = int(law.longest(places)[0])
    assert 1 <= size <= items
    others = law.comb(places, min(size, 200))
    lists = np.sort(np.concatenate([rank[:, None], others], axis=1), axis=1)
    assert (np.diff(lists, axis=1) > 0).all()


def test_the_law_is_found_again_and_hardly_moves_by_one_target() -> None:
    places = places_by(PlaceLaw(0.7, 6.0), 5_000, 400, 150)
    law = PlaceLaw.of(places)
    assert law.exponent == pytest.approx(0.7, abs=0.05)
    assert law.odds == pytest.approx(6.0, rel=0.15)
    assert law.most > 400
    less = (np.arange(5_000) != row for row in range(0, 5_000, 50))
    assert sum(PlaceLaw.of(places.select(rows)) != law for rows in less) <= 5


def test_targets_that_stand_evenly_among_the_hits_get_long_lists_of_hits() -> None:
    # All targets match, and none stands out: BM25 knows which items cannot be the target, no more.
    places = places_by(PlaceLaw(1.0, 2.0**16), 2_000, 900, 150)
    law = PlaceLaw.of(places)
    assert law.exponent == 1.0
    assert law.longest(places)[0] >= 140
    assert (law.comb(places, 100) < 150).mean() > 0.99


def test_targets_that_mostly_stand_first_get_short_lists_or_none() -> None:
    every = np.full(200, 1_000), np.full(200, 400)
    point = np.linspace(0.01, 0.99, 200)
    always = Places(np.zeros(200, dtype=np.int64), *every, point)
    assert (PlaceLaw.of(always).longest(always) == 1).all()  # the target alone
    rank = np.where(np.arange(200) % 4 == 0, 0, np.arange(200) * 2)
    often = Places(rank, *every, point)
    assert (PlaceLaw.of(often).longest(often) <= 4).all()
