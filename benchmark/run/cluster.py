"""The jobs of a suite on a Dask cluster whose machines share the results folder.

Jobs and what several of them build on are one graph; Dask alone decides what runs where and when.
This command watches over it: it says what goes on, and gives Dask a job again that a worker took
with it, that waited for others, or that was lost with the connection. Whatever happens twice, the
job's lock and its published run see to it that it ends once.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from asyncio import CancelledError
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client, Future, LocalCluster
from distributed.scheduler import KilledWorker
from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.files import sha256_of_json, write_json
from benchmark.locks import is_free, locked
from benchmark.run.board import Board
from benchmark.run.errand import Outcome, at_work, carry_out
from benchmark.run.graph import Shared, shared_fits
from benchmark.run.membership import CPU, GPU, Membership, Passport
from benchmark.runs.execute import Failure, load_data, record_death
from benchmark.runs.record import Run
from benchmark.runs.store import JobSpec
from benchmark.systems.catalogue import choose
from benchmark.systems.provenance import library_versions

_LOST = (OSError, asyncio.TimeoutError, CancelledError)
"""What is raised where a worker or the scheduler goes while it is asked for something."""

_LOCAL = "local:"
_TICK = 0.2  # seconds
_ROUND = 5.0  # seconds between two looks at whether Dask has a worker for each job
_CONNECTING = 10.0  # seconds
_PATIENCE = 300.0  # seconds that a lost scheduler has to come back
_GOING = 15.0  # seconds that jobs have to end when the suite is interrupted
_TRIES = 3  # of a job whose machine has a fault
_MOST_DEATHS = 6  # of workers that ran a job; a cluster loses some for other reasons


@dataclass(frozen=True)
class Scheduler:
    """Where the jobs go: ``address`` of a scheduler, or so many workers on this machine."""

    address: str
    local_workers: int = 0

    @classmethod
    def parsed(cls, text: str) -> Scheduler:
        """What ``--scheduler`` asks for.

        Raises:
            BenchmarkError: it is neither an address nor ``local:N``.
        """
        number = text.removeprefix(_LOCAL)
        if text.startswith(_LOCAL) and number.isascii() and number.isdigit() and int(number):
            return cls("", int(number))
        kind, _, place = text.partition("://")
        if kind in ("tcp", "tls") and place.rpartition(":")[2].isdigit():
            return cls(text)
        raise BenchmarkError(
            f"--scheduler {text}: must be tcp://HOST:PORT, tls://HOST:PORT or local:N with N at "
            "least 1."
        )


@contextmanager
def connected(scheduler: Scheduler, threads: int) -> Iterator[Client]:
    """A client of the scheduler; workers on this machine have ``threads`` each, and end with it.

    Raises:
        BenchmarkError: nobody answers at the address.
    """
    if not scheduler.local_workers:
        with _client(scheduler.address) as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=scheduler.local_workers,
            threads_per_worker=threads,
            memory_limit=None,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _client(address: str) -> Client:
    try:
        return Client(address, timeout=_CONNECTING, set_as_default=False)
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"--scheduler {address}: nobody answers there ({error}).") from None


def smallest_worker(client: Client) -> int:
    """The threads of the worker that has fewest; one where there is no worker yet."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return min((int(worker["nthreads"]) for worker in workers), default=1)


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
    token = sha256_of_json([str(uuid.uuid4())])[:12]
    results = Path(jobs[0].results)
    sign, lock = results / "locks" / f"{token}.json", results / "locks" / f"{token}.lock"
    modules = {name for job in jobs for name in (job.system, *job.upstream)}
    word = str(uuid.uuid4())
    passport = Passport(
        token=token,
        modules=tuple(sorted({choose(name).entry.module for name in modules})),
        code={name: digest for job in jobs for name, digest in job.code.items()},
        libraries=library_versions(),
        sign=sign,
        word=word,
        lock=lock,
        logs=results / "logs" / token,
    )
    write_json(sign, {"word": word})
    try:
        with locked(lock), Board(jobs, console) as board:
            suite = _Watched(client, passport, board, ended, frozenset(afresh))
            try:
                suite.run(jobs)
            finally:
                suite.leave()
    finally:
        sign.unlink(missing_ok=True)


