"""A scheduler and workers as processes on 127.0.0.1, which can be killed, and suites on them."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console

from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec
from benchmark.run.cluster import run_on_cluster
from benchmark.run.scheduler import Scheduler, connected
from tests.faults.suite import SmallSuite
from tests.faults.systems import FITS

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listed_systems(folder: Path) -> None:
    """An installed package whose entry point adds the suite's own systems, for other processes."""
    place = folder / "systems_of_tests-1.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: systems-of-tests\nVersion: 1\n")
    (place / "entry_points.txt").write_text(
        "[gensar_benchmark.systems]\nown = tests.cluster.catalogue:ENTRIES\n"
    )


@dataclass
class Processes:
    """A scheduler and its workers, below ``root``."""

    root: Path
    port: int = field(default_factory=free_port)
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def _start(
        self, name: str, *arguments: str, paths: Sequence[Path] = ()
    ) -> subprocess.Popen[bytes]:
        searched = [*map(str, paths), str(ROOT), str(self.root / "installed"), *sys.path]
        with (self.root / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in searched if path),
                    "OMP_NUM_THREADS": "1",
                    FITS: str(self.root / "fits"),
                },
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def start_scheduler(self) -> None:
        self.scheduler = self._start(
            "scheduler",
            "distributed.cli.dask_scheduler",
            *("--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"),
        )

    def wait_for_scheduler(self) -> None:
        assert self.scheduler is not None
        while self.scheduler.poll() is None:
            with suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            time.sleep(0.05)
        raise AssertionError((self.root / "scheduler.log").read_text())

    def add_worker(self, *paths: Path) -> None:
        """Start one more worker, which looks for modules in ``paths`` first."""
        self.workers.append(self._worker(len(self.workers), *paths))

    def replace(self, number: int) -> None:
        """Start another worker in the place of one that has ended."""
        self.workers[number] = self._worker(number)

    def _worker(self, number: int, *paths: Path) -> subprocess.Popen[bytes]:
        return self._start(
            f"worker-{number}",
            "distributed.cli.dask_worker",
            self.address,
            *("--no-nanny", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"),
            paths=paths,
        )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in (self.scheduler, *self.workers):
            if process is not None and process.poll() is None:
                self.kill(process)


def worked(process: subprocess.Popen[bytes]) -> float:
    """The CPU seconds that a process took so far, and all that it started."""
    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(process.pid)
        return sum(sum(one.cpu_times()[:4]) for one in (own, *own.children(recursive=True)))
    return 0.0


@contextmanager
def running(root: Path, workers: int) -> Iterator[Processes]:
    root.mkdir(parents=True, exist_ok=True)
    (root / "fits").mkdir()
    listed_systems(root / "installed")
    processes = Processes(root)
    try:
        processes.start_scheduler()
        for _ in range(workers):
            processes.add_worker()
        processes.wait_for_scheduler()
        yield processes
    finally:
        processes.stop()


@dataclass
class Ended:
    """What the command said, and how often it said of each job that it has ended."""

    times: Counter[str] = field(default_factory=Counter)
    said: str = ""


def run_suite(
    suite: SmallSuite,
    processes: Processes,
    ended: Ended | None = None,
    begins: Callable[[], None] = lambda: None,
    retry_failed: bool = False,
) -> Ended:
    """Run what is due on the cluster, in this process; ``begins`` is called when it is reached."""
    found = ended or Ended()
    out = io.StringIO()

    def tell(job: JobSpec, run: Run) -> None:
        found.times[job.identity] += 1

    jobs = suite.jobs(retry_failed)
    try:
        with connected(Scheduler.parsed(processes.address), 1) as client:
            begins()
            run_on_cluster(jobs, client, Console(file=out, width=200), ended=tell)
    finally:
        found.said += out.getvalue()
    return found
