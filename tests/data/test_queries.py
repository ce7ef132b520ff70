"""The two query constructions, word for word."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.queries import (
    INQUERY_STOP_WORDS,
    choose_attribute_queries,
    queries_of_item,
    query_of_path,
)
from benchmark.data.raw import NO_QUERY, RawItems
from benchmark.data.recipe import ChannelSearch
from benchmark.hashing import row_hash, row_uniform, text_keys


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (["Camera & Photo", "Digital Camera Lenses"], "photo digital camera lenses"),
        (["Electronics", "MP3 Players"], "electronics mp players"),
        (["Phones", "No-Contract Phones"], "nocontract phones"),
        (["Fragrance", "Women's"], "fragrance womens"),
        (["Toys", "For the Very Young"], "toys young"),
        (["Single Level"], ""),
        ([], ""),
        (["The", "Of 99"], ""),
        (["Möbel", "Küche & Bad"], "möbel küche bad"),
        (["Mo\u0308bel", "KU\u0308CHE"], "möbel küche"),  # the same letters, written in two parts
        (["Electronics", "4K TVs"], "electronics 4k tvs"),
        (["Toys", "3-D Puzzles"], "toys 3d puzzles"),
        (["家居", "厨房 & 卫浴"], "家居 厨房 卫浴"),
        (["Дом", "Кухня и ванная"], "дом кухня и ванная"),
        (["Ελλάδα", "Βιβλία 2024"], "ελλάδα βιβλία"),
        (["घर", "रसोई"], "घर रसोई"),
        (["Home", "Décor, 2nd"], "home décor nd"),
        (["Home\u00a0Audio", "Hi\u2011Fi"], "home audio hifi"),
    ],
)
def test_query_of_a_hierarchy(path: list[str], query: str) -> None:
    assert query_of_path(path) == query


def test_the_stop_list_is_complete() -> None:
    assert len(INQUERY_STOP_WORDS) == 418


def test_an_item_has_each_query_once() -> None:
    paths = (("A1", "Lens"), ("A2", "Lens"), ("Root",), ("Bag", "Strap"))
    assert queries_of_item(paths) == ("lens", "bag strap")


def test_row_hashes_are_pinned() -> None:
    # Data sets on disk and published figures stand on these numbers.
    keys = text_keys(["a", "B00X"])
    assert keys.tolist() == [3405396810240292928, 17131524162659661690]
    assert row_hash(2024, "tie", keys, keys).tolist() == [
        6014026137100691824,
        2035256818386829297,
    ]


def test_row_uniform_is_uniform_and_purposes_are_independent() -> None:
    rows = np.arange(20_000)
    first = row_uniform(1, "channel", rows, rows)
    second = row_uniform(1, "form", rows, rows)
    assert abs(first.mean() - 0.5) < 0.01
    assert np.histogram(first, bins=10, range=(0, 1))[0].min() > 1_800
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def items_of(attributes: list[tuple[str, ...]], decades: list[str]) -> RawItems:
    empty = [""] * len(attributes)
    return RawItems(
        external_id=[str(row) for row in range(len(attributes))],
        title=empty,
        description=empty,
        brand=empty,
        categories=[()] * len(attributes),
        attributes=attributes,
        decade=decades,
    )


def test_queries_back_off_until_enough_items_match() -> None:
    # Ten items each of war 1990s and drama 1990s; one war + drama film of the 1940s.
    items = items_of(
        [("Drama",)] * 10 + [("War",)] * 10 + [("Drama", "War")], ["1990s"] * 20 + ["1940s"]
    )
    keys = text_keys([str(number) for number in range(500)])
    rows = np.full(500, 20)
    options = ChannelSearch(kind="channels")
    chosen = choose_attribute_queries(items, rows, keys, keys, options, seed=1)
    assert set(chosen.text) == {"drama", "war"}  # never both words, never the 1940s
    common = choose_attribute_queries(items, np.zeros(500, int), keys, keys, options, seed=1)
    assert set(common.text) == {"drama", "drama 1990s"}


def test_without_back_off_all_three_forms_occur() -> None:
    items = items_of([("Action", "Drama", "War")], ["1990s"])
    keys = text_keys([str(number) for number in range(2_000)])
    options = ChannelSearch(kind="channels", minimum_items=1)
    chosen = choose_attribute_queries(items, np.zeros(2_000, int), keys, keys, options, seed=1)
    texts = np.array(chosen.text)[chosen.query]
    words = np.array([len(text.split()) for text in texts])
    with_decade = np.array(["1990s" in text for text in texts])
    assert set(texts) == {
        *("action 1990s", "drama 1990s", "war 1990s"),
        *("action drama", "action war", "drama war"),
        *("action drama 1990s", "action war 1990s", "drama war 1990s"),
    }
    assert abs((with_decade & (words == 2)).mean() - 0.4) < 0.05
    assert abs((words == 3).mean() - 0.2) < 0.05


def test_an_item_without_attributes_has_no_query() -> None:
    items = items_of([(), ("War",)], ["1990s", ""])
    keys = text_keys(["a", "b"])
    options = ChannelSearch(kind="channels", minimum_items=1)
    chosen = choose_attribute_queries(items, np.array([0, 1]), keys, keys, options, seed=1)
    assert chosen.query.tolist() == [NO_QUERY, 0]
    assert chosen.text == ["war"]
