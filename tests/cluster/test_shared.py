"""What jobs share is fitted once and before them, and nobody holds a place while it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.jobs.execute import execute, fit_shared
from benchmark.jobs.store import JobSpec, RunStore
from benchmark.locks import LockedElsewhere, locked
from benchmark.run.graph import shared_fits
from benchmark.run.suite import Row
from tests.faults.suite import SmallSuite
from tests.faults.systems import FITS


def fits(folder: Path) -> int:
    return len(list(folder.iterdir()))


def test_a_shared_fit_is_what_its_jobs_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = tmp_path / "fits"
    counted.mkdir()
    monkeypatch.setenv(FITS, str(counted))
    above = Row(system="above", name="other", settings={"moment": "job"})
    suite = SmallSuite(tmp_path, systems=("above", above, "trained"))
    suite.prepare()
    jobs = suite.jobs()
    (shared,) = shared_fits(jobs)
    assert (shared.system, len(shared.jobs)) == ("trained", 3)
    assert shared.job.system == "trained"

    (artifact,) = _fitted_by(shared.job, suite)
    assert fits(counted) == 1
    for job in jobs:
        assert execute(job).record.status == "finished"
    assert fits(counted) == 1
    assert list(_artifacts(suite)) == [artifact]

    again = SmallSuite(tmp_path, seeds=(2,), systems=("above", above))
    (shared,) = shared_fits(again.jobs())  # without a job of its own
    assert shared.job.system == "above"
    assert len(_fitted_by(shared.job, again)) == 2
    assert fits(counted) == 2
    for job in again.jobs():
        execute(job)
    assert fits(counted) == 2


def _fitted_by(job: JobSpec, suite: SmallSuite) -> list[Path]:
    fit_shared(job, "trained")
    return _artifacts(suite)


def _artifacts(suite: SmallSuite) -> list[Path]:
    found = (suite.results / "artifacts").glob("fitted-system-*")
    return sorted(path for path in found if path.is_dir())


def test_a_job_whose_artifact_others_build_gives_way_and_goes_on_later(tmp_path: Path) -> None:
    suite = SmallSuite(tmp_path, systems=("trained",))
    suite.prepare()
    (job,) = suite.jobs()
    assert execute(job).record.status == "finished"  # which shows the artifact's name
    (lock,) = (suite.results / "artifacts").glob("counts-*.lock")
    store = RunStore(suite.results)
    store.discard(job)
    for path in (suite.results / "artifacts").glob("fitted-system-*"):
        if path.is_dir():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    with locked(lock), pytest.raises(LockedElsewhere, match=lock.name):
        execute(job, waits=False)
    assert store.read(job) is None
    assert execute(job, waits=False).record.status == "finished"
