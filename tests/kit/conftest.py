"""A small recommendation log whose users have 3 to 24 events, and its training view."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.dataset import Dataset
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.view import TrainingView
from tests.baselines.planted import dataset_of_events, numbered_items, world_in

ITEMS = 60


def small_dataset() -> Dataset:
    random = np.random.default_rng(8)
    counts = np.arange(3, 25)
    user = np.repeat(np.arange(1, len(counts) + 1), counts)
    item = random.integers(1, ITEMS + 1, size=len(user))
    return dataset_of_events(numbered_items(ITEMS), [""], user, item, np.zeros_like(user))


@pytest.fixture(scope="session")
def view() -> TrainingView:
    return world_in(small_dataset(), ProtocolSettings(negatives=5))[2]
