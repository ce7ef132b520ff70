"""Several suites at once on one folder, and a reader beside them."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import pytest

from benchmark.jobs.record import find_run_folders
from benchmark.jobs.store import RunStore
from benchmark.report.reading.collect import collect
from tests.faults.conftest import Truth
from tests.faults.suite import SmallSuite, ended, folder_in_memory, forked, report
from tests.faults.systems import FITS

SUITES = 4
SEEDS = (1, 2, 3)


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_four_suites_and_a_reader(rounds: int, truth: Truth) -> None:
    chance = random.Random(11)
    counts: Counter[str] = Counter()
    with folder_in_memory() as place:
        for number in range(rounds):
            suite = SmallSuite(place / f"suite-{number}", SEEDS)
            suite.prepare()
            fits = suite.root / "fits"
            fits.mkdir()
            start = suite.root / "start"
            pauses = [chance.uniform(0, 0.05) for _ in range(SUITES)]

            def run(pause: float, suite: SmallSuite = suite) -> None:
                os.environ[FITS] = str(suite.root / "fits")
                while not (suite.root / "start").exists():
                    time.sleep(0.001)
                time.sleep(pause)
                suite.run()

            def read(suite: SmallSuite = suite) -> None:
                calls = 0
                while not (suite.root / "stop").exists():
                    collection = collect(suite.results / "runs")
                    half = [one for one in collection.sentences if "still being written" not in one]
                    assert not half, half
                    find_run_folders(suite.results / "runs")
                    RunStore(suite.results).prepare()  # sweeps beside the living
                    calls += 1
                (suite.root / "calls").write_text(str(calls))

            errors = [suite.root / f"errors-{one}" for one in range(SUITES + 1)]
            children = [
                forked(lambda pause=pause: run(pause), log)
                for pause, log in zip(pauses, errors, strict=False)
            ]
            reader = forked(read, errors[-1])
            start.touch()
            codes = [ended(child) for child in children]
            (suite.root / "stop").touch()
            codes.append(ended(reader))
            said = "\n".join(log.read_text() for log in errors if log.exists())
            assert codes == [0] * (SUITES + 1), said
            found = suite.outcome()
            assert {key: found[key] for key in truth} == truth
            assert len(found) == len(SEEDS) * len(truth)
            done_once = Counter(path.name.partition("-")[0] for path in fits.iterdir())
            assert set(done_once.values()) == {1}
            assert len(done_once) == len(SEEDS)
            assert not list((suite.results / "work").iterdir())
            counts["suites"] += SUITES
            counts["readings"] += int((suite.root / "calls").read_text())
    report({**counts, "doubled": 0, "lost": 0, "tracebacks": 0})
    assert counts["readings"] >= rounds
