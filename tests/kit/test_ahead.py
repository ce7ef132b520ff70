"""Building ahead: order, overlap, exceptions, and no thread that stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.kit.modules import copy_of_state
from benchmark.kit.training import Batch, train
from benchmark.kit.training.ahead import built_ahead
from benchmark.kit.training.feed import Feed
from benchmark.kit.training.micro_batches import Limit
from tests.kit.test_training import (
    COSINE,
    NoisyPoints,
    make_context,
    seeded_model,
    square_error,
)

PATIENCE = 60  # seconds before a test gives up on another thread


def builders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "builds-ahead"]


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert not builders()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_things_come_in_their_order(number: int) -> None:
    assert list(built_ahead(iter(range(100)), number)) == list(range(100))


def test_the_next_is_built_while_one_is_used() -> None:
    built = [Event() for _ in range(3)]

    def source() -> Iterator[int]:
        for number, event in enumerate(built):
            event.set()
            yield number

    with closing(built_ahead(source(), 1)) as things:
        assert next(things) == 0
        assert built[1].wait(PATIENCE), "nothing was built while the first one was in use"


def test_not_more_is_built_ahead_than_asked_for() -> None:
    built: list[int] = []
    reached = Event()

    def source() -> Iterator[int]:
        for number in range(10):
            built.append(number)
            if number == 3:
                reached.set()
            yield number

    with closing(built_ahead(source(), 2)) as things:
        assert next(things) == 0
        # 1 and 2 wait, 3 is made and finds no place.
        assert reached.wait(PATIENCE)
        assert not Event().wait(0.3) and built == [0, 1, 2, 3]


class Broken(Exception):
    pass


def test_an_exception_comes_in_the_place_of_what_it_prevented() -> None:
    def source() -> Iterator[int]:
        yield 0
        raise Broken("here")

    things = built_ahead(source(), 2)
    assert next(things) == 0
    with pytest.raises(Broken, match=r"^here$"):
        next(things)
    assert not builders()


def test_a_thread_ends_where_its_user_stops() -> None:
    with closing(built_ahead(iter(range(1000)), 2)) as things:
        assert next(things) == 0 and len(builders()) == 1
    assert not builders()


# ------------------------------------------------------------------------------------ in training


class Watched(NoisyPoints):
    """Notes when a batch is built, and by which thread."""

    def __init__(self) -> None:
        self.built: dict[int, Event] = {number: Event() for number in range(200)}
        self.calls = 0
        self.threads: set[str] = set()

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        self.threads.add(threading.current_thread().name)
        self.built[self.calls].set()
        self.calls += 1
        return super().batch(rows, random)


def test_a_batch_is_built_while_the_step_before_it_runs(tmp_path: Path) -> None:
    instances, model = Watched(), seeded_model()
    error, steps = square_error(model), 0

    def loss(batch: Batch) -> torch.Tensor:
        nonlocal steps
        is_last_of_epoch = steps % 4 == 3
        if not is_last_of_epoch:
            assert instances.built[steps + 1].wait(PATIENCE), "the step waits for its successor"
        steps += 1
        return error(batch)

    settings = COSINE.model_copy(update={"batches_ahead": 1})
    train(model, instances, loss, settings, make_context(tmp_path))
    assert steps == 16 and instances.threads == {"builds-ahead"}


def weights_of(folder: Path, ahead: int | None) -> dict[str, torch.Tensor]:
    model = seeded_model(dropout=0.3)
    settings = COSINE.model_copy(update={"batches_ahead": ahead, "micro_batch_size": 4})
    train(model, NoisyPoints(), square_error(model), settings, make_context(folder))
    return copy_of_state(model)


def test_what_is_built_ahead_is_the_same_to_the_bit(tmp_path: Path) -> None:
    states = [weights_of(tmp_path / str(ahead), ahead) for ahead in (0, 1, 5)]
    for name, weight in states[0].items():
        assert all(torch.equal(state[name], weight) for state in states[1:])


def test_a_cpu_builds_in_its_own_thread_unless_told_otherwise(tmp_path: Path) -> None:
    instances, model = Watched(), seeded_model()
    train(model, instances, square_error(model), COSINE, make_context(tmp_path))
    assert instances.threads == {"MainThread"}


def test_an_accelerators_batches_wait_in_pinned_memory_and_are_built_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the calls of CUDA replaced by ones that note them."""
    pinned: list[int] = []
    chosen: list[tuple[str, int]] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.data_ptr())
        return tensor

    def choose(card: int) -> None:
        chosen.append((threading.current_thread().name, card))

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", choose)
    instances = Watched()
    card = SimpleNamespace(device=torch.device("cuda"), process_index=0, num_processes=1)
    feed = Feed(instances, COSINE, card, make_context(Path("unused")), "training")
    batches = [np.arange(6), np.arange(6, 12)]
    with closing(feed.built(batches, 0, Limit(instances=4))) as built:
        found = list(built)
    assert [rows.tolist() for rows, _ in found] == [batch.tolist() for batch in batches]
    tensors = [value for _, parts in found for batch, _ in parts for value in batch.values()]
    assert [tensor.data_ptr() for tensor in tensors] == pinned and len(pinned) == 8
    assert chosen == [("builds-ahead", 3)] and instances.threads == {"builds-ahead"}


def test_what_draws_from_global_generators_is_not_built_ahead(tmp_path: Path) -> None:
    class Global(Watched):
        builds_ahead = False

    instances, model = Global(), seeded_model()
    settings = COSINE.model_copy(update={"batches_ahead": 3})
    train(model, instances, square_error(model), settings, make_context(tmp_path))
    assert instances.threads == {"MainThread"}


def test_an_exception_of_the_builder_is_the_trainings(tmp_path: Path) -> None:
    class Breaks(Watched):
        def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
            if self.calls == 6:
                raise Broken("the seventh")
            return super().batch(rows, random)

    model = seeded_model()
    settings = COSINE.model_copy(update={"batches_ahead": 2})
    with pytest.raises(Broken, match=r"^the seventh$"):
        train(model, Breaks(), square_error(model), settings, make_context(tmp_path))


def test_an_exception_of_the_step_leaves_no_thread(tmp_path: Path) -> None:
    model = seeded_model()

    def loss(batch: Batch) -> torch.Tensor:
        raise Broken("the step")

    settings = COSINE.model_copy(update={"batches_ahead": 2})
    with pytest.raises(Broken, match=r"^the step$"):
        train(model, NoisyPoints(), loss, settings, make_context(tmp_path))
    assert not builders()
