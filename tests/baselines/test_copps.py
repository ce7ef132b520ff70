"""CoPPS: it learns what is planted, its views are what they are called, it scores anybody."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.personalized_search.copps import (
    CROP,
    MASK,
    REORDER,
    Augmentation,
    CoPPS,
    CoPPSNetwork,
    SharedKeys,
    contrastive_loss,
    related_items,
)
from benchmark.data.dataset import Items
from benchmark.kit.training import TrainingSettings
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import (
    Planted,
    dataset_of_events,
    items_of_texts,
    planted_in,
    strangers,
)
from tests.training import SEED, expect

NEEDS = ["tea", "lamp", "soap", "rope", "desk", "ball"]
TASTES = 3
USERS, SEARCHES = 80, 8
UNKNOWN_WORDS, EMPTY_QUERY = len(NEEDS) + 1, len(NEEDS) + 2
SETTINGS = ProtocolSettings(negatives=7)


@pytest.fixture(scope="module")
def world() -> Planted:
    """Users buy samples of their taste, then search; a need is met by its item of their taste."""
    random = np.random.default_rng(5)
    texts = ["", *[f"{need} thing" for need in NEEDS for _ in range(TASTES)]]
    goods = len(texts)
    texts += [f"sample {taste}" for taste in range(TASTES) for _ in range(4)]
    rows = []
    for user in range(1, USERS + 1):
        taste = int(random.integers(TASTES))
        bought = goods + 4 * taste + random.permutation(4)
        asked = random.integers(len(NEEDS), size=SEARCHES)
        taken = 1 + asked * TASTES + taste
        purchases = [(user, item, 0) for item in bought]
        searches = [(user, *pair) for pair in zip(taken, asked + 1, strict=True)]
        # The last two of each kind are held out; those bought must not precede all searches.
        rows += [*purchases[:2], *searches[:-2], *purchases[2:], *searches[-2:]]
    user, item, query = np.array(rows).T
    queries = ["", *NEEDS, "never heard", ""]
    dataset = dataset_of_events(items_of_texts(texts), queries, user, item, query)
    return planted_in(dataset, SETTINGS, "search")


# At half of these widths some seeds never tell two of the tastes apart, however long they train.
SMALL: dict[str, Any] = {
    "embedding_size": 32,
    "word_size": 16,
    "item_size": 32,
    "feed_forward_size": 32,
}
ALL_TASKS: dict[str, Any] = {
    "contrastive_weight": 0.1,
    "knowledge_weight": 0.1,
    "between_weight": 0.1,
}
QUICK = TrainingSettings(epochs=20, batch_size=64, learning_rate=0.01, validate_every=0)
ONE_EPOCH = TrainingSettings(epochs=1, batch_size=128)


def make(folder: Path, **config: Any) -> CoPPS:
    settings = {**SMALL, **config}
    return CoPPS(CoPPS.Config(**settings), RunContext(SEED, folder, ArtifactStore(folder)))


def batch_of(world: Planted, folder: Path, **config: Any) -> tuple[CoPPS, dict[str, torch.Tensor]]:
    system, view = make(folder, **config), world[2]
    system.read_words(system.vocabulary_of(view), view.corpus)
    rows = np.arange(len(view.examples("search")))
    return system, system.instances(view).batch(rows, np.random.default_rng(0))


@pytest.mark.training
@pytest.mark.parametrize("config", [{}, ALL_TASKS], ids=["default", "all tasks"])
def test_the_planted_item_of_query_and_taste_is_learned(
    config: dict[str, Any], world: Planted, tmp_path: Path
) -> None:
    dataset, task, view = world
    system = make(tmp_path, **config, training=QUICK)
    system.fit(view)
    expect(hit_rate(system, dataset, task), above=0.9)


@pytest.mark.training
def test_two_views_of_a_history_come_to_be_alike(world: Planted, tmp_path: Path) -> None:
    """The contrastive loss falls, and further than without its part in training."""
    found = {}
    for weight in (0.0, 1.0):
        system = make(tmp_path / str(weight), contrastive_weight=weight, training=QUICK)
        system.fit(world[2])
        judge, batch = batch_of(world, tmp_path, contrastive_weight=1.0)
        network = judge.network(len(world[0].items), judge.vocabulary.number_of_ids)
        assert isinstance(network, CoPPSNetwork)
        before = float(network.eval().losses(batch)["within"].detach())
        network.load_state_dict(system.model.state_dict())
        found[weight] = float(network.losses(batch)["within"].detach()) / before
    expect(found[1.0], below=0.9)
    expect(found[1.0] / found[0.0], below=1.0)


def test_a_loaded_system_scores_alike_to_the_bit_and_scores_anybody(
    world: Planted, tmp_path: Path
) -> None:
    dataset, task, view = world
    system = make(tmp_path / "run", training=ONE_EPOCH)
    system.fit(view)
    empty = make(tmp_path / "other", training=ONE_EPOCH)
    loaded = loaded_into(empty, system, tmp_path, view.corpus)
    strange = [strangers(dataset, task, query) for query in (1, UNKNOWN_WORDS, EMPTY_QUERY)]
    cases = [task.requests(dataset, "test"), *strange]
    check_scores_are_the_same(loaded, system, *cases)
    for asked in cases:
        scores = system.score(asked)
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(scores[:1], system.score(asked.select(slice(0, 1))), atol=1e-5)


def test_what_stands_in_for_what_is_said(tmp_path: Path) -> None:
    (sentence,) = make(tmp_path).stand_ins()
    assert "no code" in sentence


# ------------------------------------------------------------------------------------------ views


def test_views_are_crops_masks_and_reorderings_in_equal_parts() -> None:
    augmentation = Augmentation(crop_ratio=0.6, mask_ratio=0.3, reorder_ratio=0.6)
    length, rows = 7, 3000
    history = np.tile(np.pad(np.arange(1, length + 1), (0, 2)), (rows, 1))
    views = augmentation(history, np.random.default_rng(0))
    assert views.shape == history.shape
    counts = dict.fromkeys((CROP, MASK, REORDER), 0)
    crops = set()
    for view in views.tolist():
        real = [item for item in view if item]
        if len(real) == math.floor(length * 0.6) and 0 not in view[:4]:
            counts[CROP] += 1
            assert real == list(range(real[0], real[0] + 4)), "a crop is contiguous"
            crops.add(real[0])
        elif len(real) == length - math.floor(length * 0.3):
            counts[MASK] += 1
            assert all(item in (0, place) for place, item in enumerate(view[:length], start=1))
        else:
            counts[REORDER] += 1
            assert sorted(real) == list(range(1, length + 1)) and not any(view[length:])
            moved = [place for place in range(length) if view[place] != place + 1]
            assert not moved or max(moved) - min(moved) < math.floor(length * 0.6)
    assert crops == {1, 2, 3, 4}, "a crop may begin anywhere"
    # A third each; five deviations of a binomial.
    assert all(abs(count - 1000) < 5 * math.sqrt(3000 * 2 / 9) for count in counts.values())


def test_only_histories_of_two_items_or_more_have_views(world: Planted, tmp_path: Path) -> None:
    system, batch = batch_of(world, tmp_path, history_of="search")
    lengths = (batch["history"] > 0).sum(dim=1)
    assert (lengths < 2).any()
    assert batch["within/rows"].tolist() == torch.nonzero(lengths > 1).ravel().tolist()
    assert batch["within/first"].shape == (len(batch["within/rows"]), system.config.history_length)
    assert (batch["within/first"] != batch["within/second"]).any()


def test_a_batch_without_views_has_the_search_loss_alone(world: Planted, tmp_path: Path) -> None:
    system, batch = batch_of(world, tmp_path, **ALL_TASKS, view_vector="item_mean")
    network = system.network(len(world[0].items), system.vocabulary.number_of_ids)
    assert isinstance(network, CoPPSNetwork)
    network.eval()
    for task in ("within", "knowledge", "between"):
        assert network.losses(batch)[task] > 0
        for part in ("rows", "first", "second"):
            batch[f"{task}/{part}"] = batch[f"{task}/{part}"][:0]
        batch[f"{task}/struck"] = batch[f"{task}/struck"][:0, :0]
    torch.testing.assert_close(network.loss(batch), network.losses(batch)["search"])
    network.loss(batch).backward()


def test_the_mean_of_items_knows_no_query_and_an_empty_view_is_zero(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CoPPS.Config(**SMALL, history_length=3, view_vector="item_mean")
    network = CoPPSNetwork(20, 10, config).eval()
    history = torch.tensor([[3, 0, 0], [0, 0, 0], [5, 0, 7]])
    one, other = (network.view_vectors(torch.full((3, 2), word), history) for word in (3, 4))
    torch.testing.assert_close(one, other)
    assert torch.isfinite(one).all() and not one[1].any() and one[[0, 2]].abs().sum(dim=1).all()


def test_views_of_one_user_are_not_told_apart(world: Planted, tmp_path: Path) -> None:
    users = world[2].examples("search").user
    queries = world[2].examples("search").query
    for same_query in ("negatives", "struck"):
        _, batch = batch_of(world, tmp_path, same_query=same_query)
        rows = batch["within/rows"].numpy()
        expected = users[rows][:, None] == users[rows][None, :]
        if same_query == "struck":
            expected |= queries[rows][:, None] == queries[rows][None, :]
        np.testing.assert_array_equal(batch["within/struck"].numpy(), expected)


def test_the_contrastive_loss_is_that_of_its_definition() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 4)
    struck = torch.eye(3, dtype=torch.bool)
    struck[0, 1] = struck[1, 0] = True
    views = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    by_hand = []
    for place, row in enumerate([0, 1, 2, 0, 1, 2]):
        others = [
            float(views[place] @ views[column]) / 0.1
            for column in range(6)
            if column == (place + 3) % 6 or not struck[row, column % 3]
        ]
        partner = float(views[place] @ views[(place + 3) % 6]) / 0.1
        by_hand.append(math.log(sum(math.exp(value) for value in others)) - partner)
    assert float(contrastive_loss(first, second, 0.1, struck)) == pytest.approx(
        np.mean(by_hand), rel=1e-5
    )


# ------------------------------------------------------------------------------ the further tasks


def test_another_member_shares_a_key_and_all_of_them_are_drawn() -> None:
    keys = SharedKeys(np.array([0, 1, 2, 2, 3, 4]), np.array([7, 7, 7, 9, 9, 5]), number=6)
    random = np.random.default_rng(0)
    drawn = keys.other(np.tile(np.arange(6), (500, 1)), random)
    partners = [set(column) for column in drawn.T.tolist()]
    assert partners == [{1, 2}, {0, 2}, {0, 1, 3}, {2}, {4}, {5}]


def test_items_are_related_by_leaf_category_or_brand() -> None:
    blank = ["", "", "", "", "", ""]
    categories = [(), (("a", "b"),), (("c", "b"), ("a",)), (("a",),), ((),), ()]
    items = Items(blank, blank, blank, ["", "x", "", "", "x", ""], categories, blank)
    related = related_items(items)
    drawn = related.other(np.tile(np.arange(6), (200, 1)), np.random.default_rng(0))
    assert [set(column) for column in drawn.T.tolist()] == [{0}, {2, 4}, {1, 3}, {2}, {1}, {5}]


def test_copies_hold_related_items_and_others_made_the_same_choice(
    world: Planted, tmp_path: Path
) -> None:
    _, batch = batch_of(world, tmp_path, **ALL_TASKS)
    first, second = batch["knowledge/first"], batch["knowledge/second"]
    assert ((first != second).sum(dim=1) == 1).all(), "one of at most three items"
    text = world[0].items.text
    for row, other in zip(first[first != second], second[first != second], strict=True):
        assert text[int(row)] == text[int(other)], "here the brand is the text"
    examples = world[2].examples("search")
    rows = batch["between/rows"].numpy()
    assert len(rows) > 50
    histories = {
        (int(user), tuple(history))
        for user, history in zip(examples.user, batch["history"].tolist(), strict=True)
    }
    for row, other in zip(rows, batch["between/second"].tolist(), strict=True):
        owners = {user for user, history in histories if history == tuple(other)}
        assert owners - {int(examples.user[row])}
    choice = examples.query.astype(np.int64) * 1000 + examples.target
    same = choice[rows][:, None] == choice[rows][None, :]
    same |= examples.user[rows][:, None] == examples.user[rows][None, :]
    np.testing.assert_array_equal(batch["between/struck"].numpy(), same)
