"""The jobs of a suite on a Dask cluster whose machines share the results folder.

Jobs and what several of them build on are one graph; Dask alone decides what runs where and when.
This command watches over it: it says what goes on, and gives Dask a job again that a worker took
with it, that waited for others, or that was lost with the connection. Whatever happens twice, the
job's lock and its published run see to it that it ends once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker
from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.jobs.context import load_data
from benchmark.jobs.execute import record_death
from benchmark.jobs.failure import Failure
from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec
from benchmark.locks import is_free
from benchmark.run.board import Board
from benchmark.run.company import ROUND, TICK, Company, gathered, needs_of
from benchmark.run.errand import Outcome, carry_out
from benchmark.run.graph import Shared, shared_fits
from benchmark.run.scheduler import LOST

TRIES = 3
"""Of what a machine has a fault with."""

MOST_DEATHS = 6
"""Of workers that ran the same; a cluster loses some for other reasons."""


def run_on_cluster(
    jobs: Sequence[JobSpec],
    client: Client,
    console: Console,
    afresh: Collection[str] = (),
    *,
    ended: Callable[[JobSpec, Run], None] = lambda job, run: None,
) -> None:
    """Run every job; a failed one is recorded in its run folder and the others go on.

    Args:
        jobs: to run.
        client: of the scheduler.
        console: where it is said what goes on.
        afresh: identities of jobs to forget before they run.
        ended: is told of each job that has finished or failed.

    Raises:
        BenchmarkError: the input is bad, or no worker may or can run a job.
        MachineFault: the scheduler is gone, or the results cannot be written.
    """
    load_data.cache_clear()  # the workers hold the data
    with Board(jobs, console) as board:
        begun: dict[str, int] = {}
        hears = partial(_hear, board, begun)
        with gathered(jobs, client, board.tells, hears) as company:
            _Watched(company, board, ended, frozenset(afresh), begun).run(jobs)


def _hear(board: Board, begun: dict[str, int], news: Mapping[str, Any]) -> None:
    if news["kind"] == "begins":
        if not news["shared"]:
            begun[news["job"]] = begun.get(news["job"], 0) + 1
        board.begins(news["job"], news["worker"])
    elif news["kind"] == "progress":
        board.says(news["job"], news["text"])


@dataclass
class _Watched:
    company: Company
    board: Board
    told: Callable[[JobSpec, Run], None]
    afresh: frozenset[str]
    begun: dict[str, int]
    running: dict[str, tuple[JobSpec, Future]] = field(default_factory=dict)
    fits: dict[str, tuple[Shared, Future]] = field(default_factory=dict)
    parked: dict[str, tuple[JobSpec, Path]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)

    def run(self, jobs: Sequence[JobSpec]) -> None:
        """Give Dask the graph, and watch until each job has ended."""
        try:
            self._begin(jobs)
        except LOST:
            self.company.come_back(partial(self._begin, jobs))
        looked = time.monotonic()
        while self.running or self.parked:
            time.sleep(TICK)
            if self.company.is_lost():
                left = [job for job, _ in (*self.running.values(), *self.parked.values())]
                self.company.come_back(partial(self._begin, left))
                continue
            for job, future in list(self.running.values()):
                if future.status in ("finished", "error"):
                    self._came(job, future)
            for job, lock in list(self.parked.values()):
                if is_free(lock):
                    del self.parked[job.identity]
                    self._submit(job)
            if time.monotonic() - looked >= ROUND:
                looked = time.monotonic()
                with suppress(*LOST):  # the next look at the connection sees it
                    self._remind()
            self.board.refresh()

    # -------------------------------------------------------------------------------------- graph

    def _begin(self, jobs: Sequence[JobSpec]) -> None:
        for own in (self.running, self.parked, self.fits):
            own.clear()
        self.company.join({job.label: needs_of(job) for job in jobs})
        for shared in shared_fits(jobs):
            self._share(shared)
        for job in jobs:
            self._submit(job)

    def _share(self, shared: Shared) -> None:
        fit = partial(carry_out, shared=shared.system)
        future = self._given(shared.job, f"fit-{shared.system}", fit)
        self.fits |= {job.identity: (shared, future) for job in shared.jobs}

    def _submit(self, job: JobSpec) -> None:
        fit = self.fits.get(job.identity)
        after = [fit[1]] if fit is not None and fit[1].status == "pending" else []
        is_afresh = job.identity in self.afresh and job.identity not in self.begun
        future = self._given(job, job.system, partial(carry_out, afresh=is_afresh), after)
        self.running[job.identity] = (job, future)

    def _given(
        self, job: JobSpec, name: str, what: Callable[..., Outcome], after: Sequence[Future] = ()
    ) -> Future:
        task = f"{name}-{job.identity[:16]}"
        return self.company.give(what, job, after, name=task, needs=needs_of(job))

    def _remind(self) -> None:
        """Give Dask again the jobs for which it had no worker, if there is one by now.

        It looks for their workers anew where a worker joins, but not where one is given resources,
        which is later.
        """
        assigned = self.company.assigned()

        def is_idle(job: JobSpec, future: Future) -> bool:
            is_waiting = future.status == "pending" and future.key not in assigned
            return is_waiting and self.company.room(needs_of(job)) > 0

        fits = {future.key: (shared, future) for shared, future in self.fits.values()}
        for shared, future in fits.values():
            if is_idle(shared.job, future):
                self.company.take_back([future])
                self._share(shared)
        for job, future in list(self.running.values()):
            fit = self.fits.get(job.identity)
            is_being_fitted = fit is not None and fit[1].key in assigned
            if not is_being_fitted and is_idle(job, future):
                self.company.take_back([future])
                self._submit(job)

    # ------------------------------------------------------------------------------------ outcomes

    def _came(self, job: JobSpec, future: Future) -> None:
        """Act on how Dask's task for a job ended."""
        try:
            outcome: Outcome | None = self.company.result(future)
        except KilledWorker:
            del self.running[job.identity]
            self.board.leaves(job)
            self._killed(job)
            return
        if outcome is None:  # the run may well be there
            if not self.company.is_lost():
                self._submit(job)
            return
        del self.running[job.identity]
        self.board.leaves(job)
        self.begun[job.identity] = max(self.begun.get(job.identity, 0) - 1, 0)  # no death
        if outcome.kind == "done" and outcome.run is not None:
            self.board.ended(job, outcome.run, outcome.seconds)
            self.told(job, outcome.run)
        elif outcome.kind == "locked":
            self.parked[job.identity] = (job, Path(outcome.text))
        elif outcome.kind == "stopped":
            raise BenchmarkError(outcome.text)
        elif outcome.kind == "fault":
            self.faults[job.identity] = self.faults.get(job.identity, 0) + 1
            if self.faults[job.identity] >= TRIES:
                raise MachineFault(outcome.text)
            self.board.tells(f"{outcome.text} It is tried again.")
            self._submit(job)
        else:
            self._submit(job)

    def _killed(self, job: JobSpec) -> None:
        """Dask blames all jobs that a dead worker was to run; here only those that had begun."""
        deaths = self.begun.get(job.identity, 0)
        if deaths < MOST_DEATHS:
            self.board.tells(f"{job.label}: its workers died; it is given to others.")
            self._submit(job)
            return
        sentence = f"the workers that ran it died, {deaths} times."
        run = record_death(job, Failure(sentence, retryable=True))
        self.board.ended(job, run, 0.0)
        self.told(job, run)
