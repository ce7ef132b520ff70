"""The probes of the second view: what a system says of all items at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.check.subject import Subject, Violation, difference_in_words, require_near, tolerance
from benchmark.data.dataset import IntArray
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray
from benchmark.systems.scores import checked_scores_of_all

ONE_BY_ONE = 7
"""How many requests are scored alone."""


def ranks_all_items_as_it_ranks_lists(subject: Subject) -> str:
    """It scores all items, and two of them stand in the order that they have in a list."""
    says = subject.fitted.ranking_of_all_items()
    if not isinstance(says, str):
        raise Violation(f"ranking_of_all_items() is {says!r}, not a string.")
    seen = []
    for task in subject.tasks:
        requests, lists = subject.world.requests(task), subject.expected[task]
        scores = _scores_of_all(subject, requests)
        left_out = np.isneginf(scores[:, 1:]).mean()
        if left_out == 1:
            raise Violation(f"it leaves out every item in the {task} task.")
        if left_out and not says:
            raise Violation(
                f"it leaves out {left_out:.0%} of all items in the {task} task, but "
                'ranking_of_all_items() is "".'
            )
        here = np.take_along_axis(scores, requests.candidates.astype(np.int64), axis=1)
        _require_same_order(requests, lists, here)
        seen.append(f"{task} {scores.shape[1] - 1} items")
    return ", ".join([*seen, says] if says else seen)


def batches_do_not_matter_for_all_items(subject: Subject) -> str:
    """All items get the same scores whichever requests are scored together."""
    largest = 0.0
    for task in subject.tasks:
        requests = subject.world.requests(task)
        expected = _scores_of_all(subject, requests)
        shuffled = np.random.default_rng(4).permutation(len(requests))
        few = np.arange(min(ONE_BY_ONE, len(requests)))
        for rows, size, change in (
            (shuffled, len(requests), "with the requests in another order"),
            (np.arange(1, len(requests), 3), 7, "with some of the requests, in sevens"),
            (few, 1, "one by one"),
        ):
            chosen = requests.select(rows)
            parts = [_scores_of_all(subject, part) for _, part in chosen.batches(size)]
            there = np.concatenate(parts)
            asked = chosen.with_candidates(_every_item(chosen))
            difference = require_near(asked, expected[rows][:, 1:], there[:, 1:], change)
            largest = max(largest, difference)
    return difference_in_words(largest)


def _scores_of_all(subject: Subject, requests: Requests) -> FloatArray:
    """The checked scores, a copy; column 0 is nobody's."""
    scores: Any = subject.fitted.score_all_items(requests.without_candidates())
    return checked_scores_of_all(scores, requests, subject.name).copy()


def _every_item(requests: Requests) -> IntArray:
    items = np.arange(1, requests.number_of_items + 1, dtype=np.int32)
    return np.tile(items, (len(requests), 1))


def _require_same_order(requests: Requests, lists: FloatArray, here: FloatArray) -> None:
    """Pairs of candidates that one view tells apart, and the other ranks too, are in one order.

    Args:
        lists: (requests, candidates) their scores in lists.
        here: those among all items.

    Raises:
        Violation: two are not.
    """
    ranked = np.isfinite(lists) & np.isfinite(here)
    both = ranked[:, :, None] & ranked[:, None, :]
    wrong = both & (
        (_clearly_above(lists) & ~_above(here)) | (_clearly_above(here) & ~_above(lists))
    )
    if not wrong.any():
        return
    row, better, worse = np.argwhere(wrong)[0]
    first, second = requests.candidates[row, [better, worse]]
    raise Violation(
        f"request {row} of the {requests.task} task (user {requests.user[row]}): items {first} and "
        f"{second} score {lists[row, better]:.8g} and {lists[row, worse]:.8g} in a list, but "
        f"{here[row, better]:.8g} and {here[row, worse]:.8g} among all items."
    )


def _above(scores: FloatArray) -> NDArray[np.bool_]:
    """(requests, candidates, candidates) whether the first one's score is higher."""
    return scores[:, :, None] > scores[:, None, :]


def _clearly_above(scores: FloatArray) -> NDArray[np.bool_]:
    """By more than near scores differ."""
    margin = tolerance(scores)[:, :, None]
    finite = np.where(np.isfinite(scores), scores, 0).astype(np.float64)
    return finite[:, :, None] - finite[:, None, :] > margin
