"""QEM and TEM: they learn what is planted, they score anybody, and they keep their promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from baselines.personalized_search.base import ProductSearch, SearchInstances
from baselines.personalized_search.prodsearch import TextWordSampler
from baselines.personalized_search.qem import QEM
from baselines.personalized_search.tem import TEM, OriginalTEM
from benchmark.data.dataset import RECOMMENDATION
from benchmark.errors import SystemFailure
from benchmark.kit.text.words import FIRST_WORD, Vocabulary
from benchmark.kit.training import TrainingSettings
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import (
    Planted,
    dataset_of_events,
    items_of_texts,
    planted_in,
    strangers,
)
from tests.training import SEED, expect

NEEDS = ["tea", "lamp", "soap", "rope", "desk", "ball", "shoe", "ring"]
TASTES = ["red", "blue", "green"]
UNKNOWN_WORDS, EMPTY_QUERY = len(NEEDS) + 1, len(NEEDS) + 2
USERS, SEARCHES = 90, 10
SETTINGS = ProtocolSettings(negatives=7)


def make_world(*, with_taste: bool) -> Planted:
    """Users buy things of their colour, then search; who searches ``need`` takes an item of it.

    With taste it is the item of the user's colour, without it always the red one. The BM25 lists
    hold the items of the same need in other colours, so the query alone does not tell them apart.
    """
    random = np.random.default_rng(5)
    # The red ones have the shorter text, so they are BM25's first.
    goods = [f"{need} thing{' thing' * (taste > 0)}" for need in NEEDS for taste in range(3)]
    # Enough items that nobody buys, to fill up lists.
    texts = ["", *goods, *[f"sample {taste}" for taste in TASTES for _ in range(4)]]
    user, item, query = [], [], []
    for number in range(1, USERS + 1):
        taste = int(random.integers(len(TASTES)))
        bought = 1 + len(goods) + 4 * taste + random.permutation(4)
        asked = random.integers(len(NEEDS), size=SEARCHES)
        taken = 1 + asked * len(TASTES) + (taste if with_taste else 0)
        # Two purchases come first; two, which are held out, not before the searches of training.
        user += [number] * (4 + SEARCHES)
        item += [*bought[:2], *taken[:-2], *bought[2:], *taken[-2:]]
        query += [0, 0, *(asked[:-2] + 1), 0, 0, *(asked[-2:] + 1)]
    queries = ["", *NEEDS, "never heard", ""]
    events = (np.array(column) for column in (user, item, query))
    dataset = dataset_of_events(items_of_texts(texts), queries, *events)
    return planted_in(dataset, SETTINGS, "search")


@pytest.fixture(scope="module")
def by_query() -> Planted:
    return make_world(with_taste=False)


@pytest.fixture(scope="module")
def by_taste() -> Planted:
    return make_world(with_taste=True)


QUICK = TrainingSettings(epochs=90, batch_size=64, learning_rate=0.005, validate_every=0)
ONE_EPOCH = TrainingSettings(epochs=1, batch_size=256, validate_every=1)
SMALL = {"embedding_size": 16, "embedding_deviation": 0.1, "minimum_word_count": 1}
JOINT = {"form": "joint_framework", "embedding_size": 16, "word_size": 8, "item_size": 16}
SMALL_TEM = SMALL | {"embedding_size": 32, "feed_forward_size": 16}
JOINT_TEM = JOINT | {"feed_forward_size": 16}

SYSTEMS = {
    "qem": (QEM, SMALL),
    "qem, joint framework": (QEM, JOINT),
    "tem": (TEM, SMALL_TEM),
    "tem, joint framework": (TEM, JOINT_TEM),
}


def make(kind: Any, folder: Path, **config: Any) -> ProductSearch:
    return kind(kind.Config(**config), RunContext(SEED, folder, ArtifactStore(folder)))


# -------------------------------------------------------------------------------------- learning


@pytest.mark.training
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_planted_item_of_a_query_is_learned(
    name: str, by_query: Planted, tmp_path: Path
) -> None:
    kind, config = SYSTEMS[name]
    system = make(kind, tmp_path, **config, training=QUICK.model_copy(update={"epochs": 25}))
    system.fit(by_query[2])
    expect(hit_rate(system, *by_query[:2]), above=0.9)


@pytest.mark.training
@pytest.mark.parametrize("name", ["tem", "tem, joint framework"])
def test_tem_learns_the_planted_item_of_query_and_taste(
    name: str, by_taste: Planted, tmp_path: Path
) -> None:
    kind, config = SYSTEMS[name]
    system = make(kind, tmp_path, **config, training=QUICK)
    system.fit(by_taste[2])
    expect(hit_rate(system, *by_taste[:2]), above=0.9)


@pytest.mark.training
def test_qem_knows_no_taste(by_taste: Planted, tmp_path: Path) -> None:
    system = make(QEM, tmp_path, **SMALL, training=QUICK.model_copy(update={"epochs": 10}))
    system.fit(by_taste[2])
    expect(hit_rate(system, *by_taste[:2]), below=0.6)  # one colour in three is right
    dataset, task, _ = by_taste
    requests = task.requests(dataset, "test")
    same_list = np.tile(np.arange(1, 30, dtype=np.int32), (len(requests), 1))
    scores = system.score(requests.with_candidates(same_list))
    for query in range(1, len(NEEDS) + 1):
        alike = scores[requests.query == query]
        np.testing.assert_allclose(alike, np.broadcast_to(alike[0], alike.shape), atol=1e-5)


# --------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_loaded_system_scores_alike_to_the_bit(
    name: str, by_taste: Planted, tmp_path: Path
) -> None:
    dataset, task, view = by_taste
    kind, config = SYSTEMS[name]
    system = make(kind, tmp_path / "run", **config, training=ONE_EPOCH)
    system.fit(view)
    empty = make(kind, tmp_path / "other", **config, training=ONE_EPOCH)
    loaded = loaded_into(empty, system, tmp_path, view.corpus)
    cases = [strangers(dataset, task, query) for query in (UNKNOWN_WORDS, EMPTY_QUERY)]
    check_scores_are_the_same(loaded, system, task.requests(dataset, "test"), *cases)
    for strange in cases:
        scores = system.score(strange)
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(scores[:1], system.score(strange.select(slice(0, 1))), atol=1e-5)


def test_a_list_costs_one_encoding_a_request(
    by_taste: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, task, view = by_taste
    system = make(TEM, tmp_path, **SMALL_TEM, training=ONE_EPOCH)
    system.fit(view)
    encoded = []
    encoder = OriginalTEM.states

    def counting(self: OriginalTEM, words: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        encoded.append(len(words))
        return encoder(self, words, *rest, **more)

    monkeypatch.setattr(OriginalTEM, "states", counting)
    requests = task.requests(dataset, "test")
    system.score(requests)
    assert sum(encoded) == len(requests)


def test_the_history_of_both_behaviours_holds_searches_too(
    by_taste: Planted, tmp_path: Path
) -> None:
    examples = by_taste[2].examples("search")
    histories = {
        which: make(TEM, tmp_path, history_of=which, history_length=3).history_items(examples)
        for which in ("recommendation", "search", "both")
    }
    goods = len(NEEDS) * len(TASTES)
    assert not ((histories["recommendation"] > 0) & (histories["recommendation"] <= goods)).any()
    assert (histories["search"] <= goods).all()
    assert ((histories["both"] > goods).any(axis=1) & (histories["both"] <= goods).any()).any()


# -------------------------------------------------------------------------------------- training


def test_bm25_negatives_are_hits_behind_the_lists_and_else_uniform(
    by_query: Planted, tmp_path: Path
) -> None:
    """Of each need the red item, which is searched for, is BM25's first; blue and green tie."""
    dataset, rows = by_query[0], np.arange(50)
    for negatives, depth in ((0, 1), (7, 8)):
        view = TrainingView(dataset, build_tasks(dataset, SETTINGS), SETTINGS)
        view.evaluation_depth = negatives + 1
        assert view.evaluation_depth == depth
        system = make(QEM, tmp_path, uniform_negatives=1, bm25_negatives=2, word_loss_weight=0)
        system.read_words(system.vocabulary_of(view), view.corpus)
        batch = SearchInstances(view, system).batch(rows, np.random.default_rng(0))
        targets, drawn = batch["targets"][:, None], batch["negatives"]
        assert drawn.shape == (50, 3)
        assert not (drawn == targets).any() and (drawn > 0).all()
        of_the_need = (drawn > targets) & (drawn < targets + len(TASTES))
        assert bool(of_the_need[:, 1:].all()) == (depth == 1)


