"""Several processes that fit one system together, as ``torchrun`` starts them.

The first process runs the command as if it were alone. The others are told its jobs and go through
the same fits, each with a copy of the job's work folder, so that all come to the same trainings in
the same order. Whatever a process could see differently from the others (an artifact that is there,
a validation score) is what the first one sees: see :func:`agreed`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

Value = TypeVar("Value")

_PATIENCE = timedelta(days=7)  # the first process scores and reports while the others wait


def number_of_processes() -> int:
    """How many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this process is the one that writes results."""
    return int(os.environ.get("RANK", "0")) == 0


@lru_cache(maxsize=1)
def join(on_cpu: bool) -> Any:
    """Meet the other processes; the first call decides whether they talk by CPU or by GPU."""
    from accelerate import PartialState

    return PartialState(cpu=on_cpu, timeout=_PATIENCE)


def agreed(value: Value) -> Value:
    """The first process's value, in every process. All must call it, :func:`join` first."""
    if number_of_processes() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    values = [value]
    broadcast_object_list(values)
    return values[0]


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if number_of_processes() > 1:
        from accelerate.utils import wait_for_everyone

        wait_for_everyone()
