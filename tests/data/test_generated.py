"""The generated log: its planted rules hold as often as they should, and it never changes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset, fingerprint_of
from benchmark.data.sources.generated import make_dataset
from benchmark.errors import BenchmarkError


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset(users=300, items=240, seed=1, strength=0.8)


def test_the_fingerprint_is_pinned() -> None:
    # A change here means that every stored figure on generated data is out of date.
    assert make_dataset().fingerprint[:16] == "36df223076a925b7"


def test_equal_options_give_equal_data_and_others_do_not() -> None:
    first = make_dataset(users=20, items=40, seed=3)
    assert make_dataset(users=20, items=40, seed=3).fingerprint == first.fingerprint
    assert fingerprint_of(first) == first.fingerprint
    assert make_dataset(users=20, items=40, seed=4).fingerprint != first.fingerprint


def test_an_item_is_mostly_followed_by_its_successor(dataset: Dataset) -> None:
    rows = dataset.log.recommendation.positions
    user, item = dataset.log.user[rows], dataset.log.item[rows]
    same = user[1:] == user[:-1]
    pairs = np.stack([item[:-1][same], item[1:][same]], axis=1)
    distinct, counts = np.unique(pairs, axis=0, return_counts=True)
    best = np.zeros(dataset.number_of_items + 1, dtype=int)
    np.maximum.at(best, distinct[:, 0], counts)
    # 0.8 by rule; a few successors were seen before, and chance sometimes hits the rule.
    assert 0.7 < best.sum() / len(pairs) < 0.9


def test_a_query_is_mostly_answered_by_the_users_taste(dataset: Dataset) -> None:
    rows = dataset.log.search.positions
    user, item = dataset.log.user[rows], dataset.log.item[rows]
    taste = np.array([dataset.items.title[number].split()[0] for number in item])
    agreeing = total = 0
    for number in np.unique(user):
        _, counts = np.unique(taste[user == number], return_counts=True)
        agreeing += counts.max()
        total += counts.sum()
    assert 0.75 < agreeing / total < 0.9
    for query, clicked in zip(dataset.log.query[rows], item, strict=True):
        words = dataset.items.title[clicked].split()[:0:-1]  # department, topic
        assert dataset.queries.text[query].split() == words


def test_no_pair_repeats_and_no_instant_is_shared(dataset: Dataset) -> None:
    log = dataset.log
    assert len(np.unique(np.stack([log.user, log.item]), axis=1).T) == len(log)
    same = np.diff(log.user) == 0
    assert (np.diff(log.timestamp)[same] > 0).all()


def test_share_of_searches(dataset: Dataset) -> None:
    assert abs((dataset.log.behaviour == SEARCH).mean() - 0.4) < 0.04


def test_without_searches() -> None:
    log = make_dataset(users=10, items=40, search_share=0.0).log
    assert (log.behaviour == RECOMMENDATION).all()
    assert not log.query.any()
    assert not log.session.any()


def test_short_users_have_one_and_two_events_in_turn() -> None:
    log = make_dataset(users=5, items=40, short_users=4).log
    assert np.diff(log.offsets)[-4:].tolist() == [1, 2, 1, 2]
    assert np.diff(log.offsets)[1:6].min() >= 3


def test_a_catalogue_smaller_than_the_histories_still_ends() -> None:
    log = make_dataset(users=3, items=8, events_per_user=100).log
    assert np.diff(log.offsets).max() == 8


def test_a_wrong_option_gives_one_sentence() -> None:
    with pytest.raises(BenchmarkError, match=r"source: unknown key 'user_count'"):
        make_dataset(user_count=3)
    with pytest.raises(BenchmarkError, match=r"source\.items: .*not 3"):
        make_dataset(items=3)
