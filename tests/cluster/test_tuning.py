"""Trials of one study on several workers, of which one dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.run.backend import Dask, Processes
from benchmark.run.scheduler import Scheduler, connected
from benchmark.tune.campaign import Campaign, Wanted
from benchmark.tune.studies import Budget, Trial
from tests.cluster.processes import running
from tests.faults.suite import RECIPE, folder_in_memory


def trials_on(backend: Processes | Dask, root: Path, threads: int = 1) -> list[Trial]:
    root.mkdir(exist_ok=True)
    (root / "tiny.yaml").write_text(RECIPE)
    wanted = Wanted(
        dataset=str(root / "tiny.yaml"),
        systems=("tuned",),
        preset="smoke",
        protocol="paper",
        seed=1,
        assignments=(),
        budget=Budget(4, 20.0),
        backend=backend,
        threads=threads,
        device="cpu",
        precision="fp32",
        results=root / "results",
        presets=root / "presets",
        prepared_root=root / "prepared",
    )
    ((_, trials),) = Campaign(wanted, Console(quiet=True)).run()
    left = [*(root / "results" / "tuning" / "tiny" / "work").iterdir()]
    assert not left
    return list(trials)


def test_trials_on_workers_are_those_of_one_process_though_a_worker_dies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four trials: the sampler has nothing to learn from, so each is drawn by its number alone."""
    with folder_in_memory() as place, running(place / "cluster", 2) as processes:
        with connected(Scheduler.parsed(processes.address), 1) as client:
            with pytest.raises(BenchmarkError, match=r"tuned.*: no worker has CPU=99; lower"):
                trials_on(Dask(client, 1), place / "cluster-suite", threads=99)
            found = trials_on(Dask(client, 1), place / "cluster-suite")
        marks = {path.name for path in (place / "cluster" / "fits").iterdir()}
        killed = [worker for worker in processes.workers if worker.poll() is not None]
        assert len(killed) == 1
        assert marks == {"killed", *(f"worker-{one.pid}" for one in processes.workers)}
        monkeypatch.syspath_prepend(str(place / "cluster" / "installed"))
        alone = trials_on(Processes(1), place / "alone")
    assert [trial.number for trial in found] == [0, 1, 2, 3]
    assert [(t.values, t.outcome.value) for t in found] == [
        (t.values, t.outcome.value) for t in alone
    ]
