"""The card of identifiers: what the training log says of their prefixes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.card import FEW_EVENTS, card
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.view import TrainingView
from tests.baselines.planted import numbered_items, recommended

ITEMS, GROUPS, USERS, EVENTS = 40, 4, 60, 12
RARE = 8
"""The last items, which nobody chooses."""


def view_of(item: np.ndarray) -> TrainingView:
    """The view of users with these items in a row, (users, events)."""
    dataset = recommended(numbered_items(ITEMS), item)
    settings = ProtocolSettings(negatives=5)
    return TrainingView(dataset, build_tasks(dataset, settings), settings)


@pytest.fixture(scope="module")
def view() -> TrainingView:
    """Users who stay within one of four groups of eight items each; eight items are never seen."""
    random = np.random.default_rng(0)
    group = random.integers(GROUPS, size=(USERS, 1))
    within = np.argsort(random.random((USERS, EVENTS, 8)), axis=2)[..., 0]
    return view_of(1 + group + GROUPS * within)


def identifiers(first: np.ndarray) -> Identifiers:
    """By first code; a second one tells items of one first code apart."""
    second = np.zeros(ITEMS, dtype=np.int64)
    for code in np.unique(first):
        second[first == code] = np.arange((first == code).sum())
    return Identifiers.of_items(np.stack([first, second], axis=1), (ITEMS, ITEMS))


def test_prefixes_that_hold_what_is_chosen_together_are_aligned(view: TrainingView) -> None:
    own_groups = card(identifiers(np.arange(ITEMS) % GROUPS), view)
    assert own_groups["alignment_1"] == pytest.approx(GROUPS, rel=0.1)  # always, not one in four
    random = card(identifiers(np.random.default_rng(1).integers(GROUPS, size=ITEMS)), view)
    assert random["alignment_1"] < 1.6
    one_code = card(identifiers(np.zeros(ITEMS, dtype=np.int64)), view)
    assert one_code["alignment_1"] == pytest.approx(1)


def test_two_different_items_never_share_their_whole_identifier(view: TrainingView) -> None:
    assert card(identifiers(np.arange(ITEMS) % GROUPS), view)["alignment_2"] == 0.0


def test_the_tail_is_backed_where_it_shares_a_prefix_with_others(view: TrainingView) -> None:
    events = np.bincount(view.log.item, minlength=ITEMS + 1)[1:]
    rare = events < FEW_EVENTS
    assert rare.sum() == RARE
    apart = np.where(rare, 1, 0)
    assert card(identifiers(apart), view)["tail_items"] == RARE / ITEMS
    assert card(identifiers(apart), view)["tail_backed"] == 0.0
    half = np.where(rare & (np.arange(ITEMS) % 2 == 0), 1, 0)
    assert card(identifiers(half), view)["tail_backed"] == 0.5


def test_short_identifiers_agree_with_nobody_below_their_end(view: TrainingView) -> None:
    codes = np.full((ITEMS, 2), -1)
    codes[:, 0] = np.arange(ITEMS) % GROUPS
    found = card(Identifiers.of_items(codes, (GROUPS, 4)), view)
    assert found["alignment_1"] > 3 and "alignment_2" not in found
