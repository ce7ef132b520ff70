"""The process that runs jobs for a suite, one after another, until one of them ends it.

It lives as long as the suite, so libraries and data are loaded once; a system that crashes, exits
or is killed takes nothing but this process with it, and the suite starts the next one.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Literal

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault, machine_cause
from benchmark.locks import LockedElsewhere
from benchmark.runs.execute import Failure, execute, record_death
from benchmark.runs.record import Run
from benchmark.runs.store import JobSpec


@dataclass(frozen=True)
class Order:
    """A job to run; with ``death``, one to record as failed instead."""

    job: JobSpec
    waits: bool = False
    afresh: bool = False
    death: Failure | None = None


@dataclass(frozen=True)
class Answer:
    """What a worker says: first that it is ready, then of each order its progress and its end.

    ``locked`` means that another suite runs the job; ``stopped`` that nobody can go on.
    """

    kind: Literal["ready", "progress", "done", "locked", "stopped"]
    text: str = ""
    run: Run | None = None
    error: BenchmarkError | None = None
    seconds: float = 0.0


def work(orders: Connection) -> None:
    """Carry out orders until there are no more, or the suite ends this process or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the suite decides
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_the_suite, daemon=True).start()
    place = Path.cwd()
    try:
        orders.send(Answer("ready"))
        while True:
            order: Order = orders.recv()
            os.chdir(place)  # wherever the last system went
            orders.send(_carried_out(order, orders))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_the_suite() -> None:
    suite = parent_process()
    if suite is not None:
        wait([suite.sentinel])
        os._exit(1)


def _carried_out(order: Order, orders: Connection) -> Answer:
    started = time.monotonic()
    try:
        if order.death is not None:
            run = record_death(order.job, order.death)
        else:
            run = execute(
                order.job,
                lambda message: orders.send(Answer("progress", message)),
                waits=order.waits,
                afresh=order.afresh,
            )
    except LockedElsewhere:
        return Answer("locked")
    except BenchmarkError as error:
        return Answer("stopped", error=error)
    except (OSError, MemoryError) as error:
        cause = machine_cause(error)
        reason = cause.reason if cause else str(error)
        return Answer("stopped", error=MachineFault(f"{order.job.label}: stopped ({reason})."))
    return Answer("done", run=run, seconds=time.monotonic() - started)
