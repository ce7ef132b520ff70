"""Which rows of the log training and model selection may look at, given what is held out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import EventLog
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.splits import rows_but_the_test, training_rows
from benchmark.protocol.task import Task


def rows_for_training(
    log: EventLog, tasks: Mapping[str, Task], settings: ProtocolSettings
) -> NDArray[np.bool_]:
    """Which log rows ``fit`` may look at, shape (events,).

    Args:
        log: the whole log.
        tasks: all of the data set's: what one holds out, training of the other may not see.
        settings: of the protocol.
    """
    held_out = np.concatenate([task.held_out for task in tasks.values()])
    return training_rows(log, held_out, settings)


def validation_rows(
    log: EventLog, tasks: Mapping[str, Task], settings: ProtocolSettings
) -> NDArray[np.bool_]:
    """Which log rows a validation history may hold: all but the test, shape (events,)."""
    tested = np.concatenate([task.tested for task in tasks.values()])
    hidden = np.concatenate([task.test.hidden for task in tasks.values()])
    return rows_but_the_test(log, tested, hidden, settings)
