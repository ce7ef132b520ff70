"""The bi-encoder of both tasks: which texts it pairs, its loss, and that it learns them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.dataset import Dataset
from benchmark.errors import SystemFailure
from benchmark.kit.pretrained.model_folder import files_in
from benchmark.kit.text.bi_encoder import BiEncoderSettings, Pairs, joint_item_vectors, pair_loss
from benchmark.kit.text.encoders import SentenceEncoder, encode_tokens
from benchmark.kit.text.tokens import Tokenizer
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.planted import dataset_of_rounds, items_of_texts, world_in
from tests.baselines.test_dense_retrieval import TOPICS, WORDS, make_encoder
from tests.training import SEED, expect

USERS, ROUNDS = 60, 8
TEXTS = ["", *WORDS[TOPICS:]]  # item k is "find<k - 1>"
TRAINING: dict[str, Any] = {"epochs": 12, "batch_size": 32, "learning_rate": 0.003}


def dataset(searching: bool = True) -> Dataset:
    """Users go from an even item to the next odd one, and find items by a query of their pair."""
    random = np.random.default_rng(5)
    pair = random.integers(TOPICS // 2, size=(USERS, ROUNDS))
    bought = np.stack([2 * pair + 1, 2 * pair + 2], axis=2)  # (users, rounds, 2)
    found = bought[..., :1] + random.integers(2, size=(USERS, ROUNDS, 1))
    item = np.concatenate([bought, found], axis=2)
    query = (1 + pair[..., None]) * [0, 0, 1]
    columns = 3 if searching else 2
    return dataset_of_rounds(
        items_of_texts(TEXTS),
        ["", *WORDS[: TOPICS // 2]],
        item[..., :columns],
        query[..., :columns],
    )


def view_of(data: Dataset) -> TrainingView:
    return world_in(data, ProtocolSettings(negatives=5))[2]


@pytest.fixture(scope="module")
def view() -> TrainingView:
    return view_of(dataset())


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


def pairs_of(view: TrainingView, encoder: Path, **settings: Any) -> Pairs:
    tokenizer = Tokenizer(files_in(encoder, "tiny"))
    texts = [*view.corpus.items.text, *view.corpus.queries.text]
    return Pairs.of(view, tokenizer(texts, "", 8), BiEncoderSettings(**settings))


def test_searches_pair_query_and_item_and_recommendations_two_items(
    view: TrainingView, encoder: Path
) -> None:
    pairs = pairs_of(view, encoder)
    searched, bought = view.examples("search"), view.examples("recommendation")
    assert pairs.searches == len(searched) > 0
    items = view.corpus.number_of_items
    left = pairs.left[:, 0]
    assert (left[: pairs.searches] == items + 1 + searched.query).all()
    assert (left[pairs.searches :] <= items).all()
    assert set(pairs.right[pairs.searches :]) <= set(bought.target)
    both = zip(left[pairs.searches :], pairs.right[pairs.searches :], strict=True)
    within = sum((one - 1) // 2 == (other - 1) // 2 for one, other in both)
    assert within > 0.4 * (len(pairs) - pairs.searches)


def test_an_epoch_draws_both_tasks_alike(view: TrainingView, encoder: Path) -> None:
    pairs = pairs_of(view, encoder, pairs_per_epoch=60)
    random = np.random.default_rng(0)
    batches = pairs.batches(16, random)
    rows = np.concatenate(batches)
    assert len(batches) == pairs.steps(16) == 4 and len(np.unique(rows)) == 60
    assert (rows < pairs.searches).sum() == 30
    every = pairs_of(view, encoder)
    assert len(np.concatenate(every.batches(16, random))) == len(every)


def test_known_pairs_and_a_text_itself_are_no_negatives(view: TrainingView, encoder: Path) -> None:
    pairs = pairs_of(view, encoder)
    rows = np.random.default_rng(1).permutation(len(pairs))[:64]
    batch = pairs.batch(rows, np.random.default_rng(0))
    left, right = pairs.left[rows, 0], pairs.right[rows]
    known = set(zip(pairs.left[:, 0], pairs.right, strict=True))
    for i, row in enumerate(batch["struck"].tolist()):
        for j, struck in enumerate(row):
            expected = i != j and ((left[i], right[j]) in known or left[i] == right[j])
            assert struck == expected
    texts = pairs.tokens.padded(np.unique(np.concatenate([left, right])))[0]
    assert torch.equal(batch["ids"], texts)


def test_a_longer_reach_draws_the_other_item_from_those_before(
    view: TrainingView, encoder: Path
) -> None:
    pairs, bought = pairs_of(view, encoder, reach=3), view.examples("recommendation")
    # By hand: each user's recommendation events in order, the three items before each.
    expected, so_far = [], dict[int, list[int]]()
    for user, item in zip(bought.user.tolist(), bought.target.tolist(), strict=True):
        mine = so_far.setdefault(user, [])
        others = sorted({other for other in mine[-3:] if other != item})
        expected += [(others, item)] if others else []
        mine.append(item)
    found = [
        (sorted({text for text in row if text >= 0}), item)
        for row, item in zip(
            pairs.left[pairs.searches :].tolist(),
            pairs.right[pairs.searches :].tolist(),
            strict=True,
        )
    ]
    assert found == expected
    rows = pairs.searches + np.flatnonzero((pairs.left[pairs.searches :] >= 0).all(axis=1))
    texts = pairs.tokens
    random = np.random.default_rng(0)
    drawn = set()
    for _ in range(40):
        batch = pairs.batch(rows[:1], random)
        number = int(batch["left"][0])
        drawn.add(tuple(batch["ids"][number][batch["mask"][number]].tolist()))
    possible = {tuple(texts.ids[slice(*texts.offsets[n : n + 2])]) for n in pairs.left[rows[0]]}
    assert drawn == possible
    # What any draw may pair is no negative.
    batch = pairs.batch(rows[:20], np.random.default_rng(1))
    known = {(one, item) for others, item in expected for one in others}
    chosen = pairs._drawn_left(rows[:20], np.random.default_rng(1))
    right = pairs.right[rows[:20]]
    for i, row in enumerate(batch["struck"].tolist()):
        for j, struck in enumerate(row):
            is_pair = (chosen[i], right[j]) in known or chosen[i] == right[j]
            assert struck == (i != j and is_pair)


def test_the_loss_is_the_cross_entropy_of_the_right_sides() -> None:
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    batch = {
        "left": torch.tensor([0, 1]),
        "right": torch.tensor([2, 1]),
        "struck": torch.tensor([[False, False], [False, False]]),
    }
    logits = torch.tensor([[0.6, 0.0], [0.8, 1.0]]) / 0.5
    by_hand = -(logits.log_softmax(dim=1).diagonal()).mean()
    torch.testing.assert_close(pair_loss(vectors, batch, 0.5), by_hand)
    batch["struck"][1, 0] = True
    first = -logits[0].log_softmax(dim=0)[0]
    torch.testing.assert_close(pair_loss(vectors, batch, 0.5), first / 2)


@pytest.mark.training
def test_items_that_go_together_come_to_be_near(
    view: TrainingView, encoder: Path, tmp_path: Path
) -> None:
    def nearness(vectors: Any) -> float:
        """How much nearer the two items of a pair are than two of different pairs."""
        cosine = vectors @ vectors.T
        pair = np.arange(len(vectors)) // 2
        together = pair[:, None] == pair
        np.fill_diagonal(cosine, np.nan)
        return float(np.nanmean(cosine[together]) - np.nanmean(cosine[~together]))

    files = files_in(encoder, "tiny")
    context = RunContext(SEED, tmp_path, ArtifactStore(tmp_path))
    settings = BiEncoderSettings.model_validate({"training": TRAINING})
    learned = joint_item_vectors(view, files, "mean", settings, 8, context)
    assert learned.shape == (view.corpus.number_of_items, 32)
    np.testing.assert_allclose(np.linalg.norm(learned, axis=1), 1, atol=1e-5)
    tokens = Tokenizer(files)(view.corpus.items.text, "", 8)
    untrained = encode_tokens(
        SentenceEncoder.from_files(files, "mean"), tokens, np.arange(1, len(TEXTS))
    )
    assert nearness(untrained) < 0.1
    expect(nearness(learned), above=0.2)


def test_one_task_alone_is_enough_and_none_is_refused(encoder: Path) -> None:
    alone = view_of(dataset(searching=False))
    pairs = pairs_of(alone, encoder)
    assert pairs.searches == 0 and len(pairs) > 0
    data = dataset(searching=False)
    place = np.arange(len(data.log.user)) - data.log.offsets[data.log.user]
    brief = replace(data, log=data.log.keep(place < 3))  # one is left for training, after none
    with pytest.raises(SystemFailure, match="no pairs of texts"):
        pairs_of(view_of(brief), encoder)
