"""Where runs live: one folder a job below ``results/runs``, complete when its manifest is there.

Unfinished work (checkpoints, the fitted system, ranked parts) stands below ``results/work`` and is
removed when the run is published. A lock a job keeps two suites on one results folder from doing a
job twice; it belongs to a living process, so a killed one leaves nothing to clean up. Folders are
named by the first digits of a job's identity and hold all of it: one that was copied or renamed is
never taken for another job's.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from benchmark.errors import BenchmarkError
from benchmark.files import is_complete, read_json, sweep_partial, write_json
from benchmark.runs.record import Run, read_run

_IDENTITY_FILE = "identity.json"

JobState = Literal["missing", "unfinished", "finished", "failed"]


@dataclass(frozen=True)
class JobSpec:
    """One job, as plain values, so that it can be sent to another process."""

    identity: str
    code: dict[str, str]  # module → hash of its source
    recipe: str
    dataset: str
    prepared_root: str
    protocol: str
    protocol_settings: dict[str, Any]
    candidates_folder: str | None
    system: str
    display_name: str
    configuration: dict[str, Any]
    upstream: dict[str, dict[str, Any]]  # configurations of the systems that it builds on
    preset: str
    seed: int
    device: str
    precision: str
    threads: int
    trackers: tuple[str, ...]
    results: str

    @property
    def label(self) -> str:
        """How the job is called on the terminal."""
        return f"{self.system} on {self.dataset}, {self.protocol}, seed {self.seed}"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".") or "-"


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BenchmarkError(f"{folder}: cannot be removed ({error.strerror}).") from None


class RunStore:
    """The run folders below one results folder."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.runs = results / "runs"

    def prepare(self) -> None:
        """Create the folders and remove what writers killed long ago left behind.

        Raises:
            BenchmarkError: the folder cannot be written.
        """
        for folder in (self.runs, self.results / "work", self.results / "locks"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BenchmarkError(
                    f"results folder {self.results}: cannot be written ({error.strerror})."
                ) from None
        sweep_partial(self.runs)

    def folder(self, job: JobSpec) -> Path:
        """The published folder of a job."""
        place = self.runs / _safe(job.dataset) / _safe(job.protocol) / _safe(job.system)
        return place / job.identity[:16]

    def work_folder(self, job: JobSpec) -> Path:
        """The folder of a job's unfinished work."""
        return self.results / "work" / job.identity[:16]

    def state(self, job: JobSpec) -> JobState:
        """What is there of a job; a folder that is damaged or another job's counts as missing."""
        run = self.read(job)
        if run is not None:
            return run.record.status
        return "unfinished" if self._is_own_work(job) else "missing"

    def read(self, job: JobSpec) -> Run | None:
        """The published run of a job, or None if it is absent, damaged or another job's."""
        folder = self.folder(job)
        if not is_complete(folder):
            return None
        try:
            run = read_run(folder)
        except BenchmarkError:
            return None
        return run if run.record.identity == job.identity else None

    def open_work(self, job: JobSpec) -> Path:
        """The folder of a job's unfinished work, emptied first if it holds another job's.

        Raises:
            BenchmarkError: it cannot be written.
        """
        folder = self.work_folder(job)
        if not self._is_own_work(job):
            self.discard_work(job)
            write_json(folder / _IDENTITY_FILE, {"identity": job.identity})
        return folder

    def discard_work(self, job: JobSpec) -> None:
        """Remove a job's unfinished work."""
        _remove(self.work_folder(job))

    def _is_own_work(self, job: JobSpec) -> bool:
        try:
            content = read_json(self.work_folder(job) / _IDENTITY_FILE)
        except BenchmarkError:
            return False
        return bool(content == {"identity": job.identity})

    def discard(self, job: JobSpec) -> None:
        """Remove a job's run and its unfinished work."""
        for folder in (self.folder(job), self.work_folder(job)):
            _remove(folder)

    @contextmanager
    def locked(self, job: JobSpec, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the job's lock; ``waiting`` is called once if another process holds it."""
        lock = FileLock(self.results / "locks" / f"{job.identity[:16]}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        except OSError as error:
            raise BenchmarkError(
                f"results folder {self.results}: cannot be written ({error.strerror})."
            ) from None
        try:
            yield
        finally:
            lock.release()
