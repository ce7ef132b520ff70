"""What tests of several systems ask alike: hits, saving, killing, narrow beams, odd requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from benchmark.data.dataset import Dataset
from benchmark.protocol.histories import EventSet
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.protocol.requests import Requests
from benchmark.protocol.task import Task
from benchmark.systems.contract import System
from benchmark.systems.view import Corpus, TrainingView
from tests.baselines.planted import Planted

S = TypeVar("S", bound=System)


def hit_rate(system: System, dataset: Dataset, task: Task, cutoff: int = 1) -> float:
    """The share of test events whose target is among the first ``cutoff`` candidates."""
    scores = system.score(task.requests(dataset, "test"))
    ranks = ranks_of_targets(scores, task.test_candidates.target_column)
    return mean_metrics(ranks)[f"HR@{cutoff}"]


def loaded_into(empty: S, system: System, folder: Path, corpus: Corpus) -> S:
    """``empty`` with what ``system`` saves, in a folder below ``folder``."""
    saved = folder / "saved"
    saved.mkdir()
    system.save(saved)
    empty.load(saved, corpus)
    return empty


def check_scores_are_the_same(one: System, other: System, *asked: Requests) -> None:
    """To the bit."""
    assert asked
    for requests in asked:
        np.testing.assert_array_equal(one.score(requests), other.score(requests))


def check_a_narrow_beam_drops_candidates_and_exact_scores_do_not(
    make: Callable[..., System], fitted: System, planted: Planted, folder: Path
) -> None:
    """Of three beams three candidates come, with the scores that they have exactly.

    Args:
        make: an unfitted system that keeps its files in a folder, with settings of its own.
        folder: an empty one.
    """
    dataset, task, view = planted
    requests = task.requests(dataset, "test")
    fitted.save(folder)
    scores = {}
    for scoring in "beam", "exact":
        system = make(folder / scoring, scoring=scoring, beam_size=3)
        system.load(folder, view.corpus)
        scores[scoring] = system.score(requests)
    kept = np.isfinite(scores["beam"])
    assert (kept.sum(axis=1) == 3).all() and np.isfinite(scores["exact"]).all()
    np.testing.assert_allclose(scores["beam"][kept], scores["exact"][kept], rtol=1e-4, atol=1e-4)


@contextmanager
def interrupted(owner: type, method: str, after: int) -> Iterator[None]:
    """``owner.method`` interrupts what runs here, at the call that follows ``after`` others."""
    call, calls = getattr(owner, method), []

    def dies(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return call(self, *arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, method, dies)
        yield


def check_killed_in_training_it_ends_as_if_it_had_not_been(
    make: Callable[[Path], System],
    view: TrainingView,
    requests: Requests,
    folder: Path,
    *,
    killed_in: tuple[type, str],
    after: int,
) -> None:
    """Killed and fitted again in the same folder, it scores as one that was not killed.

    Args:
        make: an unfitted system that keeps its checkpoints in a folder.
        killed_in: a class and the method of it that the training calls at each step.
        after: how many calls come to their end.
    """
    whole = make(folder / "whole")
    whole.fit(view)
    with interrupted(*killed_in, after):
        make(folder / "killed").fit(view)
    resumed = make(folder / "killed")
    resumed.fit(view)
    check_scores_are_the_same(resumed, whole, requests)


def check_a_list_is_scored_like_its_candidates_one_by_one(
    system: System, requests: Requests
) -> None:
    alone = [
        system.score(requests.select([row]).with_candidates(np.array([[candidate]])))
        for row, candidates in enumerate(requests.candidates)
        for candidate in candidates
    ]
    expected = np.concatenate(alone).reshape(requests.candidates.shape)
    np.testing.assert_allclose(system.score(requests), expected, rtol=1e-4, atol=1e-4)


def check_missing_histories_and_unknown_queries_are_scored(
    system: System, dataset: Dataset, task: Task, seen: tuple[int, int]
) -> None:
    """All items, for a known query and for the last two, which nobody has asked.

    Args:
        seen: of how many recommendations and searches the first test event knows.
    """
    bought, searched = (np.array([number], dtype=np.int32) for number in seen)
    few = EventSet(task.test.position[:1], bought, searched, hidden=np.array([-1]))
    candidates = np.arange(1, dataset.number_of_items + 1, dtype=np.int32)[None, :]
    last = len(dataset.queries)
    for query in (1, last - 1, last) if task.name == "search" else (0,):
        log = replace(dataset.log, query=np.full_like(dataset.log.query, query))
        requests = Requests(task.name, log, few, dataset.queries.text, candidates)
        assert np.isfinite(system.score(requests)).all()


def check_the_loss_has_finite_gradients(loss: torch.Tensor, model: torch.nn.Module) -> None:
    loss.backward()
    assert torch.isfinite(loss)
    for parameter in model.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
