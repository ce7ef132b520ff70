"""Ranks that are counted and items that are picked, against orders that are sorted as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from benchmark.data.dataset import Dataset
from benchmark.hashing import row_hash
from benchmark.protocol import best_hits, query_order
from benchmark.protocol.best_hits import Askers, BestHits, best_allowed, score_levels
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.hard_negatives import SearchEvents, search_engine
from benchmark.protocol.orders import Orders
from benchmark.protocol.query_order import HashOrder, Members, QueryOrders
from benchmark.protocol.settings import ProtocolSettings
from benchmark.retrieval.compiled import can_compile
from tests.protocol.logs import dataset_of, search_dataset

SEED = 11
SMALL = {
    "_SORTED": 3,
    "_LEVELS_AT_MOST": 2,
    "_COUNTED": 2,
    "_OF_A_BUCKET": 2,
    "_QUERIES_AT_ONCE": 3,
}
"""Sizes under which small worlds take the ways of large ones."""


@pytest.fixture(params=["small", "as they are", "compiled"])
def _sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "compiled":
        if not can_compile():
            # The compiled way is an extra's, which `make test` installs: there nothing is skipped.
            pytest.skip("numba is not installed")
        monkeypatch.setattr(query_order, "_COMPILED_FROM", 0)
        monkeypatch.setattr(query_order, "_QUERIES_AT_ONCE", 3)
    else:
        monkeypatch.setattr(query_order, "can_compile", lambda: False)
    if request.param == "small":
        for name, value in SMALL.items():
            monkeypatch.setattr(query_order, name, value)
        monkeypatch.setattr(best_hits, "_LARGE_TIE", 3)
        monkeypatch.setattr(best_hits, "_ENTRIES_AT_ONCE", 500)


def tied_world(seed: int) -> Dataset:
    """Few words, so that many items tie; the last query matches nothing, the one before all."""
    random = np.random.default_rng(seed)
    world = search_dataset(seed, users=60, items=160, queries=6)
    words = [f"word{number}x" for number in range(5)]
    texts = [" ".join(random.choice(words, size=random.integers(1, 3))) for _ in range(160)]
    queries = [*random.choice(words, size=4).tolist(), " ".join(words), "nothing"]
    queries = [f"{query} q{place}" for place, query in enumerate(queries)]
    return dataset_of(world.log, 160, texts=texts, queries=queries)


def asked_of(dataset: Dataset, settings: ProtocolSettings) -> SearchEvents:
    return SearchEvents.of(dataset, np.arange(len(dataset.log)), settings)


def levels_of(dataset: Dataset, query: int) -> NDArray[np.int64]:
    """The level of every item for a query, (items + 1,); 0 without a match."""
    scores = search_engine(dataset, ProtocolSettings()).score_all([dataset.queries.text[query]])
    dense = scores.toarray()[0]
    return np.where(dense > 0, score_levels(dense), 0)


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("seed", range(4))
def test_places_and_items_are_those_of_the_sorted_catalogue(seed: int) -> None:
    dataset = tied_world(seed)
    asked = asked_of(dataset, ProtocolSettings(search_exclude="touched"))
    random = np.random.default_rng(seed)
    trained = Exclusions.of_pairs(
        random.integers(1, 7, size=120), random.integers(1, 161, size=120), 160
    )
    is_known = trained.contains(asked.query, asked.target)
    assert is_known.any() and not is_known.all()
    engine = search_engine(dataset, ProtocolSettings())
    orders = Orders(dataset, engine, asked, is_known, SEED, trained)
    rows = np.flatnonzero(random.random(len(asked)) < 0.8)
    places = orders.places(rows)
    smallest = int(places["items"].min())
    ranks = np.sort(random.random((len(rows), 12)), axis=1)
    ranks = (ranks * places["items"][:, None]).astype(np.int64)
    ranks[:, -1] = places["items"] - 1  # the last of all
    items = orders.items_at(rows, ranks)
    for place, row in enumerate(rows.tolist()):
        query = int(asked.query[row])
        barred = asked.barred.items_of(np.array([row]))[1].tolist()
        known = set(trained.items_of(np.array([query]))[1].tolist())
        levels = levels_of(dataset, query)
        hashes = row_hash(SEED, "matched", dataset.query_keys[query], dataset.item_keys)
        allowed = [
            item
            for item in range(1, 161)
            if (item in known) == is_known[row]
            and (item == asked.target[row] or item not in barred)
        ]
        allowed.sort(key=lambda item: (levels[item], hashes[item]))
        assert places["items"][place] == len(allowed)
        assert places["hits"][place] == sum(levels[item] < 0 for item in allowed)
        assert places["rank"][place] == allowed.index(asked.target[row])
        assert items[place].tolist() == [allowed[rank] for rank in ranks[place]]
    assert smallest > 1  # else there was nothing to order


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("search_depth", [None, 4, 30])
@pytest.mark.parametrize("seed", range(3))
def test_best_hits_are_those_of_all_hits_sorted(seed: int, search_depth: int | None) -> None:
    dataset, number = tied_world(seed), 9
    asked = asked_of(dataset, ProtocolSettings(search_exclude="touched"))
    queries = np.arange(1, 7)
    texts = [dataset.queries.text[query] for query in queries]
    most_barred = int(asked.barred.counts(np.arange(len(asked))).max())
    depth = np.full(6, search_depth or number + 1 + most_barred) + np.arange(6) % 3
    hits = BestHits.tied(search_engine(dataset, ProtocolSettings()), texts, depth)
    askers = Askers(asked.query - 1, asked.target, asked.key, asked.barred)
    negatives, found = best_allowed(hits, depth, askers, dataset.item_keys, SEED, number)
    for row in range(len(asked)):
        query = int(asked.query[row])
        levels = levels_of(dataset, query)
        hashes = row_hash(SEED, "tie", asked.key[row], dataset.item_keys)
        barred = {*asked.barred.items_of(np.array([row]))[1].tolist(), int(asked.target[row])}
        ordered = np.flatnonzero(levels < 0).tolist()
        ordered.sort(key=lambda item: (levels[item], hashes[item]))
        expected = [item for item in ordered[: depth[query - 1]] if item not in barred][:number]
        assert found[row] == len(expected)
        assert negatives[row].tolist() == expected + [0] * (number - len(expected))


def scores_by_law(law: str, hits: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Scores of which nearly all tie, or none, or that lie in a few narrow ranges."""
    if law == "one level":
        return np.where(random.random(hits) < 0.9, 3.0, 5.0).astype(np.float32)
    if law == "all apart":
        return (random.permutation(hits) * 0.013 + 1e-5).astype(np.float32)
    near = random.integers(1, 5, size=hits) + random.integers(0, 3, size=hits) * 1e-4
    return near.astype(np.float32)


