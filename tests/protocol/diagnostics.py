"""Diagnostics of the audit once more, by looking through whole windows: an oracle for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import RECOMMENDATION, EventLog, LongArray
from benchmark.protocol.histories import EventSet, history_positions


def target_is_visible(
    log: EventLog, events: EventSet, behaviour: int, length: int | None = None
) -> NDArray[np.bool_]:
    """D1 to D3: the event's item is among the (last ``length``) visible events of ``behaviour``."""
    longest = int(np.diff(log.offsets).max())
    rows = history_positions(log, log.user[events.position], events, length or longest, behaviour)
    same: NDArray[np.bool_] = (log.item[rows] == log.item[events.position][:, None]) & (rows >= 0)
    return same.any(axis=1)


def prefix_is_not_its_own(log: EventLog, events: EventSet) -> NDArray[np.bool_]:
    """D4: a purchase does not see the purchases before its own place in the list."""
    own = log.recommendation.seen_before(log, events.position)
    return np.asarray(events.seen_recommendation != own)


def has_twin_in(log: EventLog, events: EventSet, others: LongArray) -> NDArray[np.bool_]:
    """D5: among the log rows ``others`` there is one of the same user, item and time."""
    keys = np.stack([log.user, log.item, log.timestamp], axis=1).tolist()
    known = {tuple(keys[row]) for row in others}
    return np.array([tuple(keys[row]) in known for row in events.position], dtype=bool)


def is_purchase(log: EventLog) -> NDArray[np.bool_]:
    """Which log rows are recommendation events."""
    return np.asarray(log.behaviour == RECOMMENDATION)
