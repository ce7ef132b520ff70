"""The synthetic world: what is planted is there, and blocks of any size give the same events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.data.build import build_dataset
from benchmark.data.raw import NO_QUERY
from benchmark.data.recipe import Recipe, parse_recipe
from benchmark.data.source_options import WorldSource
from benchmark.data.sources import read_source, world
from benchmark.errors import BenchmarkError


def recipe_of(**source: Any) -> Recipe:
    content = {
        "name": "world",
        "source": {"kind": "world", **source},
        "search": {"kind": "own"},
        "text": ["title"],
    }
    return parse_recipe(content, "world")


def options_of(**source: Any) -> WorldSource:
    options = recipe_of(**source).source
    assert isinstance(options, WorldSource)
    return options


def columns(options: WorldSource, users_at_once: int = 1000) -> tuple[np.ndarray, ...]:
    blocks = list(world.stream(options, users_at_once))
    names = ("user", "item", "timestamp", "query")
    return tuple(np.concatenate([getattr(block, name) for block in blocks]) for name in names)


def test_blocks_of_any_size_give_the_same_events() -> None:
    options = options_of(users=300)
    for size in (1, 7, 299):
        for one, other in zip(columns(options), columns(options, size), strict=True):
            np.testing.assert_array_equal(one, other)


def test_each_user_moves_forward_in_time_and_touches_nothing_twice() -> None:
    user, item, timestamp, _ = columns(options_of(users=300))
    same = user[1:] == user[:-1]
    assert (np.diff(timestamp)[same] > 0).all()
    assert len(set(zip(user.tolist(), item.tolist(), strict=True))) == len(user)


@pytest.mark.parametrize("taste", [0.0, 0.5, 1.0])
def test_taste(taste: float) -> None:
    options = options_of(users=500, taste=taste, season=0.0, items=20_000)
    user, item, _, _ = columns(options)
    favourite = world.topics_of_taste(options, user)
    share = (favourite == (item % options.topics)[:, None]).any(axis=1).mean()
    by_chance = 2 / options.topics
    assert share == pytest.approx(taste + (1 - taste) * by_chance, abs=0.03)


def test_season() -> None:
    options = options_of(users=500, taste=0.0, season=0.8, items=20_000)
    _, item, timestamp, _ = columns(options)
    share = (world.topic_of_week(options, timestamp) == item % options.topics).mean()
    assert share == pytest.approx(0.8 + 0.2 / options.topics, abs=0.04)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_queries_name_topic_and_attribute(noise: float) -> None:
    options = options_of(users=500, query_noise=noise)
    _, item, _, query = columns(options)
    searched = query != NO_QUERY
    assert searched.mean() == pytest.approx(options.search_share, abs=0.03)
    item, query = item[searched], query[searched]
    topic, word = query // world.ATTRIBUTES, query % world.ATTRIBUTES
    right_topic = (topic == item % options.topics).mean()
    right_word = (world.attributes_of(options, item) == word[:, None]).any(axis=1).mean()
    assert right_topic == pytest.approx(1 - noise * (1 - 1 / options.topics), abs=0.03)
    assert right_word == pytest.approx(1 - noise * (1 - 2 / world.ATTRIBUTES), abs=0.03)


def test_popularity_falls_within_a_topic() -> None:
    options = options_of(users=2_000, taste=0.0, season=0.0)
    _, item, _, _ = columns(options)
    counts = np.bincount(item // options.topics)
    assert counts[0] > 1.5 * counts[1] > 2 * counts[5] > 0
    assert len(counts) == options.items // options.topics


def test_the_world_becomes_a_data_set() -> None:
    recipe = recipe_of(users=200, items=300)
    dataset = build_dataset(recipe, read_source(recipe))
    assert dataset.has_search
    assert dataset.number_of_users == 200
    log = dataset.log
    row = int(log.search.positions[0])
    # Without noise a query would share two words with its item; with it, mostly.
    shared = [
        set(dataset.queries.text[q].split()) & set(dataset.items.text[i].split())
        for q, i in zip(
            log.query[log.search.positions], log.item[log.search.positions], strict=True
        )
    ]
    assert np.mean([len(words) for words in shared]) > 1.6
    assert log.query[row] > 0


def test_more_topics_than_items() -> None:
    with pytest.raises(BenchmarkError, match="topics must not be more than items"):
        recipe_of(items=20, topics=21)
