"""Touched items are negatives of a search at the rate at which its list would hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.data.dataset import Dataset, EventLog
from benchmark.kit.instances.hard_negatives import HardNegatives
from benchmark.kit.instances.negatives import NegativeSampler
from benchmark.kit.instances.touched import FirstTouches, TouchedHits
from benchmark.protocol.hard_negatives import SearchEvents, bm25_negatives
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.view import TrainingView
from tests.baselines.touched import SETTINGS, share_with_last_purchase, touched_world
from tests.protocol.logs import dataset_of, log_of, shop_dataset

LAWS: dict[str, dict[str, Any]] = {
    "top": {},
    "ties by id": {"search_ties": "document-id", "search_depth": 25},
    "few hits": {"search_depth": 12},
    "filtered": {"search_negatives": "bm25-filtered"},
}


def settings_of(**settings: Any) -> ProtocolSettings:
    return ProtocolSettings.model_validate({"negatives": 20} | settings)


def view_of(dataset: Dataset, **settings: Any) -> TrainingView:
    protocol = settings_of(**settings)
    return TrainingView(dataset, build_tasks(dataset, protocol), protocol)


def touched_before(view: TrainingView, position: int) -> set[int]:
    """The items of the user of a log row that stand before it, its own left out."""
    log = view.log
    own = log.item[log.offsets[log.user[position]] : position]
    return set(own.tolist()) - {int(log.item[position])}


def share_of_touched(view: TrainingView, items: np.ndarray) -> float:
    """Of items (training searches, any number), those that the user has touched before."""
    position = view.examples("search").position.tolist()
    pairs = zip(position, items.tolist(), strict=True)
    return float(np.mean([len(touched_before(view, row) & set(own)) for row, own in pairs])) / len(
        items[0]
    )


def test_first_touches_count_every_item_once() -> None:
    rows = [(1, "r", 3, 0), (1, "s", 3, 1), (1, "r", 5, 2), (1, "r", 3, 3), (2, "r", 3, 0)]
    log = log_of(rows)
    touches = FirstTouches(log, 6)
    first = touches.row(np.array([1, 1, 1, 2, 2]), np.array([3, 5, 4, 3, 5]))
    assert first.tolist() == [0, 2, 5, 4, 5]
    index, item = touches.before(np.array([1, 1, 1, 2, 2]), np.array([3, 0, 2, 4, 5]))
    assert (index.tolist(), item.tolist()) == ([0, 0, 2, 4], [3, 5, 3, 3])


@pytest.mark.parametrize("law", LAWS)
def test_as_many_touched_items_are_negatives_as_lists_hold(law: str) -> None:
    """The measure are the lists that the protocol makes for the training searches."""
    dataset = shop_dataset(seed=1, users=300, items=150, days=40)
    view = view_of(dataset, **LAWS[law])
    position, settings = view.examples("search").position, settings_of(**LAWS[law])
    trained = dataset.with_log(view.log)
    lists, _ = bm25_negatives(trained, SearchEvents.of(trained, position, settings), settings)
    held = share_of_touched(view, lists)
    sampler, random = NegativeSampler(view, "search"), np.random.default_rng(1)
    drew = np.mean([share_of_touched(view, sampler.draw(position, 7, random)) for _ in range(20)])
    assert held > 0.008, "the case must occur"
    assert drew == pytest.approx(held, rel=0.1)


def test_where_lists_are_no_best_hits_a_touched_item_is_as_likely_as_any_other() -> None:
    dataset = shop_dataset(seed=1, users=300, items=150, days=40)
    view = view_of(dataset, search_negatives="bm25-matched", negatives=5)
    position = view.examples("search").position
    sampler, random = NegativeSampler(view, "search"), np.random.default_rng(1)
    drew = np.mean([share_of_touched(view, sampler.draw(position, 4, random)) for _ in range(20)])
    expected = np.mean([len(touched_before(view, int(row))) for row in position]) / 150
    # The touched items of a list are drawn once, so their number keeps the noise of one draw.
    assert drew == pytest.approx(expected, rel=0.25)


def test_only_touched_hits_take_the_place_of_other_negatives() -> None:
    view = view_of(shop_dataset(seed=2))
    position = view.examples("search").position
    made = TouchedHits(view)
    depth = view.protocol.negatives + 1
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
    expected = 6000 * 4 / view.protocol.negatives
    own = made.items[made.offsets[row] : made.offsets[row + 1]]
    assert np.abs(times[own] - expected).max() < 5 * np.sqrt(expected)
    assert times[1:].sum() == times[own].sum()
    for some in drawn[:200]:
        own = some[some > 0]
        assert len(np.unique(own)) == len(own)
    by_column = np.count_nonzero(drawn, axis=0)
    assert by_column.max() - by_column.min() < 5 * np.sqrt(by_column.mean()), (
        "no column is favoured"
    )


def test_where_lists_hold_nothing_touched_no_negative_is() -> None:
    view = touched_world(SETTINGS.model_copy(update={"search_exclude": "touched"})).view
    position, log = view.examples("search").position, view.log
    drawn = NegativeSampler(view, "search").draw(position, 9, np.random.default_rng(0))
    for row, log_row in zip(drawn, position, strict=True):
        user = log.user[log_row]
        assert not np.isin(row, log.item[log.offsets[user] : log.offsets[user + 1]]).any()
    assert not len(TouchedHits(view).items)


def test_no_click_of_a_search_is_a_negative_of_another_one() -> None:
    """Every search has three clicks; before it the user has clicked six of the twelve hits."""
    random = np.random.default_rng(0)
    items = np.stack([random.permutation(12)[:9] for _ in range(60)]) + 1  # 3 searches of 3 clicks
    items = np.concatenate([items, items[:, ::-1]], axis=1)  # and two more that are held out
    users, clicks = items.shape
    user = np.repeat(np.arange(1, users + 1), clicks)
    log = EventLog.from_columns(
        user=user,
        item=items.ravel(),
        query=np.ones(items.size, dtype=int),
        behaviour=np.ones(items.size, dtype=int),
        timestamp=np.tile(np.arange(clicks) // 3, users),
        session=1 + np.tile(np.arange(clicks) // 3, users),
        number_of_users=users,
    )
    texts = ["tea"] * 12 + [f"other{number}x" for number in range(30)]
    view = view_of(dataset_of(log, 42, texts=texts, queries=["tea"]), negatives=6)
    position, log = view.examples("search").position, view.log
    drawn = NegativeSampler(view, "search").draw(position, 6, np.random.default_rng(0))
    some_touched = 0
    for row, log_row in zip(drawn, position, strict=True):
        same = (log.user == log.user[log_row]) & (log.session == log.session[log_row])
        assert not np.isin(row, log.item[same]).any()
        before = (log.user == log.user[log_row]) & (log.timestamp < log.timestamp[log_row])
        some_touched += np.isin(row, log.item[before]).sum()
    assert some_touched > 0


def test_hard_negatives_are_untouched_as_well() -> None:
    """All but the first are hits behind the lists, and every user has touched some of them."""
    texts = ["tea" + " leaf" * number for number in range(12)] + [f"other{n}x" for n in range(18)]
    rows = [
        (user, kind, item, time)
        for user in range(1, 31)
        for time, (kind, item) in enumerate(
            [("r", 6 + (user + n) % 6) for n in range(3)]
            + [("s", 20 + (user + n) % 9) for n in range(3)]
            + [("r", 14), ("r", 15), ("s", 16), ("s", 17)]
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
