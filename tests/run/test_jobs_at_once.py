"""How many jobs run at the same time, with how many threads; none waits while others could run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.jobs import machine
from benchmark.jobs.machine import (
    MEMORY_OF_A_JOB,
    jobs_at_once,
    memory,
    threads_of_a_job,
    usable_cores,
)
from benchmark.run.backend import Processes
from tests.run.conftest import ProjectCopy


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setattr(machine, "memory", lambda: 64 * 2**30)


@pytest.mark.parametrize(("gigabytes", "jobs"), [(64, 8), (32, 8), (31, 7), (9, 2), (4, 1), (1, 1)])
def test_a_job_has_a_core_and_memory(
    gigabytes: int, jobs: int, eight_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: gigabytes * 2**30)
    assert jobs_at_once("cpu") == jobs


def test_a_job_has_a_gpu(eight_cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    assert jobs_at_once("cuda") == 3
    assert jobs_at_once("cuda:1") == 1
    monkeypatch.setattr(machine, "number_of_processes", lambda: 2)
    assert jobs_at_once("cuda") == jobs_at_once("cpu") == 1


def test_cores_are_shared_among_all_jobs_of_a_suite_also_when_some_are_done(
    eight_cores: None,
) -> None:
    assert Processes(None).threads(None, "cpu", 31) == 1
    assert Processes(None).threads(None, "cpu", 3) == 2
    assert Processes(None).threads(None, "cpu", 1) == 8
    assert Processes(2).threads(None, "cpu", 31) == Processes(2).threads(None, "cpu", 1) == 4
    assert Processes(None).threads(3, "cpu", 31) == 3


def test_this_machine_has_room_for_a_job() -> None:
    assert 1 <= jobs_at_once("cpu") <= usable_cores()
    assert memory() > MEMORY_OF_A_JOB // 8


@pytest.mark.parametrize(
    ("files", "cores", "gigabytes"),
    [
        ({"cpu.max": "200000 100000", "memory.max": str(6 * 2**30)}, 2, 6),
        ({"cpu.max": "max 100000", "memory.max": "max"}, 64, 256),
        ({"cpu.max": "50000 100000"}, 1, 256),
        (
            {
                "cpu/cpu.cfs_quota_us": "350000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str(9 * 2**30),
            },
            3,
            9,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64, 256),
        ({}, 64, 256),
    ],
)
def test_a_container_has_what_its_control_group_allows(
    files: dict[str, str],
    cores: int,
    gigabytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**26}.get)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert (usable_cores(), memory() // 2**30) == (cores, gigabytes)


@pytest.mark.parametrize("threads", [0, -3])
def test_less_than_one_thread_is_refused(threads: int) -> None:
    with pytest.raises(BenchmarkError, match=f"--threads {threads}: must be at least 1"):
        threads_of_a_job(threads, 1)


SHARING = """
import os, time
from pathlib import Path
import numpy as np
from benchmark.systems.contract import System


class Added(System):
    def fit(self, view):
        def build(folder):
            for _ in range(600):
                if Path(os.environ["OTHER_RAN"]).exists():
                    return (folder / "built").write_text("")
                time.sleep(0.1)
            raise RuntimeError("the other job waited for this one")

        self.context.artifacts.get("shared", {"of": "both"}, build)

    def score(self, requests):
        return np.zeros(requests.candidates.shape, np.float32)

    def save(self, folder):
        pass

    def load(self, folder, corpus):
        pass
"""
OTHER = SHARING.replace(
    'self.context.artifacts.get("shared", {"of": "both"}, build)',
    'Path(os.environ["OTHER_RAN"]).write_text("")',
)


def test_a_job_that_needs_what_another_builds_lets_others_run(
    project: ProjectCopy, tmp_path: Path
) -> None:
    """One builds until the third has run, for which the second has to make way."""
    project.add_system("builds", SHARING)
    project.add_system("needs", SHARING)
    project.add_system("other", OTHER)
    ran = project.run(
        *("--dataset", "tiny", "--preset", "smoke", "--systems", "builds,needs,other"),
        *("--jobs", "2", "--device", "cpu"),
        OTHER_RAN=str(tmp_path / "other-ran"),
    )
    assert ran.returncode == 0, ran.stderr
    done = [line.split()[0] for line in ran.stderr.splitlines() if ": done in " in line]
    assert sorted(done) == ["builds", "needs", "other"]
