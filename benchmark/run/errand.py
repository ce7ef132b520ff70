"""What a Dask worker does for a job: it runs it as one machine does, in a process of its own.

The job's process ends with the worker, and the job when Dask takes it away from the worker: where
the suite was interrupted, or the connection was lost. The job may run elsewhere by then; its lock
sees to it that it runs once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from distributed import get_worker
from distributed.core import Status

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.jobs.machine import least_held, visible_cuda_devices
from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec
from benchmark.run.workers import Crew, Queue, Unwanted

if TYPE_CHECKING:
    from distributed import Worker

_BETWEEN_NEWS = 0.5  # seconds
_LOGGER = logging.getLogger("distributed.gensar_benchmark")

_crews: dict[str, list[Crew]] = {}  # token of a suite → those that are idle
_held: list[str | None] = []  # devices of those at work
_working: dict[str, int] = {}  # token of a suite → how many errands it has here
_lock = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """How a job ended on a worker.

    ``done``; ``locked``, where others hold the lock ``text``; ``unwanted``, where Dask took the job
    away; ``fault`` of this machine and ``stopped`` for all, with a sentence.
    """

    kind: Literal["done", "locked", "unwanted", "fault", "stopped"]
    text: str = ""
    run: Run | None = None
    seconds: float = 0.0


def carry_out(
    job: JobSpec,
    after: Sequence[Outcome] = (),
    *,
    token: str,
    topic: str,
    afresh: bool = False,
    shared: str = "",
) -> Outcome:
    """Run a job on this worker, or with ``shared`` fit what it shares with others.

    Args:
        job: to run.
        after: what has been fitted for it before; Dask waits for that.
        token: of its suite.
        topic: under which it is told what goes on.
        afresh: forget what is there of it.
        shared: the name of a system that the job is of or builds on.
    """
    told = _Told(get_worker(), topic, job)
    told.send("begins", shared=shared)

    def run(devices: Sequence[str], is_wanted: Callable[[], bool]) -> Outcome:
        crew = _hired(token, devices)
        queue = Queue(
            [job],
            crew,
            told,
            frozenset([job.identity] if afresh else ()),
            shared=shared,
            waits=False,
            is_wanted=is_wanted,
        )
        try:
            queue.run()
        finally:
            _give_back(token, crew)
        if queue.locked:
            return Outcome("locked", queue.locks[job.identity])
        return Outcome("done", run=told.run, seconds=told.seconds)

    return run_errand(run, token, job.device)


def run_errand(
    errand: Callable[[Sequence[str], Callable[[], bool]], Outcome], token: str, device: str
) -> Outcome:
    """Do what Dask has this worker do, and say how it ended.

    Args:
        errand: is handed what its processes may see of ``CUDA_VISIBLE_DEVICES`` (nothing means all
            that this worker sees), and asks about once a second whether it is wanted.
        token: of the command that it is for.
        device: on which it runs.
    """
    worker = get_worker()
    task = worker.get_current_task()
    with _at_work_on(token, device) as devices:
        try:
            return errand(devices, lambda: _is_wanted(worker, task))
        except Unwanted:
            return Outcome("unwanted")
        except MachineFault as error:
            return Outcome("fault", str(error))
        except BenchmarkError as error:
            return Outcome("stopped", str(error))


def _is_wanted(worker: Worker, task: Any) -> bool:
    if worker.status in (Status.closing, Status.closed, Status.failed):
        return False
    state = worker.state.tasks.get(task)
    return state is not None and state.state in ("executing", "long-running")


@contextmanager
def _at_work_on(token: str, device: str) -> Iterator[Sequence[str]]:
    """Count one more at work; for CUDA on a device of this worker that the fewest hold."""
    with _lock:
        chosen = least_held(visible_cuda_devices() if device == "cuda" else [], _held)
        _held.append(chosen)
        _working[token] = _working.get(token, 0) + 1
    try:
        yield [] if chosen is None else [chosen]
    finally:
        with _lock:
            _working[token] -= 1
            _held.remove(chosen)


def _hired(token: str, devices: Sequence[str]) -> Crew:
    """An idle crew of the suite that sees the devices, or a new one."""
    with _lock:
        idle = _crews.setdefault(token, [])
        crew = next((one for one in idle if one.devices == devices), None)
        if crew is None:
            return Crew(1, devices)
        idle.remove(crew)
        return crew


def _give_back(token: str, crew: Crew) -> None:
    if not crew.busy():
        with _lock:
            if token in _crews:
                _crews[token].append(crew)
                return
    crew.__exit__()


def at_work(token: str) -> int:
    """How many jobs of a suite run on this worker."""
    with _lock:
        return _working.get(token, 0)


def dismiss_crews(token: str) -> None:
    """End the idle processes that a suite has on this worker; those at work follow their jobs."""
    with _lock:
        crews = _crews.pop(token, [])
    for crew in crews:
        crew.__exit__()


@dataclass
class _Told:
    """Tells the suite what goes on; what is more than progress stands in the worker's log too."""

    worker: Worker
    topic: str
    job: JobSpec
    run: Run | None = None
    seconds: float = 0.0
    last: float = field(default=0.0)

    def says(self, job: JobSpec, message: str) -> None:
        if time.monotonic() - self.last >= _BETWEEN_NEWS:
            self.last = time.monotonic()
            self.send("progress", text=message)

    def tells(self, sentence: str, style: str = "") -> None:
        _LOGGER.warning("%s", sentence)
        self.send("tells", text=sentence, style=style)

    def ended(self, job: JobSpec, run: Run, seconds: float) -> None:
        _LOGGER.info("%s: %s in %.1f s", job.label, run.record.status, seconds)
        self.run, self.seconds = run, seconds

    def looks_at_the_clock(self) -> None:
        pass  # the suite has a clock of its own

    def send(self, kind: str, **news: Any) -> None:
        told = {"kind": kind, "job": self.job.identity, "worker": self.worker.address, **news}
        self.worker.log_event(self.topic, told)