@dataclass
class _Watched:
    client: Client
    passport: Passport
    board: Board
    told: Callable[[JobSpec, Run], None]
    afresh: frozenset[str]
    running: dict[str, tuple[JobSpec, Future]] = field(default_factory=dict)
    fits: dict[str, tuple[Shared, Future]] = field(default_factory=dict)
    parked: dict[str, tuple[JobSpec, Path]] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    let_in: set[str] = field(default_factory=set)

    def run(self, jobs: Sequence[JobSpec]) -> None:
        """Give Dask the graph, and watch until each job has ended."""
        try:
            self._join(jobs)
            self._submit_all(jobs)
        except _LOST:
            self._come_back(jobs)
        looked = time.monotonic()
        while self.running or self.parked:
            time.sleep(_TICK)
            if self.client.status != "running" or self._lost():
                left = (*self.running.values(), *self.parked.values())
                self._come_back([job for job, _ in left])
                continue
            for job, future in list(self.running.values()):
                if future.status in ("finished", "error"):
                    self._came(job, future)
            for job, lock in list(self.parked.values()):
                if is_free(lock):
                    del self.parked[job.identity]
                    self._submit(job)
            if time.monotonic() - looked >= _ROUND:
                looked = time.monotonic()
                self._remind()
            self.board.refresh()

    def leave(self) -> None:
        """Take away from the workers what still runs, and let them go."""
        with suppress(Exception):  # whoever is gone by now needs nothing to be taken away
            left = [future for _, future in (*self.running.values(), *self.fits.values())]
            self.client.cancel(left, force=True)
            deadline = time.monotonic() + _GOING
            while left and time.monotonic() < deadline and any(self._at_work()):
                time.sleep(_TICK)
            self.client.unregister_worker_plugin(self.passport.token)

    def _at_work(self) -> list[int]:
        return list(self.client.run(at_work, self.passport.token).values())

    # ------------------------------------------------------------------------------------ workers

    def _join(self, jobs: Sequence[JobSpec]) -> None:
        """Have each worker looked at, and go on when one was let in that has what a job needs."""
        self.refused.clear()
        self.let_in.clear()
        self.client.subscribe_topic(self.passport.topic, self._hear)
        try:
            self.client.register_plugin(Membership(self.passport), name=self.passport.token)
        except _LOST:
            raise
        except Exception as error:  # whatever a foreign worker makes of what it was sent
            self.board.tells(f"a worker cannot load this package ({error}).", "red")
        told = False
        while not self.let_in:
            there = self.client.scheduler_info(n_workers=-1)["workers"].keys()
            if there and there <= self.refused.keys():
                why = "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
                raise BenchmarkError(f"no worker may run these jobs: {why}.")
            if not told and not there:
                told = True
                self.board.tells(f"{self.client.scheduler.address}: waiting for workers.")
            if self.client.status != "running":
                raise ConnectionError("the scheduler is gone")
            time.sleep(_TICK)
        have = self._have()
        for job in jobs:
            needed = self._resources(job)
            if not any(_has(one, needed) for one in have):
                listed = ", ".join(
                    f"{name}={number}"
                    for name, number in needed.items()
                    if name != self.passport.resource
                )
                raise BenchmarkError(
                    f"{job.label}: no worker has {listed}; lower --threads, or start workers that "
                    "have it (dask worker --resources)."
                )

    def _resources(self, job: JobSpec) -> dict[str, int]:
        """What a job needs of a worker: a GPU if it runs on one, and a CPU a thread."""
        gpu = {GPU: 1} if job.device.startswith("cuda") else {}
        return {**gpu, CPU: job.threads, self.passport.resource: 1}

    def _hear(self, event: tuple[float, Any]) -> None:
        """What workers say; called in the client's own thread."""
        news = event[1]
        if news["kind"] == "looked-at":
            if not news["text"]:
                self.let_in.add(news["worker"])
            elif news["worker"] not in self.refused:
                self.refused[news["worker"]] = news["text"]
                self.board.tells(f"worker {news['worker']} is refused: {news['text']}.", "red")
        elif news["kind"] == "begins":
            if not news["shared"]:
                self.begun[news["job"]] = self.begun.get(news["job"], 0) + 1
            self.board.begins(news["job"], news["worker"])
        elif news["kind"] == "progress":
            self.board.says(news["job"], news["text"])
        else:
            self.board.tells(news["text"], news["style"])

    # -------------------------------------------------------------------------------------- graph

    def _submit_all(self, jobs: Sequence[JobSpec]) -> None:
        for shared in shared_fits(jobs):
            self._share(shared)
        for job in jobs:
            self._submit(job)

    def _share(self, shared: Shared) -> None:
        future = self._future(shared.job, f"fit-{shared.system}", shared=shared.system)
        self.fits |= {job.identity: (shared, future) for job in shared.jobs}

    def _submit(self, job: JobSpec) -> None:
        fit = self.fits.get(job.identity)
        after = [fit[1]] if fit is not None and fit[1].status == "pending" else []
        future = self._future(
            job,
            job.system,
            after=after,
            afresh=job.identity in self.afresh and job.identity not in self.begun,
        )
        self.running[job.identity] = (job, future)

    def _remind(self) -> None:
        """Give Dask again the jobs for which it had no worker, if there is one by now.

        It looks for their workers anew where a worker joins, but not where one is given resources,
        which is later.
        """
        with suppress(*_LOST):  # the next look at the connection sees it
            assigned = {key for keys in self.client.processing().values() for key in keys}
            have = self._have()

            def is_idle(job: JobSpec, future: Future) -> bool:
                is_waiting = future.status == "pending" and future.key not in assigned
                return is_waiting and any(_has(one, self._resources(job)) for one in have)

            fits = {future.key: (shared, future) for shared, future in self.fits.values()}
            for shared, future in fits.values():
                if is_idle(shared.job, future):
                    self.client.cancel([future])
                    self._share(shared)
            for job, future in list(self.running.values()):
                fit = self.fits.get(job.identity)
                is_being_fitted = fit is not None and fit[1].key in assigned
                if is_idle(job, future) and not is_being_fitted:
                    self.client.cancel([future])
                    self._submit(job)

    def _have(self) -> list[dict[str, float]]:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return [worker["resources"] for worker in workers]

    def _future(self, job: JobSpec, name: str, **options: Any) -> Future:
        return self.client.submit(
            carry_out,
            job,
            self.passport.token,
            self.passport.topic,
            **options,
            key=f"{name}-{job.identity[:16]}-{uuid.uuid4().hex[:8]}",
            resources=self._resources(job),
            pure=False,
        )

    def _came(self, job: JobSpec, future: Future) -> None:
        """Act on how Dask's task for a job ended."""
        try:
            # Where its worker has gone meanwhile, Dask runs it again and may lack workers for it.
            outcome: Outcome = future.result(timeout=_CONNECTING)
        except KilledWorker:
            del self.running[job.identity]
            self.board.leaves(job)
            self._killed(job)
            return
        except _LOST:  # what the worker had to say went with it; the run may well be there
            if future.status == "error":
                raise  # of the task itself
            if self.client.status == "running":
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
            if self.faults[job.identity] >= _TRIES:
                raise MachineFault(outcome.text)
            self.board.tells(f"{outcome.text} It is tried again.")
            self._submit(job)
        else:
            self._submit(job)

    def _killed(self, job: JobSpec) -> None:
        """Dask blames all jobs that a dead worker was to run; here only those that had begun."""
        deaths = self.begun.get(job.identity, 0)
        if deaths < _MOST_DEATHS:
            self.board.tells(f"{job.label}: its workers died; it is given to others.")
            self._submit(job)
            return
        sentence = f"the workers that ran it died, {deaths} times."
        run = record_death(job, Failure(sentence, retryable=True))
        self.board.ended(job, run, 0.0)
        self.told(job, run)

    # --------------------------------------------------------------------------------- connection

    def _lost(self) -> bool:
        return any(future.status in ("cancelled", "lost") for _, future in self.running.values())

    def _come_back(self, jobs: Sequence[JobSpec]) -> None:
        """Wait for the scheduler, and give it the jobs again, which have not ended.

        Raises:
            MachineFault: it does not come back.
        """
        address = self.client.scheduler.address
        self.board.tells(f"the connection to {address} is lost; waiting for it.")
        with suppress(Exception):
            self.client.close(timeout=_CONNECTING)
        deadline = time.monotonic() + _PATIENCE
        while True:
            for own in (self.running, self.parked, self.fits):
                own.clear()
            try:
                self.client = Client(address, timeout=_CONNECTING, set_as_default=False)
                self._join(jobs)
                self._submit_all(jobs)
                break
            except _LOST as error:
                if time.monotonic() > deadline:
                    raise MachineFault(
                        f"{address}: does not come back ({error}). What is finished is kept; the "
                        "same command goes on from there."
                    ) from None
                time.sleep(_TICK)
        self.board.tells(f"{address} is there again.")


def _has(worker: Mapping[str, float], needed: Mapping[str, float]) -> bool:
    """Whether a worker with such resources can run what needs those."""
    return all(worker.get(name, 0) >= number for name, number in needed.items())
