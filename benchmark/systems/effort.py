"""What work takes: seconds of CPU, over all threads and children, and seconds by the clock."""

from __future__ import annotations

import os
import time
from typing import NamedTuple


class Effort(NamedTuple):
    """Seconds. Of CPU, those of this process and of the children that it has waited for."""

    cpu: float = 0.0
    wall: float = 0.0

    def plus(self, other: Effort) -> Effort:
        """Both together."""
        return Effort(self.cpu + other.cpu, self.wall + other.wall)

    def minus(self, other: Effort) -> Effort:
        """The rest of it."""
        return Effort(self.cpu - other.cpu, self.wall - other.wall)


def effort_so_far() -> Effort:
    """What this process has taken since some moment in the past; differences count."""
    return Effort(sum(os.times()[:4]), time.perf_counter())