class _Found:
    """An engine that finds these scores (queries, documents) for the queries "0", "1" ..."""

    def __init__(self, scores: sparse.csr_array) -> None:
        self.scores = scores

    def score_all(self, queries: Sequence[str]) -> sparse.csr_array:
        return self.scores[[int(query) for query in queries]]


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("law", ["one level", "all apart", "narrow ranges"])
def test_members_are_ranked_and_items_found_as_in_sorted_catalogues(law: str) -> None:
    random = np.random.default_rng(5)
    size, width, sizes = 1_000, 7, (600, 0, 1, 90)
    documents = [random.permutation(size)[:hits].astype(np.int32) + 1 for hits in sizes]
    scores = [scores_by_law(law, hits, random) for hits in sizes]
    query_keys = row_hash(0, "queries", np.arange(4))
    item_keys = row_hash(0, "items", np.arange(size + 1))
    found = sparse.csr_array(
        (
            np.concatenate(scores),
            np.concatenate(documents),
            np.concatenate([[0], np.cumsum(sizes)]),
        ),
        shape=(4, size + 1),
    )
    orders = QueryOrders(_Found(found), ["0", "1", "2", "3"], query_keys, item_keys, SEED)
    levels = np.zeros((4, size + 1), dtype=np.int64)
    for number, (own, values) in enumerate(zip(documents, scores, strict=True)):
        levels[number, own] = score_levels(values)
    hashes = row_hash(SEED, "matched", query_keys[:, None], item_keys)
    ordered = np.array([1 + np.lexsort((hashes[q, 1:], levels[q, 1:])) for q in range(4)])

    query = np.array([0, 0, 0, 1, 2, 3, 3])  # of each event
    event = random.integers(len(query), size=400)
    item = random.integers(1, size + 1, size=400)
    members = Members(event, item, levels[query[event], item], hashes[query[event], item])
    ranks, hits = orders.ranks(query, members)
    assert hits.tolist() == list(sizes)
    assert (ordered[query[event], ranks] == item).all()

    barred = members.select(np.unique(event * (size + 1) + item, return_index=True)[1])
    lists = [
        [item for item in ordered[own].tolist() if item not in barred.item[barred.event == row]]
        for row, own in enumerate(query.tolist())
    ]
    shortest = min(map(len, lists))
    for bound in (3, 40, shortest):  # near the top, among the hits, anywhere
        allowed = random.integers(bound, size=(len(query), width))
        expected = [[own[rank] for rank in row] for own, row in zip(lists, allowed, strict=True)]
        assert orders.items_at(query, allowed, barred).tolist() == expected
    assert orders.items_at(query, allowed[:, :0], barred).shape == (len(query), 0)


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("number", [1, 2, 50, 5_000])
def test_items_by_hash_are_ranked_and_found_as_in_a_sorted_list(number: int) -> None:
    random = np.random.default_rng(number)
    hashes = row_hash(1, "hash", np.arange(number))
    documents = random.permutation(number).astype(np.int32)
    order, expected = HashOrder(documents, hashes), documents[np.argsort(hashes)]
    for ranks in (np.array([0, number - 1, 0]), random.integers(number, size=30)):
        assert order.at(ranks).tolist() == expected[ranks].tolist()
        own = np.sort(hashes)[ranks]
        assert replace(order).ranks(own).tolist() == ranks.tolist()
        assert replace(order).ranks(own + np.uint64(1)).tolist() == (ranks + 1).tolist()


@pytest.mark.parametrize("number", [1, 60, 1_999])
def test_the_smallest_of_many_hashes_are_found(number: int) -> None:
    hashes = row_hash(2, "hash", np.arange(2_000))
    expected = np.argsort(hashes)[:number]
    assert sorted(best_hits._smallest(hashes, number).tolist()) == sorted(expected.tolist())
    # Hashes that all lie above the bound are searched as a whole.
    high = hashes | np.uint64(1 << 63)
    expected = np.argsort(high)[:number]
    assert sorted(best_hits._smallest(high, number).tolist()) == sorted(expected.tolist())
