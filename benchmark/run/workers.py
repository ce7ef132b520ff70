"""Running jobs one after another in this process, or several at once in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from benchmark.runs.execute import execute, record_death
from benchmark.runs.record import Run
from benchmark.runs.store import JobSpec


def run_jobs(jobs: Sequence[JobSpec], processes: int, console: Console) -> None:
    """Run every job; a failed one is recorded in its run folder and the others go on.

    A job whose process dies twice (out of memory, a crash in native code) counts as failed.

    Raises:
        BenchmarkError: the input is bad or the results folder cannot be written.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("jobs", total=len(jobs))
        if processes == 1:
            for job in jobs:
                started = time.monotonic()
                run = execute(job, partial(_show, progress, bar, job.label))
                _say(run, job, time.monotonic() - started, console)
                progress.advance(bar)
        else:
            _in_processes(jobs, processes, console, lambda: progress.advance(bar))


def _show(progress: Progress, bar: TaskID, label: str, message: str) -> None:
    progress.update(bar, description=f"{label}: {message}")


def _say(run: Run, job: JobSpec, seconds: float, console: Console) -> None:
    if run.record.status == "finished":
        console.print(f"{job.label}: done in {seconds:.1f} s", highlight=False)
    else:
        console.print(f"[red]{job.label}: failed: {run.record.error}[/red]", highlight=False)


def _in_processes(
    jobs: Sequence[JobSpec], processes: int, console: Console, advance: Callable[[], None]
) -> None:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    waiting = list(jobs)
    try:
        parallel = Parallel(n_jobs=processes, return_as="generator_unordered", pre_dispatch="all")
        for run, job, seconds in parallel(delayed(_timed)(job) for job in waiting):
            _say(run, job, seconds, console)
            advance()
        return
    except TerminatedWorkerError:
        console.print("a worker process died; its jobs are tried again, one at a time.")
    for job in waiting:
        # Alone in a process, so that a job that kills it is the one to blame.
        try:
            run, _, seconds = Parallel(n_jobs=2)([delayed(_timed)(job)])[0]
        except TerminatedWorkerError:
            run, seconds = record_death(job), 0.0
        _say(run, job, seconds, console)


def _timed(job: JobSpec) -> tuple[Run, JobSpec, float]:
    started = time.monotonic()
    return execute(job), job, time.monotonic() - started
