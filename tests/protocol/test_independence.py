"""Lists hang on nothing else: not on who else is in the log, nor on the order of a file's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmark.data.dataset import Dataset, EventLog, fingerprint_of
from benchmark.data.sources.generated import make_dataset
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import build_tasks
from tests.protocol.logs import alike_items_dataset, search_dataset, shop_dataset

Lists = Mapping[tuple[Any, ...], tuple[tuple[str, ...], int]]
"""(task, part, user, item, query, time) → the candidates' external ids, the target's column."""


def lists_of(dataset: Dataset, settings: ProtocolSettings) -> Lists:
    log, found = dataset.log, {}
    names = dataset.items.external_id
    for name, task in build_tasks(dataset, settings).items():
        for part in ("valid", "test"):
            lists = task.candidates(part)
            rows = getattr(task, part).position
            for row, items, column in zip(rows, lists.items, lists.target_column, strict=True):
                event = (
                    name,
                    part,
                    dataset.users[log.user[row]],
                    names[log.item[row]],
                    dataset.queries.text[log.query[row]],
                    int(log.timestamp[row]),
                )
                candidates = tuple(names[item] for item in items.tolist())
                found[event] = candidates, int(column)
    return found


def with_rows(dataset: Dataset, keep: np.ndarray, user: np.ndarray, users: list[str]) -> Dataset:
    log = dataset.log
    columns = {n: getattr(log, n)[keep] for n in ("item", "query", "behaviour", "timestamp")}
    changed = EventLog.from_columns(
        user=user, session=log.session[keep], number_of_users=len(users) - 1, **columns
    )
    result = replace(dataset, log=changed, users=users)
    return replace(result, fingerprint=fingerprint_of(result))


def without_user(dataset: Dataset, gone: int) -> Dataset:
    """The data set without one user; those behind it get other numbers."""
    keep = dataset.log.user != gone
    user = dataset.log.user[keep]
    users = [name for number, name in enumerate(dataset.users) if number != gone]
    return with_rows(dataset, keep, user - (user > gone), users)


def without_event(dataset: Dataset, row: int) -> Dataset:
    keep = np.arange(len(dataset.log)) != row
    return with_rows(dataset, keep, dataset.log.user[keep], list(dataset.users))


def with_other_numbers(dataset: Dataset, seed: int) -> Dataset:
    """The same items under other numbers."""
    order = np.random.default_rng(seed).permutation(len(dataset.items)) + 1
    number = np.concatenate([[0], np.argsort(order) + 1])
    items = dataset.items
    rows = [0, *order.tolist()]
    columns = ("external_id", "title", "description", "brand", "categories", "text")
    moved = {name: [getattr(items, name)[row] for row in rows] for name in columns}
    log = replace(dataset.log, item=number[dataset.log.item].astype(np.int32))
    result = replace(dataset, items=replace(items, **moved), log=log)
    return replace(result, fingerprint=fingerprint_of(result))


WORLDS = {
    "shop": shop_dataset(seed=3, users=60),
    "searches": search_dataset(seed=1, users=150),
    "generated": make_dataset(users=60, items=160),
}
PAPER = PRESETS["paper"]
VARIANTS: dict[str, ProtocolSettings] = {
    "paper": PAPER,
    "filtered": PAPER.model_copy(update={"search_negatives": "bm25-filtered"}),
    "touched": PAPER.model_copy(update={"search_exclude": "touched"}),
    "earlier": PAPER.model_copy(update={"recommendation_exclude": "earlier-interactions"}),
}


@pytest.mark.parametrize("variant", ["paper", "touched", "earlier"])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("gone", [1, 17])
def test_without_a_user_all_other_lists_are_the_same(world: str, variant: str, gone: int) -> None:
    dataset, settings = WORLDS[world], VARIANTS[variant]
    before = lists_of(dataset, settings)
    after = lists_of(without_user(dataset, gone), settings)
    assert len(after) < len(before)
    assert after == {key: of for key, of in before.items() if key[2] != dataset.users[gone]}


@pytest.mark.parametrize("world", WORLDS)
def test_without_an_event_of_another_user_all_lists_are_the_same(world: str) -> None:
    dataset = WORLDS[world]
    row = int(dataset.log.offsets[5])  # the first event of user 5
    before, after = lists_of(dataset, PAPER), lists_of(without_event(dataset, row), PAPER)
    user = dataset.users[5]

    def others(lists: Lists) -> Lists:
        return {key: of for key, of in lists.items() if key[2] != user}

    assert others(before) == others(after)
    assert others(before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_numbers_of_the_items_change_no_list(variant: str) -> None:
    dataset, settings = WORLDS["shop"], VARIANTS[variant]
    assert lists_of(with_other_numbers(dataset, 5), settings) == lists_of(dataset, settings)


def test_popular_negatives_of_most_lists_outlast_a_user() -> None:
    # Popularity is a count over all users, so some lists must change: those that hold what went.
    dataset = shop_dataset(seed=3, users=80)
    settings = PAPER.model_copy(update={"recommendation_negatives": "popularity", "negatives": 20})
    before = lists_of(dataset, settings)
    after = lists_of(without_user(dataset, 9), settings)
    items = [len(set(of[0]) ^ set(before[key][0])) / 40 for key, of in after.items()]
    assert np.mean(items) < 0.1


def test_clean_lists_of_most_events_outlast_a_user() -> None:
    # A pair of query and item that only this user's training had is known no more.
    dataset = alike_items_dataset()
    before = lists_of(dataset, PRESETS["clean"])
    changed = []
    for gone in (1, 200, 700):
        after = lists_of(without_user(dataset, gone), PRESETS["clean"])
        changed.append(np.mean([before.get(key) != of for key, of in after.items()]))
    assert np.median(changed) < 0.1
