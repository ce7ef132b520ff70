"""Folders of other jobs under a job's name: runs, work, fitted systems, ranked parts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.files import sha256_of_json, write_manifest
from benchmark.jobs import execute as module
from benchmark.jobs import identity
from benchmark.jobs.execute import execute
from benchmark.jobs.identity import JobChanged
from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec, RunStore
from benchmark.run.plan import Options, PlannedJob, plan
from benchmark.run.suite import load_suite
from benchmark.systems.catalogue import choose

RECIPE = """
name: tiny
source: {kind: generated, users: 40, items: 150, seed: 3}
search: {kind: own}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    (place / "tiny.yaml").write_text(RECIPE)
    return place


def planned(data: Path, results: Path, seeds: Sequence[int] = (1, 2)) -> tuple[PlannedJob, ...]:
    suite = load_suite("all").model_copy(
        update={
            "datasets": (str(data / "tiny.yaml"),),
            "systems": ("popularity",),
            "seeds": tuple(seeds),
        }
    )
    RunStore(results).prepare()
    return plan(suite, {}, Options(results, data / "prepared", threads=1)).jobs


def two_jobs(data: Path, results: Path) -> tuple[JobSpec, JobSpec]:
    first, second = planned(data, results)
    return first.spec, second.spec


def outcome(run: Run) -> bytes:
    return (run.folder / "metrics.json").read_bytes() + (run.folder / "ranks.parquet").read_bytes()


@pytest.fixture
def true_outcome(data: Path, tmp_path: Path) -> bytes:
    """What the second job gives when nothing is amiss."""
    return outcome(execute(two_jobs(data, tmp_path / "true")[1]))


def leave_false_work(job: JobSpec, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work of ``job`` as a kill before publishing leaves it, with contents that are wrong."""

    class Killed(Exception):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "publish", die)
        with pytest.raises(Killed):
            execute(job)
    work = RunStore(Path(job.results)).work_folder(job)
    saved = work / "system" / "counts.npy"
    np.save(saved, np.load(saved)[:, ::-1])
    write_manifest(work / "system")
    (work / "training.jsonl").write_text("{}\n")
    shutil.rmtree(work / "ranks")
    with monkeypatch.context() as patch:
        patch.setattr(module, "publish", die)
        with pytest.raises(Killed):
            execute(job)  # the scores of the wrong system
    return work


def test_the_same_jobs_own_work_is_taken(
    data: Path, tmp_path: Path, true_outcome: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the tests below would prove nothing."""
    _, second = two_jobs(data, tmp_path / "results")
    work = leave_false_work(second, monkeypatch)
    assert outcome(execute(second)) != true_outcome
    assert not work.exists()


@pytest.mark.parametrize("part", [".", "system", "ranks"])
def test_work_of_another_job_is_not_taken(
    part: str,
    data: Path,
    tmp_path: Path,
    true_outcome: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = two_jobs(data, tmp_path / "results")
    work = leave_false_work(first, monkeypatch)
    store = RunStore(tmp_path / "results")
    if part == ".":
        shutil.copytree(work, store.work_folder(second))
        assert store.state(second) == "missing"
    else:
        shutil.copytree(work / part, store.open_work(second) / part)
        assert store.state(second) == "unfinished"
    run = execute(second)
    assert outcome(run) == true_outcome
    assert not (run.folder / "training.jsonl").exists()


def test_a_run_folder_of_another_job_is_not_taken(
    data: Path, tmp_path: Path, true_outcome: bytes
) -> None:
    first, second = two_jobs(data, tmp_path / "results")
    other = execute(first)
    store = RunStore(tmp_path / "results")
    shutil.copytree(other.folder, store.folder(second))
    assert store.read(second) is None
    assert store.state(second) == "missing"
    run = execute(second)
    assert run.record.identity == second.identity
    assert run.record.seed == 2
    assert outcome(run) == true_outcome
    assert store.read(first) == other


def test_a_job_that_is_not_the_planned_one_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = two_jobs(data, tmp_path / "results")
    other_code = {**job.code, "baselines.references.popularity": "0" * 64}
    with pytest.raises(JobChanged, match=r"baselines\.references\.popularity changed after"):
        execute(replace(job, code=other_code))
    row = choose("popularity")
    one_task = replace(row, entry=replace(row.entry, tasks=("search",)))
    for what, value in (
        ("library_versions", lambda: {"numpy": "0.0"}),
        ("choose", lambda name: one_task),
    ):
        monkeypatch.setattr(identity, what, value)
        with pytest.raises(
            JobChanged, match="data set, candidate lists, tasks or libraries changed"
        ):
            execute(job)
        monkeypatch.undo()
    assert RunStore(tmp_path / "results").state(job) == "missing"
    assert not list((tmp_path / "results" / "work").iterdir())
    assert execute(job).record.status == "finished"


def test_the_record_holds_the_hash_of_the_code(data: Path, tmp_path: Path) -> None:
    job, _ = two_jobs(data, tmp_path / "results")
    run = execute(job)
    assert "baselines.references.popularity" in job.code
    assert run.record.code == sha256_of_json(job.code)
