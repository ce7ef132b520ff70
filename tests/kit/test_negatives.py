"""Training negatives: what the lists would hold, never the target, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmark.kit.instances.negatives import Law, NegativeSampler
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.view import TrainingView
from tests.kit.conftest import small_dataset


def pairs_of(view: TrainingView) -> set[tuple[int, int]]:
    return set(zip(view.log.user.tolist(), view.log.item.tolist(), strict=True))


def view_of(**settings: Any) -> TrainingView:
    dataset, protocol = small_dataset(), ProtocolSettings(negatives=5, **settings)
    return TrainingView(dataset, build_tasks(dataset, protocol), protocol)


@pytest.mark.parametrize("law", ["uniform", "popularity", "protocol"])
def test_negatives_are_neither_the_target_nor_an_item_of_the_user(
    view: TrainingView, law: Law
) -> None:
    examples = view.examples("recommendation")
    drawn = NegativeSampler(view, law=law).draw(examples.position, 12, np.random.default_rng(0))
    assert drawn.shape == (len(examples), 12) and drawn.dtype == np.int32
    assert drawn.min() >= 1 and drawn.max() <= view.corpus.number_of_items
    known = pairs_of(view)
    assert not any(
        (user, item) in known
        for user, row in zip(examples.user.tolist(), drawn.tolist(), strict=True)
        for item in row
    )
    assert all(len(set(row)) == 12 for row in drawn.tolist()), "they are distinct"


def test_where_lists_leave_out_earlier_items_alone_later_ones_are_negatives() -> None:
    view = view_of(recommendation_exclude="earlier-interactions")
    examples, log = view.examples("recommendation"), view.log
    number = view.corpus.number_of_items
    every = np.arange(1, number + 1)
    sampler = NegativeSampler(view)
    draws = [sampler.draw(examples.position, 20, np.random.default_rng(n)) for n in range(40)]
    for row, position in enumerate(examples.position):
        own = log.item[log.offsets[log.user[position]] : position + 1]
        eligible = np.setdiff1d(every, own)
        assert set(eligible) == set(np.concatenate([drawn[row] for drawn in draws]).tolist())
    slots = np.repeat(examples.position[:, None], 200, axis=1)
    one = sampler.draw_one_per_slot(slots, np.random.default_rng(0))
    for drawn, position in zip(one, examples.position, strict=True):
        own = log.item[log.offsets[log.user[position]] : position + 1]
        assert not np.isin(drawn, own).any()


def test_by_default_the_law_is_that_of_the_recommendation_lists() -> None:
    position = view_of().examples("recommendation").position
    for law in ("uniform", "popularity"):
        view = view_of(recommendation_negatives=law)
        drawn = [
            NegativeSampler(view, law=given).draw(position, 8, np.random.default_rng(0))
            for given in ("protocol", law)
        ]
        np.testing.assert_array_equal(*drawn)
    other = NegativeSampler(view, law="uniform").draw(position, 8, np.random.default_rng(0))
    assert (other != drawn[0]).any()


def test_where_too_few_are_left_the_list_is_full_and_without_the_target(
    view: TrainingView,
) -> None:
    examples = view.examples("recommendation")
    number = view.corpus.number_of_items
    drawn = NegativeSampler(view).draw(examples.position, number, np.random.default_rng(0))
    assert drawn.min() >= 1
    assert not (drawn == examples.target[:, None]).any()


def test_no_negatives_are_none(view: TrainingView) -> None:
    position = view.examples("recommendation").position
    assert NegativeSampler(view).draw(position, 0, np.random.default_rng(0)).shape == (
        len(position),
        0,
    )


def test_the_popularity_law_never_draws_what_nobody_touched(view: TrainingView) -> None:
    touched = np.bincount(view.log.item, minlength=view.corpus.number_of_items + 1) > 0
    assert not touched[1:].all(), "the case must occur"
    position = view.examples("recommendation").position
    sampler = NegativeSampler(view, law="popularity")
    drawn = sampler.draw(position, 8, np.random.default_rng(0))
    assert touched[drawn].all()
    slots = np.repeat(position[:, None], 8, axis=1)
    assert touched[sampler.draw_one_per_slot(slots, np.random.default_rng(0))].all()


def test_negatives_of_slots_are_not_items_of_the_user(view: TrainingView) -> None:
    position = np.repeat(view.examples("recommendation").position[:, None], 30, axis=1)
    position[:, 20:] = -1
    drawn = NegativeSampler(view).draw_one_per_slot(position, np.random.default_rng(0))
    assert drawn.shape == position.shape and drawn.dtype == np.int32
    assert drawn.min() >= 1 and drawn.max() <= view.corpus.number_of_items
    known = pairs_of(view)
    assert not any(
        (user, item) in known
        for user, row in zip(view.log.user[position[:, 0]].tolist(), drawn.tolist(), strict=True)
        for item in row[:20]
    )


@pytest.mark.parametrize("law", ["uniform", "popularity"])
@pytest.mark.parametrize("way", ["lists", "slots"])
def test_the_same_seed_draws_the_same(view: TrainingView, law: Law, way: str) -> None:
    position = view.examples("recommendation").position
    sampler = NegativeSampler(view, law=law)

    def lists(seed: int) -> np.ndarray:
        return sampler.draw(position, 5, np.random.default_rng(seed))

    def slots(seed: int) -> np.ndarray:
        return sampler.draw_one_per_slot(
            np.repeat(position[:, None], 5, axis=1), np.random.default_rng(seed)
        )

    draw: Callable[[int], np.ndarray] = {"lists": lists, "slots": slots}[way]
    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


def test_the_uniform_law_is_uniform_over_what_is_eligible(view: TrainingView) -> None:
    position = np.full(4000, view.examples("recommendation").position[-1])
    drawn = NegativeSampler(view).draw(position, 3, np.random.default_rng(0))
    own = np.unique(view.log.item[view.log.user == view.log.user[position[0]]])
    counts = np.bincount(drawn.ravel(), minlength=view.corpus.number_of_items + 1)[1:]
    eligible = np.setdiff1d(np.arange(1, view.corpus.number_of_items + 1), own)
    expected = drawn.size / len(eligible)  # about 280, so a deviation of 5 sigma is about 85
    assert np.abs(counts[eligible - 1] - expected).max() < 5 * np.sqrt(expected)
    assert counts[own - 1].sum() == 0
