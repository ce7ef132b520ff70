"""Joint semantic IDs: loss, codes, prompts and scores against plain ones, and what is learned.

The authors published neither code nor numbers, so what is compared with is written here, slowly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sklearn.cluster import KMeans

from baselines.joint.semantic_ids import (
    LITERALS,
    JointSemanticIDs,
    JointSemanticIDsConfig,
    Prompts,
    training_pairs,
)
from benchmark.data.dataset import RECOMMENDATION, Dataset
from benchmark.errors import SystemFailure
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.names import identifier_texts
from benchmark.kit.identifiers.rqvae import learn_identifiers
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.text.bi_encoder import BiEncoderSettings, pair_loss
from benchmark.kit.text.pieces import assembled
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import hit_rate
from tests.baselines.planted import World, dataset_of_rounds, items_of_texts, small_t5, world_in
from tests.baselines.test_dense_retrieval import TOPICS, WORDS, make_encoder
from tests.golden.loading import requests_for
from tests.training import SEED, expect

ITEMS, USERS, ROUNDS = 24, 80, 4
TASKS = ("recommendation", "search")
LISTS = ProtocolSettings(negatives=9)
SMALL: dict[str, Any] = {
    "bi_encoder": {"reach": 2, "training": {"epochs": 1, "batch_size": 32}},
    "identifiers": {"sizes": (6, 6), "epsilons": (0.0, 0.0)},
    "backbone": small_t5(embedding_deviation=0.3),
    "prompts": "short",
    "history_length": 2,
    "training": {
        "epochs": 12,
        "batch_size": 48,
        "micro_batch_size": None,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "validate_every": 0,
    },
}


def dataset() -> Dataset:
    """Users go round one cycle of the items, and now and then search one by a word of its own."""
    random = np.random.default_rng(5)
    order = 1 + random.permutation(ITEMS)
    bought = order[(random.integers(ITEMS, size=(USERS, 1)) + np.arange(2 * ROUNDS)) % ITEMS]
    found = 1 + np.stack([random.permutation(ITEMS)[:ROUNDS] for _ in range(USERS)])
    item = np.concatenate([bought.reshape(USERS, ROUNDS, 2), found[..., None]], axis=2)
    texts = ["", *WORDS[TOPICS : TOPICS + ITEMS]]  # item k is "find<k - 1>", its query "ask<k - 1>"
    query = item * [0, 0, 1]
    return dataset_of_rounds(items_of_texts(texts), ["", *WORDS[:ITEMS]], item, query)


@pytest.fixture(scope="module")
def planted() -> World:
    return world_in(dataset(), LISTS)


@pytest.fixture(scope="module")
def fitted(planted: World, tmp_path_factory: pytest.TempPathFactory) -> JointSemanticIDs:
    folder = tmp_path_factory.mktemp("joint-semantic-ids")
    encoder = make_encoder(folder / "encoder")
    config = JointSemanticIDsConfig(**SMALL, text_encoder=str(encoder))
    system = JointSemanticIDs(config, RunContext(SEED, folder, ArtifactStore(folder / "artifacts")))
    system.fit(planted[2])
    return system


def exactly(system: JointSemanticIDs) -> JointSemanticIDs:
    """The same model ranked by likelihoods."""
    other = JointSemanticIDs(system.config.model_copy(update={"scoring": "exact"}), system.context)
    other.backbone, other.identifiers, other.prompts = (
        system.backbone,
        system.identifiers,
        system.prompts,
    )
    other._targets = system._targets
    return other


# -------------------------------------------------------------------------------- the bi-encoder


def test_without_known_pairs_the_loss_is_that_of_sentence_transformers() -> None:
    random = torch.Generator().manual_seed(1)
    vectors = torch.nn.functional.normalize(torch.randn(16, 5, generator=random), dim=1)
    batch = {
        "left": torch.arange(8),
        "right": torch.arange(8, 16),
        "struck": torch.zeros(8, 8, dtype=torch.bool),
    }
    no_model: Any = None
    theirs = MultipleNegativesRankingLoss(no_model)
    wanted = theirs.compute_loss_from_embeddings([vectors[:8], vectors[8:]], torch.zeros(8))
    found = pair_loss(vectors, batch, BiEncoderSettings().temperature)
    torch.testing.assert_close(found, wanted)


def test_codes_are_those_of_plain_residual_k_means(tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
    default = JointSemanticIDsConfig().identifiers
    config = default.model_copy(
        update={"sizes": (5, 4), "epsilons": (0.0, 0.0), "collisions": "none"}
    )
    context = RunContext(SEED, tmp_path, ArtifactStore(tmp_path))
    found = learn_identifiers(vectors, config, context).identifiers.codes[1:]
    random = context.random("identifiers", "k-means")
    residual, wanted = vectors, []
    for size in config.sizes:
        clusters = KMeans(
            size, max_iter=config.kmeans_iterations, random_state=int(random.integers(2**31))
        ).fit(residual)
        codes = []
        for vector in residual:
            distances = [
                float(((vector - centre) ** 2).sum()) for centre in clusters.cluster_centers_
            ]
            codes.append(int(np.argmin(distances)))
        residual = residual - clusters.cluster_centers_[codes]
        wanted.append(codes)
    np.testing.assert_array_equal(found, np.transpose(wanted))


# ------------------------------------------------------------------------------- what is read


def test_prompts_are_sentences_around_codes_or_the_query(planted: World) -> None:
    data, tasks, view = planted
    numbers = np.arange(ITEMS)
    codes = Identifiers.of_items(np.stack([numbers // 5, numbers % 5], axis=1), (5, 5))
    texts = identifier_texts(codes)
    literals = LITERALS["instruction"]
    queries = data.queries.text
    tokenizer = TextTokenizer.trained_on([*literals, *queries], 300)
    tokenizer.add(sorted({f"<{level}_{code}>" for level in "ab" for code in range(5)}))
    prompts = Prompts(tokenizer, codes, queries, "instruction", 20)

    def rows(pieces: Any) -> list[list[int]]:
        ids, mask = assembled(prompts.tokens, pieces, prompts.end)
        return [row[own].tolist() for row, own in zip(ids, mask, strict=True)]

    def tokens(text: str) -> list[int]:
        return [*tokenizer.marked([text]).ids.tolist(), tokenizer.end]

    bought = view.examples("recommendation")
    found = rows(prompts.of_events(bought, 3))
    so_far = dict[int, list[int]]()
    for row, user, item in zip(found, bought.user.tolist(), bought.target.tolist(), strict=True):
        mine = so_far.setdefault(user, [])
        history = "".join(texts[other] for other in mine[-3:])
        assert row == tokens(f"{literals[0]} {history} {literals[1]}")
        mine.append(item)
    searched = tasks["search"].requests(data, "test")
    for row, query in zip(rows(prompts.of_events(searched, 3)), searched.query_texts, strict=True):
        assert row == tokens(f"{literals[2]} {query} {literals[3]}")


def test_an_epoch_has_every_search_and_every_recommendation_with_a_history(
    fitted: JointSemanticIDs, planted: World
) -> None:
    view = planted[2]
    pairs = training_pairs(view, fitted.prompts, fitted.config)
    bought, searched = (view.examples(task) for task in TASKS)
    history = bought.history(1, "recommendation").items[:, 0]
    assert len(pairs) == np.count_nonzero(history) + len(searched) < len(bought) + len(searched)
    targets, _ = assembled(pairs.tokens, pairs.targets)
    wanted = np.concatenate([bought.target[history > 0], searched.target])
    np.testing.assert_array_equal(targets.numpy(), fitted.targets_of("search")[wanted][:, :-1])


# ---------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_log_likelihoods_of_the_codes(
    fitted: JointSemanticIDs, planted: World, task: str
) -> None:
    data, tasks, _ = planted
    requests = tasks[task].requests(data, "test").select(slice(0, 3))
    found = exactly(fitted).score(requests)
    tokenizer, t5 = fitted.backbone.tokenizer, fitted.writer()
    texts = identifier_texts(fitted.identifiers)
    history = requests.history(2, "recommendation").items
    for row, candidates in enumerate(requests.candidates.tolist()):
        codes = "".join(texts[item] for item in history[row])
        prompt = codes if task == "recommendation" else f"find {requests.query_texts[row]}"
        read = torch.tensor([[*tokenizer.marked([prompt]).ids.tolist(), tokenizer.end]])
        for column, item in enumerate(candidates):
            label = torch.tensor([[*tokenizer.marked([texts[item]]).ids.tolist(), tokenizer.end]])
            with torch.no_grad():
                logits = t5(input_ids=read, labels=label).logits[0]
            steps = logits.log_softmax(dim=1)[torch.arange(label.shape[1]), label[0]]
            assert found[row, column] == pytest.approx(float(steps.sum()), abs=1e-4)


@pytest.mark.training
@pytest.mark.parametrize("task", TASKS)
def test_one_model_learns_both_tasks(fitted: JointSemanticIDs, planted: World, task: str) -> None:
    data, tasks, _ = planted
    expect(hit_rate(fitted, data, tasks[task]), above=0.5)


def test_nothing_to_learn_from_is_said(planted: World, fitted: JointSemanticIDs) -> None:
    data = planted[0]
    place = np.arange(len(data.log.user)) % (3 * ROUNDS)
    kept = (place < 4) & (data.log.behaviour == RECOMMENDATION)  # one is for training, after none
    few = Dataset("few", data.items, data.queries, data.users, data.log.keep(kept))
    view = TrainingView(few, build_tasks(few, LISTS), LISTS)
    with pytest.raises(SystemFailure, match="neither searches nor histories"):
        training_pairs(view, fitted.prompts, fitted.config)


def test_a_history_longer_than_the_prompt_is_cut_to_its_last_items(
    fitted: JointSemanticIDs,
) -> None:
    candidates = np.array([[1, 2, 3]] * 2)
    long, short = np.array([[9, 8, 7], [0, 8, 7]])
    scores = fitted.score(requests_for(np.stack([long, short]), candidates))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
