"""Where runs live: one folder a job below ``results/runs``, complete when its manifest is there.

Unfinished work (checkpoints, the fitted system, ranked parts) stands below ``results/work`` and is
removed when the run is published. A lock a job keeps two suites on one results folder from doing a
job twice; it belongs to a living process, so a killed one leaves none held. Folders are
named by the first digits of a job's identity and hold all of it: one that was copied or renamed is
never taken for another job's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.files import is_complete, read_json, remove_folder, write_json
from benchmark.jobs.record import Run, read_run
from benchmark.leftovers import (
    ABANDONED,
    lock_by_content,
    seconds_untouched,
    sweep_locks,
    sweep_partial,
)
from benchmark.locks import LockedElsewhere, locked

_IDENTITY_FILE = "identity.json"
_FOLDER_DIGITS = 16  # of an identity, in the name of a folder

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
    settings: dict[str, Any] = field(default_factory=dict)  # how they were chosen; see the record
    identity_but_code: str = ""  # see the record

    @property
    def label(self) -> str:
        """How the job is called on the terminal."""
        return f"{self.system} on {self.dataset}, {self.protocol}, seed {self.seed}"


class HasPlace(Protocol):
    """What has a folder here: a job, or a run that was handed in."""

    @property
    def identity(self) -> str:
        """A hash of all that determines the result."""
        ...

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        ...

    @property
    def protocol(self) -> str:
        """The name of the protocol."""
        ...

    @property
    def system(self) -> str:
        """The name of the system."""
        ...


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".") or "-"


class RunStore:
    """The run folders below one results folder."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.runs = results / "runs"

    def prepare(self) -> None:
        """Create the folders and remove what killed writers left behind.

        Raises:
            MachineFault: the folder cannot be written.
        """
        for folder in (self.runs, self.results / "work", self.results / "locks"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise MachineFault(
                    f"results folder {self.results}: cannot be written ({error.strerror})."
                ) from None
        artifacts = self.results / "artifacts"
        sweep_partial(self.runs, self._lock_named)
        sweep_partial(self.results / "work", self._lock_named)
        sweep_partial(artifacts, lock_by_content(artifacts))
        for name in ("tables", "plots", "audit", "locks"):
            sweep_partial(self.results / name)
        sweep_locks(self.results / "locks")
        sweep_locks(artifacts)

    def sweep_work(self, jobs: Mapping[str, JobState]) -> None:
        """Remove the work of jobs that nobody has gone on with for ``ABANDONED`` seconds.

        Args:
            jobs: identity → state of the jobs of a suite. Their work stays, however old, unless
                they are done: a kill came between the publishing and the clearing up.
        """
        states = {identity[:_FOLDER_DIGITS]: state for identity, state in jobs.items()}
        for folder in sorted((self.results / "work").iterdir()):
            state = states.get(folder.name)
            if state in ("missing", "unfinished"):
                continue
            if state is None and seconds_untouched(folder) < ABANDONED:
                continue
            with (
                suppress(LockedElsewhere, OSError),
                locked(self._lock_of(folder.name), waits=False),
            ):
                remove_folder(folder) if folder.is_dir() else folder.unlink()

    def _lock_of(self, name: str) -> Path:
        return self.results / "locks" / f"{name}.lock"

    def _lock_named(self, target: str) -> Path | None:
        """The lock of the job whose folder is called ``target``; none for files in a folder."""
        return self._lock_of(target) if re.fullmatch(r"[0-9a-f]{16}", target) else None

    def folder(self, job: HasPlace) -> Path:
        """The published folder of a job."""
        place = self.runs / _safe(job.dataset) / _safe(job.protocol) / _safe(job.system)
        return place / job.identity[:_FOLDER_DIGITS]

    def work_folder(self, job: HasPlace) -> Path:
        """The folder of a job's unfinished work."""
        return self.results / "work" / job.identity[:_FOLDER_DIGITS]

    def state(self, job: JobSpec) -> JobState:
        """What is there of a job; a folder that is damaged or another job's counts as missing.

        A run that the machine let fail counts as unfinished.
        """
        run = self.read(job)
        if run is not None and not run.record.retryable:
            return run.record.status
        if run is not None:
            return "unfinished"
        return "unfinished" if self._is_own_work(job) else "missing"

    def read(self, job: HasPlace) -> Run | None:
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
        remove_folder(self.work_folder(job))

    def _is_own_work(self, job: JobSpec) -> bool:
        try:
            content = read_json(self.work_folder(job) / _IDENTITY_FILE)
        except BenchmarkError:
            return False
        return bool(content == {"identity": job.identity})

    def discard(self, job: HasPlace) -> None:
        """Remove a job's run and its unfinished work; the caller holds its lock."""
        for folder in (self.folder(job), self.work_folder(job)):
            remove_folder(folder)

    @contextmanager
    def locked(
        self, job: HasPlace, *, waits: bool = True, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Hold the job's lock; see :func:`benchmark.locks.locked`."""
        lock = self._lock_of(job.identity[:_FOLDER_DIGITS])
        with locked(lock, waits=waits, waiting=waiting):
            yield
