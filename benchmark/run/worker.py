"""The process that runs jobs for a suite: each in a fork of its own, which nothing outlives.

A worker lives as long as the suite and holds nothing but loaded libraries, so that what one system
does to its process (a default of torch, a closed file, a crash) is gone when its job is. The worker
itself runs no system's code. It has no threads and touches no GPU, without which a process may not
be forked; and it can always end a job, also one whose threads no longer answer.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Literal, NoReturn

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault, machine_cause
from benchmark.jobs.execute import execute, fit_shared, record_death
from benchmark.jobs.failure import Failure
from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec
from benchmark.locks import LockedElsewhere

_LIBRARIES = ("accelerate", "sklearn.cluster", "torch", "transformers")
"""Loaded once a suite, because it takes seconds, and not once a job."""

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
_LONGEST_MESSAGE = 1_000  # characters


@dataclass(frozen=True)
class Order:
    """A job to run; with ``death``, one to record as failed instead.

    With ``shared``, the name of a system that it builds on or is of: that one is fitted, and no
    more. ``waits`` is :func:`execute`'s.
    """

    job: JobSpec
    waits: bool = False
    afresh: bool = False
    death: Failure | None = None
    shared: str = ""


@dataclass(frozen=True)
class Answer:
    """What a worker says: first that it is ready, then of each order its progress and its end.

    ``locked`` means that others run the job or build what it needs, and ``text`` is the lock that
    they hold; ``stopped`` that nobody can go on; ``broken`` that the suite's own code raised what
    it must not. ``ended`` is the last of each order, with the exit code of the job's process, or
    minus the signal that ended it.
    """

    kind: Literal["ready", "progress", "done", "locked", "stopped", "broken", "ended"]
    text: str = ""
    run: Run | None = None
    error: BenchmarkError | None = None
    seconds: float = 0.0
    code: int = 0


def main(orders: int, suite: int) -> None:
    """Begin in a new process; the arguments are file descriptors.

    ``orders`` is a connection; ``suite`` a pipe whose other end the suite holds while it lives.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the suite decides
    for name in _LIBRARIES:
        import_module(name)
    work(Connection(orders), suite)


def work(orders: Connection, suite: int) -> None:
    """Carry out orders until there are no more, or the suite is gone or ends this process."""
    gc.freeze()  # what is loaded stays; looking through it would copy it into each job
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        orders.send(Answer("ready"))
        job = _Job()
        signal.signal(signal.SIGTERM, job.end_on_signal)
        while suite not in wait([orders, suite]):
            order: Order = orders.recv()
            code = job.run(order, orders, suite)
            orders.send(Answer("ended", code=code))
            if job.is_ended:
                return


@dataclass
class _Job:
    """The process of a job, and of all that the job starts in its process group."""

    number: int = 0
    is_ended: bool = False  # by a signal of the suite, which goes on to the job

    def end_on_signal(self, number: int, frame: FrameType | None) -> None:
        """A job cleans up behind itself when the suite ends it."""
        if not self.number:
            os._exit(0)
        self.is_ended = True
        with suppress(ProcessLookupError):
            os.kill(self.number, signal.SIGTERM)

    def run(self, order: Order, orders: Connection, suite: int) -> int:
        """Run the job to its end and hand on what it says; returns how its process ended."""
        ours, theirs = Pipe(duplex=False)
        ended = {signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, ended)
        self.number = os.fork()
        if not self.number:
            orders.close()
            ours.close()
            os.close(suite)
            _be_a_job(order, theirs)
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(self.number, self.number)  # whoever of the two comes first
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ended)
        theirs.close()
        try:
            return self._watched(ours, orders, suite)
        finally:
            ours.close()
            self.number = 0

    def _watched(self, ours: Connection, orders: Connection, suite: int) -> int:
        # The end of the process is seen at its own: those that it started may hold the pipe.
        end = os.pidfd_open(self.number)
        open_ends: list[Connection | int] = [ours, end, suite]
        try:
            while True:
                ready = wait(open_ends)
                if suite in ready:
                    self._kill()
                    os._exit(1)
                if ours in ready and not self._handed_on(ours, orders):
                    open_ends.remove(ours)
                elif end in ready and ours not in ready:
                    break
        finally:
            os.close(end)
        self._kill()  # whatever it started is still there
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])

    def _handed_on(self, ours: Connection, orders: Connection) -> bool:
        """Whether the job had something to say, which the suite has now."""
        try:
            said = ours.recv_bytes()
        except (EOFError, OSError):  # closed, or cut off by its end
            return False
        with suppress(BrokenPipeError, ConnectionResetError):  # a suite that ends listens no more
            orders.send_bytes(said)
        return True

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.number, signal.SIGKILL)


def _be_a_job(order: Order, suite: Connection) -> NoReturn:
    """Go on as the process of a job, and end with it."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # so its group may write to the terminal
        end = _End()
        signal.signal(signal.SIGTERM, end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _die_with_parent()
        speech = _Speech(suite)
        with suppress(KeyboardInterrupt):
            end.is_at_work = True
            answer = _carried_out(order, speech)
            end.is_at_work = False
            speech.send(answer)
    finally:
        for output in (sys.stdout, sys.stderr):
            with suppress(Exception):
                output.flush()
        os._exit(0)


def _die_with_parent() -> None:
    """Also where the worker is killed: nobody would watch the job any more."""
    parent = os.getppid()
    with suppress(AttributeError, OSError):  # no Linux
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent or parent == 1:
        os._exit(1)


@dataclass
class _End:
    """How the suite ends a job: once, by an interrupt, behind which the job cleans up."""

    is_at_work: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.is_at_work:
            os._exit(0)
        self.is_at_work = False
        raise KeyboardInterrupt


@dataclass
class _Speech:
    """What a job says to the suite, from whichever of its threads."""

    suite: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, answer: Answer) -> None:
        with self.lock, suppress(BrokenPipeError):
            self.suite.send(answer)

    def progress(self, message: object) -> None:
        self.send(Answer("progress", str(message)[:_LONGEST_MESSAGE]))


def _carried_out(order: Order, speech: _Speech) -> Answer:
    started = time.monotonic()
    try:
        run: Run | None = None
        if order.death is not None:
            run = record_death(order.job, order.death)
        elif order.shared:
            fit_shared(order.job, order.shared, speech.progress)
        else:
            run = execute(
                order.job,
                speech.progress,
                waits=order.waits,
                afresh=order.afresh,
            )
    except LockedElsewhere as error:
        return Answer("locked", text=str(error))
    except BenchmarkError as error:
        return Answer("stopped", error=error)
    except (OSError, MemoryError) as error:
        cause = machine_cause(error)
        reason = cause.reason if cause else str(error)
        return Answer("stopped", error=MachineFault(f"{order.job.label}: stopped ({reason})."))
    except Exception:  # of the suite's own code, not of a system: it is shown and not recorded
        return Answer("broken", text=traceback.format_exc())
    return Answer("done", run=run, seconds=time.monotonic() - started)
