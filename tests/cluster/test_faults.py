"""Suites on a real scheduler and real workers, which die."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from benchmark.jobs.record import find_run_folders, read_run
from benchmark.locks import is_free
from benchmark.run.suite import Row
from tests.cluster.processes import Ended, Processes, run_suite, running, worked
from tests.faults.suite import SmallSuite, done, folder_in_memory, report


def deadly(*moments: str) -> tuple[Row, ...]:
    return tuple(Row(system="deadly", name=one, settings={"moment": one}) for one in moments)


def ended_once(suite: SmallSuite, ended: Ended, jobs: int) -> None:
    """Each job is there once, and was told once; nothing half-done is left."""
    assert len(ended.times) == jobs, ended.said
    assert set(ended.times.values()) == {1}, ended.said
    assert len(suite.outcome()) == jobs
    assert not suite.jobs()  # which sweeps what a killed writer left
    left = [*(suite.results / "work").iterdir(), *suite.results.rglob(".partial-*")]
    assert not left, [str(path) for path in left]


def test_workers_that_die_at_each_moment_of_a_job_lose_and_double_nothing() -> None:
    """In an artifact, for which another job waits, and in publishing; and one is refused."""
    with folder_in_memory() as place, running(place / "cluster", 3) as processes:
        other = place / "other"
        (other / "accelerate-0.0.1.dist-info").mkdir(parents=True)
        (other / "accelerate-0.0.1.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: accelerate\nVersion: 0.0.1\n"
        )
        processes.add_worker(other)
        suite = SmallSuite(place / "suite", systems=deadly("artifact", "publishing"))
        suite.prepare()
        ended = run_suite(suite, processes)
        ended_once(suite, ended, 2)
        marks = [path.name for path in (place / "cluster" / "fits").iterdir()]
        killed = [worker for worker in processes.workers if worker.poll() is not None]
        assert len(killed) == sum(name.startswith("killed-") for name in marks) == 2
        (counts,) = (suite.results / "artifacts").glob("counts-*[0-9a-f]")
        assert counts.is_dir()
        logs = list((suite.results / "logs").glob("*/*.txt"))
        assert len(logs) == 3
        assert re.search(
            r"worker tcp://\S+ is refused: it has accelerate 0\.0\.1 instead", ended.said
        )


def test_a_worker_that_joins_when_the_last_has_died_goes_on() -> None:
    with folder_in_memory() as place, running(place / "cluster", 1) as processes:
        suite = SmallSuite(place / "suite", systems=deadly("job"))
        suite.prepare()

        def replace_the_dead() -> None:
            (worker,) = processes.workers
            worker.wait()
            time.sleep(2)  # in which Dask finds that it has no worker for the job
            processes.replace(0)

        threading.Thread(target=replace_the_dead, daemon=True).start()
        ended_once(suite, run_suite(suite, processes), 1)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard, also where these tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_suite_ends_its_jobs_and_goes_on(interruptible: None) -> None:
    with folder_in_memory() as place, running(place / "cluster", 1) as processes:
        suite = SmallSuite(place / "suite", systems=deadly("waits"))
        suite.prepare()
        fits, ended = place / "cluster" / "fits", Ended()

        def interrupt() -> None:
            while not (fits / "waiting").exists():
                time.sleep(0.05)
            signal.raise_signal(signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run_suite(suite, processes, ended)
        assert not ended.times
        (lock,) = (suite.results / "locks").glob("[0-9a-f]" * 16 + ".lock")
        assert is_free(lock)  # its process has ended
        (fits / "go").touch()
        ended_once(suite, run_suite(suite, processes), 1)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [int(os.environ.get("CLUSTER_KILLS", "300"))])
def test_workers_and_schedulers_that_are_killed_at_random_moments(kills: int) -> None:
    chance = random.Random(5)
    names = ("workers", "schedulers", "suites", "given_up", "lost", "doubled", "different")
    counts = Counter(dict.fromkeys(names, 0))
    with folder_in_memory() as place:
        calm = SmallSuite(place / "calm", seeds=(1, 2))
        calm.prepare()
        errors = place / "errors"
        assert done(calm.run, errors) == 0, errors.read_text()
        truth = calm.outcome()
        with running(place / "cluster", 3) as processes:
            while counts["workers"] + counts["schedulers"] < kills:
                suite = SmallSuite(place / f"suite-{counts['suites']}", seeds=(1, 2))
                suite.prepare()
                over = threading.Event()
                killer = threading.Thread(
                    target=_kill, args=(processes, over, chance, counts, kills)
                )
                processes.wait_for_scheduler()
                try:
                    ended = run_suite(suite, processes, begins=killer.start)
                finally:
                    over.set()
                    killer.join()
                counts["doubled"] += sum(number - 1 for number in ended.times.values())
                if given_up := unfinished(suite):  # whose workers were killed too often
                    counts["given_up"] += given_up
                    processes.wait_for_scheduler()
                    run_suite(suite, processes, retry_failed=True)
                found = suite.outcome()
                counts["lost"] += len(truth.keys() - found.keys())
                counts["different"] += sum(found[key] != truth[key] for key in found)
                counts["suites"] += 1
                report(dict(counts))
    assert not counts["lost"] + counts["doubled"] + counts["different"]


def unfinished(suite: SmallSuite) -> int:
    """How many jobs are recorded as failed."""
    folders = find_run_folders(suite.results / "runs")
    return sum(read_run(folder).record.status == "failed" for folder in folders)


def _kill(
    processes: Processes,
    over: threading.Event,
    chance: random.Random,
    counts: Counter[str],
    kills: int,
) -> None:
    """Kill a worker when it has worked for a random while, and now and then the scheduler.

    The while is of CPU time, so that on a busy machine kills come at the same moments of the work.
    """
    ends = [chance.uniform(0.5, 7.0) for _ in processes.workers]
    while not over.wait(0.1):
        for number, worker in enumerate(processes.workers):
            is_dead = worker.poll() is not None  # also of one that lost its scheduler
            is_due = not is_dead and worked(worker) > ends[number]
            if is_due and counts["workers"] + counts["schedulers"] < kills:
                processes.kill(worker)
                counts["workers"] += 1
                is_dead = True
                if chance.random() < 0.1 and processes.scheduler is not None:
                    processes.kill(processes.scheduler)
                    processes.start_scheduler()
                    counts["schedulers"] += 1
            if is_dead:
                processes.replace(number)
                ends[number] = chance.uniform(0.5, 7.0)
