"""Logs whose next event follows from the last item or the query, for small models to learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from baselines import encoders
from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset, EventLog, Items, Queries
from benchmark.kit.pretrained.model_folder import PretrainedFiles
from benchmark.protocol.histories import EventSet
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView

World = tuple[Dataset, dict[str, Task], TrainingView]
"""A data set, its tasks by name, and what a system is fitted on."""

Planted = tuple[Dataset, Task, TrainingView]
"""A data set, the one of its tasks that is asked, and what a system is fitted on."""

THINGS = tuple(
    (word, thing)
    for word in ("red", "blue", "green", "black", "white", "grey")
    for thing in ("lamp", "chair", "table", "shelf", "sofa")
)
"""30 items: 5 things of 6 colours."""


SMALL_T5: dict[str, Any] = {
    "width": 32,
    "layers": 1,
    "heads": 2,
    "head_width": 16,
    "feed_forward": 64,
    "dropout": 0.0,
}
"""The sizes of a T5 that learns such a log in seconds."""

SMALL_CODES: dict[str, Any] = {
    "sizes": (8, 8, 8),
    "epsilons": (0.0, 0.0, 0.003),
    "hidden_sizes": (16,),
    "latent_size": 8,
    "warmup_epochs": 1,
    "training": {"epochs": 4, "validate_every": 2},
}
"""The settings of an RQ-VAE that learns codes of few items in a second."""


def small_t5(**changes: Any) -> dict[str, Any]:
    """The settings of a backbone of these sizes."""
    return {"model": "scratch", "scratch": {**SMALL_T5, "text_tokens": 150, **changes}}


def world_in(dataset: Dataset, settings: ProtocolSettings) -> World:
    """The data set with all its tasks under a protocol."""
    tasks = build_tasks(dataset, settings)
    return dataset, tasks, TrainingView(dataset, tasks, settings)


def planted_in(
    dataset: Dataset, settings: ProtocolSettings, task: str = "recommendation"
) -> Planted:
    """The data set with one of its tasks under a protocol."""
    dataset, tasks, view = world_in(dataset, settings)
    return dataset, tasks[task], view


def numbered_items(number: int) -> Items:
    """Items whose texts say nothing."""
    return items_of_texts(["", *[f"item {n}" for n in range(1, number + 1)]])


def items_of_texts(texts: Sequence[str]) -> Items:
    """Items that are called by their texts, the padding item in front."""
    return Items(texts, texts, texts, texts, [()] * len(texts), texts)


def dataset_of_events(
    items: Items,
    queries: Sequence[str],
    user: NDArray[np.integer],
    item: NDArray[np.integer],
    query: NDArray[np.integer],
) -> Dataset:
    """Events in log order, one after another in time.

    Those with a query are searches, each a session of its own.

    Args:
        queries: their texts, the padding query in front.
        user, item, query: (events,) each.
    """
    number = np.arange(len(user))
    users = int(user.max())
    log = EventLog.from_columns(
        user=user,
        item=item,
        query=query,
        behaviour=np.where(query > 0, SEARCH, RECOMMENDATION),
        timestamp=number,
        session=np.where(query > 0, 1 + number, 0),
        number_of_users=users,
    )
    names = ["", *[f"user {number}" for number in range(1, users + 1)]]
    return Dataset("planted", items, Queries(list(queries)), names, log)


def dataset_of_rounds(
    items: Items,
    queries: Sequence[str],
    item: NDArray[np.integer],
    query: NDArray[np.integer],
) -> Dataset:
    """As ``dataset_of_events``, with (users, ...) events; those of a user are in order."""
    user = np.repeat(np.arange(1, len(item) + 1), item[0].size)
    return dataset_of_events(items, queries, user, item.ravel(), query.ravel())


def recommended(items: Items, item: NDArray[np.integer]) -> Dataset:
    """``item`` (users, rounds): what each user chose, in order."""
    return dataset_of_rounds(items, [""], item, np.zeros_like(item))


def dataset_of_sequences(sequences: Sequence[Sequence[int]], number_of_items: int) -> Dataset:
    """Recommendation events only, one list of items a user."""
    user = np.repeat(np.arange(1, len(sequences) + 1), [len(one) for one in sequences])
    item = np.concatenate([np.array(one, dtype=np.int64) for one in sequences])
    items = numbered_items(number_of_items)
    return dataset_of_events(items, [""], user, item, np.zeros_like(item))


def view_of_sequences(sequences: Sequence[Sequence[int]]) -> TrainingView:
    """The view of which ``sequences`` are the training parts: two held-out events follow each."""
    dataset = dataset_of_sequences([[*one, 41, 42] for one in sequences], 60)
    return planted_in(dataset, ProtocolSettings(negatives=19))[2]


def going_round(users: int, items: int, rounds: int, cold: int = 0) -> Dataset:
    """Each user goes round one cycle of ``items``, whose texts say nothing of its order.

    Nobody chooses the ``cold`` further items.
    """
    random = np.random.default_rng(5)
    start = random.integers(items, size=(users, 1))
    order = 1 + random.permutation(items)
    return recommended(numbered_items(items + cold), order[(start + np.arange(rounds)) % items])


def along_one_cycle(users: int, items: int, events: int) -> Dataset:
    """The item after each item is always the same one, as in ``going_round``, with other draws."""
    random = np.random.default_rng(3)
    order = 1 + random.permutation(items)
    start = random.integers(items, size=(users, 1))
    return recommended(numbered_items(items), order[(start + np.arange(events)) % items])


def in_turns(
    items: Items,
    queries: Sequence[str],
    bought: NDArray[np.integer],
    found: NDArray[np.integer],
    query: NDArray[np.integer],
) -> Dataset:
    """Each user buys and searches in turn; ``bought``, ``found`` and ``query`` (users, rounds)."""
    asked = np.stack([np.zeros_like(query), query], axis=2)
    return dataset_of_rounds(items, queries, np.stack([bought, found], axis=2), asked)


def cycle_and_tastes(users: int, rounds: int, *, cycle: int, kinds: int, tastes: int) -> Dataset:
    """Each user goes round a cycle of items, and searches in between.

    The searched item is given by the query and by the user's taste, which all searches share. The
    last two queries are never asked: one of unknown words, and an empty one.
    """
    random = np.random.default_rng(5)
    start, taste = random.integers(cycle, size=users), np.arange(1, users + 1) % tastes
    kind = random.integers(kinds, size=(users, rounds))
    bought = 1 + (start[:, None] + np.arange(rounds)) % cycle
    found = 1 + cycle + kind * tastes + taste[:, None]
    asked = ["", *[f"find kind {number}" for number in range(kinds)], "words of nobody", ""]
    return in_turns(numbered_items(cycle + kinds * tastes), asked, bought, found, kind + 1)


def strangers(dataset: Dataset, task: Task, query: int) -> Requests:
    """The test lists for ``query``, asked by an unknown user who has no history."""
    nobody = np.zeros(len(task.test), dtype=np.int64)
    behaviour = nobody + (SEARCH if task.name == "search" else RECOMMENDATION)
    log = EventLog.from_columns(
        user=nobody,
        item=dataset.log.item[task.test.position],
        query=nobody + query,
        behaviour=behaviour,
        timestamp=nobody,
        session=behaviour,
        number_of_users=dataset.log.number_of_users,
    )
    nothing = nobody.astype(np.int32)
    events = EventSet(np.arange(len(nobody)), nothing, nothing, nobody - 1)
    return Requests(task.name, log, events, dataset.queries.text, task.test_candidates.items)


@contextmanager
def toy_encoder(module: ModuleType, width: int) -> Iterator[None]:
    """Random vectors (texts, ``width``) in place of those that an encoder makes for ``module``."""

    def vectors(context: RunContext, encoder: Any, texts: list[str], *rest: Any) -> Any:
        return np.random.default_rng(0).normal(size=(len(texts), width)).astype(np.float32)

    found = PretrainedFiles(Path("none"), "toy", "0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "find_encoder", lambda *names: found)
        patch.setattr(module, "text_vectors", vectors)
        yield


def searched_things(users: int, rounds: int, text_of: Callable[[str], str]) -> Dataset:
    """Each user finds different things; the query names both in other words than the item."""
    random = np.random.default_rng(5)
    number = len(THINGS)
    item = 1 + np.stack([random.permutation(number)[:rounds] for _ in range(users)])
    names = ["", *[f"{word} {thing} number {n}" for n, (word, thing) in enumerate(THINGS)]]
    paths = [(), *[(("home", thing, word),) for word, thing in THINGS]]
    texts = ["", *[text_of(name) for name in names[1:]]]
    asked = ["", *[f"q {thing[::-1]} {word[::-1]}" for word, thing in THINGS]]
    items = Items(names, names, names, names, paths, texts)
    return dataset_of_rounds(items, asked, item, item)
