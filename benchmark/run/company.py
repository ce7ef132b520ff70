"""The workers of a Dask cluster that one command was let have, and how it speaks with them.

They are looked at before they are given anything (:mod:`benchmark.run.membership`), the command
hears what they say, and waits for a scheduler that is lost.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dask.typing import Key
from distributed import Client, Future

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.files import sha256_of_json, write_json
from benchmark.jobs.store import JobSpec
from benchmark.locks import locked
from benchmark.run.errand import at_work
from benchmark.run.membership import CPU, GPU, Membership, Passport
from benchmark.run.scheduler import CONNECTING, LOST
from benchmark.systems.catalogue import choose
from benchmark.systems.provenance import library_versions

TICK = 0.2
"""Seconds between two looks at what goes on."""

ROUND = 5.0
"""Seconds between two looks at whether Dask has workers for what it was given."""

_PATIENCE = 300.0  # seconds that a lost scheduler has to come back
_GOING = 15.0  # seconds that jobs have to end when the command is interrupted

Needs = Mapping[str, int]
"""Numbers of a worker's resources."""


class Tells(Protocol):
    """Says what stays to be read."""

    def __call__(self, sentence: str, style: str = "") -> None:
        """Say a sentence."""


def needs_of(job: JobSpec) -> Needs:
    """What a job takes of a worker: a CPU a thread, a GPU if it runs on one, and what it declares.

    Raises:
        BenchmarkError: its system declares another number of GPUs than one.
    """
    declared = choose(job.system).entry.needs
    if declared.get(GPU, 1) != 1:
        raise BenchmarkError(
            f"{job.label}: its system declares {GPU}={declared[GPU]}, but a job on a cluster has "
            "one GPU; one job on several is run with torchrun on their machine, without --backend "
            "dask."
        )
    usual = {CPU: job.threads, **({GPU: 1} if job.device.startswith("cuda") else {})}
    return {**usual, **declared}


@contextmanager
def gathered(
    jobs: Sequence[JobSpec],
    client: Client,
    tells: Tells,
    hears: Callable[[Mapping[str, Any]], None],
) -> Iterator[Company]:
    """Workers for jobs with one results folder, which are let go, and end their jobs, at the end.

    Args:
        jobs: whose code, libraries and results folder a worker must have.
        client: of the scheduler.
        tells: says what people should know of workers.
        hears: is told, in another thread, what workers say of their jobs.
    """
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
        with locked(lock):
            company = Company(client, passport, tells, hears)
            try:
                yield company
            finally:
                company.leave()
    finally:
        sign.unlink(missing_ok=True)


