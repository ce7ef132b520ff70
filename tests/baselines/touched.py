"""A world whose search lists are full of what the user touched, and whose targets never are.

Every user goes along the ring of the items of one kind, and each purchase is a search too, as in
Amazon's logs. A query names the kind, so a search list holds nearly all items of it: nearly always
the last purchase, and never, in the place of the target, anything that the user has already.
Whoever learns that neighbours of the ring belong together ranks the last purchase high; whoever
learns what the lists hold puts it last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.data.dataset import (
    RECOMMENDATION,
    SEARCH,
    Dataset,
    EventLog,
    Items,
    Queries,
    fingerprint_of,
)
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.contract import System
from benchmark.systems.view import TrainingView

KINDS = tuple(f"kind{letter}" for letter in "abcdefghijklmnopqrst")
ITEMS_OF_KIND = 12
USERS_OF_KIND = 20
STEPS = 8
SETTINGS = ProtocolSettings(negatives=10)


@dataclass(frozen=True)
class TouchedWorld:
    """The data set with its search task, and what a system is fitted on."""

    dataset: Dataset
    search: Task
    view: TrainingView

    @property
    def requests(self) -> Requests:
        """The test searches."""
        return self.search.requests(self.dataset, "test")


def touched_world(settings: ProtocolSettings = SETTINGS) -> TouchedWorld:
    """The world under a protocol."""
    random = np.random.default_rng(3)
    users = len(KINDS) * USERS_OF_KIND
    kind = random.permutation(np.repeat(np.arange(len(KINDS)), USERS_OF_KIND))
    start = random.integers(ITEMS_OF_KIND, size=(users, 1))
    place = (start + np.arange(STEPS)) % ITEMS_OF_KIND
    item = np.repeat(1 + kind[:, None] * ITEMS_OF_KIND + place, 2, axis=1)  # (users, 2 STEPS)
    is_search = np.broadcast_to(np.arange(2 * STEPS) % 2 == 1, item.shape)
    query = np.where(is_search, 1 + kind[:, None], 0)
    texts = ["", *[f"{name} thing" for name in KINDS for _ in range(ITEMS_OF_KIND)]]
    rows = np.arange(item.size)
    log = EventLog.from_columns(
        user=np.repeat(np.arange(1, users + 1), 2 * STEPS),
        item=item.ravel(),
        query=query.ravel(),
        behaviour=np.where(is_search, SEARCH, RECOMMENDATION).ravel(),
        timestamp=rows // 2,
        session=np.where(is_search.ravel(), 1 + rows, 0),
        number_of_users=users,
    )
    dataset = Dataset(
        name="touched",
        items=Items(
            ["", *[f"item {n}" for n in range(1, len(texts))]],
            texts,
            texts,
            [""] * len(texts),
            [()] * len(texts),
            texts,
        ),
        queries=Queries(["", *KINDS]),
        users=["", *[f"user {number}" for number in range(1, users + 1)]],
        log=log,
    )
    object.__setattr__(dataset, "fingerprint", fingerprint_of(dataset))
    tasks = build_tasks(dataset, settings)
    return TouchedWorld(dataset, tasks["search"], TrainingView(dataset, tasks, settings))


def share_of_touched_first(system: System, world: TouchedWorld) -> float:
    """In how many test searches the first candidate is one of the user's last ten items."""
    requests = world.requests
    first = requests.candidates[np.arange(len(requests)), system.score(requests).argmax(axis=1)]
    last = requests.history(10).items
    return float((last == first[:, None]).any(axis=1).mean())


def share_with_last_purchase(world: TouchedWorld) -> float:
    """How many search lists hold the user's last purchase."""
    requests = world.requests
    last = requests.history(1, "recommendation").items
    return float((requests.candidates == last).any(axis=1).mean())
