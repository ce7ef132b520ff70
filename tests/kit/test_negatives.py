"""Training negatives: never the target, never what the user knows, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmark.kit.negatives import NegativeSampler
from benchmark.systems.view import TrainingView


def pairs_of(view: TrainingView) -> set[tuple[int, int]]:
    return set(zip(view.log.user.tolist(), view.log.item.tolist(), strict=True))


@pytest.mark.parametrize("law", ["uniform", "popularity"])
def test_negatives_are_neither_the_target_nor_an_item_of_the_user(
    view: TrainingView, law: str
) -> None:
    examples = view.examples("recommendation")
    unknown = examples.target % view.corpus.number_of_items + 1  # a target that may be eligible
    sampler = NegativeSampler(view, law=law)
    drawn = sampler.draw(examples.user, unknown, 12, np.random.default_rng(0))
    assert drawn.shape == (len(examples), 12) and drawn.dtype == np.int32
    assert drawn.min() >= 1 and drawn.max() <= view.corpus.number_of_items
    assert not (drawn == unknown[:, None]).any()
    known = pairs_of(view)
    assert not any(
        (user, item) in known
        for user, row in zip(examples.user.tolist(), drawn.tolist(), strict=True)
        for item in row
    )
    assert all(len(set(row)) == 12 for row in drawn.tolist()), "they are distinct"


def test_with_exclude_target_only_the_target_is_struck(view: TrainingView) -> None:
    examples = view.examples("recommendation")
    sampler = NegativeSampler(view, exclude="target")
    number = view.corpus.number_of_items - 1
    drawn = sampler.draw(examples.user, examples.target, number, np.random.default_rng(0))
    everything = set(range(1, view.corpus.number_of_items + 1))
    for target, row in zip(examples.target.tolist(), drawn.tolist(), strict=True):
        assert set(row) == everything - {target}


def test_where_too_few_are_left_the_list_is_full_and_without_the_target(
    view: TrainingView,
) -> None:
    examples = view.examples("recommendation")
    number = view.corpus.number_of_items
    sampler = NegativeSampler(view)
    drawn = sampler.draw(examples.user, examples.target, number, np.random.default_rng(0))
    assert drawn.min() >= 1
    assert not (drawn == examples.target[:, None]).any()


def test_the_popularity_law_never_draws_what_nobody_touched(view: TrainingView) -> None:
    touched = np.bincount(view.log.item, minlength=view.corpus.number_of_items + 1) > 0
    assert not touched[1:].all(), "the case must occur"
    examples = view.examples("recommendation")
    sampler = NegativeSampler(view, law="popularity")
    drawn = sampler.draw(examples.user, examples.target, 8, np.random.default_rng(0))
    assert touched[drawn].all()
    slots = sampler.draw_one_per_slot(examples.user, (len(examples), 8), np.random.default_rng(0))
    assert touched[slots].all()


def test_negatives_of_slots_are_not_items_of_the_user(view: TrainingView) -> None:
    users = np.arange(1, view.corpus.number_of_users + 1)
    drawn = NegativeSampler(view).draw_one_per_slot(
        users, (len(users), 30), np.random.default_rng(0)
    )
    assert drawn.shape == (len(users), 30) and drawn.dtype == np.int32
    assert drawn.min() >= 1 and drawn.max() <= view.corpus.number_of_items
    known = pairs_of(view)
    assert not any(
        (user, item) in known
        for user, row in zip(users.tolist(), drawn.tolist(), strict=True)
        for item in row
    )


@pytest.mark.parametrize("law", ["uniform", "popularity"])
@pytest.mark.parametrize("way", ["lists", "slots"])
def test_the_same_seed_draws_the_same(view: TrainingView, law: str, way: str) -> None:
    examples = view.examples("recommendation")
    sampler = NegativeSampler(view, law=law)

    def lists(seed: int) -> np.ndarray:
        return sampler.draw(examples.user, examples.target, 5, np.random.default_rng(seed))

    def slots(seed: int) -> np.ndarray:
        shape = (len(examples), 5)
        return sampler.draw_one_per_slot(examples.user, shape, np.random.default_rng(seed))

    draw: Callable[[int], np.ndarray] = {"lists": lists, "slots": slots}[way]
    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_the_uniform_law_is_uniform_over_what_is_eligible(view: TrainingView) -> None:
    user = np.full(4000, view.corpus.number_of_users)
    drawn = NegativeSampler(view).draw(user, np.zeros(4000, int), 3, np.random.default_rng(0))
    own = np.unique(view.log.item[view.log.user == user[0]])
    counts = np.bincount(drawn.ravel(), minlength=view.corpus.number_of_items + 1)[1:]
    eligible = np.setdiff1d(np.arange(1, view.corpus.number_of_items + 1), own)
    expected = drawn.size / len(eligible)  # about 280, so a deviation of 5 sigma is about 85
    assert np.abs(counts[eligible - 1] - expected).max() < 5 * np.sqrt(expected)
    assert counts[own - 1].sum() == 0
