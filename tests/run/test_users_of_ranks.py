"""Ranks say which user each test event is of, as the data set numbers them."""

from __future__ import annotations

import numpy as np

from benchmark.data.prepare import load
from benchmark.files import read_json
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.report.events import read_ranks, read_users
from benchmark.runs.record import RANKS_FILE


def test_a_run_keeps_the_user_of_each_test_event(project) -> None:
    """Under a split by time, where a user has several test events."""
    arguments = ("--dataset", "tiny", "--preset", "smoke", "--systems", "popularity")
    done = project.run(*arguments, "--set", "protocol.split=global-time")
    assert done.returncode == 0, done.stderr + done.stdout
    (record,) = (project.root / "results" / "runs").rglob("run.json")
    found, ranks = read_users(record.parent / RANKS_FILE), read_ranks(record.parent / RANKS_FILE)
    dataset = load(
        str(project.root / "datasets" / "tiny.yaml"),
        root=project.root / "datasets" / "prepared",
    )
    settings = ProtocolSettings.model_validate(read_json(record)["protocol"]["settings"])
    tasks = build_tasks(dataset, settings)
    assert set(found) == set(ranks) == set(tasks)
    for name, task in tasks.items():
        assert np.array_equal(found[name], dataset.log.user[task.test.position])
        assert len(found[name]) == len(ranks[name]) > len(np.unique(found[name]))
