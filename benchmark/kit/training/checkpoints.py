"""When a training writes its next checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

BYTES_A_SECOND = 1e8
"""What a slow disk writes; only the first checkpoint's time is reckoned with it."""

LATEST_FIRST = 120.0
"""Seconds after which the first checkpoint is due whatever it may take: a job that is stopped often
must come further each time."""

_COPIES = 4  # the weights, the best ones, and two moments


def expected_seconds(model: nn.Module) -> float:
    """How long a first checkpoint may take."""
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return _COPIES * size / BYTES_A_SECOND


class CheckpointPace:
    """Spreads checkpoints so that writing them takes at most a share of the time of training.

    One is due when as long as the last one would not bring the time that all of them took above the
    share. Where one takes longer than expected, the next ones wait until the share is kept again.
    The first one waits ``LATEST_FIRST`` seconds at most, or ``least_seconds`` if those are more.

    Args:
        least_seconds: between two checkpoints; with 0 one is due after every step.
        most_share: of the time since the training began, or went on.
        expected: seconds that the first one is reckoned to take.
        clock: seconds.
    """

    def __init__(
        self,
        least_seconds: float,
        most_share: float,
        expected: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.least_seconds, self.most_share = least_seconds, most_share
        self.expected, self.clock = expected, clock
        self.began = self.last = clock()
        self.spent = 0.0

    def is_due(self) -> bool:
        """Whether to write one now."""
        if self.least_seconds == 0:
            return True
        now = self.clock()
        is_affordable = self.spent + self.expected <= self.most_share * (now - self.began)
        is_late = not self.spent and now - self.began >= LATEST_FIRST
        return (is_affordable or is_late) and now - self.last >= self.least_seconds

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around the writing of one."""
        started = self.clock()
        yield
        self.last = self.clock()
        self.expected = self.last - started
        self.spent += self.expected
