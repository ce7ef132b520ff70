"""Probes of scores: what forms they have, and that nothing but the request decides them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.check.subject import Subject, Violation, difference_in_words, require_near
from benchmark.check.world import unusual_requests
from benchmark.errors import SystemFailure

ONE_BY_ONE = 7
"""How many requests are scored alone; so few since some systems take long for each call."""

LIST_LENGTHS = (1, 7, 150)


def scores_have_the_right_form(subject: Subject) -> str:
    """Its scores are float32, of shape (requests, candidates), and finite or -inf."""
    seen = []
    for task in subject.tasks:
        requests = subject.world.requests(task)
        raw: Any = subject.fitted.score(requests)
        if not isinstance(raw, np.ndarray) or raw.dtype != np.float32:
            kind = getattr(raw, "dtype", type(raw).__name__)
            raise Violation(f"the scores of the {task} task are {kind}, not float32.")
        shape = subject.expected[task].shape  # checked on the way
        seen.append(f"{task} {shape[0]} × {shape[1]}")
    return ", ".join(seen)


def order_of_candidates_does_not_matter(subject: Subject) -> str:
    """Candidates in another order get the same scores."""
    random = np.random.default_rng(1)
    largest = 0.0
    for task in subject.tasks:
        requests, expected = subject.world.requests(task), subject.expected[task]
        columns = np.tile(np.arange(expected.shape[1]), (len(requests), 1))
        for order in (random.permuted(columns, axis=1), columns[:, ::-1]):
            moved = requests.with_candidates(_taken(requests.candidates, order))
            there = _taken(subject.score(moved), np.argsort(order, axis=1))
            change = "with the candidates in another order"
            largest = max(largest, require_near(requests, expected, there, change))
    return difference_in_words(largest)


def equal_candidates_get_equal_scores(subject: Subject) -> str:
    """A candidate that stands in a list twice gets the same score twice."""
    largest = 0.0
    for task in subject.tasks:
        requests = subject.world.requests(task)
        width = requests.candidates.shape[1]
        twice = np.concatenate([requests.candidates, requests.candidates[:, ::-1]], axis=1)
        scores = subject.score(requests.with_candidates(twice))
        first, second = scores[:, :width], scores[:, : width - 1 : -1]
        change = "where it stands the second time"
        largest = max(largest, require_near(requests, first, second, change))
    return difference_in_words(largest)


def lists_may_have_any_length(subject: Subject) -> str:
    """Lists of another length than in validation are scored, also of a single candidate."""
    random = np.random.default_rng(2)
    size = subject.world.dataset.number_of_items
    for task in subject.tasks:
        requests = subject.world.requests(task)
        for length in LIST_LENGTHS:
            items = random.integers(1, size + 1, size=(len(requests), length)).astype(np.int32)
            subject.score(requests.with_candidates(items))
    return f"{', '.join(map(str, LIST_LENGTHS))} candidates"


def batch_size_does_not_matter(subject: Subject) -> str:
    """Requests scored one by one, in sevens and all at once get the same scores."""
    largest = 0.0
    for task in subject.tasks:
        for size, number in ((1, ONE_BY_ONE), (7, 3 * ONE_BY_ONE)):
            requests = subject.world.requests(task).select(slice(0, number))
            parts = [subject.score(batch) for _, batch in requests.batches(size)]
            expected = subject.expected[task][:number]
            change = f"in batches of {size}"
            difference = require_near(requests, expected, np.concatenate(parts), change)
            largest = max(largest, difference)
    return difference_in_words(largest)


def order_of_requests_does_not_matter(subject: Subject) -> str:
    """Requests in another order, or only some of them, get the same scores."""
    largest = 0.0
    for task in subject.tasks:
        requests, expected = subject.world.requests(task), subject.expected[task]
        shuffled = np.random.default_rng(3).permutation(len(requests))
        for rows, change in (
            (shuffled, "with the requests in another order"),
            (np.arange(1, len(requests), 3), "with a third of the requests"),
        ):
            chosen = requests.select(rows)
            difference = require_near(chosen, expected[rows], subject.score(chosen), change)
            largest = max(largest, difference)
    return difference_in_words(largest)


def unusual_events_get_finite_scores(subject: Subject) -> str:
    """Empty and one-event histories, unknown users and words and empty queries are scored."""
    seen: dict[str, None] = {}
    for task in subject.tasks:
        for name, requests in unusual_requests(subject.world, task).items():
            try:
                subject.score(requests)
            except Exception as error:
                kind = "" if isinstance(error, SystemFailure) else f"{type(error).__name__}: "
                raise Violation(f"{name}: {kind}{error}") from error
            seen[name.removeprefix("a ").removeprefix("an ")] = None
    return ", ".join(seen)


def _taken(values: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    return np.take_along_axis(values, order, axis=1)
