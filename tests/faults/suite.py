"""A suite that runs in this process, or in a forked one that can be killed, in a second or so."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmark.data.prepare import sweep
from benchmark.errors import BenchmarkError
from benchmark.jobs.context import load_data
from benchmark.jobs.execute import execute
from benchmark.jobs.record import find_run_folders, read_run
from benchmark.jobs.store import JobSpec, RunStore
from benchmark.locks import LockedElsewhere
from benchmark.run.plan import Options, due, plan
from benchmark.run.suite import Row, load_suite
from benchmark.systems.catalogue import SystemEntry

RECIPE = """
name: tiny
source: {kind: generated, users: 40, items: 130, seed: 3}
search: {kind: own}
"""
TRAINED = SystemEntry(
    "trained", "Trained", "sequential", ("recommendation",), "tests.faults.systems:Trained"
)
SYSTEMS = ("popularity", "history-copy", "trained")
OUTCOME = ("metrics.json", "ranks.parquet", "scores.parquet")


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for many thousand writes: in memory where there is a file system of that kind."""
    shared = Path("/dev/shm")
    place = shared if shared.is_dir() and os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="faults-", dir=place) as folder:
        yield Path(folder)


@dataclass(frozen=True)
class SmallSuite:
    """Three systems on a tiny log, below ``root``: recipe, prepared data, results."""

    root: Path
    seeds: tuple[int, ...] = (1,)
    systems: tuple[str | Row, ...] = SYSTEMS

    @property
    def results(self) -> Path:
        return self.root / "results"

    def prepare(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "tiny.yaml").write_text(RECIPE)

    def jobs(self, retry_failed: bool = False) -> list[JobSpec]:
        """Those that are due; failed ones are forgotten if they are to be tried again."""
        suite = load_suite("all").model_copy(
            update={
                "datasets": (str(self.root / "tiny.yaml"),),
                "systems": self.systems,
                "seeds": self.seeds,
                "preset": "smoke",
            }
        )
        store = RunStore(self.results)
        store.prepare()
        sweep(self.root / "prepared")
        load_data.cache_clear()
        options = Options(self.results, self.root / "prepared", threads=1)
        jobs = plan(suite, {}, options).jobs
        store.sweep_work({job.spec.identity: job.state for job in jobs})
        for job in jobs:
            if retry_failed and job.state == "failed":
                store.discard(job.spec)
        return due(jobs, retry_failed)

    def run(self) -> None:
        """Run what is due, as the command does; jobs of other suites later."""
        waiting = self.jobs()
        locked = []
        for job in waiting:
            try:
                execute(job, waits=False)
            except LockedElsewhere:
                locked.append(job)
        for job in locked:
            execute(job)

    def outcome(self) -> dict[tuple[str, int], str]:
        """(system, seed) → a hash of all its figures. Each must be there once, and finished."""
        found: dict[tuple[str, int], str] = {}
        for folder in find_run_folders(self.results / "runs"):
            record = read_run(folder).record
            key = (record.system.name, record.seed)
            assert record.status == "finished", record.error
            assert key not in found, f"{key} is there twice"
            content = b"".join((folder / name).read_bytes() for name in OUTCOME)
            found[key] = hashlib.sha256(content).hexdigest()
        return found


def forked(task: Callable[[], None], errors: Path) -> int:
    """Start ``task`` in a forked process; its exit code is 0, 2 for a sentence, or 70.

    What it raises stands in ``errors``.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        task()
        code = 0
    except BenchmarkError as error:
        errors.write_text(f"error: {error}")
        code = 2
    except BaseException:
        errors.write_text(traceback.format_exc())
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a forked process: its exit code, or the negative number of its signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def done(task: Callable[[], None], errors: Path) -> int:
    """Run ``task`` in a forked process to its end; its exit code."""
    return ended(forked(task, errors))


def goes_on(suite: SmallSuite, truth: dict[tuple[str, int], str], errors: Path) -> None:
    """The same command goes on to the end, and everything is as if nothing had happened."""
    code = done(suite.run, errors)
    assert code == 0, errors.read_text()
    assert suite.outcome() == truth
    left = [*(suite.results / "work").iterdir(), *suite.root.rglob(".partial-*")]
    assert not left, [str(path.relative_to(suite.root)) for path in left]


def report(counts: dict[str, int]) -> None:
    """Show what took place; ``pytest -rP`` prints it."""
    Console(highlight=False).print(", ".join(f"{name}: {n:,}" for name, n in counts.items()))