def test_words_of_a_step_are_the_targets_own(by_query: Planted) -> None:
    view = by_query[2]
    vocabulary = Vocabulary.of_view(view, reads_items=True)
    items = vocabulary.encode(view.corpus.items.text, longest=100)
    targets = view.examples("search").target
    config = QEM.Config(words_per_step=30, negative_words=3)
    sampler = TextWordSampler(items, vocabulary.number_of_ids, targets, config)
    drawn, noise = sampler.draw(targets, np.random.default_rng(0))
    assert drawn.shape == (len(targets), 30) and noise.shape == (len(targets), 30, 3)
    for target, row in zip(targets[:20], drawn, strict=False):
        assert set(row.tolist()) == set(items[target].tolist()) - {0}
    # "sample" is no word of a target, so it is no noise either.
    names = np.array(["", *vocabulary.words])
    assert set(names[noise.ravel()].tolist()) == {*NEEDS, "thing"}


def test_a_text_without_known_words_has_no_word_loss(by_query: Planted) -> None:
    view = by_query[2]
    vocabulary = Vocabulary.of_view(view, reads_items=True)
    items = vocabulary.encode(view.corpus.items.text, longest=100)
    unknown = np.minimum(items, FIRST_WORD - 1)
    targets, number = view.examples("search").target, vocabulary.number_of_ids
    sampler = TextWordSampler(unknown, number, targets, QEM.Config())
    drawn, noise = sampler.draw(targets, np.random.default_rng(0))
    assert not drawn.any()
    assert noise.max() < number


