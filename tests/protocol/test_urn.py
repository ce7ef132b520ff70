"""Draws by hash: their law, and that they hang on nothing but the event and what may be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.hashing import row_hash
from benchmark.protocol import negatives
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.negatives import HashedLaw, hashed_negatives
from benchmark.protocol.urn import Urn, event_keys
from tests.protocol.logs import shop_dataset


def keys_of(number: int, purpose: str = "item") -> np.ndarray:
    return row_hash(0, purpose, np.arange(number))


def nothing(items: int) -> Exclusions:
    return Exclusions(np.zeros(0, dtype=np.int64), items)


@pytest.mark.parametrize("elements", [1, 2, 7, 100, 1_008, 12_101])
def test_every_element_is_drawn_equally_often(elements: int) -> None:
    urn = Urn.of(keys_of(elements), np.arange(1, elements + 1))
    drawn = urn.draw(keys_of(600_000, "draw"))
    hits = np.bincount(drawn, minlength=elements + 1)
    full = hits[1:].sum()
    assert full / len(drawn) == pytest.approx(urn.share_of_full_places, rel=0.02)
    expected = full / elements
    z = (hits[1:] - expected) / np.sqrt(expected)
    assert len(hits) == elements + 1
    assert np.abs(z).max() < 5.5
    if elements > 1:
        assert np.mean(z**2) == pytest.approx(1, abs=0.8 if elements < 50 else 0.2)


def test_an_element_less_changes_few_draws() -> None:
    keys, value = keys_of(5_000), np.arange(1, 5_001)
    numbers = keys_of(200_000, "draw")
    drawn = Urn.of(keys, value).draw(numbers)
    fewer = Urn.of(np.delete(keys, 1_234), np.delete(value, 1_234)).draw(numbers)
    changed = np.mean(drawn != fewer)
    assert 0 < changed < 20 / 5_000
    assert not (fewer == 1_235).any()


PATHS = {"rejection": (8, 0.0), "gumbel": (0, 4.0), "both": (1, 0.0)}


@pytest.mark.parametrize("path", PATHS)
def test_popularity_law_of_hashed_draws(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, needs = PATHS[path]
    monkeypatch.setattr(negatives, "_ROUNDS", rounds)
    monkeypatch.setattr(negatives, "_REJECTION_NEEDS", needs)
    monkeypatch.setattr(negatives, "_REJECTION_SHARE", 0.0)
    item = np.repeat(np.arange(1, 13), np.arange(1, 13))  # item i stands in i events
    law = HashedLaw.of_events(3, keys_of(13), keys_of(len(item), "event"), item)
    events = 40_000
    barred = Exclusions.of_pairs(np.array([0]), np.array([5]), 12)
    drawn, found = hashed_negatives(
        law, keys_of(events, "asked"), np.zeros(events, int), np.full(events, 7), barred, 2
    )
    assert (found == 2).all()
    weights = np.arange(13.0)
    weights[[5, 7]] = 0
    total = weights.sum()
    pair = np.outer(weights / total / (total - weights), weights)
    np.fill_diagonal(pair, 0.0)
    counts = np.zeros_like(pair)
    np.add.at(counts, (drawn[:, 0], drawn[:, 1]), 1)
    assert not counts[pair == 0].any()
    cell = pair > 0
    z = (counts[cell] - events * pair[cell]) / np.sqrt(events * pair[cell] * (1 - pair[cell]))
    assert np.abs(z).max() < 5
    assert np.mean(z**2) == pytest.approx(1, abs=0.4)


def test_lists_of_an_event_do_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "_CHUNK", 7)
    law = HashedLaw.uniform(1, keys_of(301))
    keys, targets = keys_of(50, "asked"), np.arange(1, 51)
    together, _ = hashed_negatives(law, keys, np.zeros(50, int), targets, nothing(300), 40)
    some = np.array([3, 17, 49])
    alone, _ = hashed_negatives(law, keys[some], np.zeros(3, int), targets[some], nothing(300), 40)
    np.testing.assert_array_equal(alone, together[some])


def test_events_have_keys_by_external_ids() -> None:
    dataset = shop_dataset(seed=0)
    rows = np.arange(len(dataset.log))
    keys = event_keys(dataset, rows, 1)
    log = dataset.log
    triples = set(zip(log.user.tolist(), log.item.tolist(), log.query.tolist(), strict=True))
    assert len(set(keys.tolist())) == len(triples)
    assert not np.isin(event_keys(dataset, rows, 2), keys).any()
