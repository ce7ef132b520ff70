"""Pseudo-queries: learned from the search log, drawn by item and seed, distinct, shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.kit.language_models.pseudo_queries import (
    PseudoQueries,
    PseudoQueryBackbone,
    PseudoQuerySettings,
    PseudoQueryTraining,
    QueryWriter,
    nucleus,
    pseudo_queries,
)
from benchmark.kit.language_models.seq2seq import Backbone, ScratchSize
from benchmark.kit.language_models.tokenizer import texts_of
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.planted import dataset_of_events, items_of_texts, world_in
from tests.training import SEED, expect

KINDS, OF_EACH, USERS, EVENTS = ("shoe", "hat", "scarf", "glove"), 6, 40, 8
ITEMS = len(KINDS) * OF_EACH
SCRATCH = PseudoQueryBackbone(
    model="scratch",
    scratch=ScratchSize(
        width=32, layers=1, heads=2, head_width=16, feed_forward=64, text_tokens=120, dropout=0.0
    ),
)
QUICK = PseudoQueryTraining(epochs=12, batch_size=32, learning_rate=0.01)


def settings(**changes: Any) -> PseudoQuerySettings:
    values: dict[str, Any] = {
        "backbone": SCRATCH,
        "queries_per_item": 5,
        "most_query_tokens": 8,
        "training": QUICK,
    }
    return PseudoQuerySettings(**{**values, **changes})


def kind_of(item: int) -> str:
    return KINDS[(item - 1) % len(KINDS)]


@pytest.fixture(scope="module")
def view() -> TrainingView:
    """Every search asks for the kind of its item, in one of two wordings."""
    random = np.random.default_rng(4)
    item = random.integers(1, ITEMS + 1, size=USERS * EVENTS)
    wording = random.integers(2, size=len(item))
    texts = ["", *[f"{kind_of(number)} number {number}" for number in range(1, ITEMS + 1)]]
    asked = [f"{verb} a {kind}" for verb in ("find", "buy") for kind in KINDS]
    user = np.repeat(np.arange(1, USERS + 1), EVENTS)
    query = 1 + wording * len(KINDS) + (item - 1) % len(KINDS)
    dataset = dataset_of_events(items_of_texts(texts), ["", *asked], user, item, query)
    return world_in(dataset, ProtocolSettings(negatives=5))[2]


def context_in(folder: Path, seed: int = SEED) -> RunContext:
    return RunContext(seed, folder, ArtifactStore(folder / "artifacts"))


@pytest.fixture(scope="module")
def written(view: TrainingView, tmp_path_factory: Any) -> PseudoQueries:
    return pseudo_queries(context_in(tmp_path_factory.mktemp("queries")), view, settings())


@pytest.mark.training
def test_each_item_gets_queries_for_its_kind(written: PseudoQueries) -> None:
    queries = [(item, query) for item in range(1, ITEMS + 1) for query in written.of_item(item)]
    fitting = [
        query in (f"find a {kind_of(item)}", f"buy a {kind_of(item)}") for item, query in queries
    ]
    expect(float(np.mean(fitting)), above=0.9)
    assert {query.split()[0] for _, query in queries} >= {"find", "buy"}


@pytest.mark.training
def test_queries_of_an_item_are_distinct_and_the_padding_item_has_none(
    written: PseudoQueries,
) -> None:
    lists = [written.of_item(item) for item in range(ITEMS + 1)]
    assert not lists[0] and all(1 <= len(own) <= 5 for own in lists[1:])
    assert all(len(set(own)) == len(own) for own in lists)
    assert len(set(written.texts)) == len(written.texts)


def test_a_draw_is_one_of_the_items_own(written: PseudoQueries) -> None:
    items = np.arange(1, ITEMS + 1).repeat(20)
    drawn = written.draw(items, np.random.default_rng(0))
    for item in range(1, ITEMS + 1):
        assert {written.texts[number] for number in drawn[items == item]} == set(
            written.of_item(item)
        )


def test_it_is_made_once_and_read_again(view: TrainingView, tmp_path: Path) -> None:
    quick = settings(training=PseudoQueryTraining(epochs=1, batch_size=64))
    first = pseudo_queries(context_in(tmp_path), view, quick)
    assert len(list((tmp_path / "artifacts").glob("pseudo-queries-*.lock"))) == 1
    again = pseudo_queries(context_in(tmp_path), view, quick)
    assert list(again.texts) == list(first.texts)
    np.testing.assert_array_equal(again.numbers, first.numbers)
    np.testing.assert_array_equal(again.offsets, first.offsets)


def test_a_query_depends_on_seed_item_and_number_only(view: TrainingView, tmp_path: Path) -> None:
    backbone = Backbone.make(SCRATCH, texts_of(view), (), context_in(tmp_path))
    texts = view.corpus.items.text[1:]

    def write(texts: Any, seed: int = 0, number: int = 5) -> list[list[str]]:
        changed = settings(queries_per_item=number)
        return QueryWriter(backbone, changed, context_in(tmp_path, seed)).write(texts)

    many = write(texts)
    assert write(texts[:3]) == many[:3]
    assert [own[:2] for own in many] == write(texts, number=2)
    assert write(texts, seed=1) != many


def test_as_many_beams_as_queries_is_the_other_way(view: TrainingView, tmp_path: Path) -> None:
    backbone = Backbone.make(SCRATCH, texts_of(view), (), context_in(tmp_path))
    beams = settings(decoding="beam", queries_per_item=3)
    queries = QueryWriter(backbone, beams, context_in(tmp_path)).write(view.corpus.items.text[1:4])
    assert [len(own) for own in queries] == [3, 3, 3]


def test_without_searches_a_model_from_scratch_writes_nothing(
    view: TrainingView, tmp_path: Path
) -> None:
    from tests.kit.conftest import small_dataset

    dataset, protocol = small_dataset(), ProtocolSettings(negatives=5)
    silent = TrainingView(dataset, build_tasks(dataset, protocol), protocol)
    queries = pseudo_queries(context_in(tmp_path), silent, settings())
    assert not queries.texts and not queries.counts.any()
    assert len(queries.counts) == silent.corpus.number_of_items + 1


def test_the_token_that_crosses_the_threshold_is_kept() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.3, 0.2]]))
    probabilities, tokens = nucleus(logits, top_k=3, top_p=0.5)
    # Of the three likeliest, renormalised, the first has 0.44 and the second crosses 0.5.
    assert tokens.tolist() == [[1, 2, 3]]
    torch.testing.assert_close(probabilities, torch.tensor([[4 / 7, 3 / 7, 0.0]]))
