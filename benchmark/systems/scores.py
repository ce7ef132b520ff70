"""The check that every score passes on its way into a metric."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import SystemFailure
from benchmark.protocol.requests import Requests


def checked_scores(scores: Any, requests: Requests, system: str) -> NDArray[np.float32]:
    """The scores as (requests, candidates) float32.

    Raises:
        SystemFailure: they are no array of this shape, or hold NaN or +inf. -inf is allowed: it
            marks a candidate that a beam pruned.
    """
    expected = requests.candidates.shape
    array = _floats(scores, requests, system, expected, "candidates")
    bad = np.isnan(array) | (array == np.inf)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        item = int(requests.candidates[row, column])
        raise _not_finite(system, requests, int(row), item, float(array[row, column]))
    return array


def checked_scores_of_all(scores: Any, requests: Requests, system: str) -> NDArray[np.float32]:
    """The scores of all items as (requests, items + 1) float32; column 0 may hold anything.

    Raises:
        SystemFailure: as for :func:`checked_scores`.
    """
    expected = len(requests), requests.number_of_items + 1
    array = _floats(scores, requests, system, expected, "items + 1")
    # The greatest of all is NaN if any is, so that all items are looked at once.
    worst = array[:, 1:].max(axis=1, initial=-np.inf)
    bad = np.isnan(worst) | (worst == np.inf)
    if bad.any():
        row = int(np.argmax(bad))
        own = array[row, 1:]
        item = 1 + int(np.argmax(np.isnan(own) | (own == np.inf)))
        raise _not_finite(system, requests, row, item, float(array[row, item]))
    return array


def _floats(
    scores: Any, requests: Requests, system: str, expected: tuple[int, ...], columns: str
) -> NDArray[np.float32]:
    array = np.asarray(scores)
    if array.shape != expected:
        raise SystemFailure(
            f"{system}: scores of the {requests.task} task have shape {array.shape}, "
            f"not {expected} (requests, {columns})."
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise SystemFailure(
            f"{system}: scores of the {requests.task} task are {array.dtype}, not float32."
        )
    return array.astype(np.float32, copy=False)


def _not_finite(
    system: str, requests: Requests, row: int, item: int, score: float
) -> SystemFailure:
    return SystemFailure(
        f"{system}: the score of event {row} of the {requests.task} task (user "
        f"{requests.user[row]}, candidate {item}) is {score}, which is not finite."
    )
