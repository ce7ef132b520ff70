"""UnifiedSSR: it learns planted rules of both tasks, looks back only, and scores anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.joint.unifiedssr import (
    SequenceInstances,
    UnifiedSSR,
    UnifiedSSRConfig,
    UnifiedSSRNetwork,
    UnifiedSSRTraining,
)
from benchmark.data.dataset import RECOMMENDATION, SEARCH
from benchmark.kit.text.words import QueryWords, Vocabulary
from benchmark.kit.training import Batch
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import World, cycle_and_tastes, strangers, world_in
from tests.training import SEED, expect

CYCLE, KINDS, TASTES, USERS, ROUNDS = 12, 4, 3, 48, 10
ITEMS = CYCLE + KINDS * TASTES
UNKNOWN_WORDS, EMPTY_QUERY = KINDS + 1, KINDS + 2
SETTINGS = ProtocolSettings(negatives=9)


def planted_world(behaviours: tuple[int, ...] = (RECOMMENDATION, SEARCH)) -> World:
    dataset = cycle_and_tastes(USERS, ROUNDS, cycle=CYCLE, kinds=KINDS, tastes=TASTES)
    log = dataset.log
    return world_in(dataset.with_log(log.keep(np.isin(log.behaviour, behaviours))), SETTINGS)


@pytest.fixture(scope="module")
def planted() -> World:
    return planted_world()


SMALL: dict[str, Any] = {
    "embedding_size": 32,
    "layers": 1,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "history_length": 6,
}


def make(folder: Path, pretraining: int = 1, training: int = 1, **changes: Any) -> UnifiedSSR:
    stages = {
        name: UnifiedSSRTraining(
            epochs=epochs,
            batch_size=16,
            learning_rate=0.005,
            schedule="constant",
            warmup_steps=0,
            validate_every=0,
        )
        for name, epochs in (("pretraining", pretraining), ("training", training))
    }
    config = UnifiedSSRConfig(**{**SMALL, **stages, **changes})
    return UnifiedSSR(config, RunContext(SEED, folder, ArtifactStore(folder)))


@pytest.fixture(scope="module")
def fitted(planted: World, tmp_path_factory: Any) -> UnifiedSSR:
    system = make(tmp_path_factory.mktemp("unifiedssr"), 20, 5)
    system.fit(planted[2])
    return system


# -------------------------------------------------------------------------------------- learning


@pytest.mark.training
@pytest.mark.parametrize("task", ["recommendation", "search"])
def test_it_learns_the_planted_rule(task: str, planted: World, fitted: UnifiedSSR) -> None:
    expect(hit_rate(fitted, planted[0], planted[1][task]), above=0.9)


@pytest.mark.training
def test_stacked_layers_look_back_only_and_learn(planted: World, tmp_path: Path) -> None:
    system = make(tmp_path, 20, 0, layers=2, layer_wiring="stacked")
    system.fit(planted[2])
    expect(hit_rate(system, planted[0], planted[1]["search"]), above=0.9)
    _assert_later_events_do_not_matter(system, planted)


def test_one_task_is_enough(tmp_path: Path) -> None:
    for behaviour, task in ((RECOMMENDATION, "recommendation"), (SEARCH, "search")):
        world = planted_world((behaviour,))
        system = make(tmp_path / task)
        system.fit(world[2])
        assert np.isfinite(system.score(world[1][task].requests(world[0], "test"))).all()


def test_vectors_of_users_that_training_never_reads_are_zero(tmp_path: Path) -> None:
    dataset, _, _ = planted_world((RECOMMENDATION,))
    log, keep = dataset.log, np.ones(len(dataset.log), dtype=bool)
    keep[log.offsets[3] + 3 : log.offsets[4]] = False  # one is trained on, which is no sequence
    dataset = dataset.with_log(log.keep(keep))
    view = TrainingView(dataset, build_tasks(dataset, SETTINGS), SETTINGS)
    assert 3 in view.log.user
    system = make(tmp_path)
    system.fit(view)
    for task in ("recommendation", "search"):
        vectors = system._network_of(task).u_embed.lut.weight
        assert not vectors[[0, 3]].any() and vectors[[1, 2, 4]].any(dim=1).all()


def test_a_pretrained_network_is_not_trained_again(planted: World, tmp_path: Path) -> None:
    system, again = make(tmp_path), make(tmp_path)
    system.fit(planted[2])
    before = sorted(tmp_path.glob("*.jsonl"))
    (tmp_path / "pretraining.jsonl").unlink()
    again.fit(planted[2])
    assert [path.stem for path in before] == ["pretraining", "recommendation", "search"]
    assert not (tmp_path / "pretraining.jsonl").exists()
    requests = planted[1]["search"].requests(planted[0], "test")
    np.testing.assert_array_equal(again.score(requests), system.score(requests))


def test_a_released_loss_is_the_same_where_nothing_saturates(planted: World) -> None:
    batch = _batches(planted)[1]
    losses = {}
    for form in ("softplus", "released"):
        torch.manual_seed(0)
        network = UnifiedSSRNetwork(
            USERS + 1, ITEMS + 1, 20, UnifiedSSRConfig(**SMALL, loss=form)
        ).eval()
        with torch.no_grad():
            network.p_embed.lut.weight.mul_(0.01)
        losses[form] = network.loss(batch)
    torch.testing.assert_close(losses["softplus"], losses["released"])


# ------------------------------------------------------------------------------------- sequences


def _batches(world: World, **changes: Any) -> list[Batch]:
    """One batch of all recommendation windows, and one of all search windows."""
    _, _, view = world
    config = UnifiedSSRConfig(**{**SMALL, **changes})
    vocabulary = Vocabulary.of_texts((), view.corpus.queries.text[:-2])
    words = QueryWords.of_corpus(vocabulary, view.corpus, longest=9)
    instances = SequenceInstances(view, words, config)
    rows = sorted(
        instances.batches(10_000, np.random.default_rng(0)), key=lambda rows: int(rows[0])
    )
    assert len(rows) == instances.steps(10_000) == 2
    assert sum(map(len, rows)) == len(instances)
    return [instances.batch(np.sort(part), np.random.default_rng(1)) for part in rows]


@pytest.mark.parametrize("firsts", [True, False])
def test_every_training_event_is_a_target_once(firsts: bool, planted: World) -> None:
    view = planted[2]
    for task, batch in zip(
        ("recommendation", "search"), _batches(planted, first_searches=firsts), strict=True
    ):
        user = batch["users"][:, None].expand_as(batch["targets"])[batch["is_target"]]
        found = torch.stack([user, batch["targets"][batch["is_target"]]], dim=1).tolist()
        examples = view.examples(task)
        wanted = np.stack([examples.user, examples.target], axis=1)
        if task == "recommendation" or not firsts:  # all but each user's first one
            wanted = wanted[np.r_[False, examples.user[1:] == examples.user[:-1]]]
        assert sorted(found) == sorted(wanted.tolist())
        negatives = batch["negatives"][batch["is_target"]]
        assert ((negatives >= 1) & (negatives <= ITEMS)).all()
        assert (negatives != batch["targets"][batch["is_target"]][:, None]).all()


def test_a_position_holds_the_product_before_it(planted: World) -> None:
    recommendation, search = _batches(planted)
    later = recommendation["products"][:, 1:]
    np.testing.assert_array_equal(later, recommendation["targets"][:, :-1] * (later > 0))
    assert (search["products"][:, 0] == 0).all()
    np.testing.assert_array_equal(
        search["products"][:, 1:], search["targets"][:, :-1] * (search["products"][:, 1:] > 0)
    )
    np.testing.assert_array_equal(search["asked"], search["targets"] > 0)
    np.testing.assert_array_equal(search["words"].any(dim=2), search["asked"])


def _assert_later_events_do_not_matter(system: UnifiedSSR, world: World) -> None:
    recommendation, search = _batches(world)
    for place in (2, 4):
        for batch, task in ((recommendation, "recommendation"), (search, "search")):
            network = system.model[task].eval()
            names = ("users", "products", "words", "asked")
            arguments = [batch[name] for name in names if name in batch]
            other = [argument.clone() for argument in arguments]
            for argument in other[1:]:
                later = argument[:, place:]
                argument[:, place:] = later.flip(0)
            encode = network.encode_both if task == "search" else network.encode_products
            here, there = encode(*arguments), encode(*other)
            pairs = zip(here, there, strict=True) if task == "search" else [(here, there)]
            for before, after in pairs:
                assert not torch.equal(before[:, place:], after[:, place:])
                torch.testing.assert_close(before[:, :place], after[:, :place])


def test_a_position_does_not_see_later_ones(planted: World, fitted: UnifiedSSR) -> None:
    _assert_later_events_do_not_matter(fitted, planted)


# --------------------------------------------------------------------------------------- scoring


def strange_requests(world: World, task: str, query: int) -> Requests:
    return strangers(world[0], world[1][task], query)


def test_loaded_it_scores_the_same_to_the_bit_whoever_asks(
    planted: World, fitted: UnifiedSSR, tmp_path: Path
) -> None:
    dataset, tasks, view = planted
    loaded = loaded_into(make(tmp_path / "other"), fitted, tmp_path, view.corpus)
    cases = [task.requests(dataset, "test") for task in tasks.values()]
    cases += [strange_requests(planted, "recommendation", 0)]
    cases += [strange_requests(planted, "search", query) for query in (1, UNKNOWN_WORDS)]
    cases += [strange_requests(planted, "search", EMPTY_QUERY)]
    check_scores_are_the_same(loaded, fitted, *cases)
    for requests in cases:
        scores = fitted.score(requests)
        assert np.isfinite(scores).all()
        alone = fitted.score(requests.select(slice(0, 1)))
        np.testing.assert_allclose(alone, scores[:1], rtol=1e-4, atol=1e-4)
        turned = fitted.score(requests.with_candidates(requests.candidates[:, ::-1].copy()))
        np.testing.assert_allclose(turned[:, ::-1], scores, rtol=1e-4, atol=1e-4)


def test_without_a_history_the_query_still_counts(planted: World, fitted: UnifiedSSR) -> None:
    asked = [fitted.score(strange_requests(planted, "search", query)) for query in (1, 2)]
    assert not np.allclose(*asked)


def test_a_list_costs_one_encoding_a_request(
    planted: World, fitted: UnifiedSSR, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = UnifiedSSRNetwork.encode_both

    def counting(self: UnifiedSSRNetwork, users: torch.Tensor, *rest: torch.Tensor) -> Any:
        encoded.append(len(users))
        return encode(self, users, *rest)

    monkeypatch.setattr(UnifiedSSRNetwork, "encode_both", counting)
    requests = planted[1]["search"].requests(planted[0], "test")
    fitted.score(requests)
    assert sum(encoded) == len(requests)
