"""What people see while jobs run: a bar on a terminal, a line a minute anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from benchmark.errors import counted
from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec

A_MINUTE = 60.0


def say(console: Console, sentence: str, style: str = "") -> None:
    """A line that stays, as it is."""
    console.print(sentence, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)


class Display:
    """What is drawn on a console while jobs run; a context manager that takes it away again."""

    console: Console
    _progress: Progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def tells(self, sentence: str, style: str = "") -> None:
        """A line that stays."""
        say(self.console, sentence, style)


def say_how_it_ended(console: Console, job: JobSpec, run: Run, seconds: float) -> None:
    """That a job has finished, or why it failed."""
    if run.record.status == "finished":
        say(console, f"{job.label}: done in {seconds:.1f} s")
    else:
        say(console, f"{job.label}: failed: {run.record.error}", style="red")


def time_left(done: int, total: int, gone: float) -> str:
    """How long the jobs that are left take if they take as long as those that are done.

    >>> time_left(2, 10, 90.0), time_left(0, 10, 90.0), time_left(9, 10, 65_000.0)
    ('about 6 min left', 'time left unknown', 'about 2.0 h left')
    """
    if not done:
        return "time left unknown"
    return f"about {in_words(gone / done * (total - done))} left"


def in_words(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is short."""
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5_400.0 else f"{seconds / 3_600.0:.1f} h"


@dataclass
class Shown(Display):
    """The state of a suite as it is shown.

    The line of a job, such as its validation figures, is folded where it is long and never cut.
    """

    console: Console
    total: int
    told: Callable[[JobSpec, Run], None]
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    message: str = "starting"
    _progress: Progress = field(init=False)
    _bar: TaskID = field(init=False)

    def __post_init__(self) -> None:
        columns = (
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[times]}", markup=False),
            TextColumn(
                "{task.description}", markup=False, table_column=Column(overflow="fold", ratio=1)
            ),
        )
        self.started = self.last = self.clock()
        self._progress = Progress(*columns, console=self.console, transient=True, expand=True)
        self._bar = self._progress.add_task(self.message, total=self.total, times=self.times)

    @property
    def times(self) -> str:
        """The time that has gone, and what is left by the jobs that are done."""
        gone = self.clock() - self.started
        return f"{in_words(gone)} gone, {time_left(self.done, self.total, gone)}"

    def says(self, job: JobSpec, message: str) -> None:
        """What a job is at."""
        self.message = f"{job.label}: {message}"
        self._refresh()
        self.looks_at_the_clock()

    def ended(self, job: JobSpec, run: Run, seconds: float) -> None:
        """A job has finished or failed."""
        say_how_it_ended(self.console, job, run, seconds)
        self.done += 1
        self._progress.advance(self._bar)
        self._refresh()
        self.told(job, run)

    def looks_at_the_clock(self) -> None:
        """Where there is no bar, say each minute how far things are."""
        now = self.clock()
        if self.console.is_terminal:
            self._refresh()
        elif now - self.last >= A_MINUTE:
            self.last = now
            self.tells(f"{self.done} of {counted(self.total, 'job')}, {self.times}; {self.message}")

    def _refresh(self) -> None:
        self._progress.update(self._bar, description=self.message, times=self.times)