def test_without_searches_there_is_nothing_to_learn_from(by_query: Planted, tmp_path: Path) -> None:
    dataset, _, _ = by_query
    purchases = dataset.log.keep(dataset.log.behaviour == RECOMMENDATION)
    dataset = dataset.with_log(purchases)
    view = TrainingView(dataset, build_tasks(dataset, SETTINGS), SETTINGS)
    with pytest.raises(SystemFailure, match="learns from searches, and there are none"):
        make(QEM, tmp_path).fit(view)


def test_layer_norm_gains_start_at_one_or_as_released(by_query: Planted) -> None:
    torch.manual_seed(0)
    for gains, spread in (("ones", 0.0), ("normal", 0.5)):
        config = TEM.Config(layer_norm_gains=gains, layers=2)
        network = OriginalTEM(10, 10, config)
        norms = [m for m in network.modules() if isinstance(m, torch.nn.LayerNorm)]
        assert len(norms) == 4, "two of feed-forward layers, one before attention, one at the end"
        assert all(float(norm.weight.detach().std()) >= spread for norm in norms)
        assert gains == "normal" or all(bool((norm.weight == 1).all()) for norm in norms)


def test_the_state_of_the_query_alone_is_that_among_all() -> None:
    torch.manual_seed(0)
    network = OriginalTEM(30, 20, TEM.Config(layers=2)).eval()
    words = torch.randint(20, (4, 3))
    history = torch.tensor([[0, 0, 0], [5, 0, 0], [7, 9, 0], [1, 2, 3]])
    torch.testing.assert_close(
        network.states(words, history, wanted=1), network.states(words, history)[:, :1]
    )


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="3 heads do not divide the size 64"):
        TEM.Config(heads=3)
