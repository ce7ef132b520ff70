"""Touched items are negatives of a search at the rate at which its list would hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.data.dataset import Dataset
from benchmark.kit.hard_negatives import HardNegatives
from benchmark.kit.negatives import NegativeSampler
from benchmark.kit.touched import FirstTouches, TouchedHits
from benchmark.protocol.hard_negatives import bm25_negatives
from benchmark.protocol.list_law import ListLaw
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.view import TrainingView
from tests.baselines.touched import SETTINGS, share_with_last_purchase, touched_world
from tests.protocol.logs import dataset_of, log_of, shop_dataset

LAWS = {
    "top": {},
    "ties by id": {"search_ties": "document-id", "search_depth": 25},
    "few hits": {"search_depth": 12},
    "filtered": {"search_negatives": "bm25-filtered"},
    "matched": {"search_negatives": "bm25-matched"},
    "known first": {"search_negatives": "bm25-matched", "search_matched_by": "known-pairs"},
}


def view_of(dataset: Dataset, **settings: Any) -> TrainingView:
    protocol = ProtocolSettings.model_validate({"negatives": 20} | settings)
    return TrainingView(dataset, build_tasks(dataset, protocol), protocol)


def touched_before(view: TrainingView, position: int) -> set[int]:
    """The items of the user of a log row that stand before it, its own left out."""
    log = view.log
    own = log.item[log.offsets[log.user[position]] : position]
    return set(own.tolist()) - {int(log.item[position])}


def test_first_touches_count_every_item_once() -> None:
    rows = [(1, "r", 3, 0), (1, "s", 3, 1), (1, "r", 5, 2), (1, "r", 3, 3), (2, "r", 3, 0)]
    log = log_of(rows)
    touches = FirstTouches(log, 6)
    assert touches.row(np.array([1, 1, 1, 2, 2]), np.array([3, 5, 4, 3, 5])).tolist() == [
        0,
        2,
        5,
        4,
        5,
    ]
    index, item = touches.before(np.array([3, 0, 4]))
    assert (index.tolist(), item.tolist()) == ([0, 0], [3, 5])
    assert touches.count(np.array([0, 1, 2, 3, 4])).tolist() == [0, 1, 1, 2, 0]


@pytest.mark.parametrize("law", LAWS)
def test_as_many_touched_items_are_negatives_as_lists_would_hold(law: str) -> None:
    """The lists that the protocol itself makes for the training searches are the measure."""
    view = view_of(shop_dataset(seed=1, users=300, items=150, days=40), **LAWS[law])
    position = view.examples("search").position
    log, settings = view.log, ProtocolSettings.model_validate({"negatives": 20} | LAWS[law])
    dataset = shop_dataset(seed=1, users=300, items=150, days=40).with_log(log)
    lists, found = bm25_negatives(
        dataset,
        log.user[position],
        log.query[position],
        log.item[position],
        settings,
        np.random.default_rng(0),
        trained_pairs=None,
    )
    drawn = NegativeSampler(view, "search").draw(position, 7, np.random.default_rng(1))
    shares = []
    for part, size in ((lists, 20), (drawn, 7)):
        touched = [touched_before(view, int(row)) for row in position]
        inside = sum(len(own & set(row)) for own, row in zip(touched, part.tolist(), strict=True))
        shares.append(inside / (size * len(position)))
    assert shares[0] > 0.02, "the case must occur"
    if law == "known first":
        return  # the lists above know no pairs
    assert shares[1] == pytest.approx(shares[0], rel=0.1)


def test_only_touched_hits_take_the_place_of_other_negatives() -> None:
    view = view_of(shop_dataset(seed=2))
    position = view.examples("search").position
    made = TouchedHits(view)
    depth = view.list_law.negatives + 1
    texts = [view.corpus.queries.text[query] for query in view.log.query[position]]
    hits = view.search_engine().score_all(texts).toarray()
    for row, log_row in enumerate(position):
        own = set(made.items[made.offsets[log_row] : made.offsets[log_row + 1]].tolist())
        assert own <= touched_before(view, int(log_row))
        worst = np.sort(hits[row])[::-1][depth - 1]
        assert all(hits[row][item] > 0 and hits[row][item] >= worst - 1e-3 for item in own)


def test_places_of_a_list_are_equally_likely_and_drawn_once() -> None:
    view = touched_world().view
    made = TouchedHits.of(view)
    count = np.diff(made.offsets)
    row = int(count.argmax())
    assert count[row] >= 5
    drawn = made.draw(np.full(6000, row), 4, np.random.default_rng(0))
    times = np.bincount(drawn.ravel(), minlength=view.corpus.number_of_items + 1)
    expected = 6000 * 4 / view.list_law.negatives
    own = made.items[made.offsets[row] : made.offsets[row + 1]]
    assert np.abs(times[own] - expected).max() < 5 * np.sqrt(expected)
    assert times[1:].sum() == times[own].sum()
    assert all(len(set(some)) == np.count_nonzero(some) for some in np.sort(drawn).tolist() if 0 not in some)
    by_column = np.count_nonzero(drawn, axis=0)
    assert by_column.max() - by_column.min() < 5 * np.sqrt(by_column.mean()), "no column is favoured"


def test_where_lists_hold_nothing_touched_no_negative_is() -> None:
    world = touched_world()
    view = world.view
    view.list_law = ListLaw(**{**vars(view.list_law), "search_holds_touched": False})
    position = view.examples("search").position
    drawn = NegativeSampler(view, "search").draw(position, 9, np.random.default_rng(0))
    log = view.log
    for row, log_row in zip(drawn, position, strict=True):
        user = log.user[log_row]
        assert not np.isin(row, log.item[log.offsets[user] : log.offsets[user + 1]]).any()
    assert not len(TouchedHits(view).items)


def test_hard_negatives_are_untouched_as_well() -> None:
    """All but the first are hits behind the lists, and every user has touched some of them."""
    texts = ["tea" + " leaf" * number for number in range(12)] + [f"other{n}x" for n in range(18)]
    rows = [
        (user, kind, item, time)
        for user in range(1, 31)
        for time, (kind, item) in enumerate(
            [("r", 6 + user % 6), ("r", 7 + user % 5), *[("s", 20 + (user + n) % 9) for n in range(5)]]
        )
    ]
    view = view_of(dataset_of(log_of(rows), 30, texts=texts, queries=["tea"]), negatives=4)
    position = view.examples("search").position
    sampler = NegativeSampler(view, "search", hits=HardNegatives(view, 20))
    drawn = sampler.draw(position, 4, np.random.default_rng(0), hits=4)
    assert set(range(6, 13)) & set(drawn.ravel().tolist())
    for row, log_row in zip(drawn.tolist(), position.tolist(), strict=True):
        assert not touched_before(view, log_row) & set(row) - set(range(1, 6))


def test_the_planted_world_is_as_it_says() -> None:
    world = touched_world()
    assert share_with_last_purchase(world) > 0.8
    requests, targets = world.requests, world.search.test_candidates.target_column
    target = requests.candidates[np.arange(len(requests)), targets]
    assert not (requests.history(99).items == target[:, None]).any()


@pytest.mark.parametrize("name", PRESETS)
def test_the_law_is_read_from_the_protocol(name: str) -> None:
    settings = PRESETS[name]
    law = ListLaw.of(settings)
    for key in vars(law):
        if key != "search_holds_touched":
            assert getattr(law, key) == getattr(settings, key)
    excludes = getattr(settings, "search_exclude", "none")
    assert law.search_holds_touched == (excludes == "none")


def test_the_planted_worlds_own_settings_hold_touched_items() -> None:
    assert ListLaw.of(SETTINGS).search_holds_touched
