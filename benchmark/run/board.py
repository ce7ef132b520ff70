"""What people see of a suite on a cluster: the jobs that run, how many ended, the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from benchmark.errors import counted
from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec
from benchmark.run.progress import A_MINUTE, Display, in_words, say_how_it_ended


class Board(Display):
    """One line a job that runs, and a bar of all.

    Where there is no terminal, a line a minute says how far things are.

    The time left is told once a job has ended: as long as those took on average, for each that is
    left, by how many run at the same time.
    """

    def __init__(self, jobs: Sequence[JobSpec], console: Console) -> None:
        self._labels = {job.identity: job.label for job in jobs}
        self._left = {job.identity for job in jobs}
        self._seconds: list[float] = []
        self._began: dict[str, float] = {}
        self._lines: dict[str, TaskID] = {}
        self.console = console
        self._total, self._last = len(jobs), time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
        )
        self._bar = self._progress.add_task("jobs", total=len(jobs), note="")

    def begins(self, identity: str, worker: str) -> None:
        """A worker begins with a job, or with what it shares with others."""
        self._began[identity] = time.monotonic()
        if identity not in self._lines and identity in self._left:
            label = self._labels[identity]
            self._lines[identity] = self._progress.add_task(label, total=None, note=worker)

    def says(self, identity: str, message: str) -> None:
        """What a job is at now."""
        if identity in self._lines:
            description = f"{self._labels[identity]}: {message}"
            self._progress.update(self._lines[identity], description=description)

    def leaves(self, job: JobSpec) -> None:
        """A job runs no longer."""
        line = self._lines.pop(job.identity, None)
        self._began.pop(job.identity, None)
        if line is not None:
            self._progress.remove_task(line)

    def ended(self, job: JobSpec, run: Run, seconds: float) -> None:
        """A job has finished or failed."""
        say_how_it_ended(self.console, job, run, seconds)
        self._left.discard(job.identity)
        self._seconds.append(seconds)
        self._progress.advance(self._bar)

    def refresh(self) -> None:
        """Tell the time left anew."""
        left, now = self.seconds_left(), time.monotonic()
        note = "time left unknown" if left is None else f"about {in_words(left)} left"
        self._progress.update(self._bar, note=note)
        if not self.console.is_terminal and now - self._last >= A_MINUTE:
            self._last = now
            ended, running = self._total - len(self._left), len(self._began)
            self.tells(f"{ended} of {counted(self._total, 'job')} ended, {running} running, {note}")

    def seconds_left(self) -> float | None:
        """How long the jobs that are left will take; None as long as none has ended."""
        if not self._seconds:
            return None
        mean = sum(self._seconds) / len(self._seconds)
        now = time.monotonic()
        gone = sum(min(now - began, mean) for began in self._began.values())
        return max(mean * len(self._left) - gone, 0.0) / max(len(self._began), 1)
