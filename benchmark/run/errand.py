"""What a Dask worker does for a job: it runs it as one machine does, in a process of its own.

The job's process ends with the worker, and the job when Dask takes it away from the worker: where
the suite was interrupted, or the connection was lost. The job may run elsewhere by then; its lock
sees to it that it runs once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from distributed import get_worker
from distributed.core import Status

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.run.workers import Crew, Queue, Unwanted
from benchmark.runs.machine import least_held, visible_cuda_devices
from benchmark.runs.record import Run
from benchmark.runs.store import JobSpec

if TYPE_CHECKING:
    from distributed import Worker

_BETWEEN_NEWS = 0.5  # seconds
_LOGGER = logging.getLogger("distributed.gensar_benchmark")

_crews: dict[str, list[Crew]] = {}  # token of a suite → those that are idle
_held: list[str | None] = []  # devices of the crews that are not
_working: dict[str, int] = {}  # token of a suite → how many of its crews are not idle
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
    token: str,
    topic: str,
    *,
    afresh: bool = False,
    shared: str = "",
    after: Sequence[Outcome] = (),
) -> Outcome:
    """Run a job on this worker, or with ``shared`` fit what it shares with others.

    Args:
        job: to run.
        token: of its suite.
        topic: under which it is told what goes on.
        afresh: forget what is there of it.
        shared: the name of a system that the job is of or builds on.
        after: what has been fitted for it before; Dask waits for that.
    """
    worker = get_worker()
    told = _Told(worker, topic, job)
    task = worker.get_current_task()
    told.send("begins", shared=shared)
    crew = _hired(token, job.device)
    queue = Queue(
        [job],
        crew,
        told,
        frozenset([job.identity] if afresh else ()),
        shared=shared,
        waits=False,
        is_wanted=lambda: _is_wanted(worker, task),
    )
    try:
        queue.run()
    except Unwanted:
        return Outcome("unwanted")
    except MachineFault as error:
        return Outcome("fault", str(error))
    except BenchmarkError as error:
        return Outcome("stopped", str(error))
    finally:
        _give_back(token, crew)
    if queue.locked:
        return Outcome("locked", queue.locks[job.identity])
    return Outcome("done", run=told.run, seconds=told.seconds)


def _is_wanted(worker: Worker, task: Any) -> bool:
    if worker.status in (Status.closing, Status.closed, Status.failed):
        return False
    state = worker.state.tasks.get(task)
    return state is not None and state.state in ("executing", "long-running")


def _hired(token: str, device: str) -> Crew:
    """An idle crew of the suite, or a new one; for CUDA one with a device that is least in use."""
    with _lock:
        idle = _crews.setdefault(token, [])
        devices = visible_cuda_devices() if device == "cuda" else []
        chosen = least_held(devices, _held)
        crew = next((one for one in idle if list(one.devices) == [chosen]), None)
        if crew is None and chosen is None and idle:
            crew = idle[0]
        if crew is None:
            crew = Crew(1, [] if chosen is None else [chosen])
        else:
            idle.remove(crew)
        _held.append(chosen)
        _working[token] = _working.get(token, 0) + 1
        return crew


def _give_back(token: str, crew: Crew) -> None:
    if crew.busy():
        crew.__exit__()
    with _lock:
        _working[token] -= 1
        _held.remove(crew.devices[0] if crew.devices else None)
        if not crew.busy() and token in _crews:
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
