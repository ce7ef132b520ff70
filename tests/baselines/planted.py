"""Logs whose next event follows from the last item, or from the query, for small T5s to learn."""

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
from benchmark.systems.contract import RunContext

THINGS = tuple(
    (word, thing)
    for word in ("red", "blue", "green", "black", "white", "grey")
    for thing in ("lamp", "chair", "table", "shelf", "sofa")
)
"""30 items: 5 things of 6 colours."""


def small_t5(**changes: Any) -> dict[str, Any]:
    """The settings of a backbone that learns such a log in seconds."""
    sizes = {
        "width": 32,
        "layers": 1,
        "heads": 2,
        "head_width": 16,
        "feed_forward": 64,
        "dropout": 0.0,
        "text_tokens": 150,
    }
    return {"model": "scratch", "scratch": sizes | changes}


def numbered_items(number: int) -> Items:
    """Items whose texts say nothing."""
    names = ["", *[f"item {n}" for n in range(1, number + 1)]]
    return Items(names, names, names, names, [()] * len(names), names)


def recommended(items: Items, item: NDArray[np.integer]) -> Dataset:
    """``item`` (users, rounds): what each user chose, in order."""
    return _dataset(items, item, [""], np.zeros_like(item), RECOMMENDATION)


def going_round(users: int, items: int, rounds: int, cold: int = 0) -> Dataset:
    """Each user goes round one cycle of ``items``, whose texts say nothing of its order.

    Nobody chooses the ``cold`` further items.
    """
    random = np.random.default_rng(5)
    start = random.integers(items, size=(users, 1))
    order = 1 + random.permutation(items)
    return recommended(numbered_items(items + cold), order[(start + np.arange(rounds)) % items])


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
    return _dataset(items, item, asked, item, SEARCH)


def _dataset(
    items: Items,
    item: NDArray[np.integer],
    queries: Sequence[str],
    query: NDArray[np.integer],
    behaviour: int,
) -> Dataset:
    users, rounds = item.shape
    events = np.arange(item.size)
    return Dataset(
        name="planted",
        items=items,
        queries=Queries(list(queries)),
        users=["", *[f"user {number}" for number in range(1, users + 1)]],
        log=EventLog.from_columns(
            user=np.repeat(np.arange(1, users + 1), rounds),
            item=item.ravel(),
            query=query.ravel(),
            behaviour=np.full(item.size, behaviour),
            timestamp=events,
            session=1 + events if behaviour == SEARCH else np.zeros_like(events),
            number_of_users=users,
        ),
    )
