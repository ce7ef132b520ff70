"""The process that runs jobs for a suite, one after another, until one of them ends it.

It lives as long as the suite, so libraries and data are loaded once; a system that crashes, exits
or is killed takes nothing but this process with it, and the suite starts the next one.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
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

    ``locked`` means that another suite runs the job; ``stopped`` that nobody can go on; ``broken``
    that the suite's own code raised what it must not.
    """

    kind: Literal["ready", "progress", "done", "locked", "stopped", "broken"]
    text: str = ""
    run: Run | None = None
    error: BenchmarkError | None = None
    seconds: float = 0.0


def main(orders: int, suite: int) -> None:
    """Begin in a new process; the arguments are file descriptors.

    ``orders`` is a connection; ``suite`` a pipe whose other end the suite holds while it lives.
    """
    threading.Thread(target=_end_with, args=(suite,), daemon=True).start()
    work(Connection(orders))


def work(orders: Connection) -> None:
    """Carry out orders until there are no more, or the suite ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the suite decides
    end = _End()
    signal.signal(signal.SIGTERM, end)
    place = Path.cwd()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        orders.send(Answer("ready"))
        while True:
            order: Order = orders.recv()
            os.chdir(place)  # wherever the last system went
            end.is_at_work = True
            answer = _carried_out(order, orders)
            end.is_at_work = False
            orders.send(answer)


@dataclass
class _End:
    """How the suite ends this process: a job cleans up behind itself, and nothing else has to."""

    is_at_work: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.is_at_work:
            os._exit(0)
        self.is_at_work = False
        raise KeyboardInterrupt


def _end_with(suite: int) -> None:
    """End this process when nobody holds the other end of the pipe any more."""
    os.read(suite, 1)
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
    except Exception:  # of the suite's own code, not of a system: it is shown and not recorded
        return Answer("broken", text=traceback.format_exc())
    return Answer("done", run=run, seconds=time.monotonic() - started)
