"""Running jobs in processes of their own, so that one system cannot end the suite.

There are as many workers as jobs may run at the same time, one by default; each forks a process for
each of its jobs (:mod:`benchmark.run.worker`). A job whose process died is tried once more, alone,
since another job may have taken the memory; when that one dies too, the job is recorded as failed.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol

from rich.console import Console

from benchmark.faults import MachineFault
from benchmark.jobs.context import load_data
from benchmark.jobs.execute import execute
from benchmark.jobs.failure import Failure
from benchmark.jobs.machine import visible_cuda_devices
from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec
from benchmark.locks import is_free
from benchmark.run.child import Child
from benchmark.run.progress import A_MINUTE, Shown
from benchmark.run.worker import Answer, Order
from benchmark.systems.processes import number_of_processes

_TRIES = 2
_TICK = 1.0  # seconds between two looks at whether jobs are wanted


def run_jobs(
    jobs: Sequence[JobSpec],
    processes: int,
    console: Console,
    afresh: Collection[str] = (),
    *,
    goes_on: Callable[[], bool] = lambda: True,
    ended: Callable[[JobSpec, Run], None] = lambda job, run: None,
) -> None:
    """Run every job; a failed one is recorded in its run folder and the others go on.

    A job that another suite is running, or for which another job or suite builds something, is left
    for later, so that no process waits while there is work. With several processes jobs that build
    on another system begin first, since they take longest. Under ``torchrun`` jobs run in this
    process, in their order.

    Args:
        jobs: to run.
        processes: how many of them at the same time.
        console: where it is said what goes on.
        afresh: identities of jobs to forget before they run.
        goes_on: is asked before each job; when it says no, those that run are run to their end.
        ended: is told of each job that has finished or failed, and what it raises stops all.

    Raises:
        BenchmarkError: the input is bad.
        MachineFault: the results folder cannot be written.
    """
    with Shown(console, len(jobs), ended) as shown:
        if number_of_processes() > 1:
            for job in jobs:
                started = time.monotonic()
                run = execute(job, partial(shown.says, job), afresh=job.identity in afresh)
                shown.ended(job, run, time.monotonic() - started)
            return
        load_data.cache_clear()  # the workers hold the data
        if processes > 1:
            jobs = sorted(jobs, key=lambda job: not job.upstream)
        with Crew(processes, devices_of(jobs, processes)) as crew:
            Queue(jobs, crew, shown, frozenset(afresh), goes_on).run()


def devices_of(jobs: Sequence[JobSpec], processes: int) -> list[str]:
    """What jobs that run at the same time on "cuda" are given, each one of its own."""
    shares_out = processes > 1 and any(job.device == "cuda" for job in jobs)
    return visible_cuda_devices() if shares_out else []


@dataclass
class _Worker(Child):
    order: Order | None = None
    is_ready: bool = False
    answer: Answer | None = None  # to the order, whose process has not ended yet


_BEGIN = "from benchmark.run.worker import main; main({}, {})"


class Crew:
    """The living workers; a context manager that ends them all.

    Each sees one of ``devices`` alone, as evenly as can be; without them, what this process sees.
    """

    def __init__(self, size: int, devices: Sequence[str] = ()) -> None:
        self.size = size
        self.devices = devices
        self.workers: list[_Worker] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.connection.close()  # which ends the idle ones
            if worker.order is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.wait_or_kill()
            worker.close()

    def give(self, order: Order) -> None:
        """Hand ``order`` to an idle worker, or to a new one."""
        idle = [worker for worker in self.workers if worker.order is None]
        worker = idle[0] if idle else self._hired()
        worker.order = order
        # One that has died meanwhile shows it when it is waited for.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(order)

    def _hired(self) -> _Worker:
        self.workers.append(_Worker.started(_BEGIN, self.devices, self.workers))
        return self.workers[-1]

    def busy(self) -> list[_Worker]:
        """The workers that have an order."""
        return [worker for worker in self.workers if worker.order is not None]

    def answers(self, seconds: float) -> list[tuple[_Worker, Answer | None]]:
        """Wait until a busy worker says something, but no longer; None if it has died."""
        speakers = {id(worker.connection): worker for worker in self.busy()}
        ready = wait([worker.connection for worker in speakers.values()], seconds)
        heard: list[tuple[_Worker, Answer | None]] = []
        for connection in ready:
            worker = speakers[id(connection)]
            try:
                heard.append((worker, worker.connection.recv()))
            except (EOFError, ConnectionResetError):
                worker.process.wait()
                heard.append((worker, None))
        return heard

    def dismiss(self, worker: _Worker) -> None:
        """Forget a worker that has died."""
        worker.close()
        self.workers.remove(worker)


class Audience(Protocol):
    """Who is told what goes on."""

    def says(self, job: JobSpec, message: str) -> None:
        """What a job is at now."""

    def tells(self, sentence: str, style: str = "") -> None:
        """What stays to be read."""

    def ended(self, job: JobSpec, run: Run, seconds: float) -> None:
        """A job has finished or failed."""

    def looks_at_the_clock(self) -> None:
        """Time has gone by, and nothing else may have happened."""


class Unwanted(Exception):
    """Whoever asked for the jobs wants them no longer."""


@dataclass
class Queue:
    """Which jobs wait, and which wait for others or for another try.

    Jobs that others run, or for which others build something, are in ``locked``, and the locks in
    ``locks``. When these are free they begin after the others, so that of two jobs that train one
    model the first does so; without ``waits`` they are left there. With ``shared``, a system that
    the jobs are of or build on is fitted, and no more. ``is_wanted`` is asked about once a second.
    """

    jobs: Sequence[JobSpec]
    crew: Crew
    shown: Audience
    afresh: frozenset[str]
    goes_on: Callable[[], bool] = lambda: True
    shared: str = ""
    waits: bool = True
    is_wanted: Callable[[], bool] | None = None
    locked: deque[JobSpec] = field(default_factory=deque)
    locks: dict[str, str] = field(default_factory=dict)  # identity → the lock that others hold
    alone: deque[JobSpec] = field(default_factory=deque)
    deaths: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Run all jobs to their end.

        Raises:
            BenchmarkError: as :func:`run_jobs`.
            Unwanted: nobody wants them any longer; some may still run.
        """
        waiting = deque(self.jobs)
        while True:
            while waiting and len(self.crew.busy()) < self.crew.size:
                if not self.goes_on():
                    waiting.clear()
                    self.locked.clear()
                    break
                self.crew.give(self._order(waiting.popleft()))
            if not self.crew.busy():
                # Those that died first: waiting for others may take long.
                if self.alone:
                    self.crew.give(self._order(self.alone.popleft(), waits=True))
                elif self.locked and self.waits and self.goes_on():
                    self.crew.give(self._order(self.locked.popleft(), waits=True))
                else:
                    return
            for worker, answer in self.crew.answers(A_MINUTE if self.is_wanted is None else _TICK):
                self._heard(worker, answer)
            waiting.extend(self._freed())
            self.shown.looks_at_the_clock()
            if self.is_wanted is not None and not self.is_wanted():
                raise Unwanted

    def _freed(self) -> list[JobSpec]:
        """The jobs that others held up and do no longer."""
        if not self.waits:
            return []
        freed = [job for job in self.locked if is_free(Path(self.locks[job.identity]))]
        self.locked = deque(job for job in self.locked if job not in freed)
        return freed

    def _order(self, job: JobSpec, waits: bool = False) -> Order:
        is_new = not self.deaths.get(job.identity)
        return Order(
            job,
            waits=waits and self.waits,
            afresh=is_new and job.identity in self.afresh,
            shared=self.shared,
        )

    def _heard(self, worker: _Worker, answer: Answer | None) -> None:
        order = worker.order
        assert order is not None
        if answer is None and not worker.is_ready:
            how = _manner_of_death(worker.process.returncode)
            raise MachineFault(f"{order.job.label}: the process for it {how} before it began.")
        if answer is None:
            self.crew.dismiss(worker)
            self._died(order, worker.process.returncode)
        elif answer.kind == "ready":
            worker.is_ready = True
        elif answer.kind == "progress":
            self.shown.says(order.job, answer.text)
        elif answer.kind != "ended":
            worker.answer = answer
        else:
            said, worker.order, worker.answer = worker.answer, None, None
            if said is None:
                self._died(order, answer.code)
            else:
                self._answered(order, said)

    def _answered(self, order: Order, answer: Answer) -> None:
        if answer.error is not None:
            raise answer.error
        if answer.kind == "broken":
            self._broke(order, answer.text)
        elif answer.kind == "locked":
            self.locked.append(order.job)
            self.locks[order.job.identity] = answer.text
        elif answer.run is not None:
            self.shown.ended(order.job, answer.run, answer.seconds)

    def _broke(self, order: Order, text: str) -> None:
        """A system can leave a process in which the suite's own code fails; the others go on."""
        sentence = f"{order.job.label}: the suite itself failed.\n{text}"
        if order.death is not None:
            raise RuntimeError(sentence)
        self.shown.tells(sentence, style="red")
        if order.shared:
            return  # the jobs that need it come to the same
        reason = text.strip().rpartition("\n")[2]
        failure = Failure(f"the suite itself failed in its process: {reason}", retryable=True)
        self.crew.give(Order(order.job, death=failure))

    def _died(self, order: Order, code: int | None) -> None:
        job, how = order.job, _manner_of_death(code)
        if order.death is not None:
            raise MachineFault(f"{job.label}: its failure cannot be recorded; its process {how}.")
        self.deaths[job.identity] = self.deaths.get(job.identity, 0) + 1
        if self.deaths[job.identity] < _TRIES:
            self.shown.tells(f"{job.label}: its process {how}; it is tried again, alone.")
            self.alone.append(job)
            return
        if order.shared:
            return  # the jobs that need it come to the same
        # The kernel kills what takes too much memory, and says so to nobody.
        is_killed = code == -signal.SIGKILL
        why = " (out of memory, or somebody killed it)" if is_killed else ""
        failure = Failure(f"its process {how} twice{why}.", retryable=is_killed)
        self.crew.give(Order(job, death=failure))


def _manner_of_death(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with exit code {code}"
