"""Who may work for a suite, what the graph holds, and what the command line refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.files import write_json
from benchmark.jobs.store import JobSpec
from benchmark.locks import locked
from benchmark.run import __main__ as command
from benchmark.run.board import Board
from benchmark.run.company import needs_of
from benchmark.run.graph import shared_fits
from benchmark.run.membership import Passport
from benchmark.run.scheduler import Scheduler
from benchmark.systems.catalogue import entries
from benchmark.systems.provenance import code_digests, library_versions

ROOT = Path(__file__).resolve().parents[2]
MODULE = "tests.cluster.systems"


def job(system: str, number: int, **changes: Any) -> JobSpec:
    spec = JobSpec(
        *(f"{number:064d}", {}, "tiny", "tiny", "", "paper", {}, None, system, system, {}, {}),
        *("smoke", 1, "cpu", "fp32", 1, (), ""),
    )
    return replace(spec, **changes)


@pytest.fixture
def passport(tmp_path: Path) -> Iterator[Passport]:
    sign, lock = tmp_path / "sign.json", tmp_path / "suite.lock"
    write_json(sign, {"word": "w"})
    with locked(lock):
        yield Passport(
            *("token", (MODULE,), code_digests(MODULE), library_versions()),
            *(sign, "w", lock, tmp_path / "logs"),
        )


def test_a_worker_like_the_suite_is_let_in(passport: Passport) -> None:
    assert passport.refusal() == ""


def test_a_worker_with_other_libraries_or_code_is_refused(passport: Passport) -> None:
    libraries = {**passport.libraries, "torch": "1.0"}
    here = passport.libraries["torch"]
    assert replace(passport, libraries=libraries).refusal() == f"it has torch {here} instead of 1.0"
    code = {**passport.code, MODULE: "0" * 64}
    assert replace(passport, code=code).refusal() == f"it has other code in {MODULE}"


def test_a_worker_that_sees_another_folder_is_refused(passport: Passport, tmp_path: Path) -> None:
    for other in (replace(passport, word="x"), replace(passport, sign=tmp_path / "no.json")):
        assert other.refusal().startswith(f"it does not see the folder {tmp_path}")


def test_a_worker_that_does_not_find_the_lock_held_is_refused(passport: Passport) -> None:
    free = replace(passport, lock=passport.lock.with_name("free.lock"))
    free.lock.touch()
    assert "keeps no locks between machines" in free.refusal()


def test_what_two_jobs_build_on_is_fitted_once_by_the_systems_own_job() -> None:
    name, below = next((n, row.upstream[0]) for n, row in entries().items() if row.upstream)
    setting = {"width": 1}
    above = [job(name, i, upstream={below: setting}, configuration={"i": i}) for i in (1, 2)]
    own = job(below, 3, configuration=setting)
    (shared,) = shared_fits([*above, own])
    assert (shared.system, shared.job, shared.jobs) == (below, own, (*above, own))
    (without,) = shared_fits(above)
    assert without.job == above[0]
    assert not shared_fits([above[0], replace(own, seed=2)])
    assert not shared_fits([above[0], replace(own, configuration={"width": 2})])


def test_the_time_left_counts_what_runs_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    jobs = [job("random", number) for number in range(5)]
    board = Board(jobs, Console(quiet=True))
    assert board.seconds_left() is None
    board._seconds.append(10.0)
    board._left.discard(jobs[0].identity)
    for one in jobs[1:3]:
        board.begins(one.identity, "tcp://a")
    now = 5.0
    assert board.seconds_left() == (4 * 10 - 2 * 5) / 2


def test_a_job_takes_a_cpu_a_thread_and_what_its_system_declares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert needs_of(job("deadly", 1, threads=4)) == {"CPU": 4}
    assert needs_of(job("deadly", 1, threads=4, device="cuda")) == {"CPU": 4, "GPU": 1}
    assert needs_of(job("random", 1, threads=4)) == {"CPU": 1}
    large = replace(entries()["deadly"], needs={"MEMORY": 64})
    monkeypatch.setitem(entries(), "deadly", large)
    assert needs_of(job("deadly", 1, threads=2)) == {"CPU": 2, "MEMORY": 64}
    monkeypatch.setitem(entries(), "deadly", replace(large, needs={"GPU": 2}))
    with pytest.raises(BenchmarkError, match=r"GPU=2, but a job on a cluster has one.*torchrun"):
        needs_of(job("deadly", 1, device="cuda"))


@pytest.mark.parametrize("text", ["tcp://a", "local:0", "local:x", "http://a:1", "a:1", ""])
def test_what_is_no_scheduler_is_refused_in_a_sentence(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--backend", "dask", "--scheduler", text]) == 2
    assert f"--scheduler {text}: must be tcp://HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--scheduler", "local:2"], "--scheduler local:2: is for --backend dask."),
        (["--backend", "dask"], "--backend dask: needs --scheduler"),
        (["--backend", "dask", "--scheduler", "local:2", "--jobs", "3"], "--jobs 3: with"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(options) == 2
    assert sentence in capsys.readouterr().err


def test_torchrun_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmark.run.backend.number_of_processes", lambda: 2)
    assert command.main(["--backend", "dask", "--scheduler", "local:2"]) == 2
    assert "--backend dask: does not run under torchrun." in capsys.readouterr().err


def test_without_dask_a_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmark.run.backend.find_spec", lambda name: None)
    assert command.main(["--backend", "dask", "--scheduler", "local:2"]) == 2
    assert "pip install -c constraints.txt -e '.[cluster]'" in capsys.readouterr().err


def test_an_address_and_a_number_of_local_workers_are_read() -> None:
    assert Scheduler.parsed("tls://host:8786") == Scheduler("tls://host:8786")
    assert Scheduler.parsed("local:4") == Scheduler("", 4)


PAGE = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
HOURS, SLURM = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_examples_of_the_page_on_clusters_are_whole() -> None:
    compile(SLURM, "slurm.py", "exec")
    (cluster,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    read = yaml.safe_load(cluster)
    (worker,) = read["spec"]["worker"]["spec"]["containers"]
    given = dict(part.split("=") for part in worker["args"][-1].split())
    assert given == {"GPU": worker["resources"]["limits"]["nvidia.com/gpu"], "CPU": "8"}
    options = set(re.findall(r'"(--[a-z]+)"', SLURM)) | set(re.findall(r"(?<= )--[a-z]+", PAGE))
    known = set(re.findall(r"--[a-z-]+", command._parser().format_help()))
    of_others = {"--gres", "--resources", "--nthreads", "--nnodes", "--name"}
    assert options - of_others <= known


def test_the_hours_of_the_page_are_those_of_the_longest_job_or_of_all(
    tmp_path: Path,
) -> None:
    for number, hours in enumerate((4, 3, 2)):
        cost = {
            "fit_seconds": hours * 3600 - 2,
            "score_seconds": {"search": 1},
            "all_items_seconds": {"search": 1},
        }
        write_json(tmp_path / str(number) / "run.json", {"cost": cost})
    command = [sys.executable, "-c", HOURS, str(tmp_path), "1", "2", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "3 jobs, 9.00 hours, the longest 4.00",
        "1 workers: 9.00 hours, 9.00 of machines",
        "2 workers: 5.00 hours, 10.00 of machines",
        "5 workers: 4.00 hours, 20.00 of machines",
    ]
