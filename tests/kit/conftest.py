"""A small recommendation log whose users have 3 to 24 events, and its training view."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.dataset import Dataset, EventLog, Items, Queries
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.view import TrainingView

ITEMS = 60


def small_dataset() -> Dataset:
    random = np.random.default_rng(8)
    counts = np.arange(3, 25)
    user = np.repeat(np.arange(1, len(counts) + 1), counts)
    events = len(user)
    nothing = np.zeros(events, dtype=np.int64)
    texts = ["", *(f"item {number}" for number in range(1, ITEMS + 1))]
    return Dataset(
        name="small",
        items=Items(texts, texts, texts, texts, [()] * len(texts), texts),
        queries=Queries([""]),
        users=["", *(f"user {number}" for number in range(1, len(counts) + 1))],
        log=EventLog.from_columns(
            user=user,
            item=random.integers(1, ITEMS + 1, size=events),
            query=nothing,
            behaviour=nothing,
            timestamp=np.arange(events),
            session=nothing,
            number_of_users=len(counts),
        ),
    )


@pytest.fixture(scope="session")
def view() -> TrainingView:
    dataset, settings = small_dataset(), ProtocolSettings(negatives=5)
    return TrainingView(dataset, build_tasks(dataset, settings), settings)