@dataclass
class Company:
    """Workers and what they were given; ``given`` has what Dask has not brought to an end."""

    client: Client
    passport: Passport
    tells: Tells
    hears: Callable[[Mapping[str, Any]], None]
    given: dict[Key, Future] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def join(self, needs: Mapping[str, Needs]) -> None:
        """Have each worker looked at, and go on when one was let in and all needs can be met.

        Args:
            needs: of each job, by what it is called.

        Raises:
            BenchmarkError: no worker may run the jobs, or none has what one of them needs.
        """
        self.refused.clear()
        self.given.clear()
        self.client.subscribe_topic(self.passport.topic, self._hear)
        try:
            self.client.register_plugin(Membership(self.passport), name=self.passport.token)
        except LOST:
            raise
        except Exception as error:  # whatever a foreign worker makes of what it was sent
            self.tells(f"a worker cannot load this package ({error}).", "red")
        told = False
        while not (have := self.have()):
            there = self.client.scheduler_info(n_workers=-1)["workers"].keys()
            if there and there <= self.refused.keys():
                why = "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
                raise BenchmarkError(f"no worker may run these jobs: {why}.")
            if not told and not there:
                told = True
                self.tells(f"{self.client.scheduler.address}: waiting for workers.")
            if self.client.status != "running":
                raise ConnectionError("the scheduler is gone")
            time.sleep(TICK)
        for label, needed in needs.items():
            if not any(_room(one, needed) for one in have):
                listed = ", ".join(f"{name}={number}" for name, number in needed.items())
                raise BenchmarkError(
                    f"{label}: no worker has {listed}; lower --threads, or start workers that "
                    "have it (dask worker --resources)."
                )

    def have(self) -> list[Mapping[str, float]]:
        """The resources of each worker that was let in."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        of_all = [worker["resources"] for worker in workers]
        return [one for one in of_all if one.get(self.passport.resource)]

    def room(self, needed: Needs) -> int:
        """How many jobs that need as much can run at the same time, if no others do."""
        return sum(_room(one, needed) for one in self.have())

    def give(self, what: Callable[..., Any], *arguments: Any, name: str, needs: Needs) -> Future:
        """Have a worker call ``what`` with the arguments, the suite's token and its topic.

        Args:
            what: to call.
            arguments: for it; futures are waited for.
            name: of the task, for people who look at the cluster.
            needs: what it takes of the worker.
        """
        future = self.client.submit(
            what,
            *arguments,
            token=self.passport.token,
            topic=self.passport.topic,
            key=f"{name}-{uuid.uuid4().hex[:8]}",
            resources={**needs, self.passport.resource: 1},
            pure=False,
        )
        self.given[future.key] = future
        return future

    def result(self, future: Future) -> Any:
        """What a task that has ended has brought; None if that went with its worker.

        Raises:
            KilledWorker: the workers that were to run it died.
        """
        self.given.pop(future.key, None)
        try:
            # Where its worker has gone meanwhile, Dask runs it again and may lack workers for it.
            return future.result(timeout=CONNECTING)
        except LOST:
            if future.status == "error":
                raise  # of the task itself
            return None

    def take_back(self, futures: Sequence[Future]) -> None:
        """Take tasks away from Dask; workers end what they do for them."""
        for future in futures:
            self.given.pop(future.key, None)
        self.client.cancel(futures, force=True)

    def assigned(self) -> set[Key]:
        """The keys of the tasks for which Dask has a worker."""
        return {key for keys in self.client.processing().values() for key in keys}

    def is_lost(self) -> bool:
        """Whether the scheduler has gone, or has forgotten what it was given."""
        return self.client.status != "running" or any(
            future.status in ("cancelled", "lost") for future in self.given.values()
        )

    def come_back(self, anew: Callable[[], None]) -> None:
        """Wait for the scheduler, and give it anew what has not ended.

        Args:
            anew: joins the workers and gives them what is left, to a scheduler that knows nothing.

        Raises:
            MachineFault: it does not come back.
        """
        address = self.client.scheduler.address
        self.tells(f"the connection to {address} is lost; waiting for it.")
        with suppress(Exception):
            self.client.close(timeout=CONNECTING)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.client = Client(address, timeout=CONNECTING, set_as_default=False)
                anew()
                break
            except LOST as error:
                if time.monotonic() > deadline:
                    raise MachineFault(
                        f"{address}: does not come back ({error}). What is finished is kept; the "
                        "same command goes on from there."
                    ) from None
                time.sleep(TICK)
        self.tells(f"{address} is there again.")

    def leave(self) -> None:
        """Take away from the workers what still runs, and let them go."""
        with suppress(Exception):  # whoever is gone by now needs nothing to be taken away
            left = list(self.given.values())
            self.take_back(left)
            deadline = time.monotonic() + _GOING
            while left and time.monotonic() < deadline and any(self._at_work()):
                time.sleep(TICK)
            self.client.unregister_worker_plugin(self.passport.token)

    def _at_work(self) -> list[int]:
        return list(self.client.run(at_work, self.passport.token).values())

    def _hear(self, event: tuple[float, Any]) -> None:
        """What workers say; called in the client's own thread."""
        news = event[1]
        if news["kind"] == "tells":
            self.tells(news["text"], news["style"])
        elif news["kind"] != "looked-at":
            self.hears(news)
        elif news["text"] and news["worker"] not in self.refused:
            self.refused[news["worker"]] = news["text"]
            self.tells(f"worker {news['worker']} is refused: {news['text']}.", "red")


def _room(worker: Mapping[str, float], needed: Needs) -> int:
    return int(min(worker.get(name, 0) // number for name, number in needed.items() if number))
