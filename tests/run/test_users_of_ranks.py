"""Ranks say which user each test event is of, as the data set numbers them."""

from __future__ import annotations

import numpy as np

from benchmark.data.prepare import load
from benchmark.files import read_json
from benchmark.jobs.record import RANKS_FILE
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.report.reading.ranks import read_ranks


def test_a_run_keeps_the_user_of_each_test_event(project) -> None:
    """Under a split by time, where a user has several test events."""
    arguments = ("--dataset", "tiny", "--preset", "smoke", "--systems", "popularity")
    done = project.run(*arguments, "--set", "protocol.split=global-time")
    assert done.returncode == 0, done.stderr + done.stdout
    (record,) = (project.root / "results" / "runs").rglob("run.json")
    views = read_ranks(record.parent / RANKS_FILE)
    dataset = load(
        str(project.root / "datasets" / "tiny.yaml"),
        root=project.root / "datasets" / "prepared",
    )
    settings = ProtocolSettings.model_validate(read_json(record)["protocol"]["settings"])
    tasks = build_tasks(dataset, settings)
    assert set(views) == {"lists", "all-items"}
    for found in views.values():
        assert set(found) == set(tasks)
        for name, task in tasks.items():
            users = found[name].users
            assert np.array_equal(users, dataset.log.user[task.test.position])
            assert len(users) == len(found[name].ranks) > len(np.unique(users))
