"""The scheduler of a Dask cluster: its address, and a client of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from distributed import Client, LocalCluster

from benchmark.errors import BenchmarkError

LOST = (
    OSError,
    asyncio.TimeoutError,
    asyncio.CancelledError,
    concurrent.futures.CancelledError,  # of futures whose scheduler has gone
)
"""What is raised where a worker or the scheduler goes while it is asked for something."""

CONNECTING = 10.0
"""Seconds that an answer may take."""

_LOCAL = "local:"


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
            dashboard_address="127.0.0.1:0",  # any free port, for several clusters on one machine
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _client(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"--scheduler {address}: nobody answers there ({error}).") from None


def smallest_worker(client: Client) -> int:
    """The threads of the worker that has fewest; one where there is no worker yet."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return min((int(worker["nthreads"]) for worker in workers), default=1)
