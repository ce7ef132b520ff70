"""Where jobs and trials run: in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.jobs.machine import chosen_device, jobs_at_once, threads_of_a_job
from benchmark.jobs.store import JobSpec
from benchmark.run.options import DASK
from benchmark.run.workers import run_jobs
from benchmark.systems.processes import number_of_processes

if TYPE_CHECKING:
    from distributed import Client


class Backend(Protocol):
    """Runs jobs, and knows what they run on."""

    def threads(self, asked: int | None, device: str, jobs: int) -> int:
        """The threads of each of ``jobs``."""

    def device(self, asked: str | None) -> str:
        """The device of a job."""

    def run(self, jobs: Sequence[JobSpec], console: Console, afresh: Collection[str]) -> None:
        """Run every job, those in ``afresh`` after what is there of them is forgotten."""


@dataclass(frozen=True)
class Processes:
    """So many processes of this machine; None for as many as it has room for."""

    number: int | None

    def threads(self, asked: int | None, device: str, jobs: int) -> int:
        """Those that are asked for, or a share of the cores.

        What is done already counts among ``jobs``: a suite goes on with as many threads as it
        began with, since sums in another order differ in the last bits.
        """
        return threads_of_a_job(asked, self.number or min(jobs_at_once(device), jobs))

    def device(self, asked: str | None) -> str:
        """What is asked for, if it is here, or else the first that is."""
        return chosen_device(asked)

    def run(self, jobs: Sequence[JobSpec], console: Console, afresh: Collection[str] = ()) -> None:
        """See :func:`benchmark.run.workers.run_jobs`."""
        processes = self.number or jobs_at_once(jobs[0].device)
        run_jobs(jobs, processes, console, afresh)


@dataclass(frozen=True)
class Dask:
    """The workers of a Dask cluster, by a client of its scheduler."""

    client: Client
    cores: int  # of the smallest worker

    def threads(self, asked: int | None, device: str, jobs: int) -> int:
        """Those that are asked for, or all of the smallest worker."""
        return self.cores if asked is None else threads_of_a_job(asked, 1)

    def device(self, asked: str | None) -> str:
        """What is asked for, which need not be here."""
        return device_on_a_cluster(asked)

    def run(self, jobs: Sequence[JobSpec], console: Console, afresh: Collection[str]) -> None:
        """See :func:`benchmark.run.cluster.run_on_cluster`."""
        from benchmark.run.cluster import run_on_cluster

        run_on_cluster(jobs, self.client, console, afresh)


def device_on_a_cluster(asked: str | None) -> str:
    """``cpu`` unless something is asked for.

    Raises:
        BenchmarkError: it is neither ``cpu`` nor ``cuda``.
    """
    if asked not in (None, "cpu", "cuda"):
        raise BenchmarkError(
            f"--device {asked}: must be cpu or cuda with --backend dask, where each job on cuda "
            "has a GPU of its own."
        )
    return asked or "cpu"


@contextmanager
def opened(
    backend: str, scheduler: str | None, jobs: int | None, threads: int | None
) -> Iterator[Processes | Dask]:
    """The backend that the command line asks for, as long as it is needed.

    Raises:
        BenchmarkError: the options do not fit together, Dask is not installed, or nobody answers at
            the address of the scheduler.
    """
    if backend != DASK:
        if scheduler is not None:
            raise BenchmarkError(f"--scheduler {scheduler}: is for --backend dask.")
        if jobs is not None and jobs < 1:
            raise BenchmarkError(f"--jobs {jobs}: must be at least 1.")
        yield Processes(jobs)
        return
    if scheduler is None:
        raise BenchmarkError("--backend dask: needs --scheduler tcp://HOST:PORT or local:N.")
    if jobs is not None:
        raise BenchmarkError(
            f"--jobs {jobs}: with --backend dask as many jobs run at the same time as there is "
            "room for on the workers; leave it out."
        )
    if number_of_processes() > 1:
        raise BenchmarkError("--backend dask: does not run under torchrun.")
    if find_spec("distributed") is None:
        raise BenchmarkError(
            "--backend dask: Dask is not installed: pip install -c constraints.txt -e '.[cluster]'."
        )
    from benchmark.run.scheduler import Scheduler, connected, smallest_worker

    place = Scheduler.parsed(scheduler)
    own = threads_of_a_job(threads, place.local_workers or 1)
    # What Dask says of lost workers, the suite says in its own words.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with connected(place, own) as client:
        yield Dask(client, own if place.local_workers else smallest_worker(client))
