"""LC-Rec on a causal model: what it reads and learns to write, its scores, and named models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.generative_recommendation import lc_rec
from baselines.generative_recommendation.lc_rec import TaskMix
from baselines.generative_recommendation.lc_rec_causal import (
    ANSWER,
    CausalMixture,
    LCRecCausal,
    LCRecCausalConfig,
)
from baselines.generative_recommendation.wordings import NEXT_ITEM
from benchmark.errors import SystemFailure
from benchmark.kit.identifiers.names import identifier_texts
from benchmark.kit.language_models.causal import continued
from benchmark.kit.text.pieces import IGNORED, assembled
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import SMALL_CODES, Planted, going_round, planted_in, toy_encoder
from tests.golden.loading import requests_for
from tests.kit.test_causal import byte_level_folder
from tests.training import SEED, expect

ITEMS, USERS, EVENTS, DIM = 24, 100, 8, 16
LISTS = ProtocolSettings(negatives=9)
SMALL: dict[str, Any] = {
    "identifiers": SMALL_CODES,
    "backbone": {
        "model": "scratch",
        "scratch": {
            "width": 32,
            "layers": 2,
            "heads": 2,
            "feed_forward": 64,
            "text_tokens": 150,
            "deviation": 0.1,
        },
    },
    "prompts": "short",
    "history_length": 2,
    "training": {
        "epochs": 12,
        "batch_size": 48,
        "micro_batch_size": None,
        "learning_rate": 0.01,
        "validate_every": 0,
    },
}


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(going_round(USERS, ITEMS, EVENTS), LISTS)


@pytest.fixture(scope="module", autouse=True)
def _toy_encoder() -> Iterator[None]:
    with toy_encoder(lc_rec, DIM):
        yield


def make(folder: Path, **changes: Any) -> LCRecCausal:
    config = LCRecCausalConfig(**SMALL | changes)
    return LCRecCausal(config, RunContext(SEED, folder, ArtifactStore(folder / "artifacts")))


@pytest.fixture(scope="module")
def fitted(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> LCRecCausal:
    system = make(tmp_path_factory.mktemp("lc-rec-causal"))
    system.fit(planted[2])
    return system


@pytest.mark.training
def test_the_next_item_is_learned(fitted: LCRecCausal, planted: Any) -> None:
    dataset, task, _ = planted
    expect(hit_rate(fitted, dataset, task), above=0.6)


def test_an_answer_follows_its_mark_and_nothing_before_it_is_learned(
    fitted: LCRecCausal, planted: Any
) -> None:
    tokenizer = fitted.backbone.tokenizer
    config = fitted.config.model_copy(
        update={"tasks": TaskMix(item_of_text=0, text_of_item=0, fused=0)}
    )
    instances = CausalMixture(planted[2], fitted.prompts, config)
    rows = np.arange(8)
    batch = instances.batch(rows, np.random.default_rng(0))
    ids, mask, labels = continued(batch)
    texts = identifier_texts(fitted.identifiers)
    example = instances.example[rows]
    kept = zip(ids, mask.bool(), labels, example, strict=True)
    for own, real, wanted, number in kept:
        history = "".join(texts[item] for item in instances.histories[number])
        asked = tokenizer.marked([f"{history} {ANSWER}"]).ids.tolist()
        answer = tokenizer.marked([texts[instances.items[number]]]).ids.tolist()
        assert own[real].tolist() == [*asked, *answer, tokenizer.end]
        assert wanted[real].tolist() == [IGNORED] * len(asked) + [*answer, tokenizer.end]


def test_scores_are_log_likelihoods_of_the_codes(fitted: LCRecCausal) -> None:
    exact = make(fitted.context.folder, scoring="exact")
    exact.identifiers, exact.backbone, exact.prompts = (
        fitted.identifiers,
        fitted.backbone,
        fitted.prompts,
    )
    exact._targets = fitted._targets
    histories, candidates = np.array([[5, 9], [0, 3]]), np.array([[1, 7, 20, 4], [8, 2, 5, 24]])
    found = exact.score(requests_for(histories, candidates))
    every = exact.score_all_items(requests_for(histories, candidates))
    np.testing.assert_allclose(np.take_along_axis(every, candidates, axis=1), found, atol=1e-4)
    tokenizer, lm = fitted.backbone.tokenizer, fitted.writer()
    texts = identifier_texts(fitted.identifiers)
    for row, column in np.ndindex(found.shape):
        history = "".join(texts[item] for item in histories[row])
        asked = tokenizer.marked([f"{history} {ANSWER}"]).ids
        written = [*tokenizer.marked([texts[candidates[row, column]]]).ids, tokenizer.end]
        whole = torch.tensor([[*asked, *written]])
        with torch.no_grad():
            logits = lm(input_ids=whole).logits[0, len(asked) - 1 : -1]
        steps = logits.log_softmax(dim=1)[torch.arange(len(written)), torch.tensor(written)]
        assert found[row, column] == pytest.approx(float(steps.sum()), abs=1e-4)


def test_it_comes_back_from_its_folder(fitted: LCRecCausal, planted: Any, tmp_path: Path) -> None:
    loaded = loaded_into(make(tmp_path), fitted, tmp_path, planted[2].corpus)
    requests = planted[1].requests(planted[0], "test").select(slice(0, 5))
    check_scores_are_the_same(loaded, fitted, requests)
    assert "LLaMA from random weights (width 32, 2 layers)" in fitted.stand_ins()[0]


@pytest.mark.parametrize("opens", [False, True])
def test_a_named_model_with_a_tokenizer_of_its_own_is_tuned(
    opens: bool, planted: Any, tmp_path: Path
) -> None:
    folder = byte_level_folder(tmp_path / "gpt2", opens=opens, n_positions=512)
    training = SMALL["training"] | {"epochs": 1}
    system = make(
        tmp_path, backbone={"model": str(folder)}, training=training, prompts="instruction"
    )
    system.fit(planted[2])
    question = system.prompts.questions(np.array([[3, 4]]))
    ids, mask = assembled(system.prompts.tokens, question)
    first = [1] if opens else []
    texts = identifier_texts(system.identifiers)
    before, after = NEXT_ITEM[0][0].split("{history}")
    tokenizer = system.backbone.tokenizer
    written = f" {before.strip()}{texts[3]} ,{texts[4]} {after.strip()} {ANSWER}"
    assert ids[mask].tolist() == [*first, *tokenizer.marked([written]).ids.tolist()]
    requests = planted[1].requests(planted[0], "test").select(slice(0, 5))
    assert np.isfinite(system.score(requests)).all()
    assert "gpt2" in system.stand_ins()[0]


def test_a_model_with_too_few_positions_is_refused(planted: Any, tmp_path: Path) -> None:
    folder = byte_level_folder(tmp_path / "gpt2", n_positions=64)
    system = make(tmp_path, backbone={"model": str(folder)}, prompts="instruction")
    with pytest.raises(SystemFailure, match="do not fit into the 64 positions of its backbone"):
        system.fit(planted[2])
