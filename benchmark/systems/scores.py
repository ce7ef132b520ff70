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
    array = np.asarray(scores)
    if array.shape != expected:
        raise SystemFailure(
            f"{system}: scores of the {requests.task} task have shape {array.shape}, "
            f"not {expected} (requests, candidates)."
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise SystemFailure(
            f"{system}: scores of the {requests.task} task are {array.dtype}, not float32."
        )
    array = array.astype(np.float32, copy=False)
    bad = np.isnan(array) | (array == np.inf)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise SystemFailure(
            f"{system}: the score of event {row} of the {requests.task} task (user "
            f"{requests.user[row]}, candidate {requests.candidates[row, column]}) is "
            f"{array[row, column]}, which is not finite."
        )
    return array
